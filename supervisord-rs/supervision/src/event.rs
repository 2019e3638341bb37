//! What the machine is told.

use alloc::vec::Vec;
use core::time::Duration;

use crate::ending::{Ending, LaunchFailure};
use crate::id::{DomainId, FaultId, Incarnation, RequestId, WorkerId};

/// Something happened. Events about incarnations other than the present one are dropped and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Answer to `Launch`: the program was executed, or the thread runs.
    Launched {
        /// Of whom.
        incarnation: Incarnation,
    },
    /// Answer to `Launch`: it never ran.
    LaunchFailed {
        /// Of whom.
        incarnation: Incarnation,
        /// Where it went wrong.
        failure: LaunchFailure,
    },
    /// The worker says that it is ready. It is promoted only after `Confirm` was answered by `Confirmed`.
    Ready {
        /// Of whom.
        incarnation: Incarnation,
    },
    /// Answer to `Confirm`: every exit has been reaped, and this incarnation has not ended.
    Confirmed {
        /// Of whom.
        incarnation: Incarnation,
    },
    /// This incarnation ended, alone.
    Ended {
        /// Of whom.
        incarnation: Incarnation,
        /// How.
        ending: Ending,
    },
    /// A fault domain died, with everyone in it.
    DomainEnded {
        /// Which.
        domain: DomainId,
        /// Who was in it.
        members: Vec<Incarnation>,
        /// Whose doing it was, as far as the evidence says.
        culprit: Option<Incarnation>,
        /// How.
        ending: Ending,
    },
    /// Answer to `ReadHeartbeat`.
    Heartbeat {
        /// Of whom.
        incarnation: Incarnation,
        /// When the last beat was; the present moment for one that waits inside the SDK.
        last_beat: Duration,
    },
    /// A person, or a program on behalf of one, wants something.
    Command {
        /// To be answered by `Reply`.
        request: RequestId,
        /// What.
        command: Command,
    },
    /// Nothing happened but time.
    Deadline,
}

/// What people can want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start these, with what they depend on. Clears counts and quarantine.
    Start(Vec<WorkerId>),
    /// Stop these, with what depends on them; they stay down until started by hand.
    Stop(Vec<WorkerId>),
    /// Stop, then start.
    Restart(Vec<WorkerId>),
    /// Send a signal.
    Signal {
        /// To whom.
        worker: WorkerId,
        /// Which.
        signal: i32,
    },
    /// Commit a fault.
    Inject {
        /// In whom.
        worker: WorkerId,
        /// Which.
        fault: FaultId,
    },
    /// Stop everything and end.
    Shutdown {
        /// Without asking first. A second, plain order to shut down means the same.
        now: bool,
    },
}

/// Why a command was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The supervisor is shutting down.
    ShuttingDown,
    /// The configuration has `fault_injection: deny`.
    InjectionDenied,
    /// The worker is not launched: there is nobody to signal or to break.
    NotRunning,
    /// No worker has this id.
    UnknownWorker,
}
