//! `drill`: scenarios, which break workers and expect what becomes of the others.

mod progress;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde::Serialize;
use workers::Registry;

use super::exit::Exit;
use super::harmless::harmless_json;
use super::output::{json, line, say, words};
use super::place::{self, Place};
use crate::config::Scale;
use crate::config::Source;
use crate::config::scenario::script::Scenario;
use crate::config::scenario::{REPEAT_MAX, SEED_MAX};
use crate::drill::bound::bound;
use crate::drill::campaign::{Campaign, Outcome};
use crate::drill::compare::Machine;
use crate::drill::find::{self, Wrong};
use crate::drill::runner::Choice;
use crate::drill::verdict::{Report, Vacuous, Verdict};
use crate::drill::{first, junit, runner};
use crate::stable_hash::stable_hash;

use progress::OnStderr;

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run scenarios, and say whether what they expect was so.
    #[command(after_help = "\
Each run has a supervisor, a directory, sockets and logs of its own, and leaves nothing behind.
Commands of the configuration run for real.

Exit status:
  0   every expectation was met
  1   one was not, something was left behind, or a run could not be finished
  2   usage error, or no scenario is there
  78  a scenario is not valid, or something was broken before its first fault

Examples:
  supervisord-rs drill run drills/
  supervisord-rs drill run drills/crash.yaml --repeat 20 --jobs 2
  supervisord-rs drill run drills/ --only 'one crash leaves the others alone' --keep
  supervisord-rs drill run drills/storm.yaml --seed 4711
  supervisord-rs drill run drills/ --junit drills.xml --github")]
    Run(RunOptions),
    /// List scenarios, and how long each takes at most.
    #[command(
        after_help = "Examples:\n  supervisord-rs drill list drills/\n  supervisord-rs drill \
                            list drills/ --json"
    )]
    List(ListOptions),
    /// Print a first scenario for a configuration: it strikes each worker once.
    #[command(after_help = "\
It expects what the isolation of each worker promises. Save it beside the configuration.

Example:
  supervisord-rs drill init -c app.yaml > drill.yaml")]
    Init,
}

