//! A key: its name, what its value looks like, what it means.

use super::Kind;

/// One key that a mapping of the file can have. Each is a `static` beside its reader.
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// What holds where it is not written, as it would be written; `None`: nothing does, or it
    /// depends on the machine, and `about` says how.
    pub default: Option<&'static str>,
    /// What it means, in sentences; `code` is between backticks.
    pub about: &'static str,
    /// A value that is worth a look.
    pub example: Option<&'static str>,
    /// The version that had it first.
    pub since: &'static str,
    /// The workers that can have it.
    pub only_for: OnlyFor,
    /// Whether its mapping is invalid without it.
    pub is_needed: bool,
}

/// The workers that can have a key. It may stand in `defaults:` whomever it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnlyFor {
    /// All.
    All,
    /// Those with `command:`.
    Commands,
    /// Those with `worker:`.
    Code,
    /// Those that are processes.
    Processes,
    /// Those that are threads.
    Threads,
}

impl OnlyFor {
    /// For people; `None`: it needs no mention.
    #[must_use]
    pub const fn in_words(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Commands => Some("a `command:`"),
            Self::Code => Some("a `worker:`"),
            Self::Processes => Some("processes"),
            Self::Threads => Some("threads"),
        }
    }
}

/// A key that any worker can have, and that has no default.
pub(crate) const fn key(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key {
        name,
        kind,
        default: None,
        about,
        example: None,
        since: "0.1.0",
        only_for: OnlyFor::All,
        is_needed: false,
    }
}

impl Key {
    /// The same, with this default.
    pub(crate) const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// The same, with this example.
    pub(crate) const fn such_as(self, example: &'static str) -> Self {
        Self { example: Some(example), ..self }
    }

    /// The same, for these workers.
    pub(crate) const fn only_for(self, only_for: OnlyFor) -> Self {
        Self { only_for, ..self }
    }

    /// The same, without which its mapping is invalid.
    pub(crate) const fn needed(self) -> Self {
        Self { is_needed: true, ..self }
    }

    /// The first sentence of what it means.
    #[must_use]
    pub fn in_short(&self) -> &'static str {
        self.about.split_inclusive(". ").next().unwrap_or_default().trim_end()
    }
}

#[cfg(test)]
thread_local! {
    /// The keys that a reader has asked for on this thread.
    static ASKED: std::cell::RefCell<std::collections::BTreeSet<usize>> =
        const { std::cell::RefCell::new(std::collections::BTreeSet::new()) };
}

/// A reader asks for this key.
#[cfg(test)]
pub(in crate::config) fn note(key: &'static Key) {
    ASKED.with_borrow_mut(|asked| asked.insert(std::ptr::from_ref(key).addr()));
}

/// Whether a reader has asked for this key.
#[cfg(test)]
pub(super) fn was_asked_for(key: &'static Key) -> bool {
    ASKED.with_borrow(|asked| asked.contains(&std::ptr::from_ref(key).addr()))
}
