//! `reload`: has the file read again, says what that does to each worker, and waits for those that
//! it starts or restarts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::exit::{Exit, report};
use super::harmless::harmless;
use super::orders::{GIVING_WAY, PAUSE, REEXEC_TIMEOUT};
use super::output::{json, words};
use super::status::note;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{
    Done, INVALID_CONFIGURATION, ReloadReport, WAIT_DEFAULT, WorkerStatus,
};
use crate::waiting::until;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Return as soon as the new configuration is in force.
    #[arg(long)]
    no_wait: bool,
    /// Wait at most this long for the workers, such as 10s. Default: 5m.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = humantime::parse_duration,
        conflicts_with = "no_wait"
    )]
    timeout: Option<Duration>,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, client: &Client) -> Exit {
    let before: BTreeMap<String, u64> = match client.status() {
        Ok(status) => {
            status.workers.into_iter().map(|worker| (worker.name, worker.generation)).collect()
        }
        Err(error) => return report(&error),
    };
    let patient = client.clone_with(Some(REEXEC_TIMEOUT.saturating_add(GIVING_WAY)));
    let mut done = match patient.reexec(Some(Path::new("/proc/self/exe")), None) {
        Ok(done) => done,
        Err(error) => return refused(&error, options.json),
    };
    let plan = done.reload.clone().unwrap_or_default();
    if !options.json {
        let _ = words(&done.message);
        show(&plan);
    }
    let limit = options.timeout.unwrap_or(WAIT_DEFAULT);
    let failed =
        if options.no_wait { Vec::new() } else { failed(client, &plan, &before, limit, &mut done) };
    if options.json {
        json(&done);
    }
    for worker in &failed {
        let phase = if worker.phase == "backoff" { "in backoff" } else { &worker.phase };
        let said = format!("{} is {phase}: {}", worker.name, note(worker));
        eprintln!("supervisord-rs: {}", harmless(&said));
    }
    if failed.is_empty() { Exit::Done } else { Exit::Failed }
}

fn refused(error: &ClientError, as_json: bool) -> Exit {
    match error {
        ClientError::Failed(failure) if as_json && failure.error == INVALID_CONFIGURATION => {
            let problems = &failure.problems;
            json(&serde_json::json!({
                "valid": false, "count": problems.len(), "problems": problems,
            }));
            Exit::InvalidConfiguration
        }
        error => report(error),
    }
}

/// A line for each list that has names.
fn show(plan: &ReloadReport) {
    for (what, names) in plan.lists().into_iter().filter(|(_, names)| !names.is_empty()) {
        let why = if std::ptr::eq(names, plan.threads.as_slice()) {
            " (threads of the supervisor, whose process is replaced)"
        } else if std::ptr::eq(names, plan.scaled_away.as_slice()) {
            " (`scale` has taken them away, and brings them back)"
        } else {
            ""
        };
        let _ = words(&format!("  {what:<9}  {}{why}", names.join(" ")));
    }
}

/// Waits for those that were started or restarted; those of them that do not run.
fn failed(
    client: &Client,
    plan: &ReloadReport,
    before: &BTreeMap<String, u64>,
    limit: Duration,
    done: &mut Done,
) -> Vec<WorkerStatus> {
    let touched: Vec<&String> =
        [&plan.started, &plan.restarted, &plan.threads].into_iter().flatten().collect();
    if touched.is_empty() {
        return Vec::new();
    }
    let mut last = Vec::new();
    let _ = until(limit, PAUSE, || {
        // Between two supervisors there is no answer for a moment.
        let status = client.status().ok()?;
        last = status.workers;
        last.retain(|worker| touched.contains(&&worker.name));
        let is_settled = |worker: &WorkerStatus| {
            let is_new = worker.generation > before.get(&worker.name).copied().unwrap_or(0);
            is_new && has_outcome(worker) || worker.in_vain.is_some() || worker.stopped
        };
        last.iter().all(is_settled).then_some(())
    });
    done.workers.clone_from(&last);
    last.retain(|worker| !worker.ok && !worker.stopped);
    last
}

fn has_outcome(worker: &WorkerStatus) -> bool {
    worker.ok || ["backoff", "quarantined", "finished"].contains(&worker.phase.as_str())
}
