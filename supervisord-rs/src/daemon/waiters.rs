//! Clients that wait until their order is carried out, or has failed.

use supervision::{Phase, WorkerId, WorkerView};

use super::Daemon;
use crate::control::protocol::{Done, Failure};
use crate::control::request::Answer;

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

/// One client.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) workers: Vec<WorkerId>,
    pub(super) goal: Goal,
    pub(super) message: String,
    pub(super) answer: Answer<Done>,
}

/// All of them. Bounded by the number of connections.
#[derive(Debug, Default)]
pub(super) struct Waiters(Vec<Waiter>);

/// How far a worker is from a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Reached,
    OnTheWay,
    Failed,
}

impl Goal {
    fn progress(&self, worker: WorkerId, view: &WorkerView) -> Progress {
        match self {
            Self::Down => match view.phase {
                Phase::Idle | Phase::Quarantined | Phase::Finished => Progress::Reached,
                Phase::Launching
                | Phase::Starting
                | Phase::Running
                | Phase::Stopping
                | Phase::Killing
                | Phase::Backoff => Progress::OnTheWay,
            },
            Self::Up => Self::up(view),
            Self::Renewed(generations) => {
                let before = generations.get(worker.index()).copied().unwrap_or(0);
                if view.generation.0 > before { Self::up(view) } else { Progress::OnTheWay }
            }
        }
    }

    fn up(view: &WorkerView) -> Progress {
        match view.phase {
            Phase::Running | Phase::Finished => Progress::Reached,
            // It has failed to start, and is tried again: the client hears of it now.
            Phase::Backoff | Phase::Quarantined => Progress::Failed,
            Phase::Idle if view.stopped => Progress::Failed,
            Phase::Idle | Phase::Launching | Phase::Starting | Phase::Stopping | Phase::Killing => {
                Progress::OnTheWay
            }
        }
    }
}

impl Waiters {
    pub(super) fn add(&mut self, waiter: Waiter) {
        self.0.push(waiter);
    }
}

impl Daemon {
    /// Answers those whose goal is reached or out of reach; forgets those who went away.
    pub(super) fn answer_waiters(&mut self) {
        let mut waiting = Vec::new();
        for waiter in std::mem::take(&mut self.waiters.0) {
            if waiter.answer.is_closed() {
                continue;
            }
            let views: Vec<(WorkerId, WorkerView)> =
                waiter.workers.iter().filter_map(|&id| Some((id, self.machine.worker(id)?))).collect();
            let worst = views.iter().map(|(id, view)| waiter.goal.progress(*id, view)).max();
            match worst {
                Some(Progress::OnTheWay) => waiting.push(waiter),
                Some(Progress::Failed) => {
                    let failed = views
                        .iter()
                        .filter(|(id, view)| waiter.goal.progress(*id, view) == Progress::Failed)
                        .map(|(id, view)| self.why_down(*id, view));
                    let message = failed.collect::<Vec<_>>().join("; ");
                    let _ = waiter.answer.send(Err(Failure { error: "failed".into(), message }));
                }
                Some(Progress::Reached) | None => {
                    let workers = waiter.workers.iter().map(|&id| self.worker_status(id)).collect();
                    let _ = waiter.answer.send(Ok(Done { message: waiter.message, workers }));
                }
            }
        }
        self.waiters.0.append(&mut waiting);
    }

    fn why_down(&self, id: WorkerId, view: &WorkerView) -> String {
        let name = self.names.worker(id);
        let phase = crate::record::words::phase(view.phase);
        let ending = self.endings[id.index()].as_ref();
        let why = ending.map_or_else(String::new, |ending| {
            let message = ending.message.as_deref().unwrap_or(&ending.cause);
            format!(": {message}")
        });
        format!("{name} is in {phase}{why} (see `logs {name}` and `incidents`)")
    }
}
