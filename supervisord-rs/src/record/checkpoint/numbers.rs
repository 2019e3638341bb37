//! Numbers as stored. Each stands twice: in a match that leaves nothing out, so that something new
//! cannot be stored as something else, and in a list to read it back from. New ones go to the end
//! of both.

use supervision::{Cause, Phase, StopReason};

pub(super) const fn phase(phase: Phase) -> u64 {
    match phase {
        Phase::Idle => 0,
        Phase::Launching => 1,
        Phase::Starting => 2,
        Phase::Running => 3,
        Phase::Stopping => 4,
        Phase::Killing => 5,
        Phase::Backoff => 6,
        Phase::Quarantined => 7,
        Phase::Finished => 8,
    }
}
pub(super) const PHASES: [Phase; 9] = [
    Phase::Idle,
    Phase::Launching,
    Phase::Starting,
    Phase::Running,
    Phase::Stopping,
    Phase::Killing,
    Phase::Backoff,
    Phase::Quarantined,
    Phase::Finished,
];

pub(super) const fn why(why: StopReason) -> u64 {
    match why {
        StopReason::Requested => 0,
        StopReason::Collateral => 1,
        StopReason::GroupQuarantine => 2,
        StopReason::Hang => 3,
        StopReason::StartTimeout => 4,
        StopReason::Unhealthy => 5,
    }
}
pub(super) const STOP_REASONS: [StopReason; 6] = [
    StopReason::Requested,
    StopReason::Collateral,
    StopReason::GroupQuarantine,
    StopReason::Hang,
    StopReason::StartTimeout,
    StopReason::Unhealthy,
];

pub(super) const fn cause(cause: Cause) -> u64 {
    match cause {
        Cause::Unknown => 0,
        Cause::Finished => 1,
        Cause::Requested => 2,
        Cause::Error => 3,
        Cause::PermanentError => 23,
        Cause::Panic => 4,
        Cause::PanicNoUnwind => 5,
        Cause::Segfault => 6,
        Cause::StackOverflow => 7,
        Cause::Abort => 8,
        Cause::IllegalInstruction => 9,
        Cause::FloatingPoint => 10,
        Cause::Bus => 11,
        Cause::Hang => 12,
        Cause::StartTimeout => 13,
        Cause::Unhealthy => 14,
        Cause::StopTimeout => 15,
        Cause::Killed => 16,
        Cause::Signal => 17,
        Cause::LaunchFailure => 18,
        Cause::DomainLost => 19,
        Cause::Collateral => 20,
        Cause::Vanished => 21,
        Cause::OutOfMemory => 22,
    }
}
pub(super) const CAUSES: [Cause; 24] = [
    Cause::Unknown,
    Cause::Finished,
    Cause::Requested,
    Cause::Error,
    Cause::Panic,
    Cause::PanicNoUnwind,
    Cause::Segfault,
    Cause::StackOverflow,
    Cause::Abort,
    Cause::IllegalInstruction,
    Cause::FloatingPoint,
    Cause::Bus,
    Cause::Hang,
    Cause::StartTimeout,
    Cause::Unhealthy,
    Cause::StopTimeout,
    Cause::Killed,
    Cause::Signal,
    Cause::LaunchFailure,
    Cause::DomainLost,
    Cause::Collateral,
    Cause::Vanished,
    Cause::OutOfMemory,
    Cause::PermanentError,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_number_is_read_back_by_it() {
        assert_eq!(PHASES.map(phase), std::array::from_fn(|number| number as u64));
        assert_eq!(STOP_REASONS.map(why), std::array::from_fn(|number| number as u64));
        assert_eq!(CAUSES.map(cause), std::array::from_fn(|number| number as u64));
    }
}
