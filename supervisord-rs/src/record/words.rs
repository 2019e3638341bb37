//! The words of records, one for each thing: the same in JSON, in sentences and in tables.

use nix::errno::Errno;
use nix::sys::signal::Signal;
use supervision::{Cause, Ending, LaunchFailure, Phase, Status};
use workers::runtime::board::{Reading, Silent};

use crate::config::execution::stage_name;
use crate::control::protocol::EndingReport;
use crate::stages;

/// A phase, as in `status`.
#[must_use]
pub const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Launching => "launching",
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Stopping => "stopping",
        Phase::Killing => "killing",
        Phase::Backoff => "backoff",
        Phase::Quarantined => "quarantined",
        Phase::Finished => "finished",
    }
}

/// A cause, as in incidents.
#[must_use]
pub const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Finished => "finished",
        Cause::Requested => "requested",
        Cause::Error => "error",
        Cause::PermanentError => "permanent-error",
        Cause::Panic => "panic",
        Cause::PanicNoUnwind => "panic-no-unwind",
        Cause::Segfault => "segfault",
        Cause::StackOverflow => "stack-overflow",
        Cause::Abort => "abort",
        Cause::IllegalInstruction => "illegal-instruction",
        Cause::FloatingPoint => "floating-point",
        Cause::Bus => "bus-error",
        Cause::Hang => "hang",
        Cause::StartTimeout => "start-timeout",
        Cause::Unhealthy => "unhealthy",
        Cause::StopTimeout => "stop-timeout",
        Cause::Killed => "killed",
        Cause::OutOfMemory => "out-of-memory",
        Cause::Signal => "signal",
        Cause::LaunchFailure => "launch-failure",
        Cause::DomainLost => "domain-lost",
        Cause::Collateral => "collateral",
        Cause::Vanished => "vanished",
        Cause::Unknown => "unknown",
    }
}

/// A signal by name; its number where it has none.
#[must_use]
pub fn signal(number: i32) -> String {
    Signal::try_from(number)
        .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}

/// Signals by name, of bits from the lowest.
#[must_use]
pub fn signals(bits: u32) -> Vec<String> {
    (1..=32).filter(|number| bits & 1 << (number - 1) != 0).map(signal).collect()
}

/// `HUP`, `SIGHUP`, `sighup`, `1`.
#[must_use]
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    name.parse::<Signal>().ok().map(|signal| signal as i32)
}

/// `si_code` by name, as sigaction(2) has it.
#[must_use]
pub fn signal_code(signal: i32, code: i32) -> String {
    let name = match (signal, code) {
        (_, 0) => "SI_USER",
        (_, 128) => "SI_KERNEL",
        (_, -1) => "SI_QUEUE",
        (_, -6) => "SI_TKILL",
        (libc::SIGSEGV, 1) => "SEGV_MAPERR",
        (libc::SIGSEGV, 2) => "SEGV_ACCERR",
        (libc::SIGBUS, 1) => "BUS_ADRALN",
        (libc::SIGBUS, 2) => "BUS_ADRERR",
        (libc::SIGBUS, 3) => "BUS_OBJERR",
        (libc::SIGILL, 1) => "ILL_ILLOPC",
        (libc::SIGILL, 2) => "ILL_ILLOPN",
        (libc::SIGFPE, 1) => "FPE_INTDIV",
        (libc::SIGFPE, 2) => "FPE_INTOVF",
        (libc::SIGTRAP, 1) => "TRAP_BRKPT",
        _ => return code.to_string(),
    };
    name.to_owned()
}

/// A wait status for people.
#[must_use]
pub fn status(status: Status) -> String {
    match status {
        Status::Exited(code) => format!("exit status {code}"),
        Status::Signaled { signal: number, core_dumped } => {
            let core = if core_dumped { " (core dumped)" } else { "" };
            format!("{}{core}", signal(number))
        }
        Status::NotLaunched(_) => "nothing: it could not be started".to_owned(),
        Status::Returned
        | Status::Failed
        | Status::Panicked
        | Status::Abandoned
        | Status::Unknown => "an unknown status".to_owned(),
    }
}

/// The exit status that a shell would give: 127 for what is not there, 126 for what cannot be
/// executed.
#[must_use]
pub const fn exit_code(failure: LaunchFailure) -> i32 {
    match failure.stage {
        stages::START_BEFORE => failure.code,
        stages::EXEC if failure.errno == Errno::ENOENT as i32 => 127,
        _ => 126,
    }
}

