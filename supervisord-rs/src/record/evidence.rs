//! From what was left behind to an ending and its cause.
//!
//! Three sources, each incomplete alone: the wait status (SIGABRT has six causes), the last words
//! that the crash handler or the panic hook left on the board, and the breadcrumb of the operation
//! begun (there even after SIGKILL).

use nix::libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGKILL, SIGSEGV};
use supervision::{Cause, Ending, Status};
use workers::runtime::board::{LastWords, Reading, State};

/// What is known of an incarnation that has just ended, kept until its incident is written.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Its board, read after its death.
    pub reading: Option<Reading>,
    /// When we first knew, in nanoseconds of the monotonic clock.
    pub seen_at: u64,
    /// When the fault struck, if known.
    pub struck_at: Option<u64>,
    /// Units done, and begun and not done, where there is no board to tell.
    pub work: Option<(u64, u64)>,
    /// A sentence for people: a panic message, an error, what to do about a failed launch.
    pub message: Option<String>,
}

/// What an incident says of one that called exit(3).
const EXIT: &str = "it called exit(), which ends the whole process";

impl Evidence {
    /// Of an incarnation with this board, if it had one; `struck_at` where we struck ourselves.
    #[must_use]
    pub fn new(reading: Option<Reading>, seen_at: u64, struck_at: Option<u64>) -> Self {
        let message = reading.as_ref().and_then(|reading| {
            let text = Some(reading.text.clone()).filter(|text| !text.is_empty());
            text.or_else(|| (reading.last_words == LastWords::Exit).then(|| EXIT.to_owned()))
        });
        // That of a hang is when we gave it up, long after it fell silent.
        let spoke_at = |reading: &Reading| {
            reading.last_words_at.filter(|_| reading.last_words != LastWords::Hang)
        };
        let felt =
            reading.as_ref().and_then(|reading| reading.fault_at.or_else(|| spoke_at(reading)));
        let struck_at = struck_at.or(felt).filter(|&at| at <= seen_at);
        Self { reading, seen_at, struck_at, work: None, message }
    }
}

impl Evidence {
    /// Units done, and begun and not done; `None`: there is no board to tell.
    #[must_use]
    pub fn work(&self) -> Option<(u64, u64)> {
        let read = self.reading.as_ref().map(|reading| (reading.progress, reading.in_flight));
        read.or(self.work)
    }
}

/// How the process of a `command:` ended.
#[must_use]
pub fn of_command(status: Status) -> Ending {
    Ending { status, cause: of_status(status, None) }
}

/// How a process that ran one SDK worker ended. `None`: its board is garbage, or not its own.
#[must_use]
pub fn of_process(status: Status, reading: Option<&Reading>) -> Ending {
    let cause = match (status, reading.map(|reading| reading.state)) {
        (Status::Exited(0), Some(State::Returned)) => Cause::Finished,
        (Status::Exited(_), Some(State::Panicked)) => Cause::Panic,
        (Status::Exited(_), Some(State::FailedForGood)) => Cause::PermanentError,
        (Status::Exited(_), Some(State::Unregistered | State::NotStarted)) => Cause::LaunchFailure,
        // It failed, or it called exit() itself: its status may claim success, but the worker has
        // not returned, or that is unknown.
        (
            Status::Exited(_),
            None
            | Some(State::Empty | State::Launched | State::Ready | State::Returned | State::Failed),
        ) => Cause::Error,
        (
            Status::Signaled { .. }
            | Status::Returned
            | Status::Failed
            | Status::Panicked
            | Status::Abandoned
            | Status::NotLaunched(_)
            | Status::Unknown,
            _,
        ) => of_status(status, reading),
    };
    Ending { status, cause }
}

/// How a whole domain ended, by its status and by the board of the one that did it, if known.
#[must_use]
pub fn of_domain(status: Status, culprit: Option<&Reading>) -> Ending {
    let cause = match status {
        // A cell never exits by itself: a worker in it called exit().
        Status::Exited(_) => Cause::Error,
        Status::Signaled { .. }
        | Status::Returned
        | Status::Failed
        | Status::Panicked
        | Status::Abandoned
        | Status::NotLaunched(_)
        | Status::Unknown => of_status(status, culprit),
    };
    Ending { status, cause }
}

