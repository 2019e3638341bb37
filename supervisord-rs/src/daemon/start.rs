//! Before the first turn: stages, each a type that owns what there is by then. A function takes one
//! by value and makes the next, so that a step which needs what a later stage makes does not
//! compile.
//!
//! | stage | what there is by then |
//! |---|---|
//! | [`locked`] | the directories, and the locks: no other supervisor works in them |
//! | [`recovered`] | what a predecessor left, and this supervisor's black box, which does not count |
//! | [`equipped`] | what the loop works with: the control socket, the record writer, the drivers |
//! | [`adopted`] | the processes of the predecessor, and the machine that goes on with them |
//! | [`published`] | all of it: from here on this black box counts |
//!
//! Each file says what can fail there, and what a failure leaves behind. Until the last stage the
//! predecessor's black box is the one that counts: a successor after a death in between starts over
//! from it.
//!
//! `ground` asks for the directories and files of the first two, `patiently` so that no disk holds
//! up a successor; `left` collects what the predecessor left; `control` opens the control socket.

mod adopted;
mod control;
mod equipped;
mod ground;
mod left;
mod locked;
mod patiently;
mod published;
mod recovered;
mod spare;

use std::io;
use std::path::PathBuf;

use workers::Registry;

use locked::Locked;
pub(super) use published::Published;

use super::hand_over::Gate;
use super::in_force::Origin;
use crate::config::Settings;
use crate::daemon::runtime_lock::LockError;
use crate::service_manager::InheritedDescriptors;

/// Why the supervisor could not start. Nothing has been launched then.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(
        "cannot create {what} {}: {source}; create it, or set `{key}:` to a directory that this \
         user may write", path.display())]
    Directory { what: &'static str, key: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("cannot create the black box in {}: {source}", path.display())]
    BlackBox { path: PathBuf, source: io::Error },
    #[error("cannot listen on the control socket {}: {source}", path.display())]
    Control { path: PathBuf, source: io::Error },
    #[error("cannot read {}: {source}", path.display())]
    Incidents { path: PathBuf, source: io::Error },
    #[error("the hard limit on the size of files is {} KiB, and this configuration needs {}: \
        raise it (`ulimit -Hf`, `LimitFSIZE=`)", there / 1024, needed.div_ceil(1024))]
    FileSize { there: u64, needed: u64 },
    #[error("cannot take signals: {0}")]
    Signals(io::Error),
    #[error("cannot set up: {0}")]
    Setup(#[from] io::Error),
}

/// Goes through the stages. Must be called within the runtime, on the main thread.
pub(super) fn start(
    settings: Settings,
    origin: Origin,
    registry: Registry,
    inherited: InheritedDescriptors,
    gate: Option<Gate>,
) -> Result<Published, StartError> {
    let locked = Locked::lock(settings, origin, inherited, gate)?;
    let recovered = locked.recover(&registry)?;
    let equipped = recovered.equip(registry)?;
    equipped.adopt().publish()
}
