//! The answers to requests that change something.

use serde::{Deserialize, Serialize};

use super::{CheckReport, OutcomeReport, ReloadReport, WorkerStatus};

/// Answer to a request that changes something.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// What was done, for people.
    pub message: String,
    /// With `wait`: the workers concerned, as they are now.
    #[serde(default)]
    pub workers: Vec<WorkerStatus>,
    /// Of an injected fault: whether it does its harm unnoticed, so that no incident comes of it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_silent: bool,
    /// With `wait`: what came of the order in each worker that it touched.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub outcomes: Vec<OutcomeReport>,
    /// Of a reload: what it does to each worker.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reload: Option<ReloadReport>,
}

/// Answer to a request that was not carried out.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Failure {
    /// `unknown-worker` (404), `refused` (403), `not-running` (409), `invalid` (400),
    /// `shutting-down` (503), `busy` (503), `failed` (409), `superseded` (409), `timed-out` (504),
    /// `unknown-incident` (404), `invalid-configuration` (422).
    pub error: String,
    /// What is wrong and what to do about it.
    pub message: String,
    /// With `wait`: what came of the order in each worker that it touched.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub outcomes: Vec<OutcomeReport>,
    /// Of an invalid configuration: what `check --json` prints.
    #[serde(flatten)]
    pub check: Option<Box<CheckReport>>,
}

impl Failure {
    /// One that concerns no worker in particular.
    #[must_use]
    pub fn new(error: &str, message: String) -> Self {
        Self { error: error.to_owned(), message, outcomes: Vec::new(), check: None }
    }
}
