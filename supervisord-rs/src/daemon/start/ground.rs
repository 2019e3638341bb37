//! What a supervisor stands on before anything else: its directories, its locks, its record.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::StartError;
use super::patiently::ask;
use crate::config::SupervisorSettings;
use crate::daemon::hand_over::{LOCK, STATE_LOCK};
use crate::daemon::in_force::Origin;
use crate::daemon::locks::Locks;
use crate::daemon::runtime_lock::{LockError, Place, RuntimeLock};
use crate::daemon::upkeep::{self, Directory, THE_LOCK, THE_STATE_LOCK, Troubles};
use crate::record::settled::Settled;
use crate::service_manager::InheritedDescriptors;

/// Makes the directories that are not there. Without them a first start is refused; a successor
/// goes on. False: the state directory does not answer.
pub(super) fn make_directories(
    supervisor: &SupervisorSettings,
    origin: Origin,
    troubles: &mut Troubles,
) -> Result<bool, StartError> {
    if origin == Origin::File {
        for directory in upkeep::directories(supervisor) {
            let Directory { what, key, path } = directory;
            directory.make().map_err(|source| StartError::Directory {
                what,
                key,
                path: path.into(),
                source,
            })?;
        }
        return Ok(true);
    }
    let asked = upkeep::directories(supervisor).map(|directory| {
        let Directory { what, key, path } = directory;
        let path = path.to_path_buf();
        (directory, ask(move || Directory { what, key, path: &path }.make()))
    });
    let mut is_first = true;
    let mut answers = true;
    for (directory, asked) in asked {
        // All of them had the time of the first that does not answer.
        let Err(error) = asked.answer(is_first) else { continue };
        if error.kind() == io::ErrorKind::TimedOut {
            is_first = false;
            answers &= directory.what != upkeep::THE_STATE_DIRECTORY;
        }
        troubles.insert(directory.what, directory.trouble(&error));
    }
    Ok(answers)
}

/// The lock in the runtime directory, and the one in the state directory, which is held when that
/// one is deleted.
///
/// `answers`: whether the state directory does.
pub(super) fn locks(
    supervisor: &SupervisorSettings,
    (origin, answers): (Origin, bool),
    inherited: &mut InheritedDescriptors,
    troubles: &mut Troubles,
) -> Result<Locks, StartError> {
    let within = Place::within(&supervisor.runtime_dir);
    let lock = match RuntimeLock::acquire(&within, inherited.claim(LOCK)) {
        Ok(lock) => Some(lock),
        Err(error @ LockError::Io { .. }) if origin == Origin::Predecessor => {
            troubles.insert(THE_LOCK, error.to_string());
            None
        }
        Err(error) => return Err(error.into()),
    };
    let background = Place::background(&supervisor.state_dir, &supervisor.runtime_dir);
    let inherited = inherited.claim(STATE_LOCK);
    let state_lock = match origin {
        Origin::File => RuntimeLock::acquire(&background, inherited),
        Origin::Predecessor => {
            let place = background.clone();
            let asked = ask(move || Ok(RuntimeLock::acquire(&place, inherited)));
            asked.answer(answers).unwrap_or_else(|error| Err(background.trouble(error)))
        }
    };
    let state_lock = match state_lock {
        Ok(lock) => Some(lock),
        // The other one holds; a disk without room prevents no start.
        Err(error @ LockError::Io { .. }) => {
            troubles.insert(THE_STATE_LOCK, error.to_string());
            None
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Locks { of_runtime_dir: lock, of_state_dir: state_lock })
}

/// The record of incidents; without what stands in the file where a successor cannot read it.
///
/// `answers`: whether the state directory does.
pub(super) fn settled(
    supervisor: &SupervisorSettings,
    (origin, answers): (Origin, bool),
    troubles: &mut Troubles,
) -> Result<Settled, StartError> {
    let path: Arc<Path> = Arc::from(supervisor.incidents());
    if origin == Origin::File {
        return Settled::load(Arc::clone(&path))
            .map_err(|source| StartError::Incidents { path: path.to_path_buf(), source });
    }
    let file = Arc::clone(&path);
    let asked = ask(move || Settled::load(file));
    Ok(asked.answer(answers).unwrap_or_else(|error| {
        troubles.insert(upkeep::THE_RECORD, upkeep::record_trouble(&path, &error));
        Settled::empty(path)
    }))
}
