//! What can be seen of a worker from outside, at any moment.

use alloc::vec::Vec;
use core::time::Duration;

use crate::ending::Ending;
use crate::id::{Generation, IncidentId, WorkerId};
use crate::machine::Machine;
use crate::worker::{Phase, Quarantine, StopReason};

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
    /// Why its present incarnation shall end, if it shall.
    pub order: Option<StopReason>,
    /// How its last incarnation ended.
    pub last_ending: Option<Ending>,
    /// Its last incident.
    pub last_incident: Option<IncidentId>,
    /// Threads of it left behind.
    pub abandoned: u32,
    /// Whether it is suspended.
    pub paused: bool,
    /// Whether its readiness probe lets others depend on it; true where there is none.
    pub ready: bool,
    /// Whether it was scaled away.
    pub retired: bool,
    /// In phase idle: the dependencies, and the earlier members of its group, that it waits for.
    pub waits_for: Vec<WorkerId>,
    /// Whether it shall be up, now or as soon as it can be.
    pub wanted: bool,
    /// In phase idle: whose failure for good keeps it from starting.
    pub in_vain: Option<WorkerId>,
    /// In phase quarantined: why. Not known of a predecessor's decision.
    pub quarantine: Option<Quarantine>,
    /// While it is up: the soft dependencies that it was launched without.
    pub without: Vec<WorkerId>,
}

impl Machine {
    /// What can be seen of a worker; `None` when no worker has this id.
    #[must_use]
    pub fn worker(&self, worker: WorkerId) -> Option<WorkerView> {
        let state = self.workers.get(worker.index())?;
        let waits = state.phase == Phase::Idle && state.wanted;
        Some(WorkerView {
            phase: state.phase,
            generation: state.generation,
            restarts: state.restarts,
            attempt: state.attempt,
            failures: state
                .failures
                .recent(self.now, &self.spec.workers[worker.index()].restart.limit),
            since: state.since,
            retry_at: state.retry_at,
            stopped: state.stopped,
            order: state.order,
            last_ending: state.last_ending,
            last_incident: state.last_incident,
            abandoned: state.abandoned,
            paused: state.paused,
            ready: !state.unready,
            retired: state.retired,
            waits_for: if waits { self.awaited(worker) } else { Vec::new() },
            wanted: state.wanted,
            in_vain: state.in_vain.filter(|_| waits),
            quarantine: state.quarantine.filter(|_| state.phase == Phase::Quarantined),
            without: if state.phase.is_live() { state.without.clone() } else { Vec::new() },
        })
    }

    /// Those that are up, need one of these up, and go down with it.
    #[must_use]
    pub fn leaning_on(&self, workers: &[WorkerId]) -> Vec<WorkerId> {
        let all = self.with_leaning(workers).into_iter();
        all.filter(|other| !workers.contains(other) && self.workers[other.index()].phase.is_live())
            .collect()
    }

    fn awaited(&self, worker: WorkerId) -> Vec<WorkerId> {
        let mut awaited: Vec<WorkerId> = self.unmet(worker).collect();
        awaited.extend(
            self.earlier_coming(worker)
                .filter(|other| !awaited.contains(other))
                .collect::<Vec<_>>(),
        );
        awaited
    }
}
