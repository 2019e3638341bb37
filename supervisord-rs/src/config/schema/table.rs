//! The keys of one mapping.

use super::Key;
use crate::config::foreign::Whose;
use crate::config::later::Later;

/// The keys that one mapping of the file can have.
#[derive(Debug)]
pub struct Table {
    parts: &'static [&'static [&'static Key]],
    /// Whose keys may stand here by mistake.
    pub(in crate::config) whose: Whose,
    /// Keys of later versions.
    pub(in crate::config) later: &'static [Later],
}

impl Table {
    /// One of these keys. The keys of a worker are in several files, each with its part.
    pub(in crate::config) const fn of(parts: &'static [&'static [&'static Key]]) -> Self {
        Self { parts, whose: Whose::Other, later: &[] }
    }

    /// The same, for a mapping that other supervisors have too.
    pub(in crate::config) const fn like(self, whose: Whose) -> Self {
        Self { whose, ..self }
    }

    /// The same, with keys that a later version will have.
    pub(in crate::config) const fn later(self, later: &'static [Later]) -> Self {
        Self { later, ..self }
    }

    /// All keys, in the order in which people want to read them.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.parts.iter().flat_map(|part| part.iter().copied())
    }

    /// One by its name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }

    /// The names of all.
    pub(in crate::config) fn names(&self) -> Vec<&'static str> {
        self.keys().map(|key| key.name).collect()
    }
}
