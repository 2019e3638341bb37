//! One worker: where it is in its life, and all that the machine knows of it.

use alloc::vec::Vec;
use core::time::Duration;

use crate::ending::Ending;
use crate::id::{FaultId, Generation, IncidentId, WorkerId};
use crate::restart::Window;

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Not started, or stopped by hand, or waiting for what it depends on.
    Idle,
    /// A launch was ordered and is not answered yet.
    Launching,
    /// Launched, not running yet.
    Starting,
    /// It does its work.
    Running,
    /// It was asked to stop.
    Stopping,
    /// It was killed (or abandoned) and its end is not reported yet.
    Killing,
    /// It waits for its next attempt.
    Backoff,
    /// It failed too often: a person, or the slow retry, may try again.
    Quarantined,
    /// It ended and its policy does not bring it back.
    Finished,
}

impl Phase {
    /// Whether there is an incarnation now, or may be: from the order to launch until the end is
    /// reported.
    #[must_use]
    pub const fn is_live(self) -> bool {
        match self {
            Self::Launching | Self::Starting | Self::Running | Self::Stopping | Self::Killing => {
                true
            }
            Self::Idle | Self::Backoff | Self::Quarantined | Self::Finished => false,
        }
    }
}

/// Why the machine ends an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A person said so, or the shutdown.
    Requested,
    /// Its group is restarted.
    Collateral,
    /// Its group failed too often.
    GroupQuarantine,
    /// Its heartbeat stopped.
    Hang,
    /// It did not become ready in time.
    StartTimeout,
    /// Its liveness probe gave it up.
    Unhealthy,
}

/// Why a worker is in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quarantine {
    /// It failed more often than its own limit allows.
    Limit,
    /// Its policy names its ending as one after which another attempt is of no use.
    NeverOn,
    /// Its error says of itself that no restart mends it.
    PermanentError,
    /// Its group failed more often than the group's limit allows.
    Group,
}

/// All that the machine knows of one worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) phase: Phase,
    pub(crate) since: Duration,
    pub(crate) generation: Generation,
    pub(crate) restarts: u64,
    /// The last generation before this run: the launch after it is no restart.
    pub(crate) before: Generation,
    pub(crate) attempt: u32,
    pub(crate) failures: Window,
    pub(crate) retry_at: Option<Duration>,
    /// Whether it shall be up, now or as soon as it can be.
    pub(crate) wanted: bool,
    /// Whether a person stopped it.
    pub(crate) stopped: bool,
    /// Whether its next launch waits for its group.
    pub(crate) held: bool,
    /// Why it shall end. In launching, starting and running: an order that waits (for the launch,
    /// or for dependents).
    pub(crate) order: Option<StopReason>,
    /// Whether it was asked to stop and let the time pass.
    pub(crate) overdue: bool,
    /// Whether it was killed long ago and is still there.
    pub(crate) unkillable: bool,
    /// Whether its main process exited unasked, and what it left behind is being cleared away.
    pub(crate) exited: bool,
    /// Whether it is suspended.
    pub(crate) paused: bool,
    /// Whether its readiness probe says that it is not to be depended on.
    pub(crate) unready: bool,
    /// Whether it was scaled away: no worker waits for it.
    pub(crate) retired: bool,
    /// Whether `Confirm` waits for its answer.
    pub(crate) confirming: bool,
    /// Whether it said that it is ready before the launch was answered.
    pub(crate) said_ready: bool,
    /// Whether `ReadHeartbeat` waits for its answer.
    pub(crate) listening: bool,
    /// The last fault ordered for this incarnation.
    pub(crate) injected: Option<FaultId>,
    /// The fault that its next incarnation is to have.
    pub(crate) at_launch: Option<FaultId>,
    /// One for each injection of its specification.
    pub(crate) injections: Vec<Committed>,
    pub(crate) last_ending: Option<Ending>,
    pub(crate) last_incident: Option<IncidentId>,
    /// The incident in which its loss is not settled yet.
    pub(crate) open_incident: Option<IncidentId>,
    /// The last ones in which it was lost, oldest first: what is not on record of them is in its
    /// checkpoint.
    pub(crate) losses: Vec<IncidentId>,
    pub(crate) abandoned: u32,
    /// In phase idle: whose failure for good keeps it from starting.
    pub(crate) in_vain: Option<WorkerId>,
    /// In phase quarantined: why, as far as this supervisor knows.
    pub(crate) quarantine: Option<Quarantine>,
    /// In phase idle: whether it waits for one that does not come by itself as things stand.
    pub(crate) stranded: bool,
    /// The soft dependencies that it was launched without.
    pub(crate) without: Vec<WorkerId>,
}

/// Incidents of which a worker remembers its part until they are on record: one that is open, and
/// those before it that wait to be written.
pub(crate) const LOSSES: usize = 3;

/// How often an injection fell due, and how often it was committed, over all incarnations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Committed {
    pub(crate) draws: u64,
    pub(crate) times: u32,
}

impl Worker {
    /// One that has never been launched.
    pub(crate) fn new(injections: usize) -> Self {
        Self {
            phase: Phase::Idle,
            since: Duration::ZERO,
            generation: Generation(0),
            restarts: 0,
            before: Generation(0),
            attempt: 0,
            failures: Window::default(),
            retry_at: None,
            wanted: false,
            stopped: false,
            held: false,
            order: None,
            overdue: false,
            unkillable: false,
            exited: false,
            paused: false,
            unready: false,
            retired: false,
            confirming: false,
            said_ready: false,
            listening: false,
            injected: None,
            at_launch: None,
            injections: alloc::vec![Committed::default(); injections],
            last_ending: None,
            last_incident: None,
            open_incident: None,
            losses: Vec::new(),
            abandoned: 0,
            in_vain: None,
            quarantine: None,
            stranded: false,
            without: Vec::new(),
        }
    }

    /// It was lost in this incident, which is open.
    pub(crate) fn note_loss(&mut self, incident: IncidentId) {
        self.open_incident = Some(incident);
        self.losses.retain(|known| *known != incident);
        self.losses.push(incident);
        let excess = self.losses.len().saturating_sub(LOSSES);
        self.losses.drain(..excess);
    }

    /// Forgets what concerns one incarnation only.
    pub(crate) fn forget_incarnation(&mut self) {
        self.order = None;
        self.overdue = false;
        self.unkillable = false;
        self.exited = false;
        self.paused = false;
        self.unready = false;
        self.confirming = false;
        self.said_ready = false;
        self.listening = false;
        self.injected = None;
    }

    /// Whether it is up and nothing stands against its staying up.
    pub(crate) fn stays_up(&self) -> bool {
        self.order.is_none() && matches!(self.phase, Phase::Starting | Phase::Running)
    }

    /// Whether it lives, and is to end or ends.
    pub(crate) fn is_to_go(&self) -> bool {
        self.phase.is_live() && (self.order.is_some() || self.is_ending())
    }

    /// Whether it is on its way out and will go without a further order.
    pub(crate) fn is_ending(&self) -> bool {
        match self.phase {
            Phase::Stopping | Phase::Killing => true,
            Phase::Launching => self.order.is_some(),
            Phase::Idle
            | Phase::Starting
            | Phase::Running
            | Phase::Backoff
            | Phase::Quarantined
            | Phase::Finished => false,
        }
    }
}
