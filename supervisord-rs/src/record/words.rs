//! The words of records, one for each thing: the same in JSON, in sentences and in tables.

use nix::sys::signal::Signal;
use supervision::{Cause, Ending, Phase, Status};
use workers::board::Reading;

use crate::control::protocol::EndingReport;

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
        | Status::Unknown => "a status that nobody knows".to_owned(),
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
        Status::NotLaunched(failure) => {
            ("not-launched", Some(crate::isolation::launch::exit_code(failure)), None, false)
        }
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
        message: message.map(str::to_owned),
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
