//! Problems: each with its place, what was expected, and the nearest thing that would have been
//! right.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the document: `workers.a.restart.policy`.
    pub path: String,
    /// Where in the text, in bytes.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What would have been right.
    pub expected: Option<String>,
    /// The known word that looks most like the one written.
    pub nearest: Option<String>,
}

/// Everything that is wrong with a file, or the first of it where that is much.
#[derive(Debug)]
pub struct Diagnostics {
    file: PathBuf,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
    problems: Vec<Problem>,
    /// How many there are, with those that are not here.
    count: usize,
}

/// A problem for machines.
#[derive(Debug, Serialize)]
pub struct Located {
    file: String,
    line: usize,
    column: usize,
    path: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<String>,
}

impl Diagnostics {
    pub(super) fn new(file: &Path, text: &str, mut problems: Vec<Problem>, count: usize) -> Self {
        problems.sort_by_key(|problem| problem.span.start);
        let lines =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), text: text.into(), lines, problems, count }
    }

    pub(super) fn unreadable(file: &Path, why: &str) -> Self {
        let problem = Problem {
            path: String::new(),
            span: 0..0,
            message: format!("cannot read the file: {why}"),
            expected: Some("a YAML file that this user may read".into()),
            nearest: None,
        };
        Self::new(file, "", vec![problem], 1)
    }

    /// How many problems there are; of many, only the first are kept.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The problems, in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// For machines: file, line and column (from 1), key path, message, expectation, nearest.
    #[must_use]
    pub fn to_json(&self) -> Vec<Located> {
        self.problems.iter().map(|problem| self.locate(problem)).collect()
    }

    fn locate(&self, problem: &Problem) -> Located {
        let start = self.clamp(problem.span.start);
        let line = self.line(start);
        Located {
            file: self.file.display().to_string(),
            line: line + 1,
            column: self.text[self.lines[line]..start].chars().count() + 1,
            path: problem.path.clone(),
            message: problem.message.clone(),
            expected: problem.expected.clone(),
            nearest: problem.nearest.clone(),
        }
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

    fn render(&self, renderer: &Renderer, problem: &Problem) -> String {
        let place = self.file.display().to_string();
        let title = if problem.path.is_empty() {
            problem.message.clone()
        } else {
            format!("{}: {}", problem.path, problem.message)
        };
        let mut group: Group<'_> = Group::with_title(Level::ERROR.primary_title(title));
        if self.text.is_empty() {
            group = group.element(Level::NOTE.message(format!("file: {place}")));
        } else {
            let start = self.clamp(problem.span.start);
            let end = self.clamp(problem.span.end.max(start + 1));
            // A span of many lines is marked at its first: the rest is noise.
            let end =
                self.text[start..end].find('\n').map_or(end, |newline| start + newline).max(start);
            // Only its line is given away: the renderer looks at all that it gets, for each
            // problem.
            let line = self.line(start);
            let begin = self.lines[line];
            let source = self.text[begin..].split('\n').next().unwrap_or_default();
            let annotation = AnnotationKind::Primary.span(start - begin..end - begin);
            let snippet = Snippet::source(source).line_start(line + 1).path(&place);
            group = group.element(snippet.annotation(annotation));
        }
        if let Some(expected) = &problem.expected {
            group = group.element(Level::NOTE.message(format!("expected {expected}")));
        }
        if let Some(nearest) = &problem.nearest {
            group = group.element(Level::HELP.message(format!("did you mean `{nearest}`?")));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let renderer = Renderer::plain();
        for problem in &self.problems {
            writeln!(formatter, "{}\n", self.render(&renderer, problem))?;
        }
        let count = self.count;
        if count > self.problems.len() {
            writeln!(formatter, "... and {} more\n", count - self.problems.len())?;
        }
        let things = if count == 1 { "problem" } else { "problems" };
        write!(formatter, "{}: {count} {things}; nothing was changed", self.file.display())
    }
}

/// What could stand there: of many words, the first.
pub(super) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    const TOLD: usize = 40;
    let mut words = words.into_iter();
    let told: Vec<&str> = words.by_ref().take(TOLD).collect();
    let more = words.count();
    let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("one of: {}{rest}", told.join(", "))
}

/// The known word that looks most like `word`, if any does: at most a third of it is to be changed.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let length = word.chars().count();
    let allowed = (length / 3).max(1);
    known
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= allowed)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// Letters to insert, to remove, to replace, or to swap with their neighbour (optimal string
/// alignment).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for row in 1..=left.len() {
        let mut next = vec![row];
        for column in 1..=right.len() {
            let change = usize::from(left[row - 1] != right[column - 1]);
            let mut best =
                (last[column] + 1).min(next[column - 1] + 1).min(last[column - 1] + change);
            let is_swap = row > 1
                && column > 1
                && left[row - 1] == right[column - 2]
                && left[row - 2] == right[column - 1];
            if is_swap {
                best = best.min(before[column - 2] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut last, next);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let known = ["restart", "ready", "stop", "heartbeat"];
        assert_eq!(nearest("autorestrat", known), None);
        assert_eq!(nearest("restrat", known).as_deref(), Some("restart"));
        assert_eq!(nearest("heartbaet", known).as_deref(), Some("heartbeat"));
        assert_eq!(nearest("x", known), None);
    }
}
