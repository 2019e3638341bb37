//! Clients that wait until their order is carried out, has failed, or is void because a later one
//! says otherwise. Every wait ends: at the latest when its time is over.

use std::time::{Duration, Instant};

use supervision::{Phase, WorkerId, WorkerView};

use super::Daemon;
use crate::control::protocol::{Done, Failure, WAIT_DEFAULT};
use crate::control::request::Answer;
use crate::record::words;

/// What a client waits for.
#[derive(Debug)]
pub(super) enum Goal {
    /// Every worker runs, or has finished well.
    Up,
    /// Every worker is down.
    Down,
    /// Every worker runs, as a later generation than this (by worker).
    Renewed(Vec<u64>),
}

/// What must hold before a client is answered.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) workers: Vec<WorkerId>,
    pub(super) goal: Goal,
    /// How long at most.
    pub(super) limit: Duration,
}

/// One client.
#[derive(Debug)]
pub(super) struct Waiter {
    wait: Wait,
    until: Instant,
    message: String,
    answer: Answer<Done>,
}

/// All of them. Bounded by the number of connections.
#[derive(Debug, Default)]
pub(super) struct Waiters(Vec<Waiter>);

/// How far a worker is from a goal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Reached,
    OnTheWay,
    /// A later order wants something else; which.
    Superseded(&'static str),
    /// It will not get there by itself; why, where its phase does not tell.
    Failed(Option<String>),
}

/// How long a client that says nothing waits at most.
pub(super) fn limit(timeout_ms: Option<u64>) -> Duration {
    timeout_ms.map_or(WAIT_DEFAULT, Duration::from_millis)
}

impl Waiters {
    pub(super) fn add(&mut self, wait: Wait, message: String, answer: Answer<Done>) {
        let until = Instant::now() + wait.limit.min(Duration::from_secs(u32::MAX.into()));
        self.0.push(Waiter { wait, until, message, answer });
    }

    /// When the first of them has waited long enough.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.iter().map(|waiter| waiter.until).min()
    }
}

impl Daemon {
    /// Answers those whose goal is reached or out of reach, and whose time is over; forgets those
    /// who went away.
    pub(super) fn answer_waiters(&mut self) {
        let now = Instant::now();
        let mut waiting = Vec::new();
        for waiter in std::mem::take(&mut self.waiters.0) {
            if waiter.answer.is_closed() {
                continue;
            }
            match self.outcome(&waiter) {
                None if waiter.until > now => waiting.push(waiter),
                None => {
                    let limit = waiter.wait.limit;
                    let message =
                        format!("no outcome within {limit:?}; the order stands (see `status`)");
                    let _ = waiter.answer.send(Err(Failure { error: "timed-out".into(), message }));
                }
                Some(Ok(())) => {
                    let workers =
                        waiter.wait.workers.iter().map(|&id| self.worker_status(id)).collect();
                    let _ = waiter.answer.send(Ok(Done {
                        message: waiter.message,
                        workers,
                        is_silent: false,
                    }));
                }
                Some(Err(failure)) => drop(waiter.answer.send(Err(failure))),
            }
        }
        self.waiters.0.append(&mut waiting);
    }

    /// What has become of an order; `None`: nothing yet.
    fn outcome(&self, waiter: &Waiter) -> Option<Result<(), Failure>> {
        let each = waiter.wait.workers.iter().filter_map(|&id| {
            let view = self.machine.worker(id)?;
            Some((id, self.progress(&waiter.wait.goal, id, &view), view))
        });
        let each: Vec<(WorkerId, Progress, WorkerView)> = each.collect();
        let failed = each.iter().filter_map(|(id, progress, view)| match progress {
            Progress::Failed(Some(why)) => Some(format!("{} {why}", self.names.worker(*id))),
            Progress::Failed(None) => Some(self.why_down(*id, view)),
            Progress::Reached | Progress::OnTheWay | Progress::Superseded(_) => None,
        });
        let failed: Vec<String> = failed.collect();
        if !failed.is_empty() {
            return Some(Err(Failure { error: "failed".into(), message: failed.join("; ") }));
        }
        let superseded = each.iter().find_map(|(id, progress, _)| match progress {
            Progress::Superseded(by) => Some((*id, *by)),
            Progress::Reached | Progress::OnTheWay | Progress::Failed(_) => None,
        });
        if let Some((id, by)) = superseded {
            let message =
                format!("superseded: {} was told to {by} meanwhile", self.names.worker(id));
            return Some(Err(Failure { error: "superseded".into(), message }));
        }
        let is_reached = each.iter().all(|(_, progress, _)| *progress == Progress::Reached);
        is_reached.then_some(Ok(()))
    }

