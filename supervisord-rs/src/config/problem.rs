//! One problem of a file: its place, what was expected, and what would have been right.

use std::ops::Range;

/// One thing that is wrong, or most likely not what was meant.
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
    /// What to write instead, in a sentence.
    pub help: Option<String>,
    /// Other places that have part in it, and what each says.
    pub beside: Vec<(Range<usize>, String)>,
}

impl Problem {
    pub(super) fn new(path: String, span: Range<usize>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { path, span, message, expected: None, nearest: None, help: None, beside: Vec::new() }
    }

    pub(super) fn expected(self, expected: impl Into<String>) -> Self {
        Self { expected: Some(expected.into()), ..self }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    pub(super) fn beside(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.beside.push((span, label.into()));
        self
    }

    pub(super) fn has_suggestion(&self) -> bool {
        self.nearest.is_some() || self.help.is_some()
    }
}
