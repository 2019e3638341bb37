//! The catalogue of faults: every way to fail that can be ordered, with the expected damage.
//!
//! A fault is really committed: a segfault is a bad access, not a `raise`. `fault/commit.rs`
//! commits them; an [`Entry`] describes each.

mod catalogue;
mod commit;
mod injection;
mod scene;

use std::os::fd::AsFd;

pub use catalogue::{Blast, Entry};
pub use injection::{Injection, InjectionError};
pub(crate) use scene::Scene;

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident = $code:literal),* $(,)?) => {
        /// A way to fail. Codes are stable: boards and black boxes contain them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum Fault { $($(#[$doc])* $variant = $code),* }

        impl Fault {
            const ALL: &'static [Self] = &[$(Self::$variant),*];
        }
    };
}

faults! {
    /// A panic.
    Panic = 1,
    /// A panic while unwinding from a panic.
    DoublePanic = 2,
    /// A panic that reaches an `extern "C"` frame.
    PanicExternC = 3,
    /// A panic that poisons a lock.
    PanicHoldingLock = 4,
    /// A panic in the destructor of a thread local.
    PanicInDestructor = 5,
    /// A write that a full disk refuses, and whose error nothing handles.
    DiskFull = 6,
    /// A panic in a thread that its worker has started.
    ThreadPanic = 7,
    /// A panic that goes on without the panic hook, as that of a pool does.
    ResumeUnwind = 8,
    /// A panic after another panic hook was installed.
    PanicForeignHook = 9,
    /// A read through a null pointer.
    SegfaultRead = 10,
    /// A write to read-only memory.
    SegfaultWrite = 11,
    /// A jump to an address that is not mapped.
    SegfaultJump = 12,
    /// Endless recursion.
    StackOverflow = 13,
    /// `abort()`.
    Abort = 14,
    /// `exit(N)` from inside.
    Exit = 15,
    /// An illegal instruction.
    IllegalInstruction = 16,
    /// A division by zero in hardware.
    FloatingPoint = 17,
    /// An access beyond the end of a truncated mapping.
    BusError = 18,
    /// The allocator's own data overwritten.
    HeapCorruption = 19,
    /// SIGKILL to its own process.
    KillSelf = 20,
    /// An allocation that fails.
    AllocError = 21,
    /// A write to a pipe without a reader, with SIGPIPE as the kernel has it.
    BrokenPipe = 22,
    /// A read through a null pointer, in a thread that its worker has started.
    ThreadSegfault = 23,
    /// Endless recursion, in a thread that its worker has started.
    ThreadStackOverflow = 24,
    /// A lock taken twice.
    Hang = 30,
    /// An endless loop.
    BusyLoop = 31,
    /// The thread ends silently.
    Vanish = 32,
    /// Memory kept and touched, up to a cap.
    Leak = 33,
    /// Signs of life without work, whatever is ordered.
    Livelock = 34,
    /// No descriptor is free, for a while.
    Descriptors = 35,
    /// Hundreds of threads, for a while.
    Threads = 36,
    /// Megabytes of output at once.
    Flood = 37,
    /// A fork without an exec.
    Fork = 38,
    /// SIGTERM ignored.
    IgnoreTerm = 39,
    /// Another working directory, and a mask that closes every new file.
    Wander = 40,
    /// The order to stop ignored.
    IgnoreStop = 41,
    /// A panic while it stops.
    PanicWhileStopping = 42,
    /// A panic before it has begun.
    PanicAtLaunch = 43,
    /// SIGKILL to its own process, with a mutex that others use too.
    DieWithLock = 60,
    /// The same within a change of what the mutex guards.
    DieWithinChange = 61,
    /// SIGKILL to its own process, with a message that was taken and not acknowledged.
    DieWithMessage = 62,
    /// SIGKILL to its own process while it sends a message.
    DieSending = 63,
    /// SIGKILL to its own process while it waits for a condition.
    DieWaiting = 64,
    /// An attempt to make shared memory shorter.
    TruncateRegion = 65,
    /// A queue written over, with its indices.
    ScribbleQueue = 66,
    /// A mutex that is never released.
    KeepLock = 67,
    /// SIGSEGV from outside.
    SignalSegv = 50,
    /// SIGABRT from outside.
    SignalAbrt = 51,
    /// SIGKILL from outside.
    SignalKill = 52,
    /// SIGSTOP from outside.
    SignalStop = 53,
    /// SIGTERM from outside.
    SignalTerm = 54,
    /// SIGBUS from outside.
    SignalBus = 55,
    /// SIGILL from outside.
    SignalIll = 56,
    /// SIGFPE from outside.
    SignalFpe = 57,
}

