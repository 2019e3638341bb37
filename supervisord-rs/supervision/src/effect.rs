//! What the machine wants done.

use core::time::Duration;

use crate::ending::Ending;
use crate::event::Refusal;
use crate::id::{DomainId, FaultId, GroupId, Incarnation, IncidentId, RequestId, WorkerId};
use crate::incident::Incident;
use crate::worker::Phase;

/// Something to do, in the order given. Drivers answer with events, never by calling back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Launch it. Answered once, by `Launched` or `LaunchFailed`, sooner or later: see `Withdraw`.
    /// A cell that is not up is brought up by this.
    Launch {
        /// Whom.
        incarnation: Incarnation,
    },
    /// The launch takes too long: answer it now, by `LaunchFailed` unless it has come through. What
    /// may come of it later is killed before it does anything.
    Withdraw {
        /// Whose.
        incarnation: Incarnation,
    },
    /// Whom you launch is to stop. Where the launch has not begun, drop it and answer `NotBegun`;
    /// otherwise go on, and answer as ever. Given again and again perhaps.
    StopLaunch {
        /// Whose.
        incarnation: Incarnation,
    },
    /// Reap every exit, then say whether this one still lives. Answered by `Confirmed`, or by its
    /// ending.
    Confirm {
        /// Whom.
        incarnation: Incarnation,
    },
    /// Ask it to stop: its stop signal, or the stop order on its board.
    Stop {
        /// Whom.
        incarnation: Incarnation,
    },
    /// Kill the process. Never given for a thread.
    Kill {
        /// Whom.
        incarnation: Incarnation,
    },
    /// Forget this thread, so that nothing it says counts any more. Answered by `Ended` with the
    /// status `Abandoned`; where its domain has to end whole, by `DomainEnded`, with this one as
    /// the culprit.
    Abandon {
        /// Whom.
        incarnation: Incarnation,
    },
    /// End the whole fault domain: kill the cell; for the supervisor's own domain, end the
    /// supervisor by SIGABRT.
    Recycle {
        /// Which.
        domain: DomainId,
        /// Because of whom.
        culprit: Incarnation,
    },
    /// Say when it last gave a sign of life. Answered by `Heartbeat`.
    ReadHeartbeat {
        /// Whom.
        incarnation: Incarnation,
    },
    /// Commit this fault in it.
    Inject {
        /// In whom.
        incarnation: Incarnation,
        /// Which.
        fault: FaultId,
    },
    /// Send it a signal.
    Signal {
        /// To whom.
        incarnation: Incarnation,
        /// Which.
        signal: i32,
    },
    /// Suspend its processes.
    Pause {
        /// Whose.
        incarnation: Incarnation,
    },
    /// Let them go on.
    Resume {
        /// Whose.
        incarnation: Incarnation,
    },
    /// It was killed a while ago and something of it is still there: say what, with its state.
    ReportRemains {
        /// Of whom.
        incarnation: Incarnation,
    },
    /// For the record: a phase changed.
    Transition(Transition),
    /// For the record: something failed. Look now at what is left; the last outputs and counters
    /// are still there.
    IncidentOpened(Incident),
    /// For the record: everyone lost is back, or will not come back by itself.
    IncidentClosed(Incident),
    /// For the record: a launch failed in the very way in which the one before it did. It is part
    /// of the incident that is open for that.
    IncidentAgain {
        /// Which incident.
        incident: IncidentId,
        /// Whose launch.
        incarnation: Incarnation,
        /// How many launches have failed in this way by now.
        count: u64,
    },
    /// For the record: a worker that is to be up cannot start, since one that it depends on has
    /// failed for good.
    InVain {
        /// Who.
        worker: WorkerId,
        /// Who has failed.
        on: WorkerId,
    },
    /// For the record: a worker is launched without a soft dependency, which does not come by
    /// itself as things stand.
    StartsWithout {
        /// Who.
        worker: WorkerId,
        /// Without whom.
        on: WorkerId,
    },
    /// For the record: the machine gives up, and stops everything.
    GivesUp(GivingUp),
    /// Answer to a command.
    Reply {
        /// Which.
        request: RequestId,
        /// Accepted or not. Acceptance says that the order stands, not that it is carried out.
        result: Result<(), Refusal>,
    },
    /// Everything has stopped: end the supervisor. The last effect there is.
    Exit {
        /// False when a group escalated, or a critical worker failed: the supervisor gave up.
        orderly: bool,
        /// How the critical worker ended because of which the supervisor ends.
        critical: Option<Ending>,
    },
}

/// A change of phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Of whom.
    pub incarnation: Incarnation,
    /// From.
    pub from: Phase,
    /// To.
    pub to: Phase,
    /// How it ended, where the change is an ending.
    pub ending: Option<Ending>,
    /// For `to == Backoff`, and for quarantine with slow retry: when it is tried again, on the
    /// machine's clock.
    pub retry_at: Option<Duration>,
}

/// Why the machine stops everything without an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivingUp {
    /// A critical worker has ended for good.
    Critical {
        /// Who.
        worker: WorkerId,
        /// How.
        ending: Option<Ending>,
    },
    /// A critical worker can never start.
    InVain {
        /// Who.
        worker: WorkerId,
        /// The dependency that has failed for good.
        on: WorkerId,
        /// How that one ended.
        ending: Option<Ending>,
    },
    /// A group with `escalate` has failed more often than its limit allows.
    Group(GroupId),
}

impl GivingUp {
    /// Whether the end is no failure.
    pub(crate) fn is_orderly(self) -> bool {
        match self {
            Self::Critical { ending, .. } => {
                ending.is_some_and(|ending| !ending.cause.is_failure())
            }
            Self::InVain { .. } | Self::Group(_) => false,
        }
    }

    /// The ending that the exit status tells of.
    pub(crate) fn ending(self) -> Option<Ending> {
        match self {
            Self::Critical { ending, .. } | Self::InVain { ending, .. } => ending,
            Self::Group(_) => None,
        }
    }
}
