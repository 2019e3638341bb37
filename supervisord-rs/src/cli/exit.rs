//! Exit statuses, by the habits of LSB and sysexits: one place for all verbs.

use std::process::ExitCode;

use super::harmless::harmless;
use super::output::{say, unprinted};
use crate::control::client::ClientError;
use crate::control::protocol::{Failure, INVALID_CONFIGURATION};

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Done,
    Failed,
    Usage,
    /// `status`: something asked about is not running.
    NotRunning,
    /// `status`: unknown worker or no supervisor; other verbs: refused.
    RefusedOrUnknown,
    NoSuchWorker,
    NoSupervisor,
    InvalidConfiguration,
    /// `resource acquire`: that of the command.
    OfCommand(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotRunning => 3,
            Exit::RefusedOrUnknown => 4,
            Exit::NoSuchWorker => 5,
            Exit::NoSupervisor => 7,
            Exit::InvalidConfiguration => 78,
            Exit::OfCommand(code) => code,
        })
    }
}

/// Says what went wrong, and how a verb other than `status` ends because of it.
pub(super) fn report(error: &ClientError) -> Exit {
    match error {
        // As `check` prints it.
        ClientError::Failed(failure) if failure.error == INVALID_CONFIGURATION => {
            eprintln!("{}", harmless(&failure.message));
        }
        error => say(&error.to_string()),
    }
    match error {
        ClientError::NotPermitted { .. } => Exit::RefusedOrUnknown,
        ClientError::NoSupervisor { .. } => Exit::NoSupervisor,
        ClientError::Busy { .. }
        | ClientError::TimedOut(_)
        | ClientError::BrokenOff(_)
        | ClientError::Protocol(_) => Exit::Failed,
        ClientError::Failed(failure) => of_failure(failure),
    }
}

/// How a verb ends: an answer that is not there has failed, whatever it would have said.
pub(super) fn ended(exit: Exit) -> Exit {
    match unprinted() {
        Some(error) => {
            eprintln!("supervisord-rs: cannot write to standard output: {error}");
            Exit::Failed
        }
        None => exit,
    }
}

/// How a verb ends after this answer.
pub(super) fn of_failure(failure: &Failure) -> Exit {
    match failure.error.as_str() {
        "unknown-worker" => Exit::NoSuchWorker,
        "refused" | "not-running" | "shutting-down" => Exit::RefusedOrUnknown,
        "invalid" => Exit::Usage,
        INVALID_CONFIGURATION => Exit::InvalidConfiguration,
        _ => Exit::Failed,
    }
}
