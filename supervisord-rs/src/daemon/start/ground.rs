//! What a supervisor stands on before anything else: its directories, its locks, its record.

use super::StartError;
use crate::config::SupervisorSettings;
use crate::daemon::hand_over::{LOCK, STATE_LOCK};
use crate::daemon::in_force::Origin;
use crate::daemon::upkeep::{self, Directory, THE_LOCK, THE_STATE_LOCK, Troubles};
use crate::record::incidents::{Incidents, Names};
use crate::record::runtime_lock::{LockError, Place, RuntimeLock};
use crate::service_manager::Heritage;

/// Makes the directories that are not there. Without them a first start is refused; a successor
/// goes on.
pub(super) fn make_directories(
    supervisor: &SupervisorSettings,
    origin: Origin,
    troubles: &mut Troubles,
) -> Result<(), StartError> {
    for directory in upkeep::directories(supervisor) {
        let Err(source) = directory.make() else { continue };
        if origin == Origin::File {
            let Directory { what, key, path } = directory;
            return Err(StartError::Directory { what, key, path: path.into(), source });
        }
        troubles.insert(directory.what, directory.trouble(&source));
    }
    Ok(())
}

/// The lock in the runtime directory, and the one in the state directory, which is held when that
/// one is deleted.
pub(super) fn locks(
    supervisor: &SupervisorSettings,
    origin: Origin,
    heritage: &mut Heritage,
    troubles: &mut Troubles,
) -> Result<(Option<RuntimeLock>, Option<RuntimeLock>), StartError> {
    let within = Place::within(&supervisor.runtime_dir);
    let lock = match RuntimeLock::acquire(&within, heritage.claim(LOCK)) {
        Ok(lock) => Some(lock),
        Err(error @ LockError::Io { .. }) if origin == Origin::Predecessor => {
            troubles.insert(THE_LOCK, error.to_string());
            None
        }
        Err(error) => return Err(error.into()),
    };
    let beside = Place::beside(&supervisor.state_dir, &supervisor.runtime_dir);
    let state_lock = match RuntimeLock::acquire(&beside, heritage.claim(STATE_LOCK)) {
        Ok(lock) => Some(lock),
        // The other one holds; a disk without room prevents no start.
        Err(error @ LockError::Io { .. }) => {
            troubles.insert(THE_STATE_LOCK, error.to_string());
            None
        }
        Err(error) => return Err(error.into()),
    };
    Ok((lock, state_lock))
}

/// The record of incidents; without what stands in the file where a successor cannot read it.
pub(super) fn incidents(
    supervisor: &SupervisorSettings,
    origin: Origin,
    names: &Names,
    troubles: &mut Troubles,
) -> Result<Incidents, StartError> {
    let path = std::sync::Arc::from(supervisor.incidents());
    match Incidents::load(std::sync::Arc::clone(&path), names.clone()) {
        Err(error) if origin == Origin::Predecessor => {
            let trouble = format!(
                "cannot read {}: {error}; the incidents in it are not shown",
                path.display()
            );
            troubles.insert("the record of incidents", trouble);
            Ok(Incidents::empty(path, names.clone()))
        }
        other => other.map_err(|source| StartError::Incidents { path: path.to_path_buf(), source }),
    }
}