/// An ending for the record, with what the board and the driver add to it.
#[must_use]
pub fn ending(ending: Ending, reading: Option<&Reading>, message: Option<&str>) -> EndingReport {
    let (status, exit_code, number, core_dumped) = match ending.status {
        Status::Exited(code) => ("exited", Some(code), None, false),
        Status::Signaled { signal, core_dumped } => ("signal", None, Some(signal), core_dumped),
        Status::Returned => ("returned", None, None, false),
        Status::Failed => ("failed", None, None, false),
        Status::Panicked => ("panicked", None, None, false),
        Status::Abandoned => ("abandoned", None, None, false),
        // As a shell has it: 127 for what is not there, 126 for what cannot be executed.
        Status::NotLaunched(failure) => ("not-launched", Some(exit_code(failure)), None, false),
        Status::Unknown => ("unknown", None, None, false),
    };
    // The handler's record belongs to this death only if it is about this signal, or about the one
    // that led to it.
    let spoke = reading.filter(|reading| reading.signal != 0 && number.is_some());
    EndingReport {
        status: status.to_owned(),
        cause: cause(ending.cause).to_owned(),
        exit_code,
        signal: number.map(signal),
        core_dumped,
        code: spoke.map(|reading| signal_code(reading.signal, reading.code)),
        address: spoke
            .filter(|reading| reading.code > 0)
            .map(|reading| format!("{:#x}", reading.address)),
        stage: not_launched(ending).map(|failure| stage_name(failure.stage).to_owned()),
        errno: not_launched(ending)
            .filter(|failure| failure.errno != 0)
            .map(|failure| errno(failure.errno)),
        message: message.map(str::to_owned).or_else(|| silent(ending, reading?)),
    }
}

/// Of one that hangs, and is watched in several places: where it does.
fn silent(ending: Ending, reading: &Reading) -> Option<String> {
    let text = match reading.silent.filter(|_| ending.cause == Cause::Hang)? {
        Silent::First => "the thread that runs it gave no sign of life",
        Silent::Other => {
            "one of its other contexts gave no sign of life: a thread of its own, or a task"
        }
    };
    Some(text.to_owned())
}

const fn not_launched(ending: Ending) -> Option<LaunchFailure> {
    match ending.status {
        Status::NotLaunched(failure) => Some(failure),
        Status::Exited(_)
        | Status::Signaled { .. }
        | Status::Returned
        | Status::Failed
        | Status::Panicked
        | Status::Abandoned
        | Status::Unknown => None,
    }
}

/// An errno by name, or by number where it has none.
fn errno(number: i32) -> String {
    match Errno::from_raw(number) {
        Errno::UnknownErrno => number.to_string(),
        errno => format!("{errno:?}"),
    }
}

/// How an incarnation ended, for people: the cause where the status does not tell it, what is known
/// of it in words, and the exit code or the signal.
#[must_use]
pub fn how(ending: &EndingReport) -> String {
    let cause = match ending.cause.as_str() {
        "hang" => "no heartbeat in time",
        "start-timeout" => "not ready in time",
        "stop-timeout" => "did not stop in time",
        "unhealthy" => "its liveness probe failed",
        "out-of-memory" => "out of memory",
        "domain-lost" => "lost with its fault domain",
        "vanished" => "its thread ended without a word",
        "launch-failure" if ending.message.is_none() => "it could not be started",
        "finished" | "error" | "signal" | "killed" | "requested" | "collateral" | "unknown"
        | "launch-failure" => "",
        other => other,
    };
    let message = message(ending);
    let known = [cause, message.as_deref().unwrap_or_default()];
    let known = known.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    match (known.is_empty(), by(ending)) {
        (true, by) => by.unwrap_or_else(|| "how it ended is not known".to_owned()),
        (false, None) => known,
        (false, Some(by)) => format!("{known} ({by})"),
    }
}

/// What is known in words, in one line.
#[must_use]
pub fn message(ending: &EndingReport) -> Option<String> {
    ending.message.as_deref().map(|text| text.trim_end().replace('\n', " "))
}

/// The exit code or the signal, or the step of the launch that failed.
#[must_use]
pub fn by(ending: &EndingReport) -> Option<String> {
    let code = ending.exit_code.map(|code| format!("exit status {code}"));
    match (ending.status.as_str(), &ending.signal) {
        // Dropped from the queue of launches before any step of it was taken.
        ("not-launched", _) if ending.is_not_begun() => Some("it was not started".to_owned()),
        ("not-launched", _) => {
            let step = [ending.stage.clone(), ending.errno.clone(), code];
            Some(step.into_iter().flatten().collect::<Vec<_>>().join(", "))
        }
        ("exited", _) => code,
        ("signal", Some(signal)) if ending.core_dumped => Some(format!("{signal}, core dumped")),
        ("signal", Some(signal)) => Some(signal.clone()),
        ("returned", _) => Some("it returned".to_owned()),
        ("failed", _) => Some("it returned an error".to_owned()),
        ("abandoned", _) => Some("its thread was left behind".to_owned()),
        _ => None,
    }
}

/// A time to wait for people, to the digit that matters.
#[must_use]
pub fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// A duration for people: three digits and a unit.
#[must_use]
pub fn duration_us(us: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let us = us as f64;
    match us {
        us if us < 10_000.0 => format!("{:.1} ms", us / 1e3),
        us if us < 1_000_000.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_with_and_without_prefix_and_numbers() {
        for text in ["HUP", "hup", "SIGHUP", "1"] {
            assert_eq!(signal_number(text), Some(1), "{text}");
        }
        assert_eq!(signal_number("HAP"), None);
        assert_eq!(signal_number("65"), None);
    }

    #[test]
    fn a_launch_that_was_dropped_before_it_began_was_not_started() {
        let failure = LaunchFailure::NOT_BEGUN;
        let ended = Ending { status: Status::NotLaunched(failure), cause: Cause::Requested };
        assert_eq!(how(&ending(ended, None, None)), "it was not started");
    }
}
