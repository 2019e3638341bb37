//! `--expect thread=4,process=1`: how many workers a fault may cost in each isolation.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::outcome::Trial;
use crate::config::{Kind, kinds};

/// How many workers each fault costs in an isolation, the one that it strikes included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Where.
    pub isolation: &'static Kind,
    /// How many.
    pub lost: usize,
}

impl Expectation {
    const FORM: &str = "write ISOLATION=COUNT, such as thread=4 or process=1: \
                        COUNT workers are lost, the struck one included";
}

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (isolation, lost) = text.split_once('=').ok_or_else(|| Self::FORM.to_owned())?;
        let isolation = Kind::by_name(isolation).ok_or_else(|| {
            format!("`{isolation}` is not an isolation: write {} before `=`", kinds::choice())
        })?;
        let lost = lost.parse().map_err(|_| format!("`{lost}` is not a count: {}", Self::FORM))?;
        Ok(Self { isolation, lost })
    }
}

impl std::fmt::Display for Expectation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}={}", self.isolation.name(), self.lost)
    }
}

/// An expectation, and what was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// The fault.
    pub fault: String,
    /// Where.
    pub isolation: &'static Kind,
    /// How many workers were to be lost.
    pub expected: usize,
    /// Those that were.
    pub lost: Vec<String>,
    /// Whether that is as expected.
    pub met: bool,
}

/// Compares a trial with what is expected of it.
pub(super) fn judge(expectations: &[Expectation], trial: &Trial) -> Option<Verdict> {
    let expected = expectations.iter().find(|one| one.isolation == trial.isolation)?.lost;
    Some(Verdict {
        fault: trial.fault.clone(),
        isolation: trial.isolation,
        expected,
        lost: trial.lost.clone(),
        met: trial.lost.len() == expected,
    })
}
