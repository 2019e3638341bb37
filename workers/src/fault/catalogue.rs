//! A description of each fault: data for `supervisord-rs faults`, for the documentation and for the
//! matrix test.

use super::Fault;

/// Memory that `leak` takes without a parameter.
pub(super) const LEAK_CAP: u64 = 64 << 20;

/// The expected damage of a fault, besides the worker that commits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blast {
    /// Nothing but the worker.
    Victim,
    /// Nothing but the worker, but its thread stays behind in the process.
    VictimLeavesThread,
    /// Nothing but the worker, but what it broke stays broken in the process.
    VictimLeavesDebris,
    /// Everything in its fault domain.
    Domain,
    /// Nothing at all: no ending, so no incident.
    Silent,
    /// The fault cannot be committed there.
    NotPossible,
}

impl Blast {
    /// One word for tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Victim => "worker",
            Self::VictimLeavesThread => "worker (thread left behind)",
            Self::VictimLeavesDebris => "worker (debris left behind)",
            Self::Domain => "domain",
            Self::Silent => "nothing",
            Self::NotPossible => "-",
        }
    }
}

/// The description of a fault. In a process worker the domain is the worker.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The fault.
    pub fault: Fault,
    /// Its name.
    pub name: &'static str,
    /// What its parameter is; `None`: it takes none.
    pub parameter: Option<&'static str>,
    /// A line about it.
    pub summary: &'static str,
    /// How a process that commits it ends.
    pub ending: &'static str,
    /// As a thread of the supervisor or of a cell, `on_panic: abort` (the default).
    pub shared: Blast,
    /// The same with `on_panic: contain`.
    pub shared_contain: Blast,
    /// As a process.
    pub process: Blast,
}

const fn entry(
    fault: Fault,
    name: &'static str,
    summary: &'static str,
    ending: &'static str,
) -> Entry {
    Entry {
        fault,
        name,
        parameter: None,
        summary,
        ending,
        shared: Blast::Domain,
        shared_contain: Blast::Domain,
        process: Blast::Victim,
    }
}

const fn contained(entry: Entry, blast: Blast) -> Entry {
    Entry { shared_contain: blast, ..entry }
}

const fn alone(entry: Entry, blast: Blast) -> Entry {
    Entry { shared: blast, shared_contain: blast, ..entry }
}

const fn outside(entry: Entry) -> Entry {
    entry
}

/// Every fault.
pub(super) const CATALOGUE: &[Entry] = &[
    contained(
        entry(Fault::Panic, "panic", "a panic", "SIGABRT; contained: exit 101"),
        Blast::Victim,
    ),
    entry(Fault::DoublePanic, "double-panic", "a panic while unwinding from a panic", "SIGABRT"),
    entry(
        Fault::PanicExternC,
        "panic-extern-c",
        "a panic that reaches an extern \"C\" frame",
        "SIGABRT",
    ),
    contained(
        entry(
            Fault::PanicHoldingLock,
            "panic-holding-lock",
            "a panic that poisons a lock of the process",
            "SIGABRT; contained: exit 101",
        ),
        Blast::VictimLeavesDebris,
    ),
    entry(
        Fault::SegfaultRead,
        "segfault",
        "a read through a null pointer",
        "SIGSEGV (SEGV_MAPERR)",
    ),
    entry(
        Fault::SegfaultWrite,
        "segfault-write",
        "a write to read-only memory",
        "SIGSEGV (SEGV_ACCERR)",
    ),
    entry(
        Fault::SegfaultJump,
        "segfault-jump",
        "a jump to an unmapped address",
        "SIGSEGV (SEGV_MAPERR)",
    ),
    entry(
        Fault::StackOverflow,
        "stack-overflow",
        "endless recursion",
        "SIGABRT, after SIGSEGV in the guard page",
    ),
    entry(Fault::Abort, "abort", "abort()", "SIGABRT"),
    Entry {
        parameter: Some("exit code, 0 to 255; default: 0"),
        ..entry(Fault::Exit, "exit", "exit(N) from inside: the status may claim success", "exit N")
    },
    entry(Fault::IllegalInstruction, "illegal-instruction", "an illegal instruction", "SIGILL"),
    entry(
        Fault::FloatingPoint,
        "floating-point",
        "a division by zero in hardware",
        "SIGFPE (FPE_INTDIV)",
    ),
    entry(
        Fault::BusError,
        "bus-error",
        "an access beyond the end of a truncated mapping",
        "SIGBUS (BUS_ADRERR)",
    ),
    entry(
        Fault::HeapCorruption,
        "heap-corruption",
        "the allocator's own data overwritten",
        "SIGABRT by malloc's checks",
    ),
    entry(Fault::KillSelf, "kill-self", "SIGKILL to its own process", "SIGKILL"),
    alone(
        entry(
            Fault::Hang,
            "hang",
            "a deadlock: a lock taken twice",
            "none: the heartbeat stops; a process is killed",
        ),
        Blast::VictimLeavesThread,
    ),
    alone(
        entry(
            Fault::BusyLoop,
            "busy-loop",
            "an endless loop",
            "none: the heartbeat stops; a process is killed",
        ),
        Blast::VictimLeavesThread,
    ),
    alone(
        entry(Fault::Vanish, "vanish", "the thread ends silently", "none: the heartbeat stops"),
        Blast::Victim,
    ),
    Entry {
        parameter: Some("cap in whole MiB; default: 64MiB"),
        process: Blast::Silent,
        ..alone(
            entry(
                Fault::Leak,
                "leak",
                "memory kept and touched, up to a cap",
                "none; SIGKILL beyond its memory limit",
            ),
            Blast::Silent,
        )
    },
    outside(entry(
        Fault::SignalSegv,
        "signal-segv",
        "SIGSEGV sent from outside",
        "SIGSEGV (SI_USER)",
    )),
    outside(entry(Fault::SignalAbrt, "signal-abrt", "SIGABRT sent from outside", "SIGABRT")),
    outside(entry(Fault::SignalKill, "signal-kill", "SIGKILL sent from outside", "SIGKILL")),
    outside(entry(
        Fault::SignalStop,
        "signal-stop",
        "SIGSTOP sent from outside",
        "none: the heartbeat stops; the process is killed",
    )),
    outside(entry(
        Fault::SignalTerm,
        "signal-term",
        "SIGTERM sent from outside",
        "SIGTERM, or as its handler decides; refused in a thread of the supervisor",
    )),
    outside(entry(Fault::SignalBus, "signal-bus", "SIGBUS sent from outside", "SIGBUS")),
    outside(entry(Fault::SignalIll, "signal-ill", "SIGILL sent from outside", "SIGILL")),
    outside(entry(Fault::SignalFpe, "signal-fpe", "SIGFPE sent from outside", "SIGFPE")),
];

/// A fault by its name; `segfault-read` is the long name of `segfault`.
pub(super) fn by_name(name: &str) -> Option<Fault> {
    let name = if name == "segfault-read" { "segfault" } else { name };
    CATALOGUE.iter().find(|entry| entry.name == name).map(|entry| entry.fault)
}
