//! Problems: each with its place, what was expected, and what would have been right.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer};
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::problems::Found;
use super::quote::{CONTEXT, Quote, with_columns};
use crate::called::as_typed;

/// Everything that is wrong with a file, or the first of it where that is much.
#[derive(Debug)]
pub struct Diagnostics {
    file: Box<Path>,
    text: Box<str>,
    /// Where each line begins.
    lines: Vec<usize>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// How many errors there are, with those that are not here.
    count: usize,
}

/// A problem for machines.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Located {
    file: String,
    pub(super) line: usize,
    column: usize,
    path: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    /// The other places, where there are some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    beside: Vec<Background>,
}

impl Located {
    /// All of it in one line, for a log.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { file, line, column, path, message, .. } = self;
        let expected = self.expected.as_ref().map(|expected| format!("expected {expected}"));
        let advice = self.help.clone().or(expected);
        let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
        format!("{file}:{line}:{column}: {path}: {message}{advice}")
    }
}

/// Another place of a problem, for machines.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Background {
    line: usize,
    column: usize,
    message: String,
}

impl Diagnostics {
    pub(super) fn new(file: &Path, text: &str, found: Found) -> Self {
        let Found { kept: mut problems, mut warnings, count, .. } = found;
        problems.sort_by_key(|problem| problem.span.start);
        warnings.sort_by_key(|problem| problem.span.start);
        let lines =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), text: text.into(), lines, problems, warnings, count }
    }

    pub(super) fn unreadable(file: &Path, why: &str) -> Self {
        let problem =
            Problem::new(String::new(), 0..0, format!("cannot read {}: {why}", file.display()))
                .expected("a YAML file that this user may read");
        Self::new(file, "", Found::only(problem))
    }

    /// The file cannot be used, whatever it contains.
    pub(super) fn unusable(file: &Path, message: String, help: &str) -> Self {
        Self::new(file, "", Found::only(Problem::new(String::new(), 0..0, message).help(help)))
    }

    /// How many errors there are; of many, only the first are kept.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The errors, in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The warnings, in the order of the file.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// For machines: file, line and column (from 1), key path, message, expectation, suggestions.
    #[must_use]
    pub fn to_json(&self) -> Vec<Located> {
        self.problems.iter().map(|problem| self.locate(problem)).collect()
    }

    /// The warnings for machines.
    #[must_use]
    pub fn warnings_to_json(&self) -> Vec<Located> {
        self.warnings.iter().map(|problem| self.locate(problem)).collect()
    }

    fn locate(&self, problem: &Problem) -> Located {
        let (line, column) = self.place(problem.span.start);
        Located {
            file: self.file.display().to_string(),
            line,
            column,
            path: problem.path.clone(),
            message: problem.message.clone(),
            expected: problem.expected.clone(),
            nearest: problem.nearest.clone(),
            help: problem.help.clone(),
            beside: problem.beside.iter().map(|other| self.locate_beside(other)).collect(),
        }
    }

    fn locate_beside(&self, (span, message): &(Range<usize>, String)) -> Background {
        let (line, column) = self.place(span.start);
        Background { line, column, message: message.clone() }
    }

    /// Line and column of a byte, from 1.
    fn place(&self, byte: usize) -> (usize, usize) {
        let start = self.clamp(byte);
        let line = self.line(start);
        // The mark of byte order has no width.
        let before = self.text[self.lines[line]..start].trim_start_matches('\u{feff}');
        (line + 1, before.chars().count() + 1)
    }

    /// The number of the line, from 0, that a byte is in.
    fn line(&self, byte: usize) -> usize {
        self.lines.partition_point(|&start| start <= byte).saturating_sub(1)
    }

    fn clamp(&self, byte: usize) -> usize {
        let mut byte = byte.min(self.text.len());
        while !self.text.is_char_boundary(byte) {
            byte -= 1;
        }
        byte
    }

    /// The byte behind a line, from 0, without its newline.
    fn end_of(&self, line: usize) -> usize {
        self.lines.get(line + 1).map_or(self.text.len(), |next| next - 1)
    }

    /// A line with a place in it, or what surrounds the place in a long one: the renderer looks at
    /// all that it gets, for each problem.
    fn quote(&self, span: &Range<usize>, label: Option<&str>, kind: AnnotationKind) -> Quote {
        let start = self.clamp(span.start);
        let line = self.line(start);
        // A span of many lines is marked at its first: the rest is noise.
        let end = self.clamp(span.end.max(start + 1)).min(self.end_of(line)).max(start);
        let whole = self.lines[line]..self.end_of(line);
        let shown = if whole.len() > CONTEXT * 3 {
            let first = self.clamp(whole.start.max(start.saturating_sub(CONTEXT)));
            first..self.clamp(whole.end.min(start + CONTEXT))
        } else {
            whole
        };
        let source = &self.text[shown.clone()];
        // The mark of byte order has no width, and would shift what stands under it.
        let visible = source.trim_start_matches('\u{feff}');
        let hidden = shown.start + source.len() - visible.len();
        Quote {
            source: visible.into(),
            begin: hidden,
            place: self.place(start),
            span: start.saturating_sub(hidden)..end.min(shown.end).saturating_sub(hidden),
            label: label.map(str::to_owned),
            kind,
        }
    }

    fn render(&self, level: &Level<'_>, problem: &Problem, expected: Option<&str>) -> String {
        let place = self.file.display().to_string();
        let title = if problem.path.is_empty() {
            problem.message.clone()
        } else {
            format!("{}: {}", problem.path, problem.message)
        };
        let mut group: Group<'_> = Group::with_title(level.clone().primary_title(title));
        let mut quotes: Vec<Quote> = Vec::new();
        if !self.text.is_empty() {
            quotes.push(self.quote(&problem.span, None, AnnotationKind::Primary));
            let label = |(span, label): &(Range<usize>, String)| {
                self.quote(span, Some(label), AnnotationKind::Context)
            };
            // Marks in one line are one quotation.
            let (beside, apart): (Vec<Quote>, Vec<Quote>) =
                problem.beside.iter().map(label).partition(|other| quotes[0].has_room_for(other));
            group = quotes[0].shown_in(&beside, group, &place);
            for other in apart {
                group = other.shown_in(&[], group, &place);
                quotes.push(other);
            }
        }
        if let Some(expected) = expected {
            group = group.element(Level::NOTE.message(wrapped(&format!("expected {expected}"))));
        }
        if let Some(nearest) = &problem.nearest {
            group = group.element(Level::HELP.message(format!("did you mean `{nearest}`?")));
        }
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(wrapped(help)));
        }
        with_columns(Renderer::plain().render(&[group]), &quotes)
    }
}

