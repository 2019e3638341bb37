//! A column of the matrix: an isolation, and what a panic ends there.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::config::{Kind, kinds};

/// What the name of an isolation has behind it where panics are contained.
const CONTAINED: &str = "-contained";

/// An isolation, and what a panic ends there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) isolation: &'static Kind,
    /// `on_panic: contain`.
    pub(crate) contain: bool,
}

impl Column {
    /// Every isolation, and threads of the supervisor with contained panics too.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for isolation in kinds::ALL {
            all.push(Self { isolation, contain: false });
            if isolation.capabilities.is_of_supervisor() {
                all.push(Self { isolation, contain: true });
            }
        }
        all
    }

    /// As it is written: `thread-contained`.
    pub(crate) fn name(self) -> String {
        format!("{}{}", self.isolation.name(), if self.contain { CONTAINED } else { "" })
    }

    /// The names of all that can be written.
    fn names() -> Vec<String> {
        let both = |isolation: &'static Kind| {
            let contained = !isolation.capabilities.has_own_memory;
            let plain = Self { isolation, contain: false };
            [Some(plain), contained.then_some(Self { contain: true, ..plain })]
        };
        kinds::ALL.into_iter().flat_map(both).flatten().map(Self::name).collect()
    }
}

impl FromStr for Column {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, contain) = match text.strip_suffix(CONTAINED) {
            Some(name) => (name, true),
            None => (text, false),
        };
        // A panic in a process of its own ends that in any case.
        Kind::by_name(name)
            .filter(|isolation| !contain || !isolation.capabilities.has_own_memory)
            .map(|isolation| Self { isolation, contain })
            .ok_or_else(|| format!("write one of {}", Self::names().join(", ")))
    }
}

impl fmt::Display for Column {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name())
    }
}

impl Serialize for Column {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_is_written_as_it_is_read() {
        for column in Column::all() {
            assert_eq!(column.name().parse(), Ok(column));
        }
        assert_eq!(
            "cell-contained".parse::<Column>().map(Column::name).as_deref(),
            Ok("cell-contained")
        );
        for wrong in ["process-contained", "threads", "-contained", ""] {
            let why = wrong.parse::<Column>().expect_err(wrong);
            assert!(
                why.contains("thread-contained") && !why.contains("process-contained"),
                "{why}"
            );
        }
    }
}
