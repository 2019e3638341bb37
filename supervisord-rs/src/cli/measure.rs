//! `measure`: what threads, cells and processes cost on this machine.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use measure::figures::Place;
use measure::{Axis, Effort, Isolation, Progress, Trial};
use nix::unistd::{AccessFlags, access};
use workers::Registry;

use super::exit::Exit;
use super::output::{json, say, terminal_width, words};
use crate::config::{Kind, kinds};
use crate::drill::compare;
use crate::drill::outcome;
use crate::drill::plan::{DEFAULT_FAULTS, Plan};
use crate::drill::progress;
use crate::drill::subject::Subject;
use crate::process_table::check_own;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// What to measure. Default: all.
    #[arg(value_name = "AXIS", value_parser = axes())]
    axes: Vec<Axis>,
    /// Fewer rounds and sizes: all axes in less than a minute.
    #[arg(long)]
    quick: bool,
    /// Write a page for a browser there too: tables, pictures, sentences, complete in itself.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// JSON instead of tables: in base units (nanoseconds, bytes), with the machine.
    #[arg(long)]
    json: bool,
}

fn axes() -> impl TypedValueParser<Value = Axis> {
    let names = PossibleValuesParser::new(measure::axes::ALL.map(Axis::name));
    names.try_map(|name| name.parse::<Axis>())
}

/// 0: it was measured; what could not be says why.
pub(super) fn run(options: &Options, registry: &Registry) -> Exit {
    let mut axes = measure::axes::ALL.to_vec();
    if !options.axes.is_empty() {
        // In the order of the comparison, each once.
        axes.retain(|axis| options.axes.contains(axis));
    }
    if let Some(file) = &options.html
        && let Err(error) = can_be_written(file)
    {
        say(&format!("{}: {error}: nothing was measured", file.display()));
        return Exit::Failed;
    }
    let effort = if options.quick { Effort::quick() } else { Effort::full() };
    let progress = OnStderr::default();
    let report = measure::run(&axes, effort, &Crashes { registry }, &progress);
    progress.clear();
    let report = match report {
        Ok(report) => report,
        Err(why) => {
            say(&why);
            return Exit::Failed;
        }
    };
    let mut exit = Exit::Done;
    if let Some(file) = &options.html {
        let page = measure::report::html(&report);
        if let Err(error) = File::create(file).and_then(|mut file| file.write_all(page.as_bytes()))
        {
            // The figures are there all the same.
            say(&format!("{}: {error}", file.display()));
            exit = Exit::Failed;
        }
    }
    if options.json {
        json(&report);
    } else {
        let width = terminal_width().map(|columns| u16::try_from(columns).unwrap_or(u16::MAX));
        let _ = words(measure::report::text(&report, width).trim_end());
    }
    exit
}

/// Whether a file can be written, before minutes are spent on its content. Leaves it as it is.
fn can_be_written(file: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).open(file) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = file.parent().filter(|path| !path.as_os_str().is_empty());
            let directory = directory.unwrap_or_else(|| Path::new("."));
            let needed = AccessFlags::W_OK | AccessFlags::X_OK;
            access(directory, needed).map_err(Into::into)
        }
        Err(error) => Err(error),
    }
}

/// One line on a terminal, which is written over; elsewhere a line for each axis.
#[derive(Debug, Default)]
pub(super) struct OnStderr {
    last: Cell<usize>,
}

impl OnStderr {
    /// Nothing is being measured any more.
    pub(super) fn clear(&self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}

impl Progress for OnStderr {
    fn is_at(&self, axis: Axis, index: usize, count: usize, left: Duration) {
        let left = left.as_secs() + 1;
        let line = format!("[{index}/{count}] {axis}: about {left} s left");
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{line}");
        } else if self.last.replace(index) != index {
            eprintln!("{line}");
        }
    }
}

/// The trials of `compare`, with its own workers.
struct Crashes<'a> {
    registry: &'a Registry,
}

impl Isolation for Crashes<'_> {
    fn trials(&self, advances: &dyn Fn(f64)) -> Result<Vec<Trial>, String> {
        check_own()?;
        let subject = Subject::built_in();
        let can_be =
            |isolation: &&&'static Kind| subject.obstacle(isolation, self.registry).is_none();
        let isolations: Vec<&Kind> = kinds::ALL.iter().filter(can_be).copied().collect();
        let faults = DEFAULT_FAULTS.map(|fault| fault.parse().expect("it is in the catalogue"));
        let plan = Plan::new(subject, &faults, &isolations);
        let progress = Part { count: plan.settings.len(), advances };
        let (comparison, is_complete) = compare::run(&plan, &progress);
        if let Some(lie) = comparison.complaints().first() {
            return Err(lie.clone());
        }
        if !is_complete {
            return Err("a trial could not be finished".to_owned());
        }
        Ok(comparison.trials.iter().filter_map(trial).collect())
    }
}

/// What of a trial is a figure; a place that has no column has none.
fn trial(trial: &outcome::Trial) -> Option<Trial> {
    let place = [Place::Thread, Place::Cell, Place::Process]
        .into_iter()
        .find(|place| place.name() == trial.isolation.name())?;
    let ns = |us: Option<u64>| us.map(|us| us as f64 * 1000.0);
    let contained = if trial.on_panic == "contain" { ", contained" } else { "" };
    Some(Trial {
        fault: format!("{}{contained}", trial.fault),
        place,
        lost: trial.lost.len(),
        of: trial.running.len(),
        supervisor_died: trial.supervisor_died,
        seen: ns(trial.seen_after_us),
        back: ns(trial.back_after_us),
        work_lost: trial.work_lost.map(|units| units as f64),
    })
}

/// How far the trials are.
struct Part<'a> {
    count: usize,
    advances: &'a dyn Fn(f64),
}

impl progress::Progress for Part<'_> {
    fn begins(&self, _index: usize, count: usize, _subject: &str) {
        debug_assert_eq!(count, self.count);
        (self.advances)(1.0 / count.max(1) as f64);
    }

    fn takes_long(&self, _why: &str) {}

    fn failed(&self, why: &str) {
        OnStderr::default().clear();
        say(why);
    }
}
