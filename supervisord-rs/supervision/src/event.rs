//! The inputs of the machine.

use alloc::vec::Vec;
use core::time::Duration;

use crate::ending::{Ending, LaunchFailure};
use crate::id::{DomainId, FaultId, GroupId, Incarnation, IncidentId, RequestId, WorkerId};
use crate::spec::{Dependency, DomainSpec, WorkerSpec};

/// Something happened. Events about incarnations other than the present one are dropped and
/// counted.
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
    /// Answer to `Launch` after `StopLaunch`: the launch had not begun, and nothing comes of it.
    NotBegun {
        /// Of whom.
        incarnation: Incarnation,
    },
    /// The worker says that it is ready. It is promoted only after `Confirm` was answered by
    /// `Confirmed`.
    Ready {
        /// Of whom.
        incarnation: Incarnation,
    },
    /// Answer to `Confirm`: every exit has been reaped, and this incarnation has not ended.
    Confirmed {
        /// Of whom.
        incarnation: Incarnation,
    },
    /// Its main process has exited, and something of its process tree is left. `Ended` follows when
    /// nothing is.
    Exited {
        /// Of whom.
        incarnation: Incarnation,
    },
    /// This incarnation ended, alone: nothing of it is left.
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
        culprit: Culprit,
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
    /// The same answer of a worker whose process another one has suspended: if it hangs, so does
    /// every worker in the process.
    Suspended {
        /// Of whom.
        incarnation: Incarnation,
        /// When the last beat was.
        last_beat: Duration,
    },
    /// Its readiness probe has changed its mind. A worker that has just become running counts as
    /// ready.
    Readiness {
        /// Of whom.
        incarnation: Incarnation,
        /// Whether it may be depended on.
        ready: bool,
    },
    /// Its liveness probe gave it up: it is stopped, and has failed.
    Unhealthy {
        /// Of whom.
        incarnation: Incarnation,
    },
    /// It asked for more time to start or to stop (`EXTEND_TIMEOUT_USEC`, sd_notify(3)).
    Extended {
        /// Of whom.
        incarnation: Incarnation,
        /// On the machine's clock; never sooner than it was.
        until: Duration,
    },
    /// A closed incident is on record, or given up: no successor has to close it again.
    Recorded {
        /// Which.
        incident: IncidentId,
    },
    /// There are more workers from now on. Ids of those that there are do not change.
    Extend(Extension),
    /// A person, or a program on behalf of one, wants something.
    Command {
        /// To be answered by `Reply`.
        request: RequestId,
        /// What.
        command: Command,
    },
    /// For so long the machine could hear no worker: its driver was stopped, or the whole computer
    /// stood still. Deadlines that judge a worker by missing signs move by that time, from this
    /// event on.
    TimeLost {
        /// How long.
        by: Duration,
    },
    /// Nothing happened but time.
    Deadline,
}

/// Whose doing the death of a fault domain was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Culprit {
    /// Nothing tells: each that was lost may have done it, and has failed.
    Unknown,
    /// A run of this worker: one that was lost, or an earlier one, by a thread that it has left
    /// behind. That is a failure of the worker and of no other.
    Run(Incarnation),
    /// None of the runs that this machine has had, as of a worker that is not in the specification
    /// any more: none of those that were lost has failed.
    Outsider,
}

impl From<Option<Incarnation>> for Culprit {
    fn from(run: Option<Incarnation>) -> Self {
        run.map_or(Self::Unknown, Self::Run)
    }
}

/// Workers that are added to a machine that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extension {
    /// Appended to those that there are; started if they have `autostart`.
    pub workers: Vec<WorkerSpec>,
    /// Appended likewise.
    pub domains: Vec<DomainSpec>,
    /// Members, old or new, that groups gain, at the end.
    pub members: Vec<(GroupId, WorkerId)>,
    /// Dependencies that workers gain.
    pub dependencies: Vec<(WorkerId, Dependency)>,
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
    /// Suspend these processes with all that they have started (SIGSTOP). Their heartbeats are not
    /// missed.
    Pause(Vec<WorkerId>),
    /// Continue these (SIGCONT), no matter who has suspended them. Skips threads among them, and
    /// those that are not up; refused where none is left.
    Resume(Vec<WorkerId>),
    /// Stop these without their dependents: they are no longer wanted, and no worker waits for
    /// them.
    Retire(Vec<WorkerId>),
    /// Send a signal to these processes. Skips threads among them, which have no process of their
    /// own, and those that are not up; refused where none is left.
    Signal {
        /// To whom.
        workers: Vec<WorkerId>,
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
    /// The worker is not launched: there is no process to signal or to break.
    NotRunning,
    /// A thread cannot be suspended without its process.
    CannotPause,
    /// The worker is suspended: a fault would strike much later, when it goes on.
    Paused,
    /// A thread cannot get a signal without its process.
    CannotSignal,
    /// No worker has this id.
    UnknownWorker,
}
