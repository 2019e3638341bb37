//! What the value of a key looks like.

use super::Table;

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
