//! `advise`: which isolation each worker of a file should have, and why. It changes nothing.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use measure::figures::{Place as Where, Report};
use measure::{Axis, Effort, Isolation, Trial};
use serde::Serialize;
use workers::Registry;

use super::exit::Exit;
use super::measure::OnStderr;
use super::output::{json, say, words};
use super::place::Place;
use crate::advice::{Advice, Costs, History, Share, Subject, advise};
use crate::config::settings::{ExecutionEnvironment, Limits, Program, Scope};
use crate::config::{Launch, Settings};
use crate::control::client::MANY_INCIDENTS;
use crate::control::protocol::IncidentRecord;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// What `measure --json` has written, for the costs of this machine. Default: they are measured
    /// now, quickly.
    #[arg(long, value_name = "FILE")]
    figures: Option<PathBuf>,
    /// JSON instead of sentences.
    #[arg(long)]
    json: bool,
}

/// `advise --json`, version 1.
#[derive(Debug, Serialize)]
struct Advised<'a> {
    version: u32,
    file: String,
    /// What a worker costs here, in bytes; `None`: it could not be measured.
    costs: Option<Costs>,
    /// Whether a supervisor has told of incidents.
    has_history: bool,
    workers: &'a [Advice],
}

/// 0: there is advice, whatever it is.
pub(super) fn run(options: &Options, place: &Place, registry: &Registry) -> Exit {
    let settings = match place.settings(registry) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            say("of which workers? Write -c FILE");
            return Exit::Usage;
        }
        Err(exit) => return exit,
    };
    let costs = match &options.figures {
        Some(file) => match stored(file) {
            Ok(costs) => Some(costs),
            Err(why) => {
                say(&format!("{}: {why}", file.display()));
                return Exit::Usage;
            }
        },
        None => match quickly() {
            Ok(costs) => Some(costs),
            Err(why) => {
                say(&format!("what a worker costs here is not known: {why}"));
                None
            }
        },
    };
    let incidents = place
        .client(registry)
        .ok()
        .and_then(|client| client.incidents_and_open(MANY_INCIDENTS).ok());
    let subjects = subjects(&settings, incidents.as_deref());
    let advice: Vec<Advice> =
        subjects.iter().map(|subject| advise(subject, costs.as_ref())).collect();
    let file = settings.source.file.display().to_string();
    if options.json {
        let has_history = incidents.is_some();
        json(&Advised { version: 1, file, costs, has_history, workers: &advice });
    } else {
        let _ = words(&text(&advice, incidents.is_some()));
    }
    Exit::Done
}

/// How to follow the advice.
const HOW: &str = "edit `isolation:` and `cell:` in the file, then `reload`";

/// A paragraph for each worker.
fn text(advice: &[Advice], has_history: bool) -> String {
    let mut text = String::new();
    for one in advice {
        let instances = if one.instances > 1 {
            format!(" ({} instances)", one.instances)
        } else {
            String::new()
        };
        let what = if one.change {
            format!("{} instead of {}", one.advised.name(), one.now.name())
        } else {
            format!("{}, as it is", one.advised.name())
        };
        text.push_str(&format!("{}{instances}: {what}\n", one.worker));
        one.reasons.iter().for_each(|why| text.push_str(&format!("  {why}\n")));
    }
    let changes = advice.iter().filter(|one| one.change).count();
    text.push_str(&match changes {
        0 => "\nNothing to change.".to_owned(),
        1 => format!("\n1 worker to change: {HOW}."),
        count => format!("\n{count} workers to change: {HOW}."),
    });
    if !has_history {
        text.push_str(" No supervisor of this file runs that could tell of incidents.");
    }
    text
}

/// No report is longer, in bytes; `/dev/zero` is.
const FIGURES_MAX: u64 = 16 << 20;

/// From a report that is there.
fn stored(file: &Path) -> Result<Costs, String> {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(FIGURES_MAX).read_to_string(&mut text));
    read.map_err(|error| error.to_string())?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|error| format!("this is not what `measure --json` writes: {error}"))?;
    costs(&report)
}

/// By `measure memory --quick`.
fn quickly() -> Result<Costs, String> {
    let progress = OnStderr::default();
    let report = measure::run(&[Axis::Memory], Effort::quick(), &NoTrials, &progress);
    progress.clear();
    costs(&report?)
}

/// The axis of memory needs none.
struct NoTrials;

impl Isolation for NoTrials {
    fn trials(&self, _advances: &dyn Fn(f64)) -> Result<Vec<Trial>, String> {
        Err("not asked for".to_owned())
    }
}

