//! How something ended, as two words.

use supervision::{Ending, LaunchFailure, LaunchStage, Status};

use super::{index, numbers};

/// Where the step of a launch that failed stands in the first word; 0 there: not known.
const STAGE_AT: u32 = 16;
/// Where the exit code of a command before a start stands.
const CODE_AT: u32 = 32;
/// For a number of eight bits.
const BYTE: u64 = 0xff;

pub(in crate::record) fn ending(ending: Ending) -> (u64, u64) {
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
        Status::NotLaunched(failure) => {
            let stage = (u64::from(failure.stage.0) + 1) << STAGE_AT;
            let code = (number(failure.code) & BYTE) << CODE_AT;
            ((8 + u64::from(failure.transient)) | stage | code, number(failure.errno))
        }
    };
    (kind | numbers::cause(ending.cause) << 8, value)
}

pub(super) fn read_ending(word: u64, value: u64) -> Option<Ending> {
    let number = u32::try_from(value).ok()?.cast_signed();
    let stage = match word >> STAGE_AT & BYTE {
        0 => None,
        stage => Some(LaunchStage(u8::try_from(stage - 1).ok()?)),
    };
    let code = i32::try_from(word >> CODE_AT & BYTE).ok()?;
    let not_launched = |transient| match stage {
        Some(stage) => Status::NotLaunched(LaunchFailure { stage, errno: number, transient, code }),
        None => Status::Unknown,
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
    Some(Ending { status, cause: *numbers::CAUSES.get(index(word >> 8 & 0xff))? })
}
