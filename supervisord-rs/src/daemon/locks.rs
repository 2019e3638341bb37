//! The locks that say whose the directories are: held as long as this process lives; the kernel
//! releases them after any death.

use std::fs::File;
use std::os::fd::BorrowedFd;

use super::hand_over::{LOCK, STATE_LOCK};
use super::upkeep::{THE_LOCK, THE_STATE_LOCK};
use crate::config::SupervisorSettings;
use crate::daemon::runtime_lock::{Place, RuntimeLock};

/// Each is `None` where its directory is missing.
#[derive(Debug)]
pub(super) struct Locks {
    pub(super) of_runtime_dir: Option<RuntimeLock>,
    /// The same in the state directory, which stays when the other one is deleted.
    pub(super) of_state_dir: Option<RuntimeLock>,
}

impl Locks {
    /// With the names by which they are passed: a lock is held as long as any process has it.
    pub(super) fn passed(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        let named = [(LOCK, &self.of_runtime_dir), (STATE_LOCK, &self.of_state_dir)];
        named.into_iter().filter_map(|(name, lock)| Some((name, lock.as_ref()?.as_fd())))
    }

    /// The locks that belong in their places, with those that are held.
    pub(super) fn places(
        &self,
        supervisor: &SupervisorSettings,
    ) -> Vec<(&'static str, Place, Option<File>)> {
        let background = Place::background(&supervisor.state_dir, &supervisor.runtime_dir);
        let held = |lock: &Option<RuntimeLock>| lock.as_ref().and_then(|lock| lock.file().ok());
        vec![
            (THE_LOCK, Place::within(&supervisor.runtime_dir), held(&self.of_runtime_dir)),
            (THE_STATE_LOCK, background, held(&self.of_state_dir)),
        ]
    }

    /// Holds one that was made again, by its name in messages.
    pub(super) fn hold(&mut self, what: &str, lock: RuntimeLock) {
        let held = if what == THE_LOCK { &mut self.of_runtime_dir } else { &mut self.of_state_dir };
        *held = Some(lock);
    }
}
