//! Regular expressions of the configuration: each is compiled once, and none may take more room
//! than a line of output is worth.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use regex::bytes::{Regex, RegexBuilder};

use super::problems::At;
use super::reader::Cursor;

/// Bytes that a compiled pattern may take; compiling takes time in proportion. `\w+@\w+` has 60
/// KiB.
const SIZE_MAX: usize = 256 * 1024;

/// Patterns of one file that may prove too large: each costs the time of the largest, and the
/// others of that file are then not compiled any more.
const TOO_LARGE_MAX: usize = 8;

/// Why a pattern cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    /// It is no pattern.
    #[error("{0}")]
    Wrong(regex::Error),
    /// It would take too much room.
    #[error("compiled, it is larger than {} KiB", SIZE_MAX / 1024)]
    TooLarge,
}

/// A pattern, compiled.
#[derive(Clone, Debug)]
pub struct Pattern(Arc<Regex>);

/// All that are in use, by their text: instances and `defaults:` have the same ones.
static KNOWN: Mutex<Option<HashMap<String, Weak<Regex>>>> = Mutex::new(None);

impl Pattern {
    /// Compiles it, unless that has been done.
    ///
    /// # Errors
    /// What is wrong with it, or that it is too large.
    fn new(text: &str) -> Result<Self, Unfit> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        if let Some(regex) = known.get(text).and_then(Weak::upgrade) {
            return Ok(Self(regex));
        }
        let built = RegexBuilder::new(text).size_limit(SIZE_MAX).build();
        let regex = Arc::new(built.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => Unfit::TooLarge,
            error => Unfit::Wrong(error),
        })?);
        known.retain(|_, regex| regex.strong_count() > 0);
        known.insert(text.to_owned(), Arc::downgrade(&regex));
        Ok(Self(regex))
    }

    /// To match with.
    #[must_use]
    pub fn regex(&self) -> &Regex {
        &self.0
    }
}

/// Reads the patterns of one file.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    /// How many have proved too large.
    too_large: Cell<usize>,
}

impl Patterns {
    /// The pattern of a `log:`. `None`, without a problem, where enough of the file's patterns are
    /// too large.
    pub(super) fn read(&self, log: &At<String>, cursor: &Cursor<'_>) -> Option<Pattern> {
        if self.too_large.get() >= TOO_LARGE_MAX {
            return None;
        }
        let unfit = match Pattern::new(&log.value) {
            Ok(pattern) => return Some(pattern),
            Err(unfit) => unfit,
        };
        let problem =
            cursor.at(()).problem(format!("`log` is not a valid regular expression: {unfit}"));
        self.too_large.update(|count| count + usize::from(matches!(unfit, Unfit::TooLarge)));
        let problem = match unfit {
            Unfit::TooLarge if self.too_large.get() == TOO_LARGE_MAX => problem.help(
                "write smaller patterns; as so many are too large, those after this one are not \
                 checked",
            ),
            Unfit::TooLarge | Unfit::Wrong(_) => {
                problem.expected("a pattern such as `ready to accept connections`")
            }
        };
        cursor.problems.push(problem);
        None
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}
