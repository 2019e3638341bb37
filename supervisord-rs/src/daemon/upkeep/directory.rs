//! The directories that a supervisor needs, and what to say where one is missing.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::THE_STATE_DIRECTORY;
use crate::config::SupervisorSettings;

/// One of our directories.
pub(in crate::daemon) struct Directory<'a> {
    pub(in crate::daemon) what: &'static str,
    pub(in crate::daemon) key: &'static str,
    pub(in crate::daemon) path: &'a Path,
}

/// All of them.
pub(in crate::daemon) fn directories(supervisor: &SupervisorSettings) -> [Directory<'_>; 3] {
    let directory = |what, key, path| Directory { what, key, path };
    [
        directory("the runtime directory", "supervisor.runtime_dir", &supervisor.runtime_dir),
        directory(THE_STATE_DIRECTORY, "supervisor.state_dir", &supervisor.state_dir),
        directory("the log directory", "supervisor.log_dir", &supervisor.log_dir),
    ]
}

impl Directory<'_> {
    /// Makes it, if it is not there.
    pub(in crate::daemon) fn make(&self) -> io::Result<()> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.path);
        made.map_err(|error| match (error.kind(), std::fs::read_link(self.path)) {
            // What it leads to is the administrator's, who made the link.
            (io::ErrorKind::AlreadyExists, Ok(target)) => io::Error::new(
                io::ErrorKind::NotFound,
                format!("it is a symbolic link to {}, which is not there", target.display()),
            ),
            (io::ErrorKind::AlreadyExists, Err(_)) => {
                io::Error::new(error.kind(), "something other than a directory is in its place")
            }
            _ => error,
        })
    }

    /// The message about one that cannot be made.
    pub(in crate::daemon) fn trouble(&self, error: &io::Error) -> String {
        let without = match self.key {
            "supervisor.state_dir" => "incidents are kept in memory",
            "supervisor.log_dir" => "output that belongs there is lost and counted",
            _ => "there is no control socket, and no lock but the one in the state directory",
        };
        let (what, path) = (self.what, self.path.display());
        if error.kind() == io::ErrorKind::TimedOut {
            return format!("cannot use {what} {path}: {error}; meanwhile {without}");
        }
        format!(
            "cannot create {what} {path}: {error}; meanwhile {without}; create it: it is tried \
             again"
        )
    }
}

/// The message about a record that cannot be read.
pub(in crate::daemon) fn record_trouble(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    format!("cannot read {path}: {error}; the incidents in it are not shown; it is tried again")
}