impl fmt::Display for Diagnostics {
    /// A long list of what could stand there is shown once for each mapping, and pointed to then;
    /// not where a suggestion says more.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all: Vec<(&Problem, Level<'_>)> = Vec::new();
        all.extend(self.problems.iter().map(|problem| (problem, Level::ERROR)));
        all.extend(self.warnings.iter().map(|problem| (problem, Level::WARNING)));
        all.sort_by_key(|(problem, _)| problem.span.start);
        let mut shown: HashSet<(&str, &str)> = HashSet::new();
        for (problem, level) in all {
            let mapping = problem.path.rsplit_once('.').map_or("", |(mapping, _)| mapping);
            let is_long = |text: &&str| text.len() > SHORT && text.starts_with(LIST);
            let expected = problem.expected.as_deref();
            let expected = match expected.filter(is_long) {
                Some(_) if problem.has_suggestion() => None,
                Some(list) if !shown.insert((mapping, list)) => Some(LISTED),
                Some(_) | None => expected,
            };
            let text = self.render(&level, problem, expected);
            writeln!(formatter, "{}\n", as_typed(&text))?;
        }
        let count = self.count;
        if count > self.problems.len() {
            writeln!(formatter, "... and {} more\n", count - self.problems.len())?;
        }
        let number = |count: usize, thing: &str| match count {
            0 => None,
            1 => Some(format!("1 {thing}")),
            _ => Some(format!("{count} {thing}s")),
        };
        let counts = [number(count, "error"), number(self.warnings.len(), "warning")];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        write!(formatter, "{}: {}", self.file.display(), counts.join(", "))
    }
}

/// How a list of what could stand there begins.
const LIST: &str = "one of: ";
/// What stands for such a list that is there already.
const LISTED: &str = "one of those that are listed above, for the first such error";
/// Bytes of what is always shown.
const SHORT: usize = 80;

/// A note in lines of at most 88 columns: with the margin of the quotation they fit 100.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 88;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a last line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}
