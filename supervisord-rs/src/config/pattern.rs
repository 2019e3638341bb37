//! Regular expressions of the configuration: each is compiled once, and none may take more room
//! than a line of output is worth.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use regex::bytes::{Regex, RegexBuilder};

/// Bytes that a compiled pattern may take; compiling takes time in proportion. `\w+@\w+` has 60
/// KiB.
const SIZE_MAX: usize = 256 * 1024;

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
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        if let Some(regex) = known.get(text).and_then(Weak::upgrade) {
            return Ok(Self(regex));
        }
        let built = RegexBuilder::new(text).size_limit(SIZE_MAX).build();
        let regex = Arc::new(built.map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("compiled, it is larger than {} KiB", limit / 1024)
            }
            error => error.to_string(),
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

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}
