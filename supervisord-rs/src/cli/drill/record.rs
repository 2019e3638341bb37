//! `drill record`: a scenario from an incident of a real run.

use clap::Args;
use workers::Registry;

use super::configured::configured;
use crate::cli::afterwards::Afterwards;
use crate::cli::exit::Exit;
use crate::cli::harmless::harmless;
use crate::cli::output::{line, say};
use crate::cli::place::Place;
use crate::drill::recorded;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The number of the incident; see `incidents`.
    incident: u64,
}

pub(super) fn run(options: &Options, place: &Place, registry: &Registry) -> Exit {
    let id = options.incident;
    let client = match place.client(registry) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let found = match client.incident(id) {
        Ok(found) => found,
        Err(error) => match (Afterwards { place, registry }).incidents(&error, 1, Some(id)) {
            Ok(records) => records.into_iter().next(),
            Err(exit) => return exit,
        },
    };
    let Some(incident) = found else {
        say(&format!("no incident has the number {id} (see `incidents`)"));
        return Exit::Failed;
    };
    if incident.open {
        say(&format!("incident {id} is not settled yet: wait until all are back"));
        return Exit::Failed;
    }
    let (file, settings) = match configured("record", place, registry) {
        Ok(configured) => configured,
        Err(exit) => return exit,
    };
    match recorded::scenario(&file, &settings, &incident) {
        Ok(text) => {
            let _ = line(harmless(&text).trim_end());
            Exit::Done
        }
        Err(why) => {
            say(&why);
            Exit::RefusedOrUnknown
        }
    }
}
