//! From one supervisor to the next: how a machine goes on from what another remembered of each
//! worker (`checkpoint`). A supervisor that dies loses nothing but what died with it.
//!
//! Times are those of the clock that both machines share: the daemon gives them the time since the
//! machine booted.

mod unsettled;

use alloc::vec::Vec;
use core::time::Duration;

use crate::checkpoint::Checkpoint;
use crate::dependencies::ids;
use crate::effect::Effect;
use crate::ending::{Cause, Ending};
use crate::event::Culprit;
use crate::id::{DomainId, FaultId, Generation, Incarnation, IncidentId, WorkerId};
use crate::incident::Outcome;
use crate::losses::Failure;
use crate::machine::Machine;
use crate::restart::Window;
use crate::spec::Readiness;
use crate::timers::{Due, Timer};
use crate::worker::{Committed, Phase};

/// What a new machine takes over from the supervisor before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The present moment.
    pub now: Duration,
    /// How long there was no supervisor until then: that time counts against no worker.
    pub unheard: Duration,
    /// One for each worker that both know.
    pub workers: Vec<RecoveredWorker>,
    /// The death, if it was not a clean shutdown, nor an upgrade.
    pub death: Option<RecoveredDeath>,
    /// The number of the last incident.
    pub last_incident: Option<IncidentId>,
    /// [Stale events](Machine::stale_events) so far.
    pub stale_events: u64,
}

/// What is known of one worker of the predecessor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredWorker {
    /// Who.
    pub worker: WorkerId,
    /// What the predecessor remembered.
    pub checkpoint: Checkpoint,
    /// What became of it.
    pub fate: Fate,
    /// The last incident that a run of it did which was over, by something that it had left behind,
    /// and that run: such a run has no part in the incident.
    pub blamed: Option<(IncidentId, Generation)>,
}

/// What became of a worker when its supervisor was no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The supervisor had stopped everything: what was counted is forgotten, and generations go on.
    /// It is started as the specification says, unless it is remembered that a person stopped it.
    Closed,
    /// It continues where it stood: its incarnation was adopted, or it had none. If it died
    /// meanwhile, an event reports its ending, as always.
    Resumed,
    /// Its incarnation, if it had one, died with the supervisor; so did a launch that was not
    /// answered.
    Lost,
}

/// The death of the predecessor: an incident that this machine opens first of all. Those with the
/// fate [`Lost`](Fate::Lost) that had an incarnation were lost in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredDeath {
    /// Whose doing, as far as known. It counts as a failure of that worker, so that backoff and
    /// quarantine apply.
    pub culprit: Culprit,
    /// How the supervisor ended.
    pub ending: Ending,
    /// The fault ordered for the culprit, if any.
    pub injected: Option<FaultId>,
}

impl Machine {
    /// Takes over what the predecessor left, and wants up what is to be up.
    pub(crate) fn inherit(&mut self, inherited: Recovered) {
        self.now = inherited.now;
        self.lapses.add(self.now, inherited.unheard);
        for worker in ids(self.workers.len()) {
            let state = &mut self.workers[worker.index()];
            state.since = self.now;
            state.wanted = self.spec.workers[worker.index()].autostart;
        }
        let known = |past: &&RecoveredWorker| past.worker.index() < self.spec.workers.len();
        let known: Vec<&RecoveredWorker> = inherited.workers.iter().filter(known).collect();
        for past in &known {
            self.recall(past, inherited.unheard);
        }
        self.reopen(&known);
        let lost: Vec<Incarnation> = known
            .iter()
            .filter(|past| past.fate == Fate::Lost && had_incarnation(past.checkpoint.phase))
            .map(|past| Incarnation { worker: past.worker, generation: past.checkpoint.generation })
            .collect();
        for worker in ids(self.workers.len()) {
            let state = &self.workers[worker.index()];
            if state.wanted && state.phase == Phase::Idle {
                self.launches.insert(worker);
            }
        }
        if let Some(death) = inherited.death {
            self.on_recovered_death(&death, &lost);
        }
        for worker in ids(self.workers.len()) {
            self.release_group(worker);
        }
    }

    /// What is remembered of one worker becomes true again, as far as it still is.
    fn recall(&mut self, past: &RecoveredWorker, unheard: Duration) {
        let RecoveredWorker { worker, checkpoint, fate, blamed: _ } = past;
        let worker = *worker;
        let autostart = self.spec.workers[worker.index()].autostart;
        let state = &mut self.workers[worker.index()];
        state.generation = checkpoint.generation;
        state.stopped = checkpoint.marks.stopped;
        state.last_incident = checkpoint.last_incident;
        if *fate == Fate::Closed {
            state.before = checkpoint.generation;
            state.wanted = autostart && !state.stopped;
            return;
        }
        state.restarts = checkpoint.restarts;
        if checkpoint.phase == Phase::Launching {
            // Nothing has run: the launch is repeated, and was counted.
            state.before = checkpoint.generation;
        }
        state.attempt = checkpoint.attempt;
        state.failures = Window::of(&checkpoint.failures);
        for (done, past) in state.injections.iter_mut().zip(&checkpoint.injections) {
            *done = Committed { draws: past.draws, times: past.times };
        }
        self.recall_group(worker, &checkpoint.group_failures);
        if *fate == Fate::Closed {
            return;
        }
        let state = &mut self.workers[worker.index()];
        state.wanted = checkpoint.marks.wanted;
        state.held = checkpoint.marks.held;
        state.retired = checkpoint.marks.retired;
        state.last_ending = checkpoint.last_ending;
        if *fate == Fate::Resumed {
            self.resume(worker, checkpoint, unheard);
        }
    }

