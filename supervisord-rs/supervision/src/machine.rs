//! The machine: (written by its owner)

use alloc::vec::Vec;
use core::time::Duration;

use crate::effect::Effect;
use crate::ending::Ending;
use crate::event::Event;
use crate::id::{FaultId, Generation, Incarnation, IncidentId, WorkerId};
use crate::spec::Spec;

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

/// What a new machine takes over from a supervisor that died.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    /// One for each worker that both knew.
    pub workers: Vec<InheritedWorker>,
    /// The death, if it was not a clean shutdown.
    pub death: Option<InheritedDeath>,
    /// The number of the last incident.
    pub last_incident: Option<IncidentId>,
}

/// What is known of one worker of the dead supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InheritedWorker {
    /// Who.
    pub worker: WorkerId,
    /// Its last generation; the next launch is one more.
    pub generation: Generation,
    /// Its restarts so far.
    pub restarts: u64,
    /// Attempts since it was last stable.
    pub attempt: u32,
    /// How long ago, at the start of this machine, its recent failures were (for its limit).
    pub failures_ago: Vec<Duration>,
    /// Whether a person had stopped it: then it stays down, whatever `autostart` says.
    pub stopped: bool,
}

/// The death of the predecessor: an incident that this machine opens first of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InheritedDeath {
    /// Who was running.
    pub running: Vec<Incarnation>,
    /// Whose doing, as far as known. It counts as a failure of that worker, so that backoff and quarantine apply.
    pub culprit: Option<Incarnation>,
    /// How the supervisor ended.
    pub ending: Ending,
    /// The fault ordered for the culprit, if any.
    pub injected: Option<FaultId>,
}

/// What can be seen of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// Where it is in its life.
    pub phase: Phase,
    /// Its present or last generation.
    pub generation: Generation,
    /// Launches after the first, over all supervisors.
    pub restarts: u64,
    /// Attempts since it was last stable.
    pub attempt: u32,
    /// When its failures within its limit's window were.
    pub failures: Vec<Duration>,
    /// Since when it is in this phase.
    pub since: Duration,
    /// When it is tried again (backoff, slow retry).
    pub retry_at: Option<Duration>,
    /// Whether a person stopped it.
    pub stopped: bool,
    /// How its last incarnation ended.
    pub last_ending: Option<Ending>,
    /// Its last incident.
    pub last_incident: Option<IncidentId>,
    /// Threads of it left behind.
    pub abandoned: u32,
    /// In phase idle: the dependencies it waits for.
    pub waits_for: Vec<WorkerId>,
}

/// The supervision machine.
#[derive(Debug)]
pub struct Machine {
    spec: Spec,
}

impl Machine {
    /// Creates it and starts every worker with `autostart`. Effects wait in [`poll_effect`](Self::poll_effect).
    #[must_use]
    pub fn new(spec: Spec, _inherited: Inherited) -> Self {
        Self { spec }
    }

    /// Takes one event at the time `now`; never blocks, never panics on any sequence of events.
    pub fn handle(&mut self, _now: Duration, _event: Event) {}

    /// When [`Event::Deadline`] is due: never, or later than the `now` of the last call of `handle`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        None
    }

    /// The next thing to do; call until `None` after each `handle`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        None
    }

    /// What it was told to keep running.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What can be seen of a worker; `None` when no worker has this id.
    #[must_use]
    pub fn worker(&self, _worker: WorkerId) -> Option<WorkerView> {
        None
    }

    /// Events about other than present incarnations, dropped so far.
    #[must_use]
    pub fn stale_events(&self) -> u64 {
        0
    }

    /// Whether an order to shut down stands.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        false
    }
}