impl Fault {
    /// Every fault, in the order of the catalogue.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied()
    }

    /// Its stable number.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The fault with this number.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::all().find(|fault| fault.code() == code)
    }

    /// Its name in configurations, commands and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// Whether the supervisor takes its signal for an order, so that it is no fault in one of its
    /// threads.
    #[must_use]
    pub const fn is_order(self) -> bool {
        matches!(self, Self::SignalTerm)
    }

    /// When a worker commits it.
    #[must_use]
    pub const fn moment(self) -> Moment {
        if matches!(self, Self::PanicWhileStopping) {
            Moment::Stop
        } else if matches!(self, Self::PanicAtLaunch) {
            Moment::Launch
        } else {
            Moment::Now
        }
    }

    /// The signal that commits it from outside; `None`: SDK code commits it itself.
    #[must_use]
    pub const fn signal(self) -> Option<i32> {
        match self {
            Self::SignalSegv => Some(libc::SIGSEGV),
            Self::SignalAbrt => Some(libc::SIGABRT),
            Self::SignalKill => Some(libc::SIGKILL),
            Self::SignalStop => Some(libc::SIGSTOP),
            Self::SignalTerm => Some(libc::SIGTERM),
            Self::SignalBus => Some(libc::SIGBUS),
            Self::SignalIll => Some(libc::SIGILL),
            Self::SignalFpe => Some(libc::SIGFPE),
            Self::Panic
            | Self::DoublePanic
            | Self::PanicExternC
            | Self::PanicHoldingLock
            | Self::SegfaultRead
            | Self::SegfaultWrite
            | Self::SegfaultJump
            | Self::StackOverflow
            | Self::Abort
            | Self::Exit
            | Self::IllegalInstruction
            | Self::FloatingPoint
            | Self::BusError
            | Self::HeapCorruption
            | Self::KillSelf
            | Self::Hang
            | Self::BusyLoop
            | Self::Vanish
            | Self::Leak
            | Self::PanicInDestructor
            | Self::DiskFull
            | Self::AllocError
            | Self::BrokenPipe
            | Self::Livelock
            | Self::Descriptors
            | Self::Threads
            | Self::Flood
            | Self::Fork
            | Self::IgnoreTerm
            | Self::Wander
            | Self::ThreadPanic
            | Self::ResumeUnwind
            | Self::PanicForeignHook
            | Self::ThreadSegfault
            | Self::ThreadStackOverflow
            | Self::IgnoreStop
            | Self::PanicWhileStopping
            | Self::PanicAtLaunch
            | Self::DieWithLock
            | Self::DieWithinChange
            | Self::DieWithMessage
            | Self::DieSending
            | Self::DieWaiting
            | Self::TruncateRegion
            | Self::ScribbleQueue
            | Self::KeepLock => None,
        }
    }

    /// Its description.
    #[must_use]
    pub fn entry(self) -> &'static Entry {
        catalogue::CATALOGUE
            .iter()
            .find(|entry| entry.fault == self)
            .expect("a test checks that every fault is there")
    }

    /// Commits it immediately, on this thread. Returns only from faults that leave their worker
    /// alive ([`Blast::Silent`], and those from outside, which this does not commit). `parameter`:
    /// see [`Entry::parameter`].
    pub fn commit(self, parameter: u64) {
        let output = std::io::stdout();
        let scene = Scene { context: None, output: output.as_fd() };
        commit::commit(self, parameter, &scene);
    }

    /// The same, in a worker.
    pub(crate) fn commit_in(self, parameter: u64, scene: &Scene<'_>) {
        commit::commit(self, parameter, scene);
    }
}

/// When a worker commits a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Moment {
    /// At its next checkpoint.
    Now,
    /// When it is to stop next, after its `run` has returned.
    Stop,
    /// When it is launched next, before it is made.
    Launch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_an_entry_a_code_and_a_name_that_leads_back() {
        for fault in Fault::all() {
            assert_eq!(Fault::from_code(fault.code()), Some(fault));
            assert_eq!(
                fault.name().parse::<Injection>().map(|injection| injection.fault),
                Ok(fault)
            );
        }
    }
}
