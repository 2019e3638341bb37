//! Why a trial could not be finished.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a trial could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// What it needs failed.
    #[error("cannot set up the trial: {0}")]
    Setup(#[from] io::Error),
    /// An expected condition did not come.
    #[error("{what} did not happen within {} s; the supervisor's log:\n{log}", limit.as_secs())]
    Timeout {
        /// The condition.
        what: String,
        /// Its deadline.
        limit: Duration,
        /// The supervisor's own log.
        log: String,
    },
    /// The supervisor ended before the fault.
    #[error("the supervisor ended ({status}); its log:\n{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// Its own log.
        log: String,
    },
    /// A worker does not run, so that nothing can be said about it.
    #[error("{worker} does not run in the copy of the configuration: {why}{lines}")]
    NotUp {
        /// The worker.
        worker: String,
        /// Why.
        why: String,
        /// What it wrote last.
        lines: String,
    },
    /// The supervisor refused.
    #[error("the supervisor refused: {0}")]
    Refused(String),
}

impl TrialError {
    /// Whether every other trial of this worker would fail in the same way: a worker that is not
    /// moved does not start.
    #[must_use]
    pub fn is_of_every_trial(&self, victim: &str) -> bool {
        match self {
            Self::NotUp { worker, .. } => worker != victim,
            Self::Setup(_) | Self::Timeout { .. } | Self::Ended { .. } | Self::Refused(_) => false,
        }
    }
}
