//! The workers that a reload touches. The supervisor that took the order is gone by the time that
//! they have come up: its successor tells what came of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::waits::{GIVING_WAY, PAUSE};
use crate::called::as_typed;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Done, ReloadReport, WorkerStatus};
use crate::record::words;
use crate::waiting::until;

/// An answer that takes longer comes from a supervisor that waits with its client.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Those that the reload starts or restarts, with their generations before it.
pub(super) fn touched(
    plan: &ReloadReport,
    before: &BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let lists = [&plan.started, &plan.restarted, &plan.dependents, &plan.threads];
    let names = lists.into_iter().flatten();
    names.map(|name| (name.clone(), before.get(name).copied().unwrap_or(0))).collect()
}

/// Waits until each of them has an outcome. A supervisor that dies meanwhile has a successor too,
/// which is asked again.
pub(super) fn wait(
    client: &Client,
    touched: &BTreeMap<String, u64>,
    limit: Duration,
) -> Result<Done, ClientError> {
    let begun = Instant::now();
    let mut silent_since = None;
    let answered = until(limit, PAUSE, || {
        let asked = Instant::now();
        // In whole seconds: an answer says how long the wait was.
        let rest = limit.saturating_sub(Duration::from_secs(begun.elapsed().as_secs()));
        let answer = client.clone_with(Some(rest)).wait_for(touched);
        if !answer.as_ref().is_err_and(is_between_two) {
            return Some(answer);
        }
        // One that let this client wait was there until now.
        let since = silent_since.filter(|_| asked.elapsed() < AT_ONCE).unwrap_or_else(Instant::now);
        silent_since = Some(since);
        (since.elapsed() >= GIVING_WAY).then_some(answer)
    });
    answered.unwrap_or(Err(ClientError::TimedOut(limit)))
}

/// Whether one supervisor has ended, or is about to, and another one does not answer yet.
fn is_between_two(error: &ClientError) -> bool {
    match error {
        ClientError::NoSupervisor { .. } | ClientError::BrokenOff(_) | ClientError::Busy { .. } => {
            true
        }
        // One that has handed over takes no more orders until its end.
        ClientError::Failed(failure) => ["busy", "shutting-down"].contains(&&*failure.error),
        ClientError::NotPermitted { .. } | ClientError::TimedOut(_) | ClientError::Protocol(_) => {
            false
        }
    }
}

/// Why a worker whose entry has changed does not run with it now, and what to do.
pub(super) fn not_running(worker: &WorkerStatus) -> Option<String> {
    let name = &worker.name;
    let start = format!("`supervisord-rs start {name}` starts it");
    let start = as_typed(&start);
    let ended = worker.ending.as_ref().map(words::how).unwrap_or_default();
    match worker.phase.as_str() {
        _ if worker.stopped => Some(format!("{name} is stopped: {start}")),
        "backoff" => {
            let retry = words::span(worker.retry_in_ms.unwrap_or(0));
            Some(format!("{name} is in backoff: next attempt in {retry}; {start} now"))
        }
        "quarantined" => Some(format!("{name} is in quarantine and was not started: {start}")),
        "finished" if worker.succeeded == Some(false) => {
            Some(format!("{name} has failed ({ended}) and was not started: {start}"))
        }
        "finished" => Some(format!("{name} has ended with success: {start} again")),
        "idle" if !worker.wanted => Some(format!("{name} was not started: {start}")),
        _ => None,
    }
}
