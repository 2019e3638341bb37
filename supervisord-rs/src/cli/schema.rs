//! `schema`: the keys of a file as JSON Schema, for editors.

use clap::Args;

use super::Exit;
use super::output::json;
use crate::config::schema::json_schema;
use crate::config::{configuration_keys, scenario_keys};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Of a scenario, which `drill run` runs.
    #[arg(long)]
    scenario: bool,
}

pub(super) fn run(options: &Options) -> Exit {
    json(&if options.scenario {
        json_schema(scenario_keys(), "A scenario of supervisord-rs")
    } else {
        json_schema(configuration_keys(), "A configuration of supervisord-rs")
    });
    Exit::Done
}
