//! Why a supervisor has not answered as hoped.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, geteuid};

use crate::accounts::{name_of_group, name_of_user};
use crate::control::protocol::Failure;
use crate::control::socket::in_words;

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
    #[error("not permitted to use {}: {source}; {}", socket.display(), why_closed(socket))]
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

/// What keeps this user out, and who may use the socket.
fn why_closed(socket: &Path) -> String {
    let closed = |directory: &&Path| access(*directory, AccessFlags::X_OK) == Err(Errno::EACCES);
    let above: Vec<&Path> = socket.ancestors().skip(1).collect();
    if let Some(directory) = above.into_iter().rev().find(closed) {
        let (user, place) = (name_of_user(geteuid().as_raw()), directory.display());
        let who = directory.metadata().map(|found| who_may(&found, 0o010));
        return format!(
            "the user {user} may not enter {place}: {}",
            who.unwrap_or_else(|_| in_words(0, None))
        );
    }
    socket.metadata().map_or_else(|_| in_words(0, None), |found| who_may(&found, 0o060))
}

/// Whom a file lets in, its group where it has these permission bits.
fn who_may(found: &Metadata, bits: u32) -> String {
    let group = (found.mode() & bits == bits).then(|| name_of_group(found.gid()));
    in_words(found.uid(), group.as_deref())
}

/// It closed the connection, or died, before its answer was whole.
pub(super) fn broken_off(error: &dyn std::error::Error) -> ClientError {
    ClientError::BrokenOff(error.to_string())
}

pub(super) fn broken(error: &dyn std::error::Error) -> ClientError {
    ClientError::Protocol(error.to_string())
}
