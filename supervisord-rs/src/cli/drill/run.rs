//! `drill run`: runs scenarios, and writes what came of them.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use workers::Registry;

use super::progress::OnStderr;
use super::read::read;
use super::recorder::Recorder;
use super::results;
use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::cli::place::Place;
use crate::config::scenario::script::Scenario;
use crate::config::scenario::{REPEAT_MAX, SEED_MAX};
use crate::drill::campaign::Campaign;
use crate::drill::lines::{self, Header, Lines};
use crate::drill::shard::Shard;
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
    #[command(flatten)]
    results: results::Options,
    /// Make only every N-th run, from the K-th on: the others are those of other machines, or jobs.
    /// auto: by the variables of GitLab, CircleCI, Buildkite or Slurm.
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    /// Append the results to this file, a line of JSON for each run as it is over; `drill merge`
    /// unites those of all shards.
    #[arg(long, value_name = "FILE")]
    lines: Option<PathBuf>,
    /// Keep the directory of each run, with its logs.
    #[arg(long)]
    keep: bool,
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
    let files = match options.results.files() {
        Ok(files) => files,
        Err(exit) => return exit,
    };
    let shard = options.shard.unwrap_or(Shard::WHOLE);
    let (mut recorder, random) = match recorder(options, &scenarios, shard) {
        Ok(both) => both,
        Err(why) => {
            say(&why);
            return Exit::Usage;
        }
    };
    let campaign = Campaign {
        scenarios: &scenarios,
        repeat: options.repeat,
        jobs: usize::from(options.jobs),
        keep: options.keep,
        seed: options.seed,
        random,
        shard,
        shrink_for: options.shrink_for,
    };
    let outcome = match campaign.run(&mut recorder) {
        Ok(outcome) => outcome,
        Err(error) => {
            say(&format!("cannot run scenarios: {error}"));
            return Exit::Failed;
        }
    };
    let exit = files.tell(&outcome);
    match recorder.trouble {
        Some(why) => {
            say(&why);
            Exit::Failed
        }
        None => exit,
    }
}

/// Who hears of the runs, and the seed of storms that have none: one for all shards of a campaign.
fn recorder(
    options: &Options,
    scenarios: &[Scenario],
    shard: Shard,
) -> Result<(Recorder, u64), String> {
    let told = OnStderr::default();
    if options.shard.is_none() && options.lines.is_none() {
        return Ok((Recorder { told, lines: None, trouble: None }, random_seed()));
    }
    let id = lines::id(scenarios, options.repeat, options.seed)
        .map_err(|error| format!("cannot read this program: {error}"))?;
    let seed = short(&id);
    let header = Header::of(id, shard, scenarios, options.repeat);
    let begin = |path: &PathBuf| {
        Lines::begin(path, &header)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    let lines = options.lines.as_ref().map(begin).transpose()?;
    Ok((Recorder { told, lines, trouble: None }, seed))
}

/// A seed for storms that have none, short enough to be typed.
fn random_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    short(&format!("{} {}", now.as_nanos(), std::process::id()))
}

fn short(text: &str) -> u64 {
    stable_hash(text.bytes()) >> 32
}
