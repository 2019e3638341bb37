//! `incidents` and `events`: what happened.

use std::collections::BTreeSet;

use clap::Args;

use super::afterwards::Afterwards;
use super::exit::Exit;
use super::following::{Follower, follow};
use super::harmless::harmless_json;
use super::output::{json, line, say, words};
use super::time;
use crate::control::client::{Client, MANY_INCIDENTS};
use crate::control::protocol::{EventRecord, IncidentRecord};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Only this one.
    id: Option<u64>,
    /// The newest so many.
    #[arg(long, short = 'n', default_value_t = 20)]
    last: usize,
    /// Times in UTC instead of local time.
    #[arg(long)]
    utc: bool,
    /// JSON instead of sentences; with --follow a line for each incident.
    #[arg(long)]
    json: bool,
    /// Go on with those that are settled from now on, until interrupted or until the supervisor
    /// has ended in order. The incident of its own death is shown once its successor answers.
    #[arg(long, short)]
    follow: bool,
}

pub(super) fn run(options: &Options, client: &Client, afterwards: Afterwards<'_>) -> Exit {
    // Before the list: none that is settled meanwhile is missed.
    let mut known = BTreeSet::new();
    if options.follow
        && let Ok(settled) = client.incidents(MANY_INCIDENTS)
    {
        known.extend(settled.iter().map(|record| record.id));
    }
    let found = match options.id {
        Some(id) => client.incident(id).map(|found| found.into_iter().collect()),
        None => client.incidents_and_open(options.last),
    };
    let records: Vec<IncidentRecord> = match found {
        Ok(records) => {
            if records.is_empty() && options.id.is_none() && options.last > 0 {
                say(nothing(options.follow));
            }
            records
        }
        Err(error) => match afterwards.incidents(&error, options.last, options.id) {
            Ok(records) => records,
            Err(exit) => return exit,
        },
    };
    if let (Some(id), true) = (options.id, records.is_empty()) {
        eprintln!("supervisord-rs: no incident has the number {id} (see `incidents`)");
        return Exit::Failed;
    }
    let show = |record: &IncidentRecord| show(record, options.json, options.utc);
    match (options.json, options.id) {
        // One reader takes them and what follows: a line each.
        (true, _) if options.follow => drop(records.iter().all(show)),
        (true, Some(_)) => records.iter().for_each(json),
        (true, None) => json(&records),
        // One that was asked for is shown with what its culprit last wrote.
        (false, Some(_)) => drop(records.iter().all(|record| {
            show(record) && record.last_output.iter().all(|text| words(&format!("    | {text}")))
        })),
        (false, None) => drop(records.iter().all(show)),
    }
    if !options.follow {
        return Exit::Done;
    }
    let shown = records.iter().filter(|record| !record.open).map(|record| record.id);
    known.extend(shown);
    follow(client, &mut New { client, known, as_json: options.json, utc: options.utc })
}

/// So an empty answer does not pass for one that is missing.
fn nothing(follow: bool) -> &'static str {
    if follow {
        "there is no incident yet; those that come are shown"
    } else {
        "there is no incident"
    }
}

/// Prints a line. False when the reader has gone.
fn show(record: &IncidentRecord, as_json: bool, utc: bool) -> bool {
    if as_json {
        let text = serde_json::to_string(record).expect("a record is valid JSON");
        return line(&harmless_json(&text));
    }
    words(&format!("{}  {}", time::shown(&record.at, utc), record.sentence))
}

/// Incidents that have not been shown.
struct New<'a> {
    client: &'a Client,
    /// The settled ones that are not new.
    known: BTreeSet<u64>,
    as_json: bool,
    utc: bool,
}

impl New<'_> {
    fn show(&mut self, record: &IncidentRecord) -> bool {
        !self.known.insert(record.id) || show(record, self.as_json, self.utc)
    }
}

impl Follower for New<'_> {
    /// Those that were settled while no stream was open, such as that of a supervisor's death.
    fn begin(&mut self) -> bool {
        let settled = self.client.incidents(MANY_INCIDENTS).unwrap_or_default();
        settled.iter().all(|record| self.show(record))
    }

    fn event(&mut self, event: &EventRecord) -> bool {
        if event.kind != "incident" {
            return true;
        }
        serde_json::from_value(event.detail.clone()).map_or(true, |record| self.show(&record))
    }
}

/// Shows every event as it is.
struct All;

impl Follower for All {
    fn begin(&mut self) -> bool {
        true
    }

    fn event(&mut self, event: &EventRecord) -> bool {
        let text = serde_json::to_string(event).expect("an event is valid JSON");
        line(&harmless_json(&text))
    }
}

pub(super) fn events(client: &Client) -> Exit {
    follow(client, &mut All)
}
