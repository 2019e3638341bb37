//! What a machine remembers of each worker in case it is not there any more.

use alloc::vec::Vec;
use core::time::Duration;

use crate::ending::Ending;
use crate::id::{FaultId, Generation, IncidentId, WorkerId};
use crate::incident::Loss;
use crate::machine::Machine;
use crate::timers::{Due, Timer};
use crate::worker::{Phase, StopReason};

/// All that is needed to go on with a worker where it stands. Small, and without references, so
/// that it can be kept in memory that survives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where it is in its life.
    pub phase: Phase,
    /// Its present or last generation.
    pub generation: Generation,
    /// Since when it is in this phase.
    pub since: Duration,
    /// When its phase ends by itself: the end of a grace period, the next attempt.
    pub due: Option<Duration>,
    /// Launches after the first.
    pub restarts: u64,
    /// Attempts since it was last stable.
    pub attempt: u32,
    /// When its failures within its limit's window were, oldest first.
    pub failures: Vec<Duration>,
    /// Why it is to end, if it is.
    pub order: Option<StopReason>,
    /// What else is true of it.
    pub marks: Marks,
    /// Threads of it left behind.
    pub abandoned: u32,
    /// How its last incarnation ended.
    pub last_ending: Option<Ending>,
    /// Its last incident.
    pub last_incident: Option<IncidentId>,
    /// The last fault ordered for this incarnation.
    pub injected: Option<FaultId>,
    /// One for each injection of its specification.
    pub injections: Vec<InjectionMemo>,
    /// Of the first in a group: when the failures within the group's window were, oldest first.
    pub group_failures: Vec<Duration>,
    /// What it has lost in incidents that are not on record, the oldest first.
    pub losses: Vec<OpenLoss>,
}

/// A worker's part in an incident that is open, or not written yet: all parts together are the
/// incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLoss {
    /// Which.
    pub incident: IncidentId,
    /// When it was opened.
    pub opened: Duration,
    /// How the culprit, or else the domain, ended.
    pub ending: Ending,
    /// How many launches have failed in this way, one after the other.
    pub count: u64,
    /// Its incarnation that was lost, and what has become of the worker; the number of the worker
    /// is the checkpoint's.
    pub loss: Loss,
    /// Whether it was its doing.
    pub is_culprit: bool,
    /// Whether the incident was the death of a supervisor.
    pub supervisor_died: bool,
    /// The fault ordered for the culprit, if any.
    pub injected: Option<FaultId>,
}

/// What is true of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and they come in all combinations"
)]
pub struct Marks {
    /// It shall be up.
    pub wanted: bool,
    /// A person stopped it.
    pub stopped: bool,
    /// Its next launch waits for its group.
    pub held: bool,
    /// It was asked to stop and let the time pass.
    pub overdue: bool,
    /// Its main process exited unasked, and what it left behind is being cleared away.
    pub exited: bool,
    /// It is suspended.
    pub paused: bool,
    /// Its readiness probe says that it is not to be depended on.
    pub unready: bool,
    /// It was scaled away.
    pub retired: bool,
}

/// How far an injection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InjectionMemo {
    /// How often it fell due.
    pub draws: u64,
    /// How often it was committed.
    pub times: u32,
    /// When it is due next.
    pub due: Option<Duration>,
}

impl Machine {
    /// What a successor would have to know of a worker now; `None` when no worker has this id.
    #[must_use]
    pub fn checkpoint(&self, worker: WorkerId) -> Option<Checkpoint> {
        let state = self.workers.get(worker.index())?;
        let limit = &self.spec.workers[worker.index()].restart.limit;
        let due = |position| self.timers.at(Timer::Worker(worker, Due::Injection(position)));
        let injections = state.injections.iter().enumerate();
        Some(Checkpoint {
            phase: state.phase,
            generation: state.generation,
            since: state.since,
            due: self.timers.at(Timer::Worker(worker, Due::Phase)),
            restarts: state.restarts,
            attempt: state.attempt,
            failures: state.failures.recent(self.now, limit),
            order: state.order,
            marks: Marks {
                wanted: state.wanted,
                stopped: state.stopped,
                held: state.held,
                overdue: state.overdue,
                exited: state.exited,
                paused: state.paused,
                unready: state.unready,
                retired: state.retired,
            },
            abandoned: state.abandoned,
            last_ending: state.last_ending,
            last_incident: state.last_incident,
            injected: state.injected,
            injections: injections
                .map(|(position, done)| InjectionMemo {
                    draws: done.draws,
                    times: done.times,
                    due: due(position),
                })
                .collect(),
            group_failures: self.group_failures_of(worker),
            losses: self.losses_of(worker),
        })
    }
}
