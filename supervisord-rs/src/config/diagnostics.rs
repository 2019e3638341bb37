//! Problems: each with its place, what was expected, and the nearest thing that would have been right.

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

/// Everything that is wrong with a file.
#[derive(Debug)]
pub struct Diagnostics {
    file: PathBuf,
    text: String,
    problems: Vec<Problem>,
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
    pub(super) fn new(file: &Path, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.start);
        // What stands under `defaults:` is wrong for every worker, and said once; so is what all instances share.
        problems.dedup_by(|one, other| one.span == other.span && one.message == other.message);
        Self { file: file.into(), text: text.into(), problems }
    }

    pub(super) fn unreadable(file: &Path, why: &str) -> Self {
        let problem = Problem {
            path: String::new(),
            span: 0..0,
            message: format!("cannot read the file: {why}"),
            expected: Some("a YAML file that this user may read".into()),
            nearest: None,
        };
        Self { file: file.into(), text: String::new(), problems: vec![problem] }
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
        let before = &self.text[..self.clamp(problem.span.start)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Located {
            file: self.file.display().to_string(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            path: problem.path.clone(),
            message: problem.message.clone(),
            expected: problem.expected.clone(),
            nearest: problem.nearest.clone(),
        }
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
            let end = self.text[start..end].find('\n').map_or(end, |newline| start + newline).max(start);
            let annotation = AnnotationKind::Primary.span(start..end);
            group = group.element(Snippet::source(&self.text).path(&place).annotation(annotation));
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
        let count = self.problems.len();
        let things = if count == 1 { "problem" } else { "problems" };
        write!(formatter, "{}: {count} {things}; nothing was changed", self.file.display())
    }
}

/// The known word that looks most like `word`, if any does: at most a third of it is to be changed.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// Letters to insert, to remove, to replace, or to swap with their neighbour (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for row in 1..=left.len() {
        let mut next = vec![row];
        for column in 1..=right.len() {
            let change = usize::from(left[row - 1] != right[column - 1]);
            let mut best = (last[column] + 1).min(next[column - 1] + 1).min(last[column - 1] + change);
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
