//! The resources of a supervisor: its directories, its lock, its control socket. One that is
//! missing at the start of a successor, or disappears later, is logged, shown in `status`, and
//! tried again until it is there; workers are not touched.
//!
//! There is no polling while all is well: the kernel reports what goes away ([`watch`]). A thread
//! looks, watches and makes again, since a dead file system may block its caller; the loop takes
//! what it has found.

mod look;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(super) use look::Found;
use look::{Control, Ground};
use watch::Watch;

use super::Daemon;
use super::beside::Said;
use crate::config::SupervisorSettings;

/// Before the second look; doubled at each further one.
const DELAY: Duration = Duration::from_millis(250);
/// Longest time between two looks, while something is missing.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// The delay after something went away in the runtime directory: its remover may not have finished.
const SETTLING: Duration = Duration::from_millis(50);

/// The socket in the runtime directory.
pub(super) const THE_CONTROL_SOCKET: &str = "the control socket";
/// The lock in the runtime directory.
pub(super) const THE_LOCK: &str = "the lock";
/// The one in the state directory.
pub(super) const THE_STATE_LOCK: &str = "the lock in the state directory";

/// The directory of records.
pub(super) const THE_STATE_DIRECTORY: &str = "the state directory";
/// What was recorded before.
pub(super) const THE_RECORD: &str = "the record of incidents";

/// The missing resources, each with its message.
pub(super) type Troubles = BTreeMap<&'static str, String>;

/// What is watched, and when it is looked at next.
#[derive(Debug)]
pub(super) struct Upkeep {
    pub(super) troubles: Troubles,
    /// How the file differs from the configuration in force, as far as that was looked at.
    pub(super) differs: Option<String>,
    due: Option<Duration>,
    delay: Duration,
    is_looking: bool,
    watch: Option<Watch>,
}

/// One of our directories.
pub(super) struct Directory<'a> {
    pub(super) what: &'static str,
    pub(super) key: &'static str,
    pub(super) path: &'a Path,
}

/// All of them.
pub(super) fn directories(supervisor: &SupervisorSettings) -> [Directory<'_>; 3] {
    let directory = |what, key, path| Directory { what, key, path };
    [
        directory("the runtime directory", "supervisor.runtime_dir", &supervisor.runtime_dir),
        directory(THE_STATE_DIRECTORY, "supervisor.state_dir", &supervisor.state_dir),
        directory("the log directory", "supervisor.log_dir", &supervisor.log_dir),
    ]
}

impl Directory<'_> {
    /// Makes it, if it is not there.
    pub(super) fn make(&self) -> io::Result<()> {
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
    pub(super) fn trouble(&self, error: &io::Error) -> String {
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
pub(super) fn record_trouble(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    format!("cannot read {path}: {error}; the incidents in it are not shown; it is tried again")
}

impl Upkeep {
    /// `troubles`: what could not be had at the start. The first look comes at once: it begins to
    /// watch.
    pub(super) fn new(troubles: Troubles) -> Self {
        Self {
            troubles,
            differs: None,
            due: Some(Duration::ZERO),
            delay: DELAY,
            is_looking: false,
            watch: None,
        }
    }

    /// Something went away in the runtime directory, or on the way to it.
    pub(super) async fn loss(&self) {
        match &self.watch {
            Some(watch) => watch.loss().await,
            None => std::future::pending().await,
        }
    }

    /// Has the next look at once.
    pub(super) fn look_now(&mut self) {
        self.look_by(Duration::ZERO);
    }

    /// Has the next look at this time, or before.
    fn look_by(&mut self, at: Duration) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When it is looked at next.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due.filter(|_| !self.is_looking)
    }
}

impl Daemon {
    /// Has a look soon, however long the last ones have found what is missing.
    pub(super) fn on_loss(&mut self) {
        self.upkeep.delay = DELAY;
        self.upkeep.look_by(self.now().saturating_add(SETTLING));
    }

    /// Has a look when it is due.
    pub(super) fn keep_up(&mut self) {
        if self.upkeep.due().is_none_or(|due| due > self.now()) {
            return;
        }
        self.upkeep.due = None;
        self.upkeep.is_looking = true;
        let ground = Ground {
            supervisor: self.settings.supervisor.clone(),
            source: Arc::clone(&self.settings.source),
            socket: self.control.path().to_owned(),
            control: self.control.owner(),
            locks: self.locks.places(&self.settings.supervisor),
            reserve: self.around.black_box.reserve(),
            record: self
                .upkeep
                .troubles
                .contains_key(THE_RECORD)
                .then(|| Arc::clone(self.observers.incidents.settled.path())),
        };
        let look = move || Said::Looked(Box::new(ground.look()));
        if let Err(error) = self.beside.spawn_thread("upkeep", look) {
            tracing::warn!(%error,
                "cannot start a thread that checks whether the runtime directory and the files in \
                 it are there: it is tried again");
            self.upkeep.is_looking = false;
            self.look_later();
        }
    }

    /// Says what is new, and mends what belongs to the loop.
    pub(super) fn on_looked(&mut self, found: Found) {
        let Found { mut missing, locks, control, watch, is_whole, differs, record } = found;
        if let Some(earlier) = record {
            self.observers.incidents.settled.recall(earlier);
        }
        self.upkeep.is_looking = false;
        for (what, lock) in locks {
            tracing::warn!("{what} was gone: it is made again");
            self.locks.hold(what, lock);
        }
        let trouble = match control {
            Control::There => None,
            // What the log says of it holds.
            Control::Nowhere => self.upkeep.troubles.get(THE_CONTROL_SOCKET).cloned(),
            Control::Failed(error) => Some(self.control.trouble(&error)),
            Control::Made(listening) => match self.control.listen(listening, &self.around.store) {
                Ok(()) => {
                    tracing::warn!(
                        "the control socket was gone, or something else was in its place: it is \
                         made again"
                    );
                    None
                }
                Err(error) => Some(self.control.trouble(&error)),
            },
        };
        missing.extend(trouble.map(|trouble| (THE_CONTROL_SOCKET, trouble)));
        if let Some(watch) = watch.and_then(|places| Watch::new(places).ok()) {
            self.upkeep.watch = Some(watch);
        }
        // Between the look and the watch it may have gone away again, and the old watch is not read
        // any more.
        if missing.is_empty() && !is_whole {
            self.on_loss();
        }
        let is_wanting = !missing.is_empty() || differs.is_some();
        self.tell_of(missing);
        if is_wanting {
            self.look_later();
        } else {
            self.upkeep.delay = DELAY;
        }
        if let Some(differs) =
            differs.as_ref().filter(|differs| Some(*differs) != self.upkeep.differs.as_ref())
        {
            tracing::warn!("{differs}");
        }
        self.upkeep.differs = differs;
    }

    fn tell_of(&mut self, missing: Troubles) {
        for (what, trouble) in &missing {
            if self.upkeep.troubles.get(what) != Some(trouble) {
                tracing::error!("{trouble}");
            }
        }
        for what in self.upkeep.troubles.keys().filter(|what| !missing.contains_key(*what)) {
            tracing::info!("{what}: it is there again");
        }
        self.upkeep.troubles = missing;
    }

    fn look_later(&mut self) {
        self.upkeep.look_by(self.now().saturating_add(self.upkeep.delay));
        self.upkeep.delay = (self.upkeep.delay * 2).min(DELAY_MAX);
    }
}
