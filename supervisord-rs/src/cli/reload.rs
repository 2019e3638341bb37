//! `reload`: has the file read again, says what that does to each worker, and waits for those that
//! it starts or restarts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::exit::{Exit, report};
use super::outcomes::failed;
use super::output::{json, say, words};
use super::progress::{Until, shown};
use super::touched::{not_running, touched, wait};
use super::waits::{GIVING_WAY, PAUSE, REEXEC_TIMEOUT};
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Done, Failure, ReloadReport, WAIT_DEFAULT, WorkerStatus};
use crate::service_manager::OWN;
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
        Err(error) => return unreachable(&error),
    };
    let patient = client.clone_with(Some(REEXEC_TIMEOUT.saturating_add(GIVING_WAY)));
    let mut done = match patient.reexec(Some(Path::new(OWN)), None) {
        Ok(done) => done,
        Err(error) => return refused(&error, options.json),
    };
    let plan = done.reload.clone().unwrap_or_default();
    if !options.json {
        let _ = words(&done.message);
        show(&plan);
        for why in now(client, &plan.changed).iter().filter_map(not_running) {
            let _ = words(&format!("  {why}"));
        }
    }
    let limit = options.timeout.unwrap_or(WAIT_DEFAULT);
    let touched = touched(&plan, &before);
    let names: Vec<String> = touched.keys().cloned().collect();
    let outcome = if options.no_wait || touched.is_empty() {
        Ok(Done::default())
    } else {
        shown(client, &names, Until::Up, || wait(client, &touched, limit))
    };
    if options.json {
        done.workers = now(client, &[names, plan.changed].concat());
        done.outcomes = match &outcome {
            Ok(outcome) => outcome.outcomes.clone(),
            Err(ClientError::Failed(failure)) => failure.outcomes.clone(),
            Err(_) => Vec::new(),
        };
        print(&done, outcome.as_ref().err());
    }
    outcome.map_or_else(|error| failed(&error, false), |_| Exit::Done)
}

/// The file names the socket, and the change to be read may be one of its directory.
fn unreachable(error: &ClientError) -> Exit {
    let exit = report(error);
    if matches!(error, ClientError::NoSupervisor { .. }) {
        say("a supervisor that was started with another `runtime_dir:` than the file has now is \
             reached by `--socket`");
    }
    exit
}

/// These workers as they are now. Between two supervisors there is no answer for a moment.
fn now(client: &Client, names: &[String]) -> Vec<WorkerStatus> {
    if names.is_empty() {
        return Vec::new();
    }
    let status = until(GIVING_WAY, PAUSE, || client.status().ok());
    let mut workers = status.map_or_else(Vec::new, |status| status.workers);
    workers.retain(|worker| names.contains(&worker.name));
    workers
}

/// What was done, and with the words of an order that failed where a worker did.
fn print(done: &Done, error: Option<&ClientError>) {
    let failure = match error {
        Some(ClientError::Failed(failure)) => failure.clone(),
        Some(error) => Failure::new("failed", error.to_string()),
        None => return json(done),
    };
    let mut all = serde_json::to_value(done).expect("reports are strings, numbers and lists");
    all["error"] = failure.error.into();
    all["message"] = failure.message.into();
    json(&all);
}

fn refused(error: &ClientError, as_json: bool) -> Exit {
    if let (ClientError::Failed(Failure { check: Some(check), .. }), true) = (error, as_json) {
        json(check);
        return Exit::InvalidConfiguration;
    }
    failed(error, as_json)
}

/// A line for each list that has names.
fn show(plan: &ReloadReport) {
    for (what, names, why) in plan.lists().into_iter().filter(|(_, names, _)| !names.is_empty()) {
        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
        let _ = words(&format!("  {what:<9}  {}{why}", names.join(" ")));
    }
}
