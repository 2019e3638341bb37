//! How something ended, as two words.

use supervision::{Ending, LaunchFailure, LaunchStage, Status};

use super::{index, numbers};

pub(super) fn ending(ending: Ending) -> (u64, u64) {
    let number = |number: i32| u64::from(number.cast_unsigned());
    let (kind, value) = match ending.status {
        Status::Unknown => (0, 0),
        Status::Exited(exit) => (1, number(exit)),
        Status::Signaled { signal, core_dumped: false } => (2, number(signal)),
        Status::Signaled { signal, core_dumped: true } => (3, number(signal)),
        Status::Returned => (4, 0),
        Status::Failed => (5, 0),
        Status::Panicked => (6, 0),
        Status::Abandoned => (7, 0),
        // At which step is for the record, not for the successor.
        Status::NotLaunched(failure) => (8 + u64::from(failure.transient), number(failure.errno)),
    };
    (kind | numbers::cause(ending.cause) << 8, value)
}

pub(super) fn read_ending(word: u64, value: u64) -> Option<Ending> {
    let number = u32::try_from(value).ok()?.cast_signed();
    let not_launched = |transient| {
        Status::NotLaunched(LaunchFailure { stage: LaunchStage::Exec, errno: number, transient })
    };
    let status = match word & 0xff {
        0 => Status::Unknown,
        1 => Status::Exited(number),
        2 => Status::Signaled { signal: number, core_dumped: false },
        3 => Status::Signaled { signal: number, core_dumped: true },
        4 => Status::Returned,
        5 => Status::Failed,
        6 => Status::Panicked,
        7 => Status::Abandoned,
        8 => not_launched(false),
        9 => not_launched(true),
        _ => return None,
    };
    Some(Ending { status, cause: *numbers::CAUSES.get(index(word >> 8))? })
}
