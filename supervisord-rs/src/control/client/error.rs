//! Why a supervisor has not answered as hoped.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::control::protocol::Failure;

/// Why a request was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No supervisor listens there.
    #[error(
        "no supervisor answers on {}: {source}; start one with `supervisord-rs run`, or name its \
         socket with `--socket`", socket.display())]
    NoSupervisor {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its socket, or a directory on the way to it, does not let this user in.
    #[error(
        "not permitted to use {}: {source}; root may, the supervisor's own user, and members of \
         its `control: {{ group: }}`",
        socket.display()
    )]
    NotPermitted {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is there, and takes no connection.
    #[error(
        "the supervisor on {} is busy: its queue of connections is full; try it again",
        socket.display()
    )]
    Busy {
        /// Where.
        socket: PathBuf,
    },
    /// It answered that it would not, or could not.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// It broke off before it had answered: it may have died.
    #[error("the supervisor closed the connection before it had answered: {0}")]
    BrokenOff(String),
    /// It has not answered in time. What was ordered stands.
    #[error(
        "the supervisor did not answer within {}; what was ordered stands (see `status`)",
        humantime::format_duration(*.0)
    )]
    TimedOut(Duration),
    /// It speaks another language.
    #[error("invalid answer from the supervisor: {0}")]
    Protocol(String),
}

/// An answer that is no success.
pub(super) fn refusal(body: &[u8]) -> ClientError {
    serde_json::from_slice(body).map_or_else(|error| broken(&error), ClientError::Failed)
}

/// Why no supervisor can be reached there.
pub(super) fn unreachable(socket: PathBuf, source: io::Error) -> ClientError {
    if source.kind() == io::ErrorKind::PermissionDenied {
        ClientError::NotPermitted { socket, source }
    } else {
        ClientError::NoSupervisor { socket, source }
    }
}

/// It closed the connection, or died, before its answer was whole.
pub(super) fn broken_off(error: &dyn std::error::Error) -> ClientError {
    ClientError::BrokenOff(error.to_string())
}

pub(super) fn broken(error: &dyn std::error::Error) -> ClientError {
    ClientError::Protocol(error.to_string())
}
