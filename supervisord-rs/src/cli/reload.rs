//! `reload`: has the file read again, says what that does to each worker, and waits for those that
//! it starts or restarts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::exit::{Exit, report};
use super::orders::{GIVING_WAY, PAUSE, REEXEC_TIMEOUT};
use super::outcomes::failed;
use super::output::{json, words};
use super::progress::{Until, shown};
use super::reloaded::{Reloaded, failure, not_running, touched, wait};
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{
    Done, Failure, INVALID_CONFIGURATION, ReloadReport, WAIT_DEFAULT, WorkerStatus,
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
    let changed = if plan.changed.is_empty() { Vec::new() } else { changed(client, &plan) };
    if !options.json {
        let _ = words(&done.message);
        show(&plan);
        for why in changed.iter().filter_map(not_running) {
            let _ = words(&format!("  {why}"));
        }
    }
    let limit = options.timeout.unwrap_or(WAIT_DEFAULT);
    let touched = touched(&plan);
    let reloaded = if options.no_wait || touched.is_empty() {
        Reloaded::default()
    } else {
        shown(client, &touched, Until::Up, || wait(client, &touched, &before, limit))
    };
    let failure = failure(&reloaded.outcomes, limit);
    if options.json {
        done.workers = [reloaded.workers, changed].concat();
        done.outcomes = reloaded.outcomes;
        print(&done, failure.as_ref());
    }
    failure.map_or(Exit::Done, |failure| failed(&ClientError::Failed(failure), false))
}

/// Those whose entry holds from their next start on. Between two supervisors there is no answer for
/// a moment.
fn changed(client: &Client, plan: &ReloadReport) -> Vec<WorkerStatus> {
    let status = until(GIVING_WAY, PAUSE, || client.status().ok());
    let mut workers = status.map_or_else(Vec::new, |status| status.workers);
    workers.retain(|worker| plan.changed.contains(&worker.name));
    workers
}

/// What was done, and with the words of an order that failed where a worker did.
fn print(done: &Done, failure: Option<&Failure>) {
    match (serde_json::to_value(done), failure) {
        (Ok(mut all), Some(failure)) => {
            all["error"] = failure.error.clone().into();
            all["message"] = failure.message.clone().into();
            json(&all);
        }
        _ => json(done),
    }
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
        error => failed(error, as_json),
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
