//! `drill list`: which scenarios there are, and how long each takes at most.

use std::path::PathBuf;

use clap::Args;
use workers::Registry;

use super::read::read;
use crate::cli::exit::Exit;
use crate::cli::output::{json, words};
use crate::cli::place::Place;
use crate::config::scenario::script::Scenario;
use crate::drill::bound::bound;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// As for `drill run`.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, place: &Place, registry: &Registry) -> Exit {
    let scenarios = match read(&options.paths, place, registry) {
        Ok(scenarios) => scenarios,
        Err(exit) => return exit,
    };
    if options.json {
        let of = |one: &Scenario| {
            serde_json::json!({
                "scenario": one.name, "file": one.file, "steps": one.steps.len(),
                "repeat": one.repeat, "at_most_s": bound(one).as_secs(),
            })
        };
        json(&serde_json::json!({
            "version": 1, "scenarios": scenarios.iter().map(of).collect::<Vec<_>>(),
        }));
        return Exit::Done;
    }
    for one in &scenarios {
        let repeat = if one.repeat == 1 { String::new() } else { format!(", {} runs", one.repeat) };
        let most = bound(one).as_secs();
        let _ = words(&format!(
            "{}: {} ({} steps{repeat}, at most {most} s each)",
            one.file.display(),
            one.name,
            one.steps.len()
        ));
    }
    Exit::Done
}