/// The same, knowing whether the OOM killer struck in its cgroup since it was launched: the kernel
/// sends the same SIGKILL as a person, and the counter alone tells them apart. Where no one saw the
/// status, it tells the cause as well. What ended in another way has a cause of its own.
#[must_use]
pub fn with_memory(ending: Ending, was_oom_killed: bool) -> Ending {
    if was_oom_killed && (ending.cause == Cause::Killed || ending.status == Status::Unknown) {
        return Ending { cause: Cause::OutOfMemory, ..ending };
    }
    ending
}

/// How a thread ended that reached its end, by what its host wrote.
#[must_use]
pub fn of_thread(state: State) -> Option<Ending> {
    let (status, cause) = match state {
        State::Empty | State::Launched | State::Ready => return None,
        State::Returned => (Status::Returned, Cause::Finished),
        State::Failed => (Status::Failed, Cause::Error),
        State::FailedForGood => (Status::Failed, Cause::PermanentError),
        State::Panicked => (Status::Panicked, Cause::Panic),
        State::Unregistered | State::NotStarted => (Status::Failed, Cause::LaunchFailure),
    };
    Some(Ending { status, cause })
}

/// What last words say by themselves; `None` when there are none.
#[must_use]
pub fn of_last_words(reading: &Reading) -> Option<Cause> {
    match reading.last_words {
        LastWords::None => None,
        LastWords::Panic => Some(Cause::Panic),
        LastWords::PanicNoUnwind => Some(Cause::PanicNoUnwind),
        LastWords::StackOverflow => Some(Cause::StackOverflow),
        LastWords::Hang => Some(Cause::Hang),
        LastWords::Exit => Some(Cause::Error),
        LastWords::Signal => Some(of_signal(reading.signal)),
    }
}

fn of_status(status: Status, reading: Option<&Reading>) -> Cause {
    match status {
        Status::Signaled { signal, .. } if signal == SIGKILL => Cause::Killed,
        Status::Signaled { signal, .. } => {
            reading.and_then(of_last_words).unwrap_or_else(|| of_signal(signal))
        }
        Status::Exited(0) | Status::Returned => Cause::Finished,
        Status::Exited(_) | Status::Failed => Cause::Error,
        Status::Panicked => Cause::Panic,
        Status::Abandoned => Cause::Hang,
        Status::NotLaunched(_) => Cause::LaunchFailure,
        Status::Unknown => reading.and_then(of_last_words).unwrap_or(Cause::Unknown),
    }
}

fn of_signal(signal: i32) -> Cause {
    match signal {
        SIGSEGV => Cause::Segfault,
        SIGABRT => Cause::Abort,
        SIGBUS => Cause::Bus,
        SIGILL => Cause::IllegalInstruction,
        SIGFPE => Cause::FloatingPoint,
        SIGKILL => Cause::Killed,
        _ => Cause::Signal,
    }
}

#[cfg(test)]
mod tests {
    use workers::runtime::mapping::Mapping;

    use super::*;

    fn killed_by(signal: i32) -> Ending {
        of_command(Status::Signaled { signal, core_dumped: false })
    }

    #[test]
    fn the_moment_at_which_a_silent_one_is_given_up_is_not_that_of_the_fault() {
        let struck_at = |words| {
            let mapping = Mapping::sealed("b").expect("memory");
            mapping.board().begin("b", 1);
            mapping.board().write_last_words(words, 0, 0, 0, 0);
            Evidence::new(mapping.board().read(), u64::MAX, None).struck_at
        };
        assert_eq!(struck_at(LastWords::Hang), None);
        assert!(struck_at(LastWords::Panic).is_some());
    }

    #[test]
    fn a_sigkill_is_out_of_memory_only_where_the_cgroup_counted_one() {
        assert_eq!(with_memory(killed_by(SIGKILL), true).cause, Cause::OutOfMemory);
        assert_eq!(with_memory(killed_by(SIGKILL), false).cause, Cause::Killed);
        assert_eq!(with_memory(killed_by(SIGSEGV), true).cause, Cause::Segfault);
        assert_eq!(with_memory(of_command(Status::Unknown), true).cause, Cause::OutOfMemory);
        assert_eq!(with_memory(of_command(Status::Unknown), false).cause, Cause::Unknown);
        assert_eq!(with_memory(of_command(Status::Exited(0)), true).cause, Cause::Finished);
        assert_eq!(with_memory(of_command(Status::Exited(1)), true).cause, Cause::Error);
    }
}
