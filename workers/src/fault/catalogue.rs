//! A description of each fault: data for `supervisord-rs faults`, for the documentation and for the
//! matrix test.

use super::Fault;

/// Memory that `leak` takes without a parameter.
pub(super) const LEAK_CAP: u64 = 64 << 20;

/// The expected damage of a fault, besides the worker that commits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
#[non_exhaustive]
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
    /// What it damages where no worker ends by it, and whom that hurts: first as a thread of the
    /// supervisor or of a cell, then as a process. `None`: a worker ends.
    pub harm: Option<[&'static str; 2]>,
}

impl Entry {
    /// Whether `on_panic: contain` makes a difference to what it damages.
    #[must_use]
    pub fn is_containable(&self) -> bool {
        self.shared != self.shared_contain
    }
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
        harm: None,
    }
}

const fn contained(entry: Entry, blast: Blast) -> Entry {
    Entry { shared_contain: blast, ..entry }
}

const fn alone(entry: Entry, blast: Blast) -> Entry {
    Entry { shared: blast, shared_contain: blast, ..entry }
}

/// Its worker goes on.
const fn silent(
    fault: Fault,
    name: &'static str,
    summary: &'static str,
    harm: [&'static str; 2],
) -> Entry {
    let entry = alone(entry(fault, name, summary, "none"), Blast::Silent);
    Entry { process: Blast::Silent, harm: Some(harm), ..entry }
}

const LIVELOCK_HARM: &str = "for 2 s the worker did no work, heard no order, and seemed well by \
                             its signs of life; no other was hurt, but for the processor";
const FLOOD_HARM: &str = "its log has 8 MiB more, which may have rotated older lines away; the \
                          output of others was not held up";

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
        Fault::PanicInDestructor,
        "panic-in-destructor",
        "a panic in the destructor of a thread local",
        "SIGABRT",
    ),
    contained(
        entry(
            Fault::DiskFull,
            "disk-full",
            "a write that a full disk refuses, and whose error nothing handles",
            "SIGABRT; contained: exit 101",
        ),
        Blast::Victim,
    ),
    contained(
        entry(
            Fault::ThreadPanic,
            "thread-panic",
            "a panic in a thread that the worker has started",
            "SIGABRT; contained: exit 101",
        ),
        Blast::Victim,
    ),
    contained(
        entry(
            Fault::ResumeUnwind,
            "resume-unwind",
            "a panic that a pool has caught and resumes: no panic hook runs",
            "SIGABRT; contained: exit 101",
        ),
        Blast::Victim,
    ),
    contained(
        entry(
            Fault::PanicForeignHook,
            "panic-foreign-hook",
            "a panic after another panic hook was installed",
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
    entry(Fault::AllocError, "alloc-error", "an allocation that fails", "SIGABRT"),
    entry(
        Fault::BrokenPipe,
        "broken-pipe",
        "a write to a pipe without a reader, with SIGPIPE as the kernel has it",
        "SIGPIPE",
    ),
    entry(
        Fault::ThreadSegfault,
        "thread-segfault",
        "a read through a null pointer, in a thread that the worker has started",
        "SIGSEGV (SEGV_MAPERR)",
    ),
    entry(
        Fault::ThreadStackOverflow,
        "thread-stack-overflow",
        "endless recursion, in a thread that the worker has started",
        "SIGABRT, after SIGSEGV in the guard page",
    ),
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
        harm: Some([
            "that memory is lost to all that share the process, until it ends",
            "that memory is lost to the worker alone, until it ends",
        ]),
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
    silent(
        Fault::Livelock,
        "livelock",
        "signs of life without work for 2 s, whatever is ordered",
        [LIVELOCK_HARM, LIVELOCK_HARM],
    ),
    silent(
        Fault::Descriptors,
        "descriptors",
        "no descriptor is free for 300 ms",
        [
            "for 300 ms nothing in its process could open a file or a connection, and neither could \
             the supervisor where that is its own",
            "for 300 ms the worker could open no file and no connection; no other was hurt",
        ],
    ),
    silent(
        Fault::Threads,
        "threads",
        "400 threads more for 300 ms",
        [
            "for 300 ms the process had 400 threads more, out of the limits that all in it share",
            "for 300 ms the worker had 400 threads more; others were hurt as far as they share its \
             user's limit of processes",
        ],
    ),
    silent(Fault::Flood, "flood", "8 MiB of output at once", [FLOOD_HARM, FLOOD_HARM]),
    silent(
        Fault::Fork,
        "fork",
        "a fork without an exec: the child lives for 200 ms",
        [
            "for 200 ms a copy of the process held open what all in it had open; none of them was \
             mistaken for it",
            "for 200 ms a copy of the worker held open what it had open; it was not mistaken for it",
        ],
    ),
    silent(
        Fault::IgnoreTerm,
        "ignore-term",
        "SIGTERM ignored",
        [
            "the whole process ignores SIGTERM; the supervisor undoes that in its own, and a cell \
             is stopped by other means",
            "the worker ignores SIGTERM; it is stopped by other means, and no other was hurt",
        ],
    ),
    silent(
        Fault::Wander,
        "wander",
        "another working directory, and a umask that closes all files",
        [
            "until it ends, the worker has another working directory, and files that it makes are \
             closed to all; those that share its process kept theirs",
            "until it ends, the worker has another working directory, and files that it makes are \
             closed to all; no other was hurt",
        ],
    ),
    silent(
        Fault::IgnoreStop,
        "ignore-stop",
        "the order to stop ignored: the worker is ended after its `stop:` timeout",
        [
            "its next stop takes the whole timeout of its `stop:`, and leaves its thread behind",
            "its next stop takes the whole timeout of its `stop:`, and ends it by SIGKILL",
        ],
    ),
    contained(
        entry(
            Fault::PanicWhileStopping,
            "panic-while-stopping",
            "a panic at the next stop of the worker, after its `run`",
            "SIGABRT; contained: exit 101",
        ),
        Blast::Victim,
    ),
    contained(
        entry(
            Fault::PanicAtLaunch,
            "panic-at-launch",
            "a panic at the next launch of the worker, before it is made",
            "SIGABRT; contained: exit 101",
        ),
        Blast::Victim,
    ),
    entry(
        Fault::DieWithLock,
        "die-with-lock",
        "SIGKILL to its own process, with a mutex of its `uses:`",
        "SIGKILL",
    ),
    entry(
        Fault::DieWithinChange,
        "die-within-change",
        "the same between the two halves of a change of what the mutex guards",
        "SIGKILL",
    ),
    entry(
        Fault::DieWithMessage,
        "die-with-message",
        "SIGKILL to its own process, with a message of a queue that it has not acknowledged",
        "SIGKILL",
    ),
    entry(
        Fault::DieSending,
        "die-sending",
        "SIGKILL to its own process while it sends a message: half of it is there",
        "SIGKILL",
    ),
    entry(
        Fault::DieWaiting,
        "die-waiting",
        "SIGKILL to its own process while it waits for a condition",
        "SIGKILL",
    ),
    silent(
        Fault::TruncateRegion,
        "truncate-region",
        "an attempt to make a shared region shorter: its seal refuses that",
        ["the region is as it was, and others go on", "the region is as it was, and others go on"],
    ),
    silent(
        Fault::ScribbleQueue,
        "scribble-queue",
        "a shared queue written over, with its indices and states",
        [
            "the first queue of its `uses:` has lost its messages and may give out garbage; no wait for it is without end",
            "the first queue of its `uses:` has lost its messages and may give out garbage; no wait for it is without end",
        ],
    ),
    silent(
        Fault::KeepLock,
        "keep-lock",
        "a mutex of its `uses:` that is never released",
        [
            "others get its mutex when its thread has ended, and wait until their limits; the worker's own next lock of it is an error; `status` shows who has it",
            "others get its mutex when its thread has ended, and wait until their limits; the worker's own next lock of it is an error; `status` shows who has it",
        ],
    ),
    entry(Fault::SignalSegv, "signal-segv", "SIGSEGV sent from outside", "SIGSEGV (SI_USER)"),
    entry(Fault::SignalAbrt, "signal-abrt", "SIGABRT sent from outside", "SIGABRT"),
    entry(Fault::SignalKill, "signal-kill", "SIGKILL sent from outside", "SIGKILL"),
    entry(
        Fault::SignalStop,
        "signal-stop",
        "SIGSTOP sent from outside",
        "none: the heartbeat stops; the process is killed",
    ),
    entry(
        Fault::SignalTerm,
        "signal-term",
        "SIGTERM sent from outside",
        "SIGTERM, or as its handler decides; refused in a thread of the supervisor",
    ),
    entry(Fault::SignalBus, "signal-bus", "SIGBUS sent from outside", "SIGBUS"),
    entry(Fault::SignalIll, "signal-ill", "SIGILL sent from outside", "SIGILL"),
    entry(Fault::SignalFpe, "signal-fpe", "SIGFPE sent from outside", "SIGFPE"),
];

/// A fault by its name; `segfault-read` is the long name of `segfault`.
pub(super) fn by_name(name: &str) -> Option<Fault> {
    let name = if name == "segfault-read" { "segfault" } else { name };
    CATALOGUE.iter().find(|entry| entry.name == name).map(|entry| entry.fault)
}
