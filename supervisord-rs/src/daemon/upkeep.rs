//! The resources of a supervisor: its directories, its lock, its control socket. One that is
//! missing at the start of a successor, or disappears later, is logged, shown in `status`, and
//! tried again until it is there; workers are not touched.
//!
//! There is no polling while all is well: the kernel reports what goes away ([`watch`]). A thread
//! looks, watches and makes again, since a dead file system may block its caller; the loop takes
//! what it has found.

mod agenda;
mod directory;
mod look;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use agenda::Seen;
pub(super) use agenda::Upkeep;
pub(super) use directory::{Directory, directories, record_trouble};
pub(super) use look::Found;
use look::{Control, Ground};
use watch::Watch;

use super::Daemon;

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

impl Daemon {
    /// Has a look when it is due.
    pub(super) fn keep_up(&mut self) {
        if !self.upkeep.begin_look(self.now()) {
            return;
        }
        let ground = Ground {
            supervisor: self.settings.supervisor.clone(),
            source: Arc::clone(&self.settings.source),
            socket: self.control.path().to_owned(),
            control: self.control.owner(),
            locks: self.locks.places(&self.settings.supervisor),
            reserve: self.black_box.reserve(),
            record: self
                .upkeep
                .misses(THE_RECORD)
                .then(|| Arc::clone(self.observers.incidents.settled.path())),
        };
        let look = move || Box::new(ground.look());
        if let Err(error) = self.background.spawn_thread("upkeep", look) {
            tracing::warn!(%error,
                "cannot start a thread that checks whether the runtime directory and the files in \
                 it are there: it is tried again");
            self.upkeep.miss_look(self.now());
        }
    }

    /// Mends what belongs to the loop, and says what is new.
    pub(super) fn on_looked(&mut self, found: Found) {
        let Found { mut missing, locks, control, watch, is_whole, differs, record } = found;
        if let Some(earlier) = record {
            self.observers.incidents.settled.recall(earlier);
        }
        for (what, lock) in locks {
            tracing::warn!("{what} was gone: it is made again");
            self.locks.hold(what, lock);
        }
        let trouble = self.mend_control(control);
        missing.extend(trouble.map(|trouble| (THE_CONTROL_SOCKET, trouble)));
        if let Some(watch) = watch.and_then(|places| Watch::new(places).ok()) {
            self.upkeep.watch_by(watch);
        }
        self.upkeep.end_look(Seen { missing, is_whole, differs }, self.now());
    }

    /// Serves a control socket that was made again. What is wrong with it.
    fn mend_control(&mut self, control: Control) -> Option<String> {
        match control {
            Control::There => None,
            // What the log says of it holds.
            Control::Nowhere => self.upkeep.trouble_with(THE_CONTROL_SOCKET).cloned(),
            Control::Failed(error) => Some(self.control.trouble(&error)),
            Control::Made(listening) => match self.control.listen(listening, &self.around.store) {
                Ok(()) => {
                    tracing::warn!(
                        "the control socket was gone, or something else was in its place: it \
                             is made again"
                    );
                    None
                }
                Err(error) => Some(self.control.trouble(&error)),
            },
        }
    }
}