#[derive(Args, Debug)]
struct RunOptions {
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

#[derive(Args, Debug)]
struct ListOptions {
    /// As for `drill run`.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// The hidden verb of the process of one run.
#[derive(Args, Debug)]
pub(super) struct RunnerOptions {
    /// The scenario.
    file: PathBuf,
    /// The process that this run belongs to.
    #[arg(long)]
    campaign: i32,
    #[arg(long)]
    keep: bool,
    /// Whether others may go on at the same time.
    #[arg(long)]
    beside_others: bool,
    /// Which run of its scenario it is.
    #[arg(long)]
    run: u32,
    /// As of `drill run`.
    #[arg(long)]
    seed: Option<u64>,
    /// The seed of storms that have none.
    #[arg(long)]
    random: u64,
    /// A file with schedules instead of those of storms.
    #[arg(long)]
    schedules: Option<PathBuf>,
}

pub(super) fn run(options: Options, place: &Place, registry: &Registry) -> Exit {
    match options.verb {
        Verb::Run(options) => all(&options, place, registry),
        Verb::List(options) => list(&options, place, registry),
        Verb::Init => init(place, registry),
    }
}

/// One run, for `drill run`.
pub(super) fn one(options: &RunnerOptions, registry: &Registry) -> Exit {
    let read = |file: &PathBuf| -> Result<_, std::io::Error> {
        Ok(serde_json::from_slice(&std::fs::read(file)?)?)
    };
    let schedules = match options.schedules.as_ref().map(read).transpose() {
        Ok(schedules) => schedules.unwrap_or_default(),
        Err(error) => {
            say(&format!("cannot read schedules: {error}"));
            return Exit::Failed;
        }
    };
    let choice = Choice {
        keep: options.keep,
        is_alone: !options.beside_others,
        run: options.run,
        seed: options.seed,
        random: options.random,
        schedules,
    };
    match runner::run(&options.file, options.campaign, choice, registry) {
        Ok(()) => Exit::Done,
        Err(why) => {
            say(&why);
            Exit::Failed
        }
    }
}

/// The scenarios at these paths; what is wrong with them has been printed.
fn read(paths: &[PathBuf], place: &Place, registry: &Registry) -> Result<Vec<Scenario>, Exit> {
    if place.config.is_some() || place.socket.is_some() {
        say("a scenario names its configuration itself, and has a supervisor of its own: leave \
             out `-c` and `--socket`");
        return Err(Exit::Usage);
    }
    find::all(paths, registry).map_err(|wrong| {
        let exits: Vec<Exit> = wrong.iter().map(said).collect();
        let is_invalid = exits.contains(&Exit::InvalidConfiguration);
        if is_invalid { Exit::InvalidConfiguration } else { Exit::Usage }
    })
}

/// Prints what is wrong.
fn said(wrong: &Wrong) -> Exit {
    match wrong {
        Wrong::Unreadable(path, error) => {
            say(&format!("cannot read {}: {error}", path.display()));
            Exit::Usage
        }
        Wrong::Empty(path) => {
            say(&format!(
                "no scenario in {}: write one, or begin with `supervisord-rs drill init -c FILE`",
                path.display()
            ));
            Exit::Usage
        }
        Wrong::SameName(name, first, second) => {
            say(&format!(
                "{} and {} are both called `{name}`: give each a name of its own",
                first.display(),
                second.display()
            ));
            Exit::InvalidConfiguration
        }
        Wrong::Invalid(all) => {
            all.iter().for_each(|diagnostics| eprintln!("{diagnostics}"));
            Exit::InvalidConfiguration
        }
    }
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

fn all(options: &RunOptions, place: &Place, registry: &Registry) -> Exit {
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

fn created(path: &Path) -> Result<(File, PathBuf), ()> {
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

/// A line for each scenario, then what is known of each run that did not hold.
fn print(outcome: &Outcome) {
    let reports = &outcome.reports;
    let mut names: Vec<&str> = reports.iter().map(|report| report.scenario.as_str()).collect();
    names.dedup();
    for name in &names {
        let runs: Vec<&Report> = reports.iter().filter(|one| one.scenario == *name).collect();
        let bad = runs.iter().find(|one| one.verdict != Verdict::Held);
        let verdict = bad.map_or(Verdict::Held, |one| one.verdict);
        let failed = runs.iter().filter(|one| one.verdict != Verdict::Held).count();
        let count = match (failed, runs.len()) {
            (_, 1) => String::new(),
            (0, all) => format!(", {all} runs"),
            (failed, all) => format!(", {failed} of {all} runs"),
        };
        let took: u64 = runs.iter().map(|one| one.took_ms).sum();
        let took = shown(Duration::from_millis(took));
        let vacuous = outcome.vacuous.iter().find(|one| one.scenario == *name);
        let word = if vacuous.is_some() { "VACUOUS" } else { verdict.word() };
        let _ = words(&format!("{word:<10}  {name} ({took}{count})"));
        if let Some(vacuous) = vacuous {
            let _ = words(&format!("            {}", vacuous.message()));
        }
        for storm in runs.iter().filter(|one| one.failure.is_none()).flat_map(|run| &run.storms) {
            let _ = words(&format!("            storm: {}", storm.line()));
        }
    }
    for report in reports {
        let Some(failure) = &report.failure else {
            let kept = report.directory.iter().map(|directory| directory.display());
            kept.for_each(|kept| _ = words(&format!("kept: {} in {kept}", report.title())));
            continue;
        };
        let place = failure.place();
        let told = junit::told(report, failure);
        let title = report.title();
        let _ = words(&format!("\n{}: {title}, {place}", report.verdict.word()));
        let _ = words(told.trim_end());
    }
    let held = reports.iter().filter(|one| one.verdict == Verdict::Held).count();
    let runs = if reports.len() == 1 { "run" } else { "runs" };
    let _ = words(&format!("\n{held} of {} {runs} held", reports.len()));
}

/// A seed for storms that have none, short enough to be typed.
fn random_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let text = format!("{} {}", now.as_nanos(), std::process::id());
    stable_hash(text.bytes()) >> 32
}

/// A time in full tenths of a second.
fn shown(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn list(options: &ListOptions, place: &Place, registry: &Registry) -> Exit {
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

fn init(place: &Place, registry: &Registry) -> Exit {
    let Some(file) = place.config.clone().or_else(place::default_file) else {
        say("which configuration? Write `supervisord-rs drill init -c FILE`");
        return Exit::Usage;
    };
    let settings = Source::read(&file).and_then(|one| one.settings(registry, &Scale::new()));
    let settings = match settings {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("{problems}");
            return Exit::InvalidConfiguration;
        }
    };
    if !settings.spec.fault_injection {
        say(&format!(
            "crash injection is off in {}, and the scenario would be refused: write `supervisor: \
             {{ fault_injection: allow }}` into it, or into a copy of it",
            file.display()
        ));
        return Exit::RefusedOrUnknown;
    }
    let _ = line(first::scenario(&file, &settings).trim_end());
    Exit::Done
}
