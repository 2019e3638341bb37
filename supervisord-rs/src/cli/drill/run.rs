//! `drill run`: runs scenarios, and writes what came of them.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;
use workers::Registry;

use super::progress::OnStderr;
use super::read::read;
use super::told::print;
use crate::cli::exit::Exit;
use crate::cli::harmless::harmless_json;
use crate::cli::output::{say, words};
use crate::cli::place::Place;
use crate::config::scenario::{REPEAT_MAX, SEED_MAX};
use crate::drill::campaign::{Campaign, Outcome};
use crate::drill::compare::Machine;
use crate::drill::junit;
use crate::drill::verdict::{Report, Vacuous, Verdict};
use crate::stable_hash::stable_hash;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Scenarios, and directories that are searched for them. In a directory, a file with
    /// `workers:` is a configuration, and passed over.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only the scenario of this name; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Run each so often, whatever its `repeat:` says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(REPEAT_MAX)))]
    repeat: Option<u32>,
    /// So many runs at once. Addresses that are not in `sockets:` are not changed: two runs that
    /// need the same one disturb each other.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Draw the storms from this seed, whatever their files say: it repeats what another one has
    /// printed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=SEED_MAX))]
    seed: Option<u64>,
    /// How long a storm that has failed is made shorter at most; `0s`: not at all. The shortest
    /// schedule that still fails is written beside its scenario, as NAME.shrunk.yaml.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    shrink_for: Duration,
    /// Write the results to this file, as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also print an annotation for GitHub Actions for each run that did not hold.
    #[arg(long)]
    github: bool,
    /// Keep the directory of each run, with its logs.
    #[arg(long)]
    keep: bool,
}

/// What `drill run --json` writes, version 1.
#[derive(Debug, Serialize)]
struct Results<'a> {
    version: u32,
    machine: Machine,
    /// Whether every run held, and reached what it was to reach.
    held: bool,
    runs: &'a [Report],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    vacuous: &'a [Vacuous],
}

pub(super) fn run(options: &Options, place: &Place, registry: &Registry) -> Exit {
    let mut scenarios = match read(&options.paths, place, registry) {
        Ok(scenarios) => scenarios,
        Err(exit) => return exit,
    };
    if let Some(unknown) =
        options.only.iter().find(|name| !scenarios.iter().any(|one| one.name == **name))
    {
        let names: Vec<&str> = scenarios.iter().map(|one| one.name.as_str()).collect();
        say(&format!("no scenario is called `{unknown}`; there are: {}", names.join(", ")));
        return Exit::Usage;
    }
    if !options.only.is_empty() {
        scenarios.retain(|one| options.only.contains(&one.name));
    }
    // A file that cannot be written is found before anything runs.
    let files = [&options.junit, &options.json].map(|path| path.as_deref().map(created));
    let [junit_file, json_file] = files;
    let (Ok(junit_file), Ok(json_file)) = (junit_file.transpose(), json_file.transpose()) else {
        return Exit::Usage;
    };
    let jobs = usize::from(options.jobs);
    let campaign = Campaign {
        scenarios: &scenarios,
        repeat: options.repeat,
        jobs,
        keep: options.keep,
        seed: options.seed,
        random: random_seed(),
        shrink_for: options.shrink_for,
    };
    let outcome = match campaign.run(&mut OnStderr::default()) {
        Ok(outcome) => outcome,
        Err(error) => {
            say(&format!("cannot run scenarios: {error}"));
            return Exit::Failed;
        }
    };
    print(&outcome);
    if options.github {
        for annotation in junit::annotations(&outcome.reports, &outcome.vacuous) {
            let _ = words(&annotation);
        }
    }
    let Outcome { reports, vacuous, .. } = &outcome;
    let held = vacuous.is_empty() && reports.iter().all(|one| one.verdict == Verdict::Held);
    let results = Results { version: 1, machine: Machine::here(), held, runs: reports, vacuous };
    let text = serde_json::to_string_pretty(&results).expect("texts and numbers");
    let written = [
        (junit_file, junit::junit(reports, vacuous)),
        (json_file, harmless_json(&text).into_owned() + "\n"),
    ];
    for (file, text) in written {
        if let Some((mut file, path)) = file
            && let Err(error) = file.write_all(text.as_bytes())
        {
            say(&format!("cannot write {}: {error}", path.display()));
            return Exit::Failed;
        }
    }
    concluded(&outcome)
}

pub(super) fn created(path: &Path) -> Result<(File, PathBuf), ()> {
    File::create(path).map(|file| (file, path.to_path_buf())).map_err(|error| {
        say(&format!("cannot write {}: {error}", path.display()));
    })
}

/// The exit status; an interrupt ends this process as it ends others.
fn concluded(outcome: &Outcome) -> Exit {
    if !outcome.left.is_empty() {
        say(&format!("left behind: {}", outcome.left.join("; ")));
    }
    if let Some(signal) = outcome.interrupted {
        say("interrupted: what was running was ended, and nothing of it is left");
        std::process::exit(128 + signal);
    }
    let has = |verdict: Verdict| outcome.reports.iter().any(|one| one.verdict == verdict);
    if has(Verdict::Failed)
        || has(Verdict::Unfinished)
        || !outcome.left.is_empty()
        || !outcome.vacuous.is_empty()
    {
        Exit::Failed
    } else if has(Verdict::Unsteady) {
        Exit::InvalidConfiguration
    } else {
        Exit::Done
    }
}

/// A seed for storms that have none, short enough to be typed.
fn random_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let text = format!("{} {}", now.as_nanos(), std::process::id());
    stable_hash(text.bytes()) >> 32
}