    fn progress(&self, goal: &Goal, worker: WorkerId, view: &WorkerView) -> Progress {
        let is_old = |generations: &[u64]| {
            view.generation.0 <= generations.get(worker.index()).copied().unwrap_or(0)
        };
        match goal {
            Goal::Down => self.down(view),
            Goal::Renewed(generations) if is_old(generations) => self.ending(view),
            Goal::Up | Goal::Renewed(_) => self.up(view),
        }
    }

    fn down(&self, view: &WorkerView) -> Progress {
        match view.phase {
            Phase::Idle | Phase::Quarantined | Phase::Finished if view.stopped => Progress::Reached,
            // The last command wins: it is to be up again.
            _ if !view.stopped => Progress::Superseded("start"),
            Phase::Idle
            | Phase::Launching
            | Phase::Starting
            | Phase::Running
            | Phase::Stopping
            | Phase::Killing
            | Phase::Backoff
            | Phase::Quarantined
            | Phase::Finished => Progress::OnTheWay,
        }
    }

    /// On the way from the incarnation that is to end to the next one.
    fn ending(&self, view: &WorkerView) -> Progress {
        let is_up = matches!(view.phase, Phase::Launching | Phase::Starting | Phase::Running);
        match view.phase {
            _ if self.machine.is_shutting_down() || view.stopped => Progress::Superseded("stop"),
            // Its order to end was withdrawn before it was carried out.
            _ if is_up && view.order.is_none() => Progress::Superseded("start"),
            Phase::Quarantined | Phase::Finished => Progress::Failed(None),
            Phase::Idle => self.waiting(view),
            Phase::Launching
            | Phase::Starting
            | Phase::Running
            | Phase::Stopping
            | Phase::Killing
            | Phase::Backoff => Progress::OnTheWay,
        }
    }

    fn up(&self, view: &WorkerView) -> Progress {
        match view.phase {
            _ if view.stopped => Progress::Superseded("stop"),
            Phase::Running | Phase::Finished => Progress::Reached,
            // It has failed to start, and is tried again: the client hears of it now.
            Phase::Backoff | Phase::Quarantined => Progress::Failed(None),
            _ if self.machine.is_shutting_down() => Progress::Superseded("stop"),
            Phase::Idle => self.waiting(view),
            Phase::Launching | Phase::Starting | Phase::Stopping | Phase::Killing => {
                Progress::OnTheWay
            }
        }
    }

    /// It waits for its dependencies: in vain where one of them will not come by itself.
    fn waiting(&self, view: &WorkerView) -> Progress {
        let is_down = |phase: Phase, is_stopped: bool| match phase {
            Phase::Quarantined | Phase::Finished => true,
            Phase::Idle => is_stopped,
            Phase::Launching
            | Phase::Starting
            | Phase::Running
            | Phase::Stopping
            | Phase::Killing
            | Phase::Backoff => false,
        };
        let in_vain = view.waits_for.iter().find_map(|&on| {
            let view = self.machine.worker(on)?;
            is_down(view.phase, view.stopped).then(|| {
                let (name, phase) = (self.names.worker(on), words::phase(view.phase));
                format!("waits for {name}, which is {phase} (see `status {name}`)")
            })
        });
        in_vain.map_or(Progress::OnTheWay, |why| Progress::Failed(Some(why)))
    }

    fn why_down(&self, id: WorkerId, view: &WorkerView) -> String {
        let name = self.names.worker(id);
        let phase = words::phase(view.phase);
        let ending = self.endings[id.index()].as_ref();
        let why = ending.map_or_else(String::new, |ending| {
            let message = ending.message.as_deref().unwrap_or(&ending.cause);
            format!(": {message}")
        });
        format!("{name} is in {phase}{why} (see `logs {name}` and `incidents`)")
    }
}
