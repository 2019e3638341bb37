//! What came of a reload in the workers that it touched, as the answer to `start` has it. The
//! supervisor that took the order is gone by then: its successor's status tells.

use std::collections::BTreeMap;
use std::time::Duration;

use super::orders::PAUSE;
use crate::control::client::Client;
use crate::control::protocol::{EndingReport, Failure, OutcomeReport, ReloadReport, WorkerStatus};
use crate::record::logs::TAIL_TIMEOUT;
use crate::record::words;
use crate::waiting::until;

/// The workers, each as it was when its outcome was clear.
#[derive(Debug, Default)]
pub(super) struct Reloaded {
    pub(super) workers: Vec<WorkerStatus>,
    pub(super) outcomes: Vec<OutcomeReport>,
}

/// Those that the reload starts or restarts.
pub(super) fn touched(plan: &ReloadReport) -> Vec<String> {
    [&plan.started, &plan.restarted, &plan.threads].into_iter().flatten().cloned().collect()
}

/// Waits until each of them has an outcome. `before`: their generations before the reload.
pub(super) fn wait(
    client: &Client,
    touched: &[String],
    before: &BTreeMap<String, u64>,
    limit: Duration,
) -> Reloaded {
    // The first outcome counts: a worker that has failed may be up again at the next look.
    let mut first: BTreeMap<String, OutcomeReport> = BTreeMap::new();
    let mut workers = Vec::new();
    let _ = until(limit, PAUSE, || {
        // Between two supervisors there is no answer for a moment.
        workers = client.status().ok()?.workers;
        workers.retain(|worker| touched.contains(&worker.name));
        for worker in &workers {
            let generation = before.get(&worker.name).copied().unwrap_or(0);
            let outcome = outcome(worker, generation).filter(|_| !first.contains_key(&worker.name));
            if let Some(outcome) = outcome {
                first.insert(worker.name.clone(), report(client, worker, outcome));
            }
        }
        workers.iter().all(|worker| first.contains_key(&worker.name)).then_some(())
    });
    let late = |worker: &WorkerStatus| report(client, worker, "waiting");
    let outcomes = workers
        .iter()
        .map(|worker| first.remove(&worker.name).unwrap_or_else(|| late(worker)))
        .collect();
    Reloaded { workers, outcomes }
}

/// `after`: only the outcome of a later generation counts.
fn outcome(worker: &WorkerStatus, after: u64) -> Option<&'static str> {
    let is_later = worker.generation > after;
    match worker.phase.as_str() {
        _ if worker.stopped => Some("stopped"),
        "idle" if worker.in_vain.is_some() => Some("failed"),
        "running" if is_later => Some("running"),
        "finished" | "backoff" if is_later && worker.ok => Some("succeeded"),
        "finished" | "backoff" | "quarantined" if is_later => Some("failed"),
        _ => None,
    }
}

fn report(client: &Client, worker: &WorkerStatus, outcome: &str) -> OutcomeReport {
    let is_over = outcome == "failed" || outcome == "succeeded";
    let ending = worker.ending.clone().filter(|_| is_over);
    let incident = worker.last_incident.filter(|_| outcome == "failed" && ending.is_some());
    let has_run = ending.as_ref().is_some_and(EndingReport::has_run);
    let lines = incident.filter(|_| has_run).and_then(|id| last_lines(client, id));
    OutcomeReport {
        message: message(worker, outcome, incident),
        worker: worker.name.clone(),
        outcome: outcome.to_owned(),
        phase: worker.phase.clone(),
        pid: worker.pid,
        dependent: false,
        killed: false,
        ending,
        retry_in_ms: worker.retry_in_ms,
        incident,
        last_output: lines.unwrap_or_default(),
    }
}

fn message(worker: &WorkerStatus, outcome: &str, incident: Option<u64>) -> String {
    let mut text = match (outcome, &worker.ending, &worker.in_vain) {
        ("running", ..) => match worker.pid {
            Some(pid) => format!("runs (pid {pid})"),
            None => "runs".to_owned(),
        },
        ("succeeded", ..) => "has ended with success".to_owned(),
        ("stopped", ..) => "is stopped".to_owned(),
        ("failed", _, Some(on)) => format!("cannot start: {on} has failed for good"),
        ("failed", Some(ending), None) => format!("failed: {}", words::how(ending)),
        ("failed", None, None) => format!("failed: it is {}", words_for(&worker.phase)),
        _ => match &worker.waits_why {
            Some(why) => why.clone(),
            None => format!("is still {}", worker.phase),
        },
    };
    if let Some(retry) = worker.retry_in_ms.filter(|_| outcome == "failed") {
        text.push_str(&format!("; next attempt in {}", words::span(retry)));
    }
    if let Some(id) = incident {
        text.push_str(&format!("; see `logs {}` and `incidents {id}`", worker.name));
    }
    text
}

/// The incident has them a moment after the end of the run.
fn last_lines(client: &Client, incident: u64) -> Option<Vec<String>> {
    until(TAIL_TIMEOUT, PAUSE, || {
        let lines = client.incident(incident).ok()??.last_output;
        (!lines.is_empty()).then_some(lines)
    })
}

/// What went wrong, all of it in one answer.
pub(super) fn failure(outcomes: &[OutcomeReport], limit: Duration) -> Option<Failure> {
    let those = |outcome: &str| {
        let those = outcomes.iter().filter(|report| report.outcome == outcome);
        those.map(|report| format!("{} {}", report.worker, report.message)).collect::<Vec<_>>()
    };
    let (failed, late) = (those("failed").join("; "), those("waiting").join("; "));
    let failure = if !failed.is_empty() {
        Failure::new("failed", failed)
    } else if !late.is_empty() {
        let limit = humantime::format_duration(limit);
        let message = format!("no outcome within {limit}; the order stands (see `status`): {late}");
        Failure::new("timed-out", message)
    } else {
        return None;
    };
    Some(Failure { outcomes: outcomes.to_vec(), ..failure })
}

/// Why a worker whose entry has changed does not run with it now, and what to do.
pub(super) fn not_running(worker: &WorkerStatus) -> Option<String> {
    let name = &worker.name;
    let start = format!("`supervisord-rs start {name}` starts it");
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

fn words_for(phase: &str) -> &str {
    if phase == "backoff" { "in backoff" } else { phase }
}
