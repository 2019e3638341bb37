//! `drill merge`: one result of all shards of a campaign.

use std::path::PathBuf;

use clap::Args;
use workers::Registry;

use super::results;
use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::drill::campaign::{Outcome, vacuous};
use crate::drill::find;
use crate::drill::merge::{Merged, merge};
use crate::drill::verdict::Vacuous;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The directory with the files that `drill run --lines` has written, which end in .jsonl.
    directory: PathBuf,
    #[command(flatten)]
    results: results::Options,
}

pub(super) fn run(options: &Options, registry: &Registry) -> Exit {
    let files = match options.results.files() {
        Ok(files) => files,
        Err(exit) => return exit,
    };
    let mut merged = match merge(&options.directory) {
        Ok(merged) => merged,
        Err(error) => {
            say(&error.to_string());
            return Exit::Failed;
        }
    };
    let vacuous = vacuous_of_all(&mut merged, registry);
    let Merged { header: _, reports, wrong } = merged;
    let outcome = Outcome { reports, interrupted: None, left: Vec::new(), vacuous };
    let exit = files.tell(&outcome);
    wrong.iter().for_each(|one| say(one));
    if wrong.is_empty() { exit } else { Exit::Failed }
}

/// What no run of any shard has reached. Only the scenarios say what is to be reached.
fn vacuous_of_all(merged: &mut Merged, registry: &Registry) -> Vec<Vacuous> {
    let named = merged.header.scenarios.iter().filter(|one| one.sometimes);
    let paths: Vec<PathBuf> = named.map(|one| one.file.clone()).collect();
    if paths.is_empty() {
        return Vec::new();
    }
    match find::all(&paths, registry) {
        Ok(scenarios) => vacuous(&scenarios, &merged.reports),
        Err(_) => {
            let files: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            merged.wrong.push(format!(
                "what `sometimes:` expects cannot be judged: run `drill merge` where these can be \
                 read: {}",
                files.join(", ")
            ));
            Vec::new()
        }
    }
}