    fn resume(&mut self, worker: WorkerId, checkpoint: &Checkpoint, unheard: Duration) {
        let state = &mut self.workers[worker.index()];
        state.abandoned = checkpoint.abandoned;
        // The machine repeats a launch without an answer.
        state.phase =
            if checkpoint.phase == Phase::Launching { Phase::Idle } else { checkpoint.phase };
        state.since = checkpoint.since.min(self.now);
        if state.phase.is_live() {
            state.order = checkpoint.order;
            state.overdue = checkpoint.marks.overdue;
            state.exited = checkpoint.marks.exited;
            state.paused = checkpoint.marks.paused;
            state.unready = checkpoint.marks.unready;
            state.injected = checkpoint.injected;
        }
        let phase = state.phase;
        self.count_coming_up(Phase::Idle, phase);
        let phase_timer = Timer::Worker(worker, Due::Phase);
        if let Some(due) = checkpoint.due.filter(|_| checkpoint.phase != Phase::Launching) {
            let is_judgement = matches!(phase, Phase::Starting | Phase::Stopping);
            let later = if is_judgement { unheard } else { Duration::ZERO };
            self.set_timer(phase_timer, due.saturating_add(later));
        }
        let incarnation = self.incarnation(worker);
        match phase {
            Phase::Starting => {
                let readiness = self.spec.workers[worker.index()].readiness;
                if matches!(readiness, Readiness::After(_)) && checkpoint.due.is_none() {
                    self.confirm(worker);
                }
                self.obey_order(worker);
            }
            Phase::Running => self.resume_running(worker, checkpoint),
            // It is unknown whether the order was carried out: the machine gives it again.
            Phase::Stopping => self.effects.push_back(Effect::Stop { incarnation }),
            Phase::Killing => {
                self.effects.push_back(self.way_to_end(worker));
                if checkpoint.due.is_none() {
                    self.set_timer(phase_timer, self.now);
                }
            }
            // Its end was written down and not what followed: it is tried again at once.
            Phase::Backoff if checkpoint.due.is_none() => {
                self.workers[worker.index()].phase = Phase::Idle;
            }
            Phase::Backoff | Phase::Quarantined => {
                self.workers[worker.index()].retry_at = checkpoint.due
            }
            Phase::Idle | Phase::Launching | Phase::Finished => {}
        }
    }

    /// Its schedules go on where they were; its heartbeat has its whole time again.
    fn resume_running(&mut self, worker: WorkerId, checkpoint: &Checkpoint) {
        if let Some(heartbeat) = self.heartbeat(worker) {
            let at = self.now.saturating_add(heartbeat);
            self.set_timer(Timer::Worker(worker, Due::Heartbeat), at);
        }
        if self.spec.fault_injection {
            let known = self.spec.workers[worker.index()].injections.len();
            for (position, past) in checkpoint.injections.iter().enumerate().take(known) {
                if let Some(due) = past.due {
                    self.set_timer(Timer::Worker(worker, Due::Injection(position)), due);
                }
            }
        }
        self.obey_order(worker);
    }

    fn obey_order(&mut self, worker: WorkerId) {
        if self.workers[worker.index()].order.is_some() {
            self.stops.insert(worker);
        }
    }

    /// The predecessor died: the first incident of all. Its culprit has failed; the others are
    /// launched as they were.
    fn on_recovered_death(&mut self, death: &RecoveredDeath, lost: &[Incarnation]) {
        let blame = self.blame(death.culprit, lost);
        let culprit = blame.run();
        let what = Failure {
            domain: DomainId(0),
            supervisor_died: true,
            culprit,
            ending: death.ending,
            injected: death.injected,
        };
        self.open_incident(what, lost);
        for &lost in lost {
            // Without one that is known, the others are launched as they were.
            let is_innocent = blame.spares(lost) || blame == Culprit::Unknown;
            let cause = if is_innocent { Cause::DomainLost } else { death.ending.cause };
            let ending = Ending { cause, ..death.ending };
            let state = &mut self.workers[lost.worker.index()];
            state.last_ending = Some(ending);
            if !state.wanted {
                self.settle_loss(lost.worker, Outcome::Down);
            } else if blame != Culprit::Unknown && blame.counts_for(lost.worker) {
                self.launches.remove(&lost.worker);
                self.follow(lost.worker, ending, true);
            }
        }
    }
}

/// Whether something ran in this phase. A launching worker had no answer, and left no sign of
/// having run: otherwise the reader of the signs calls it starting.
const fn had_incarnation(phase: Phase) -> bool {
    match phase {
        Phase::Starting | Phase::Running | Phase::Stopping | Phase::Killing => true,
        Phase::Idle | Phase::Launching | Phase::Backoff | Phase::Quarantined | Phase::Finished => {
            false
        }
    }
}
