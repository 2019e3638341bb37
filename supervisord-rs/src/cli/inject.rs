//! `inject`: commits a fault, and waits until its damage is known.

use std::time::{Duration, Instant};

use clap::Args;

use super::exit::{Exit, report};
use super::outcomes::failed;
use super::output::{json, words};
use super::waits::PAUSE;
use crate::called::as_typed;
use crate::control::client::{Client, ClientError, MANY_INCIDENTS};
use crate::control::protocol::{IncidentRecord, WorkerStatus};
use crate::process_table;
use crate::waiting::until;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The worker, or one instance of it, such as `api.2`.
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

/// The result of a fault.
enum Outcome {
    Incident(Box<IncidentRecord>),
    /// The worker ended, and that is not a failure.
    EndedWell(Box<WorkerStatus>),
    /// The supervisor is gone, and nothing starts it again.
    Gone,
}

/// The wait for a lost supervisor where no guardian restarts it.
const AGAIN: Duration = Duration::from_secs(5);
/// An open incident that is not settled within this time is shown as it is.
const SETTLED: Duration = Duration::from_secs(10);

pub(super) fn inject(options: &Options, client: &Client) -> Exit {
    let before = match client.status() {
        Ok(before) => before,
        Err(error) => return report(&error),
    };
    // A new run may count its generations and incidents of a worker from the beginning: what is
    // older than this is not of this fault, whatever worker it names.
    let newest = match client.incidents_and_open(1) {
        Ok(known) => known.iter().map(|incident| incident.id).max().unwrap_or(0),
        Err(error) => return report(&error),
    };
    let done = match client.inject(&options.worker, &options.fault) {
        Ok(done) => done,
        Err(error) => return failed(&error, options.json),
    };
    let worker = before.workers.iter().find(|worker| worker.name == options.worker).cloned();
    // There is no such worker: the supervisor has refused, or died before it could.
    let Some(worker) = worker.filter(|_| !options.no_wait && !done.is_silent) else {
        let outcome = if done.is_silent { "unnoticed" } else { "ordered" };
        return say(options, outcome, &done.message, None);
    };
    // The fault may kill the supervisor: ask until its successor answers.
    let guardian = before.supervisor.guardian;
    let mut watch = Watch { before: worker, newest, guardian, gone_since: None, open_since: None };
    match until(options.timeout, PAUSE, || watch.outcome(client)) {
        Some(Outcome::Incident(incident)) if options.json => json(&*incident),
        Some(Outcome::Incident(incident)) => drop(words(&incident.sentence)),
        Some(Outcome::EndedWell(worker)) => {
            let how = worker
                .ending
                .as_ref()
                .map_or_else(|| "how it ended is not known".to_owned(), crate::record::words::how);
            let text = format!("{} ended without an incident: {how}", worker.name);
            return say(options, "ended", &text, Some(&worker));
        }
        Some(Outcome::Gone) => {
            let text = format!(
                "the supervisor is gone, and does not come back, after {} was ordered",
                options.fault
            );
            eprintln!("supervisord-rs: {text}");
            return Exit::NoSupervisor;
        }
        None => {
            eprintln!(
                "supervisord-rs: {} was ordered, and no incident came of it within {} (see \
                 `incidents`)",
                options.fault,
                humantime::format_duration(options.timeout)
            );
            return Exit::Failed;
        }
    }
    Exit::Done
}

/// Without an incident: a sentence, or the shape of an incident without lost workers.
fn say(options: &Options, outcome: &str, text: &str, worker: Option<&WorkerStatus>) -> Exit {
    if options.json {
        let (kind, _) = options.fault.split_once(':').unwrap_or((&options.fault, ""));
        json(&serde_json::json!({
            "worker": options.worker,
            "fault": { "kind": kind, "injected": true },
            "outcome": outcome,
            "ending": worker.and_then(|worker| worker.ending.clone()),
            "lost": [],
            "message": text,
        }));
    } else {
        words(&as_typed(text));
    }
    Exit::Done
}

/// The observations since the order of the fault.
struct Watch {
    before: WorkerStatus,
    /// The newest incident before it.
    newest: u64,
    guardian: Option<i32>,
    /// The time since which no supervisor answers.
    gone_since: Option<Instant>,
    /// The time since which its incident has been open.
    open_since: Option<Instant>,
}

impl Watch {
    /// The result of the fault so far: `None` while it is open.
    fn outcome(&mut self, client: &Client) -> Option<Outcome> {
        let status = match client.status() {
            Ok(status) => status,
            Err(ClientError::NoSupervisor { .. }) => {
                return self.is_gone().then_some(Outcome::Gone);
            }
            Err(_) => return None,
        };
        self.gone_since = None;
        let name = &self.before.name;
        let incidents = client.incidents_and_open(MANY_INCIDENTS).ok()?;
        // The first of several belongs to the fault.
        let is_of_it = |incident: &IncidentRecord| incident.is_of(name, self.newest);
        if let Some(incident) = incidents.into_iter().find(is_of_it) {
            let since = *self.open_since.get_or_insert_with(Instant::now);
            let is_known = !incident.open || since.elapsed() >= SETTLED;
            return is_known.then(|| Outcome::Incident(Box::new(incident)));
        }
        let now = status.workers.into_iter().find(|known| known.name == *name)?;
        now.has_ended_well_since(&self.before).then(|| Outcome::EndedWell(Box::new(now)))
    }

    /// A running guardian restarts it sooner or later; a service manager does so soon.
    fn is_gone(&mut self) -> bool {
        let since = *self.gone_since.get_or_insert_with(Instant::now);
        let has_guardian = self.guardian.is_some_and(|pid| process_table::entry(pid).exists());
        !has_guardian && since.elapsed() >= AGAIN
    }
}
