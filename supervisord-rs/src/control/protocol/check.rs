//! What is wrong with a configuration: `check --json`, and the answer to the reload of such a file.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Diagnostics;

/// A configuration that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// False.
    pub valid: bool,
    /// How many errors there are; the first hundred are in `problems`.
    pub count: usize,
    /// Its errors, each with its place.
    pub problems: Vec<Value>,
    /// What is no error.
    #[serde(default)]
    pub warnings: Vec<Value>,
}

impl From<&Diagnostics> for CheckReport {
    fn from(diagnostics: &Diagnostics) -> Self {
        let values = |located: Vec<crate::config::Located>| -> Vec<Value> {
            located.into_iter().filter_map(|one| serde_json::to_value(one).ok()).collect()
        };
        Self {
            valid: false,
            count: diagnostics.count(),
            problems: values(diagnostics.to_json()),
            warnings: values(diagnostics.warnings_to_json()),
        }
    }
}
