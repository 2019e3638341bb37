//! `status --wait`: until workers are in a phase.

use std::io;
use std::time::{Duration, Instant};

use super::waits::{HAND_OVER, PAUSE};
use crate::control::client::{Client, ClientError};
use crate::control::protocol::WorkerStatus;
use crate::waiting::until;

/// The phase of a supervisor that stops everything.
pub(super) const STOPPING: &str = "stopping";

/// The phases that can be waited for, and the two that a finished worker can have ended in.
pub(super) const PHASES: [&str; 11] = [
    "idle",
    "launching",
    "starting",
    "running",
    "stopping",
    "killing",
    "backoff",
    "quarantined",
    "finished",
    "succeeded",
    "failed",
];

/// What is waited for.
pub(super) struct Goal<'a> {
    /// One of [`PHASES`].
    pub(super) phase: &'a str,
    /// Whether the user named the workers: each must get there then.
    pub(super) is_named: bool,
    /// Which workers.
    pub(super) is_meant: &'a dyn Fn(&WorkerStatus) -> bool,
}

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of them are there; or there is nothing to wait for, which `status` says.
    Reached,
    /// The time is over; those that are not there.
    TimedOut(Vec<String>),
    /// These do not come there by themselves.
    InVain(Vec<Lost>),
    /// The supervisor has ended in order, and no other one follows it; those that were not there.
    Ended(Vec<String>),
}

/// One that does not come there by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) name: String,
    /// It waits for another one, so that an order to start does not help.
    pub(super) is_blocked: bool,
}

/// Waits until all that are meant are there, also for a supervisor that does not answer yet, and
/// for the successor of one that has died.
pub(super) fn wait(client: &Client, goal: &Goal<'_>, limit: Duration) -> Outcome {
    let mut missing = Vec::new();
    let mut end = End::default();
    let outcome = until(limit, PAUSE, || {
        let status = match client.status() {
            Ok(status) => status,
            Err(error) if end.is_between_two(&error) => {
                return end.is_over().then(|| Outcome::Ended(std::mem::take(&mut missing)));
            }
            Err(_) => return Some(Outcome::Reached),
        };
        end.is_there(status.supervisor.phase == STOPPING);
        let meant = status.workers.iter().filter(|worker| (goal.is_meant)(worker));
        let elsewhere: Vec<&WorkerStatus> =
            meant.filter(|worker| !goal.is_reached(worker)).collect();
        missing = elsewhere.iter().map(|worker| worker.name.clone()).collect();
        if elsewhere.is_empty() {
            return Some(Outcome::Reached);
        }
        // Without names, what is on its way may change what the others wait for.
        if !goal.is_named && elsewhere.iter().any(|worker| is_on_its_way(worker)) {
            return None;
        }
        let lost: Vec<Lost> = elsewhere.into_iter().filter(|it| is_at_rest(it)).map(lost).collect();
        (!lost.is_empty()).then_some(Outcome::InVain(lost))
    });
    outcome.unwrap_or(Outcome::TimedOut(missing))
}

impl Goal<'_> {
    /// Whether it is there. Without names, to run is asked only of those that are to run.
    fn is_reached(&self, worker: &WorkerStatus) -> bool {
        let is_there = match self.phase {
            "succeeded" => worker.succeeded == Some(true),
            "failed" => worker.succeeded == Some(false),
            phase => worker.phase == phase,
        };
        is_there || !self.is_named && self.phase == "running" && is_fine(worker, false)
    }
}

/// What is known of the end of a supervisor that has answered.
#[derive(Default)]
struct End {
    has_answered: bool,
    is_stopping: bool,
    /// Since when it has had no socket: one that ends in order removes it, one that dies leaves it.
    since: Option<Instant>,
}

impl End {
    fn is_there(&mut self, is_stopping: bool) {
        *self = Self { has_answered: true, is_stopping, since: None };
    }

    /// Whether none answers now, and another one may.
    fn is_between_two(&mut self, error: &ClientError) -> bool {
        match error {
            ClientError::NoSupervisor { source, .. } => {
                let is_removed = source.kind() == io::ErrorKind::NotFound;
                let since = self.since.unwrap_or_else(Instant::now);
                self.since = (is_removed && self.has_answered).then_some(since);
                true
            }
            ClientError::BrokenOff(_) => true,
            ClientError::Failed(failure) if failure.error == "shutting-down" => {
                self.has_answered = true;
                true
            }
            ClientError::Failed(_)
            | ClientError::Busy { .. }
            | ClientError::NotPermitted { .. }
            | ClientError::TimedOut(_)
            | ClientError::Protocol(_) => false,
        }
    }

    /// Whether it has ended in order. One that has handed over has a successor soon.
    fn is_over(&self) -> bool {
        self.since.is_some_and(|since| self.is_stopping || since.elapsed() >= HAND_OVER)
    }
}

fn lost(worker: &WorkerStatus) -> Lost {
    Lost { name: worker.name.clone(), is_blocked: worker.blocked }
}

fn is_on_its_way(worker: &WorkerStatus) -> bool {
    let is_moving = ["launching", "starting", "stopping", "killing"].contains(&&*worker.phase);
    is_moving || worker.phase == "idle" && worker.wanted && !worker.blocked
}

/// Whether nothing happens to it until a person or the file says so.
fn is_at_rest(worker: &WorkerStatus) -> bool {
    let ended = ["quarantined", "finished"].contains(&worker.phase.as_str());
    let is_idle = worker.phase == "idle" && !worker.wanted;
    worker.blocked || is_idle || ended && worker.retry_in_ms.is_none()
}

/// Whether nothing is wrong with it. One that was never to start is missed only where it was asked
/// about.
pub(super) fn is_fine(worker: &WorkerStatus, is_named: bool) -> bool {
    let is_at_rest = worker.phase == "idle" && !worker.wanted && !worker.stopped;
    worker.ok || (is_at_rest && !is_named)
}
