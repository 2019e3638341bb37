//! A look at what the supervisor stands on: what is missing is made again. On a thread, since a
//! dead file system may block its caller.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::watch;
use super::{THE_RECORD, THE_STATE_LOCK, Troubles, directories, record_trouble};
use crate::called::as_typed;
use crate::config::{Source, SupervisorSettings};
use crate::daemon::control_socket::{Listening, is_there};
use crate::daemon::runtime_lock::{Place, RuntimeLock};
use crate::record::black_box::Reserve;
use crate::record::settled::Settled;
use crate::unix_socket::Bound;

/// Most of a configuration file that is compared.
const COMPARED_MAX: u64 = 16 * 1024 * 1024;

/// What a look has found and made.
#[derive(Debug)]
pub(in crate::daemon) struct Found {
    pub(super) missing: Troubles,
    /// Made again, since the held ones are no longer in their places.
    pub(super) locks: Vec<(&'static str, RuntimeLock)>,
    pub(super) control: Control,
    pub(super) watch: Option<watch::Places>,
    /// Whether all was in its place after the watch had begun.
    pub(super) is_whole: bool,
    pub(super) differs: Option<String>,
    /// What could not be read at the start.
    pub(super) record: Option<Settled>,
}

/// The control socket after a look.
#[derive(Debug)]
pub(super) enum Control {
    /// It is in its place.
    There,
    /// There is no directory for it: nothing was tried.
    Nowhere,
    /// Made again.
    Made(Listening),
    Failed(io::Error),
}

/// What a look is at.
pub(super) struct Ground {
    pub(super) supervisor: SupervisorSettings,
    pub(super) source: Arc<Source>,
    pub(super) socket: PathBuf,
    /// Our control socket, and whether it is that of a unit.
    pub(super) control: (Option<Bound>, bool),
    /// Each lock that belongs there, and the one that we hold.
    pub(super) locks: Vec<(&'static str, Place, Option<File>)>,
    pub(super) reserve: Reserve,
    /// The record of incidents, where it could not be read yet.
    pub(super) record: Option<Arc<Path>>,
}

impl Ground {
    pub(super) fn look(&self) -> Found {
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

    fn record(&self, missing: &mut Troubles) -> Option<Settled> {
        let path = self.record.as_ref()?;
        Settled::load(Arc::clone(path))
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
        let told = format!(
            "{} {how}: the supervisor goes on with the configuration that it had; `supervisord-rs \
             reload` applies the file",
            self.source.file.display()
        );
        Some(as_typed(&told).into_owned())
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
