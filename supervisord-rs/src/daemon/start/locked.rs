//! The first stage: the directories are there, and no other supervisor works in them.
//!
//! *Can fail:* a directory that cannot be made, a limit on the size of files that is too low, and a
//! lock that another supervisor holds refuse a first start. For a successor only such a lock does:
//! what else it misses is a trouble that the upkeep mends.
//!
//! *A failure leaves* the directories that it made, and nothing else: the kernel releases the locks
//! with this process, and no predecessor's file was touched.

use super::StartError;
use super::ground::{locks, make_directories};
use super::spare::spare;
use crate::config::Settings;
use crate::daemon::hand_over::Gate;
use crate::daemon::in_force::{self, Origin};
use crate::daemon::locks::Locks;
use crate::daemon::upkeep::Troubles;
use crate::isolation::launch::file_size_limit;
use crate::record::black_box::BlackBox;
use crate::service_manager::InheritedDescriptors;

/// The ground that the supervisor stands on, and what this process was started with.
pub(super) struct Locked {
    pub(super) settings: Settings,
    pub(super) origin: Origin,
    pub(super) inherited: InheritedDescriptors,
    pub(super) gate: Option<Gate>,
    /// What a successor goes on without, for now.
    pub(super) troubles: Troubles,
    /// Whether the state directory answers.
    pub(super) answers: bool,
    pub(super) locks: Locks,
}

impl Locked {
    /// Makes the directories, and takes the locks or inherits them.
    pub(super) fn lock(
        settings: Settings,
        origin: Origin,
        mut inherited: InheritedDescriptors,
        gate: Option<Gate>,
    ) -> Result<Self, StartError> {
        let mut troubles = Troubles::new();
        let answers = make_directories(&settings.supervisor, origin, &mut troubles)?;
        if origin == Origin::File {
            check_file_size(&settings)?;
        }
        let whence = (origin, answers);
        let locks = locks(&settings.supervisor, whence, &mut inherited, &mut troubles)?;
        Ok(Self { settings, origin, inherited, gate, troubles, answers, locks })
    }
}

/// A successor needs files of the same size, and nothing that fails then ends its workers: so a
/// limit that is too low is refused before there are any.
fn check_file_size(settings: &Settings) -> Result<(), StartError> {
    let black_box = BlackBox::size(settings.launches.len() + spare(settings))?;
    let needed = black_box.max(in_force::size(&settings.source)?);
    let needed = u64::try_from(needed).unwrap_or(u64::MAX);
    match file_size_limit() {
        there if there < needed => Err(StartError::FileSize { there, needed }),
        _ => Ok(()),
    }
}
