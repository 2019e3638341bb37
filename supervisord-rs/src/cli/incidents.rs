//! `incidents` and `events`: what happened.

use clap::Args;

use super::afterwards::Afterwards;
use super::exit::{Exit, report};
use super::harmless::harmless_json;
use super::output::{json, line, words};
use super::time;
use crate::control::client::Client;
use crate::control::protocol::IncidentRecord;

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
    /// JSON instead of sentences.
    #[arg(long)]
    json: bool,
    /// Go on with those that come, until interrupted.
    #[arg(long, short)]
    follow: bool,
}

pub(super) fn run(options: &Options, client: &Client, afterwards: Afterwards<'_>) -> Exit {
    let found = match options.id {
        Some(id) => client.incident(id).map(|found| found.into_iter().collect()),
        None => client.incidents_and_open(options.last),
    };
    let records: Vec<IncidentRecord> = match found {
        Ok(records) => records,
        Err(error) => match afterwards.incidents(&error, options.last, options.id) {
            Ok(records) => records,
            Err(exit) => return exit,
        },
    };
    if let (Some(id), true) = (options.id, records.is_empty()) {
        eprintln!("supervisord-rs: no incident has the number {id} (see `incidents`)");
        return Exit::Failed;
    }
    match (options.json, options.id) {
        (true, Some(_)) => records.iter().for_each(json),
        (true, None) => json(&records),
        (false, _) => {
            for record in &records {
                if !words(&format!("{}  {}", time::shown(&record.at, options.utc), record.sentence))
                {
                    return Exit::Done;
                }
                // One that was asked for is shown with what its culprit last wrote.
                if options.id.is_some() {
                    let _ = record.last_output.iter().all(|text| words(&format!("    | {text}")));
                }
            }
        }
    }
    if options.follow { follow(options.json, options.utc, client) } else { Exit::Done }
}

fn follow(as_json: bool, utc: bool, client: &Client) -> Exit {
    each_event(client, |event| {
        if event.kind != "incident" {
            return true;
        }
        let Ok(record) = serde_json::from_value::<IncidentRecord>(event.detail.clone()) else {
            return true;
        };
        if as_json {
            line(&harmless_json(&event.detail.to_string()))
        } else {
            words(&format!("{}  {}", time::shown(&record.at, utc), record.sentence))
        }
    })
}

pub(super) fn events(client: &Client) -> Exit {
    each_event(client, |event| {
        let text = serde_json::to_string(event).expect("an event is valid JSON");
        line(&harmless_json(&text))
    })
}

/// Runs until the reader of the output has gone, or the supervisor ends.
fn each_event(
    client: &Client,
    mut show: impl FnMut(&crate::control::protocol::EventRecord) -> bool,
) -> Exit {
    let events = match client.events() {
        Ok(events) => events,
        Err(error) => return report(&error),
    };
    for event in events {
        match event {
            Ok(event) if show(&event) => {}
            Ok(_) => return Exit::Done,
            Err(error) => return report(&error),
        }
    }
    Exit::Done
}
