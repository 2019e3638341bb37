//! The variables by which supervisors, guardians and service managers tell each other things, and
//! the environment of another supervisor: ours, but for what is meant for one process alone.

use std::ffi::{OsStr, OsString};

use super::program::PROGRAM;
use super::table::TABLE;
use crate::hangup::NO_HANGUP;

/// Where to send datagrams: a path, or `@` and an abstract name.
pub const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// Set by the guardian to its own pid.
pub const GUARDIAN: &str = "SUPERVISORD_RS_GUARDIAN";
/// Set by the guardian for a supervisor that must take over what runs and stop it: see
/// [`is_to_shut_down`](super::is_to_shut_down).
pub const PURPOSE: &str = "SUPERVISORD_RS_PURPOSE";
/// Its only value.
pub const SHUT_DOWN: &str = "shut-down";
/// Set by a supervisor that gives way to another, to its own pid.
pub const HAND_OVER: &str = "SUPERVISORD_RS_HAND_OVER";
/// Set by the guardian on a restart: see [`Predecessor`](super::Predecessor).
pub const PREDECESSOR: &str = "SUPERVISORD_RS_PREDECESSOR";
/// Set for a successor that is to read the file of the configuration.
pub const READ_ANEW: &str = "SUPERVISORD_RS_READ_ANEW";
/// The soft limit of open files that a guardian or a predecessor was started with, for the
/// supervisor, which gets its raised one.
pub const OPEN_FILES: &str = "SUPERVISORD_RS_OPEN_FILES";
/// The same for the size of files.
pub const FILE_SIZE: &str = "SUPERVISORD_RS_FILE_SIZE";

/// The same for the stack of the main thread.
pub const STACK: &str = "SUPERVISORD_RS_STACK";

/// How many descriptors the service manager keeps for the supervisor; the guardian sets it, and
/// systemd since version 254.
pub const FDSTORE: &str = "FDSTORE";
/// The same, for units of an older systemd, which does not set it: the unit sets it beside
/// `FileDescriptorStoreMax=`.
pub const FDSTORE_OF_UNIT: &str = "SUPERVISORD_RS_FDSTORE";

/// What a command shares with others, by name and descriptor: `jobs=5 gate=6`. Another process has
/// other descriptors.
pub const RESOURCES: &str = "SUPERVISORD_RS_RESOURCES";

/// The names of POSIX of those that have one: `gate=/supervisord-rs.INSTANCE.gate`.
pub const POSIX_NAMES: &str = "SUPERVISORD_RS_POSIX_NAMES";

/// The variables that no child of the supervisor may inherit: a worker that speaks sd_notify would
/// otherwise speak to the supervisor's own manager, and a nested supervisor would believe that it
/// has a guardian.
pub const NOT_FOR_CHILDREN: [&str; 21] = [
    NOTIFY_SOCKET,
    GUARDIAN,
    PREDECESSOR,
    HAND_OVER,
    READ_ANEW,
    NO_HANGUP,
    PURPOSE,
    PROGRAM,
    TABLE,
    FDSTORE,
    FDSTORE_OF_UNIT,
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    RESOURCES,
    POSIX_NAMES,
    OPEN_FILES,
    FILE_SIZE,
    STACK,
];

/// Ours, with these in the place of what has their names; what is empty is not there.
pub(crate) fn of_another(own: &[(&str, OsString)]) -> Vec<(OsString, OsString)> {
    let inherited =
        std::env::vars_os().filter(|(name, _)| own.iter().all(|(known, _)| name != known));
    let own = own.iter().filter(|(_, value)| !value.is_empty());
    inherited.chain(own.map(|(name, value)| (OsString::from(name), value.clone()))).collect()
}

/// As a launch takes it.
pub(crate) fn borrowed(all: &[(OsString, OsString)]) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    all.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
}
