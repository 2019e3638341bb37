//! `outcomes` in the answers to orders that wait.

use serde::{Deserialize, Serialize};

use super::EndingReport;

/// What came of an order in one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeReport {
    /// Its name.
    pub worker: String,
    /// `running`, `succeeded` (it ran to its end), `stopped`, `failed`, `superseded` (a later order
    /// wants something else) or `waiting` (no outcome in time).
    pub outcome: String,
    /// Its phase now.
    pub phase: String,
    /// Its process, while it lives.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pid: Option<i32>,
    /// Whether it was not named, and went down or came back because it depends on one that was.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub dependent: bool,
    /// Whether it was killed because it did not stop in time.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub killed: bool,
    /// Whether it is a thread that was left behind because it did not stop in time.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub left_behind: bool,
    /// How the run ended that failed, succeeded or was stopped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ending: Option<EndingReport>,
    /// Milliseconds until it is tried again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_in_ms: Option<u64>,
    /// The incident of its failure.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incident: Option<u64>,
    /// The last lines that it wrote before it failed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub last_output: Vec<String>,
    /// The same in words, without the name.
    pub message: String,
}
