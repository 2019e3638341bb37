//! The text of a configuration and where it came from: all that is needed to read it once more and
//! to get the same, whatever has become of the file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::adaptation::Adaptation;
use super::diagnostics::Diagnostics;

/// What a configuration was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// As it was named: for people.
    pub file: PathBuf,
    /// The working directory then, where the name is relative to it.
    directory: PathBuf,
    text: String,
    /// The key below which the configuration stands in it; `None`: it is the whole text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    part: Option<String>,
    /// What a trial changes in it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    adaptation: Option<Adaptation>,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(file: &Path) -> Result<Self, Diagnostics> {
        let text = super::read(file).map_err(|why| Diagnostics::unreadable(file, &why))?;
        Ok(Self::of(file, text))
    }

    /// What a reload reads: the file once more, or what a trial has been given instead.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn again(&self) -> Result<Self, Diagnostics> {
        let Some(adaptation) = &self.adaptation else { return Self::read(&self.file) };
        let given = Adaptation::configuration(&adaptation.directory);
        let read = std::fs::read(&given).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        read.map_err(|error| Diagnostics::unreadable(&given, &error.to_string()))
    }

    /// A text as if it had been read from a file, here.
    #[must_use]
    pub fn of(file: &Path, text: String) -> Self {
        let here = || std::env::current_dir().unwrap_or_default();
        let directory = if file.is_absolute() { PathBuf::new() } else { here() };
        Self { file: file.into(), directory, text, part: None, adaptation: None }
    }

    /// The configuration that stands below this key of the text, such as in a scenario.
    #[must_use]
    pub fn part(self, key: &str) -> Self {
        Self { part: Some(key.to_owned()), ..self }
    }

    /// The key below which the configuration stands.
    pub(super) fn key(&self) -> Option<&str> {
        self.part.as_deref()
    }

    /// This, as it runs in a trial.
    #[must_use]
    pub fn adapted(self, adaptation: Adaptation) -> Self {
        Self { adaptation: Some(adaptation), ..self }
    }

    /// What a trial changes in it.
    pub(super) fn adaptation(&self) -> Option<&Adaptation> {
        self.adaptation.as_ref()
    }

    /// As it was read.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where the file was, from the root where that is known.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.file)
    }

    /// Whether the file has this content.
    #[must_use]
    pub fn is(&self, content: &[u8]) -> bool {
        self.text.as_bytes() == content
    }
}