/// What each of the most workers has taken, with its page tables and its part of the kernel.
fn costs(report: &Report) -> Result<Costs, String> {
    let measured = report.axes.iter().find(|measured| measured.axis == Axis::Memory);
    let measured = measured.ok_or("it has no figures of memory: measure those too")?;
    let of = |place: Where| {
        let table = |name: &str| measured.tables.iter().find(|table| table.name == name);
        let whole = |row: &str| -> Option<f64> {
            let part = |name| measured.row(name, row)?.median(place);
            Some(part("pss")? + part("page-tables")? + part("kernel").unwrap_or(0.0))
        };
        table("pss")?.rows.iter().rev().find_map(|row| whole(&row.name))
    };
    let [thread, cell, process] = [Where::Thread, Where::Cell, Where::Process].map(of);
    let missing = "the memory of a worker was not measured";
    Ok(Costs {
        thread: thread.ok_or(missing)?,
        cell: cell.ok_or(missing)?,
        process: process.ok_or(missing)?,
        memory: report.machine.memory as f64,
    })
}

/// The workers of a file, each once, in their order.
fn subjects(settings: &Settings, incidents: Option<&[IncidentRecord]>) -> Vec<Subject> {
    let mut subjects: Vec<Subject> = Vec::new();
    for launch in &settings.launches {
        match subjects.iter_mut().find(|subject| subject.name == launch.base) {
            Some(subject) => subject.instances += 1,
            None => subjects.push(subject(settings, launch, incidents)),
        }
    }
    subjects
}

fn subject(settings: &Settings, launch: &Launch, incidents: Option<&[IncidentRecord]>) -> Subject {
    let others = settings.launches.iter().filter(|other| other.base != launch.base);
    let neighbours = others.filter(|other| is_of_one_domain(launch, other));
    Subject {
        name: launch.base.clone(),
        instances: 1,
        now: launch.isolation.kind,
        is_command: matches!(launch.program, Program::Command(_)),
        process_keys: process_keys(launch),
        neighbours: names(neighbours),
        shares: shares(settings, launch),
        history: incidents.map(|incidents| history(launch, incidents)),
    }
}

/// The names that stand in the file, each once.
fn names<'a>(launches: impl Iterator<Item = &'a Launch>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for launch in launches {
        if !names.contains(&launch.base) {
            names.push(launch.base.clone());
        }
    }
    names
}

/// Whether a fatal fault of one takes the other along.
fn is_of_one_domain(one: &Launch, other: &Launch) -> bool {
    one.isolation.kind == other.isolation.kind
        && !one.isolation.capabilities().has_own_process
        && one.isolation.cell == other.isolation.cell
}

/// What of a worker only a process can have.
fn process_keys(launch: &Launch) -> Vec<&'static str> {
    let ExecutionEnvironment { user, group, groups, env_files, env, secrets, limits, .. } =
        &launch.execution;
    let has_limits = limits.resources.len() > Limits::default().resources.len()
        || limits.cgroup != Limits::default().cgroup;
    [
        ("user", user.is_some()),
        ("group", group.is_some() || groups.is_some()),
        ("env", !env.is_empty() || !env_files.is_empty()),
        ("secrets", !secrets.is_empty()),
        ("limits", has_limits),
        ("start_before", launch.start_before.is_some()),
    ]
    .into_iter()
    .filter_map(|(key, is_set)| is_set.then_some(key))
    .collect()
}

fn shares(settings: &Settings, launch: &Launch) -> Vec<Share> {
    let share = |resource: &str| {
        let uses = |other: &&Launch| other.uses.iter().any(|used| used.name == resource);
        let others = settings.launches.iter().filter(|other| other.base != launch.base);
        let declared = settings.resources.iter().find(|one| one.resource.name == resource);
        let with = names(others.filter(uses));
        Share {
            resource: resource.to_owned(),
            is_of_one_process: !with.is_empty()
                && declared.is_some_and(|one| one.scope == Scope::Process && one.is_scope_written),
            with,
        }
    };
    launch.uses.iter().map(|used| share(&used.name)).collect()
}

/// Incidents of it and of its instances, but for those that were injected.
fn history(launch: &Launch, incidents: &[IncidentRecord]) -> History {
    let prefix = format!("{}.", launch.base);
    let is_of_it = |incident: &&IncidentRecord| {
        let of = incident.worker.as_deref();
        of.is_some_and(|name| name == launch.base || name.starts_with(&prefix))
            && !incident.fault.injected
    };
    let its: Vec<&IncidentRecord> = incidents.iter().filter(is_of_it).collect();
    let along = |incident: &&IncidentRecord| {
        let lost = incident.lost.iter().filter(|name| !incident.collateral.contains(name));
        lost.filter(|name| Some(*name) != incident.worker.as_ref()).count()
    };
    History {
        incidents: its.len(),
        last: its.last().map(|incident| incident.fault.kind.clone()),
        taken_along: its.iter().map(along).max().unwrap_or(0),
    }
}
