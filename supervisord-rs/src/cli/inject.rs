//! `inject`: commits a fault, and waits until it is known what it destroyed.

use std::time::Duration;

use clap::Args;

use super::exit::{Exit, report};
use super::orders::PAUSE;
use super::outcomes::answer;
use super::output::{json, line, words};
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{IncidentRecord, WorkerStatus};
use crate::waiting::until;

#[derive(Args, Debug)]
pub(super) struct Options {
    worker: String,
    /// A fault of `supervisord-rs faults`, with its parameter after a colon: `exit:3`,
    /// `leak:64MiB`.
    fault: String,
    /// Return as soon as the order is accepted, not when its incident is settled.
    #[arg(long)]
    no_wait: bool,
    /// Wait at most this long for the incident to be settled.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = humantime::parse_duration,
        default_value = "60s",
        conflicts_with = "no_wait"
    )]
    timeout: Duration,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// What came of a fault.
enum Outcome {
    Incident(Box<IncidentRecord>),
    /// The worker ended, and that is no failure.
    EndedWell(Box<WorkerStatus>),
}

pub(super) fn inject(options: &Options, client: &Client) -> Exit {
    let before = match look(client, &options.worker) {
        Ok(before) => before,
        Err(error) => return report(&error),
    };
    let done = match client.inject(&options.worker, &options.fault) {
        Ok(done) => done,
        Err(error) => return report(&error),
    };
    // No worker of that name: the supervisor has refused, or has died before it could.
    let Some(before) = before.filter(|_| !options.no_wait && !done.is_silent) else {
        return answer(Ok(done), options.json);
    };
    // The fault may take the supervisor along: ask until its successor answers.
    match until(options.timeout, PAUSE, || outcome(client, &before)) {
        Some(Outcome::Incident(incident)) if options.json => json(&*incident),
        Some(Outcome::Incident(incident)) => drop(words(&incident.sentence)),
        Some(Outcome::EndedWell(worker)) if options.json => json(&*worker),
        Some(Outcome::EndedWell(worker)) => {
            let how = worker.ending.map_or_else(|| "unknown".to_owned(), |ending| ending.cause);
            line(&format!("{} ended without an incident: {how}", worker.name));
        }
        None => {
            eprintln!(
                "supervisord-rs: {} was ordered, and no incident of it was settled within {:?} (see `incidents`)",
                options.fault, options.timeout
            );
            return Exit::Failed;
        }
    }
    Exit::Done
}

fn look(client: &Client, worker: &str) -> Result<Option<WorkerStatus>, ClientError> {
    let status = client.status()?;
    Ok(status.workers.into_iter().find(|known| known.name == worker))
}

/// What has come of the fault until now: `None` while that is open.
fn outcome(client: &Client, before: &WorkerStatus) -> Option<Outcome> {
    let now = look(client, &before.name).ok()??;
    if now.last_incident == before.last_incident {
        let is_live = matches!(
            now.phase.as_str(),
            "launching" | "starting" | "running" | "stopping" | "killing"
        );
        let has_ended = now.generation > before.generation || !is_live;
        return has_ended.then(|| Outcome::EndedWell(Box::new(now)));
    }
    // Of several the first: it is the fault's.
    let known = before.last_incident.unwrap_or(0);
    let incidents = client.incidents(1000).ok()?;
    let is_of_it = |incident: &IncidentRecord| {
        incident.id > known
            && incident.lost.contains(&before.name)
            && !incident.collateral.contains(&before.name)
    };
    incidents.into_iter().find(is_of_it).map(|incident| Outcome::Incident(Box::new(incident)))
}
