//! The resources of a supervisor: its directories, its lock, its control socket. One that is
//! missing at the start of a successor, or disappears later, is logged, shown in `status`, and
//! tried again until it is there; workers are not touched.
//!
//! There is no polling while all is well: the kernel reports what goes away ([`watch`]). A thread
//! looks, watches and makes again, since a dead file system may block its caller; the loop takes
//! what it has found.

mod watch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use watch::Watch;

use super::Daemon;
use super::around::{Around, Listening, is_there};
use super::beside::Said;
use crate::config::{Source, SupervisorSettings};
use crate::record::black_box::Reserve;
use crate::record::incidents::{Incidents, Names};
use crate::record::runtime_lock::{Place, RuntimeLock};
use crate::unix_socket::Bound;

/// Before the second look; doubled at each further one.
const DELAY: Duration = Duration::from_millis(250);
/// Longest time between two looks, while something is missing.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// The delay after something went away in the runtime directory: its remover may not have finished.
const SETTLING: Duration = Duration::from_millis(50);
/// Most of a configuration file that is compared.
const COMPARED_MAX: u64 = 16 * 1024 * 1024;

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

/// What a look has found and made.
#[derive(Debug)]
pub(super) struct Found {
    missing: Troubles,
    /// Made again, since the held ones are no longer in their places.
    locks: Vec<(&'static str, RuntimeLock)>,
    control: Control,
    watch: Option<watch::Places>,
    /// Whether all was in its place after the watch had begun.
    is_whole: bool,
    differs: Option<String>,
    /// What could not be read at the start.
    record: Option<Incidents>,
}

/// The control socket after a look.
#[derive(Debug)]
enum Control {
    /// It is in its place.
    There,
    /// There is no directory for it: nothing was tried.
    Nowhere,
    /// Made again.
    Made(Listening),
    Failed(io::Error),
}

/// What a look is at.
struct Ground {
    supervisor: SupervisorSettings,
    source: Arc<Source>,
    socket: PathBuf,
    /// Our control socket, and whether it is that of a unit.
    control: (Option<Bound>, bool),
    /// Each lock that belongs there, and the one that we hold.
    locks: Vec<(&'static str, Place, Option<File>)>,
    reserve: Reserve,
    /// The record of incidents, where it could not be read yet.
    record: Option<(Arc<Path>, Names)>,
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

impl Around {
    /// The locks that belong in their places, with those that we hold.
    fn places_of_locks(
        &self,
        supervisor: &SupervisorSettings,
    ) -> Vec<(&'static str, Place, Option<File>)> {
        let beside = Place::beside(&supervisor.state_dir, &supervisor.runtime_dir);
        let held = |lock: &Option<RuntimeLock>| lock.as_ref().and_then(|lock| lock.file().ok());
        vec![
            (THE_LOCK, Place::within(&supervisor.runtime_dir), held(&self.lock)),
            (THE_STATE_LOCK, beside, held(&self.state_lock)),
        ]
    }
}

impl Ground {
    fn look(&self) -> Found {
        let mut missing = Troubles::new();
        for directory in directories(&self.supervisor) {
            if let Err(error) = directory.make() {
                missing.insert(directory.what, directory.trouble(&error));
            }
        }
        let mut locks = Vec::new();
        for (what, place, held) in &self.locks {
            if held.as_ref().is_some_and(|held| place.has(held)) {
                continue;
            }
            match RuntimeLock::acquire(place, None) {
                Ok(made) => locks.push((*what, made)),
                Err(error) => drop(missing.insert(what, error.to_string())),
            }
        }
        if let Err(error) = self.reserve.make() {
            missing.insert("the black box", self.reserve.trouble(&error));
        }
        let control = self.control();
        let state_lock = self.state_lock(&locks);
        let watch = watch::Places::new(&self.supervisor, state_lock.as_ref()).ok();
        let is_whole = self.is_whole(&control, &locks);
        let record = self.record(&mut missing);
        Found { missing, locks, control, watch, is_whole, differs: self.difference(), record }
    }

    fn record(&self, missing: &mut Troubles) -> Option<Incidents> {
        let (path, names) = self.record.as_ref()?;
        Incidents::load(Arc::clone(path), names.clone())
            .map_err(|error| missing.insert(THE_RECORD, record_trouble(path, &error)))
            .ok()
    }

    /// The control socket, made again where it has been removed, or something else has its place.
    fn control(&self) -> Control {
        let (bound, is_of_unit) = self.control;
        if is_there(bound, is_of_unit, &self.socket) {
            return Control::There;
        }
        if !self.supervisor.runtime_dir.is_dir() {
            return Control::Nowhere;
        }
        Listening::bind(&self.socket, &self.supervisor).map_or_else(Control::Failed, Control::Made)
    }

    /// The file of the lock in the state directory that we hold from now on.
    fn state_lock(&self, made: &[(&'static str, RuntimeLock)]) -> Option<File> {
        let made = made.iter().find(|(what, _)| *what == THE_STATE_LOCK);
        let held = self.locks.iter().find(|(what, ..)| *what == THE_STATE_LOCK);
        match made {
            Some((_, lock)) => lock.file().ok(),
            None => held?.2.as_ref()?.try_clone().ok(),
        }
    }

    /// Whether all is still there, now that it is watched.
    fn is_whole(&self, control: &Control, made: &[(&'static str, RuntimeLock)]) -> bool {
        let bound = match control {
            Control::There => is_there(self.control.0, self.control.1, &self.socket),
            Control::Made(listening) => is_there(listening.bound, false, &self.socket),
            Control::Nowhere | Control::Failed(_) => false,
        };
        bound
            && self.locks.iter().all(|(what, place, held)| {
                match made.iter().find(|(name, _)| name == what) {
                    Some((_, lock)) => lock.is_at(place),
                    None => held.as_ref().is_some_and(|held| place.has(held)),
                }
            })
    }

    /// How the file differs from what is in force.
    fn difference(&self) -> Option<String> {
        let how = match content(&self.source.path()) {
            Ok(content) if self.source.is(&content) => return None,
            Ok(_) => "has been changed and not reloaded".to_owned(),
            Err(error) => format!("cannot be read ({error})"),
        };
        Some(format!(
            "{} {how}: the supervisor goes on with the configuration that it had; `supervisord-rs \
             reload` applies the file",
            self.source.file.display()
        ))
    }
}

/// Of a file, and of nothing that could hold us.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut content = Vec::new();
    file.take(COMPARED_MAX).read_to_end(&mut content)?;
    Ok(content)
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
            socket: self.around.socket.clone(),
            control: (self.around.control, self.around.unit_socket.is_some()),
            locks: self.around.places_of_locks(&self.settings.supervisor),
            reserve: self.around.black_box.reserve(),
            record: self
                .upkeep
                .troubles
                .contains_key(THE_RECORD)
                .then(|| (Arc::clone(self.incidents.path()), self.names.clone())),
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
            self.incidents.recall(earlier);
        }
        self.upkeep.is_looking = false;
        for (what, lock) in locks {
            tracing::warn!("{what} was gone: it is made again");
            let held =
                if what == THE_LOCK { &mut self.around.lock } else { &mut self.around.state_lock };
            *held = Some(lock);
        }
        let trouble = match control {
            Control::There => None,
            // What the log says of it holds.
            Control::Nowhere => self.upkeep.troubles.get(THE_CONTROL_SOCKET).cloned(),
            Control::Failed(error) => Some(self.around.control_trouble(&error)),
            Control::Made(listening) => match self.around.listen(listening) {
                Ok(()) => {
                    tracing::warn!(
                        "the control socket was gone, or something else was in its place: it is \
                         made again"
                    );
                    None
                }
                Err(error) => Some(self.around.control_trouble(&error)),
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
