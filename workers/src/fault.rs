//! The catalogue of faults: every way to fail that can be ordered, with the expected damage.
//!
//! A fault is really committed: a segfault is a bad access, not a `raise`. `fault/commit.rs`
//! commits them; an [`Entry`] describes each.

mod catalogue;
mod commit;

use std::fmt;
use std::str::FromStr;

pub use catalogue::{Blast, Entry};

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident = $code:literal),* $(,)?) => {
        /// A way to fail. Codes are stable: boards and black boxes contain them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// A lock taken twice.
    Hang = 30,
    /// An endless loop.
    BusyLoop = 31,
    /// The thread ends silently.
    Vanish = 32,
    /// Memory kept and touched, up to a cap.
    Leak = 33,
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
            | Self::Leak => None,
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
    /// alive ([`Fault::Leak`], and those from outside, which this does not commit). `parameter`:
    /// see [`Entry::parameter`].
    pub fn commit(self, parameter: u64) {
        commit::commit(self, parameter, &|| {});
    }

    /// The same; a fault that leaves its worker alive calls `beat` every few milliseconds.
    pub(crate) fn commit_and_beat(self, parameter: u64, beat: &dyn Fn()) {
        commit::commit(self, parameter, beat);
    }
}

/// A fault as written: `segfault`, `exit:3`, `leak:64MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The fault.
    pub fault: Fault,
    /// Its parameter, 0 where it takes none.
    pub parameter: u64,
}

/// Why a text does not name a fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectionError {
    /// No fault has this name.
    #[error("unknown fault `{name}`; `supervisord-rs faults` lists them: {known}")]
    Unknown {
        /// As written.
        name: String,
        /// All names.
        known: String,
    },
    /// The fault does not take this parameter.
    #[error("invalid parameter `{text}` of {name}: expected {expected}")]
    Parameter {
        /// As written.
        text: String,
        /// The fault.
        name: &'static str,
        /// The parameter that it takes.
        expected: &'static str,
    },
}

impl FromStr for Injection {
    type Err = InjectionError;

    fn from_str(text: &str) -> Result<Self, InjectionError> {
        let (name, parameter) = match text.split_once(':') {
            Some((name, parameter)) => (name, Some(parameter)),
            None => (text, None),
        };
        let fault = catalogue::by_name(name).ok_or_else(|| InjectionError::Unknown {
            name: name.to_owned(),
            known: Fault::all().map(Fault::name).collect::<Vec<_>>().join(", "),
        })?;
        let wrong = |expected| InjectionError::Parameter {
            text: parameter.unwrap_or_default().to_owned(),
            name: fault.name(),
            expected,
        };
        let parameter = match (fault, parameter) {
            (Fault::Exit, None) => 0,
            (Fault::Exit, Some(code)) => code
                .parse::<u8>()
                .map(u64::from)
                .map_err(|_| wrong("an exit code from 0 to 255"))?,
            (Fault::Leak, None) => catalogue::LEAK_CAP,
            (Fault::Leak, Some(size)) => {
                mebibytes(size).ok_or_else(|| wrong("a size such as 64MiB"))?
            }
            (_, None) => 0,
            (_, Some(_)) => return Err(wrong("none")),
        };
        Ok(Self { fault, parameter })
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::Exit => write!(formatter, "exit:{}", self.parameter),
            Fault::Leak => write!(formatter, "leak:{}MiB", self.parameter >> 20),
            fault => formatter.write_str(fault.name()),
        }
    }
}

fn mebibytes(size: &str) -> Option<u64> {
    let number: u64 = size.strip_suffix("MiB")?.parse().ok()?;
    number.checked_mul(1 << 20)
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

    #[test]
    fn parameters_are_read_and_wrong_ones_refused() {
        assert_eq!("exit:3".parse(), Ok(Injection { fault: Fault::Exit, parameter: 3 }));
        assert_eq!("leak:8MiB".parse(), Ok(Injection { fault: Fault::Leak, parameter: 8 << 20 }));
        for wrong in ["exit:256", "leak:8", "panic:1", "segfalt", ""] {
            assert!(wrong.parse::<Injection>().is_err(), "{wrong}");
        }
    }
}
