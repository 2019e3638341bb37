//! A line of the file with a mark under a part of it.

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Snippet};

/// So many bytes of a long line are quoted on each side of a place: more than the renderer shows.
pub(super) const CONTEXT: usize = 256;

/// A line, or what surrounds the place in a long one.
#[derive(Clone)]
pub(super) struct Quote {
    pub(super) source: String,
    /// The byte of the file that it begins with.
    pub(super) begin: usize,
    /// Line and column of the mark, from 1.
    pub(super) place: (usize, usize),
    /// What is marked, in bytes of `source`.
    pub(super) span: Range<usize>,
    pub(super) label: Option<String>,
    pub(super) kind: AnnotationKind,
}

impl Quote {
    /// Adds it to what is shown of a problem; the marks of other quotes of the same bytes too.
    pub(super) fn shown_in<'a>(&self, others: &[Self], group: Group<'a>, path: &str) -> Group<'a> {
        let marks = std::iter::once(self).chain(others).map(Self::mark);
        let snippet = Snippet::source(self.source.clone()).line_start(self.place.0);
        group.element(snippet.path(path.to_owned()).annotations(marks))
    }

    /// Whether the mark of another quote can be shown in this one.
    pub(super) fn has_room_for(&self, other: &Self) -> bool {
        other.begin == self.begin && other.span.end <= self.source.len()
    }

    fn mark(&self) -> Annotation<'static> {
        let annotation = self.kind.span(self.span.clone());
        match &self.label {
            Some(label) => annotation.label(label.clone()),
            None => annotation,
        }
    }

    /// The column that the renderer shows: it counts from the beginning of what it gets.
    fn rendered_column(&self) -> usize {
        self.source.get(..self.span.start).map_or(0, |before| before.chars().count()) + 1
    }
}

/// Puts the column of the file into each place that the renderer shows.
pub(super) fn with_columns(mut rendered: String, quotes: &[Quote]) -> String {
    let mut from = 0;
    for quote in quotes {
        let (line, column) = quote.place;
        let shown = format!(":{line}:{}\n", quote.rendered_column());
        let Some(at) = rendered[from..].find(&shown) else { continue };
        let right = format!(":{line}:{column}\n");
        rendered.replace_range(from + at..from + at + shown.len(), &right);
        from += at + right.len();
    }
    rendered
}
