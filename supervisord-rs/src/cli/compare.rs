//! `compare`: the same workers under each isolation, one broken.

use std::io::IsTerminal;

use clap::Args;
use workers::Registry;
use workers::fault::Fault;

use super::exit::Exit;
use super::harmless::harmless;
use super::output::{json, say, terminal_width, words};
use super::place::Place;
use crate::config::{Kind, kinds};
use crate::drill::expectation::Expectation;
use crate::drill::plan::{self, Impossible, Plan};
use crate::drill::progress::Progress;
use crate::drill::setting::WrittenFault;
use crate::drill::subject::{Subject, SubjectError};
use crate::drill::{compare, report};
use crate::process_table::check_own;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The worker of the file given with -c that the fault strikes; of `instances:`, the first one
    /// or the one that is named, such as `api.2`.
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    /// Faults, separated by commas; see `faults`. Default: panic,segfault,hang; for a `command:`
    /// signal-segv,signal-kill.
    #[arg(long, value_delimiter = ',')]
    fault: Vec<WrittenFault>,
    #[arg(long, value_delimiter = ',', value_parser = isolation, help = help_of_isolations())]
    isolation: Vec<&'static Kind>,
    /// How many workers each fault costs in an isolation, the struck one included:
    /// `thread=4,process=1`. Exit status 1 if that is not so. It holds for every fault: name those
    /// that you mean with --fault. A hang costs no worker that has neither `heartbeat:` nor a
    /// liveness probe.
    #[arg(long, value_name = "ISOLATION=COUNT", value_delimiter = ',')]
    expect: Vec<Expectation>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn help_of_isolations() -> String {
    let names = kinds::names().join(", ");
    format!("Isolations, separated by commas: {names}. Default: all that the worker can have")
}

fn isolation(text: &str) -> Result<&'static Kind, String> {
    Kind::by_name(text).ok_or_else(|| format!("write {}", kinds::choice()))
}

/// 0: every trial has finished, every incident agrees with the view from outside, and every
/// expectation is met; otherwise 1.
pub(super) fn run(options: Options, place: &Place, registry: &Registry) -> Exit {
    if let Err(why) = check_own() {
        say(why);
        return Exit::Failed;
    }
    let as_json = options.json;
    let plan = match plan(options, place, registry) {
        Ok(plan) => plan,
        Err(exit) => return exit,
    };
    if let Some(warning) = report::warning(&plan.subject, plan.settings.len()) {
        say(&warning);
    }
    let (comparison, is_complete) = compare::run(&plan, &OnStderr);
    OnStderr.clear();
    if as_json {
        json(&comparison);
    } else {
        let room = terminal_width().map(|columns| u16::try_from(columns).unwrap_or(u16::MAX));
        let _ = words(&report::table(&comparison, room));
    }
    let complaints = comparison.complaints();
    complaints.iter().for_each(|complaint| say(complaint));
    if is_complete && complaints.is_empty() { Exit::Done } else { Exit::Failed }
}

/// A line for each trial; on a terminal one line that is written over.
struct OnStderr;

impl OnStderr {
    fn clear(&self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}

impl Progress for OnStderr {
    fn begins(&self, index: usize, count: usize, subject: &str) {
        self.clear();
        let line = format!("[{index}/{count}] {}", harmless(subject));
        if std::io::stderr().is_terminal() {
            eprint!("{line} ...");
        } else {
            eprintln!("{line}");
        }
    }

    fn takes_long(&self, why: &str) {
        if std::io::stderr().is_terminal() {
            eprint!(" {}", harmless(why));
        } else {
            eprintln!("  {}", harmless(why));
        }
    }

    fn failed(&self, why: &str) {
        self.clear();
        say(why);
    }
}

/// What to compare; what does not fit together has been printed.
fn plan(options: Options, place: &Place, registry: &Registry) -> Result<Plan, Exit> {
    let subject = subject(&options, place, registry)?;
    let faults = faults(options.fault, &subject)?;
    let is_asked = !options.isolation.is_empty();
    let asked = if is_asked { options.isolation } else { kinds::ALL.to_vec() };
    let (mut isolations, mut impossible) = (Vec::new(), Vec::new());
    for isolation in asked {
        match subject.obstacle(isolation, registry) {
            None => isolations.push(isolation),
            Some(reason) => impossible.push(Impossible { isolation, fault: None, reason }),
        }
    }
    let mut plan = Plan::new(subject, &faults, &isolations);
    impossible.append(&mut plan.impossible);
    (plan.impossible, plan.expectations) = (impossible, options.expect);
    let is_refused =
        |why: &&Impossible| (is_asked && why.fault.is_none()) || plan.settings.is_empty();
    if let Some(why) = plan.impossible.iter().find(is_refused) {
        let (worker, isolation) = (plan.subject.worker(), why.isolation.name());
        return Err(usage(&format!("isolation {isolation} for {worker}: {why}")));
    }
    plan.check().map_err(|why| usage(&why))?;
    plan.subject.check_addresses(registry).map_err(|error| of_scenario(&error))?;
    Ok(plan)
}

fn subject(options: &Options, place: &Place, registry: &Registry) -> Result<Subject, Exit> {
    match (&place.config, &options.worker) {
        (Some(file), Some(worker)) => {
            Subject::of_file(file, worker, registry).map_err(|error| of_scenario(&error))
        }
        (Some(file), None) => {
            // A file with errors is reported as such.
            let settings =
                crate::config::load(file, registry).map_err(|problems| invalid(&problems))?;
            let names: Vec<&str> =
                settings.launches.iter().map(|launch| launch.name.as_str()).collect();
            Err(usage(&format!(
                "which worker does the fault strike? Write --worker NAME; {} has {}",
                file.display(),
                names.join(", ")
            )))
        }
        (None, Some(worker)) => Err(usage(&format!(
            "`--worker {worker}` needs a file: write -c FILE --worker {worker}"
        ))),
        (None, None) => Ok(Subject::built_in()),
    }
}

/// The faults, which the worker can commit or suffer.
fn faults(asked: Vec<WrittenFault>, subject: &Subject) -> Result<Vec<WrittenFault>, Exit> {
    if asked.is_empty() {
        let known = if subject.is_command() {
            &plan::DEFAULT_FAULTS_OF_COMMAND[..]
        } else {
            &plan::DEFAULT_FAULTS
        };
        return Ok(known
            .iter()
            .map(|fault| fault.parse().expect("it is in the catalogue"))
            .collect());
    }
    let is_inside = |fault: &&WrittenFault| fault.kind().signal().is_none();
    let Some(fault) = asked.iter().find(is_inside).filter(|_| subject.is_command()) else {
        return Ok(asked);
    };
    let known: Vec<&str> =
        Fault::all().filter(|fault| fault.signal().is_some()).map(Fault::name).collect();
    Err(usage(&format!(
        "{} is a `command:`, which cannot commit `{fault}`: it takes signals only; write {}",
        subject.worker(),
        known.join(", ")
    )))
}

fn of_scenario(error: &SubjectError) -> Exit {
    let exit = match error {
        SubjectError::Invalid(problems) => return invalid(problems),
        SubjectError::NoSuchWorker { .. } => Exit::NoSuchWorker,
        SubjectError::Refused(_) => Exit::RefusedOrUnknown,
    };
    say(&error.to_string());
    exit
}

fn invalid(problems: &crate::config::Diagnostics) -> Exit {
    eprintln!("{problems}");
    Exit::InvalidConfiguration
}

fn usage(why: &str) -> Exit {
    say(why);
    Exit::Usage
}
