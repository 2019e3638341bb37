//! `status --wait`: until workers are in a phase.

use std::time::Duration;

use super::orders::PAUSE;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::WorkerStatus;
use crate::waiting::until;

/// The phases that can be waited for.
pub(super) const PHASES: [&str; 9] = [
    "idle",
    "launching",
    "starting",
    "running",
    "stopping",
    "killing",
    "backoff",
    "quarantined",
    "finished",
];

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of them are there; or there is nothing to wait for, which `status` says.
    Reached,
    /// The time is over; those that are not there.
    TimedOut(Vec<String>),
    /// These do not come there by themselves.
    InVain(Vec<String>),
}

/// Waits until all that `is_meant` are in this phase, also for a supervisor that does not answer
/// yet.
pub(super) fn wait(
    client: &Client,
    phase: &str,
    limit: Duration,
    is_meant: &dyn Fn(&WorkerStatus) -> bool,
) -> Outcome {
    let mut missing = Vec::new();
    let reached = until(limit, PAUSE, || {
        let status = match client.status() {
            Ok(status) => status,
            Err(ClientError::NoSupervisor { .. } | ClientError::BrokenOff(_)) => return None,
            Err(_) => return Some(Outcome::Reached),
        };
        let meant: Vec<&WorkerStatus> =
            status.workers.iter().filter(|worker| is_meant(worker)).collect();
        let elsewhere: Vec<&WorkerStatus> =
            meant.into_iter().filter(|worker| worker.phase != phase).collect();
        missing = elsewhere.iter().map(|worker| worker.name.clone()).collect();
        if elsewhere.is_empty() {
            return Some(Outcome::Reached);
        }
        let lost = elsewhere.iter().filter(|worker| is_at_rest(worker));
        let lost: Vec<String> = lost.map(|worker| worker.name.clone()).collect();
        (!lost.is_empty()).then_some(Outcome::InVain(lost))
    });
    reached.unwrap_or(Outcome::TimedOut(missing))
}

/// Whether nothing happens to it until a person or the file says so.
fn is_at_rest(worker: &WorkerStatus) -> bool {
    let ended = ["quarantined", "finished"].contains(&worker.phase.as_str());
    let is_idle = worker.phase == "idle" && !worker.wanted;
    worker.blocked || is_idle || ended && worker.retry_in_ms.is_none()
}
