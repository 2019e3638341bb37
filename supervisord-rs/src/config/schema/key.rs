//! The tables of keys: a key, what its value looks like, and the keys of one mapping. They are one
//! concept, since each has the next.

use crate::config::foreign::Whose;
use crate::config::later::Later;

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

/// What a value looks like. The reader of a key decides what is valid; this says what it accepts, as
/// far as a shape can.
#[derive(Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// The path of a file or a directory.
    Path,
    /// A regular expression.
    Pattern,
    /// An address to connect to, or to listen on: `127.0.0.1:80`, `unix:/path`.
    Address,
    /// `http://127.0.0.1:80/health`
    Url,
    /// A signal by its name, with or without `SIG`.
    Signal,
    /// An exit status, or a signal.
    Exit,
    /// Permission bits in octal.
    Mode,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Number {
        /// The least.
        low: i64,
        /// The most; `i64::MAX`: no bound.
        high: i64,
    },
    /// A number with a fraction of three digits at most.
    Share {
        /// The least, in thousandths.
        low: u32,
        /// The most, in thousandths.
        high: u32,
    },
    /// Whole percent of one processor: `150%`.
    Percent,
    /// Processors: `[0, 2-3]`.
    Processors,
    /// A time with its unit: `500ms`.
    Duration,
    /// Bytes, or with a unit that is a power of 1024: `64MiB`.
    Size,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Nothing: the key alone, or `null`.
    Nothing,
    /// A program and its arguments.
    Command,
    /// The name of a worker, a cell, a group or a resource of the file.
    Name,
    /// A list.
    List(&'static Self),
    /// A list, whose brackets may be left out where it has one element.
    OneOrMore(&'static Self),
    /// A mapping whose keys are the user's choice; the word says what they name.
    ByName(&'static str, &'static Self),
    /// A mapping with the keys of a table.
    Section(&'static Table),
    /// One of these.
    Either(&'static [Self]),
    /// Whatever YAML has.
    Anything,
}

impl Kind {
    /// For people, in a word or two.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Pattern => "regular expression".to_owned(),
            Self::Address => "address".to_owned(),
            Self::Url => "URL".to_owned(),
            Self::Signal => "signal".to_owned(),
            Self::Exit => "exit status or signal".to_owned(),
            Self::Mode => "permission bits in octal".to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::Number { low, high: i64::MAX } => format!("number, {low} or more"),
            Self::Number { low, high } => format!("number from {low} to {high}"),
            Self::Share { low, high } => {
                format!("number from {} to {}", thousandths(*low), thousandths(*high))
            }
            Self::Percent => "percent of one processor".to_owned(),
            Self::Processors => "processors".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::Size => "size".to_owned(),
            Self::Words(words) => words.join(" | "),
            Self::Nothing => "null".to_owned(),
            Self::Command => "program and arguments".to_owned(),
            Self::Name => "name".to_owned(),
            Self::List(of) => format!("list of: {}", of.in_words()),
            Self::OneOrMore(of) => format!("one or a list of: {}", of.in_words()),
            Self::ByName(what, of) => format!("mapping of {what} to: {}", of.in_words()),
            Self::Section(_) => "mapping".to_owned(),
            Self::Either(kinds) => {
                let words: Vec<String> = kinds.iter().map(Self::in_words).collect();
                words.join(", or ")
            }
            Self::Anything => "any value".to_owned(),
        }
    }

    /// The tables of the mappings that can stand here, or below a name or in a list here.
    #[must_use]
    pub fn tables(&self) -> Vec<&'static Table> {
        match self {
            Self::Section(table) => vec![table],
            Self::List(of) | Self::OneOrMore(of) | Self::ByName(_, of) => of.tables(),
            Self::Either(kinds) => kinds.iter().flat_map(Self::tables).collect(),
            _ => Vec::new(),
        }
    }
}

/// Thousandths as the fraction that they are.
pub(super) fn thousandths(number: u32) -> f64 {
    f64::from(number) / 1000.0
}

/// The words of a choice, without what they stand for.
pub(crate) const fn words<T: Copy, const N: usize>(
    choice: &[(&'static str, T); N],
) -> [&'static str; N] {
    let mut words = [""; N];
    let mut at = 0;
    while at < N {
        words[at] = choice[at].0;
        at += 1;
    }
    words
}

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
