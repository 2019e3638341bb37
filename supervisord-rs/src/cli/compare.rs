//! `compare`: the same workers under each isolation, one broken.

use std::process::ExitCode;

use clap::Args;
use workers::Registry;
use workers::fault::{Fault, Injection};

use super::exit::Exit;
use super::harmless::harmless;
use super::place::Place;
use crate::drill::compare::{self, Impossible, Plan};
use crate::drill::expectation::{self, Expectation};
use crate::drill::scenario::{Isolation, Scenario, ScenarioError};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The worker of the file given with -c that the fault strikes; with `instances:`, its first
    /// one.
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    /// Faults, separated by commas; see `faults`. Default: panic,segfault,hang; for a `command:`
    /// signal-segv,signal-kill.
    #[arg(long, value_delimiter = ',')]
    fault: Vec<String>,
    /// Isolations, separated by commas: thread, cell, process. Default: all that the worker can
    /// have.
    #[arg(long, value_delimiter = ',', value_parser = isolation)]
    isolation: Vec<Isolation>,
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

fn isolation(text: &str) -> Result<Isolation, String> {
    Isolation::by_name(text).ok_or_else(|| "write thread, cell or process".to_owned())
}

pub(super) fn run(options: Options, place: &Place, registry: &Registry) -> ExitCode {
    match plan(options, place, registry) {
        Ok(plan) => compare::run(&plan),
        Err(exit) => exit.into(),
    }
}

/// What to compare; what does not fit together has been printed.
fn plan(options: Options, place: &Place, registry: &Registry) -> Result<Plan, Exit> {
    for fault in &options.fault {
        fault.parse::<Injection>().map_err(|error| usage(&error.to_string()))?;
    }
    let scenario = scenario(&options, place, registry)?;
    let faults = faults(options.fault, &scenario)?;
    let asked = if options.isolation.is_empty() {
        Isolation::ALL.to_vec()
    } else {
        options.isolation.clone()
    };
    let (mut isolations, mut impossible) = (Vec::new(), Vec::new());
    for isolation in asked {
        match scenario.obstacle(isolation, registry).or_else(|| order(isolation, &faults)) {
            None => isolations.push(isolation),
            Some(reason) => impossible.push(Impossible { isolation, reason }),
        }
    }
    if let Some(first) = impossible.first()
        && (!options.isolation.is_empty() || isolations.is_empty())
    {
        let (worker, isolation) = (scenario.worker(), first.isolation.name());
        return Err(usage(&format!("isolation {isolation} for {worker}: {}", first.reason)));
    }
    if let Some((one, why)) = options.expect.iter().find_map(|one| {
        let why = impossible.iter().find(|other| other.isolation == one.isolation)?;
        Some((one, why))
    }) {
        let reason = &why.reason;
        let possible: Vec<String> =
            isolations.iter().map(|isolation| format!("{}=COUNT", isolation.name())).collect();
        let worker = scenario.worker();
        let possible = possible.join(",");
        return Err(usage(&format!(
            "`--expect {one}` cannot be met by {worker}: {reason}; write {possible}"
        )));
    }
    expectation::check(&options.expect, &isolations, scenario.size()).map_err(|why| usage(&why))?;
    scenario.check_addresses(registry).map_err(|error| of_scenario(&error))?;
    Ok(Plan {
        scenario,
        faults,
        isolations,
        impossible,
        expectations: options.expect,
        json: options.json,
    })
}

fn scenario(options: &Options, place: &Place, registry: &Registry) -> Result<Scenario, Exit> {
    match (&place.config, &options.worker) {
        (Some(file), Some(worker)) => {
            Scenario::of_file(file, worker, registry).map_err(|error| of_scenario(&error))
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
        (None, None) => Ok(Scenario::built_in()),
    }
}

/// The faults, which the worker can commit or suffer.
fn faults(asked: Vec<String>, scenario: &Scenario) -> Result<Vec<String>, Exit> {
    if !scenario.is_command() {
        let default = compare::DEFAULT_FAULTS.map(str::to_owned);
        return Ok(if asked.is_empty() { default.to_vec() } else { asked });
    }
    if asked.is_empty() {
        return Ok(compare::DEFAULT_FAULTS_OF_COMMAND.map(str::to_owned).to_vec());
    }
    let is_inside = |fault: &&String| {
        fault.parse::<Injection>().is_ok_and(|fault| fault.fault.signal().is_none())
    };
    let Some(fault) = asked.iter().find(is_inside) else { return Ok(asked) };
    let known: Vec<&str> =
        Fault::all().filter(|fault| fault.signal().is_some()).map(Fault::name).collect();
    Err(usage(&format!(
        "{} is a `command:`, which cannot commit `{fault}`: it takes signals only; write {}",
        scenario.worker(),
        known.join(", ")
    )))
}

/// Why one of these is no fault there.
fn order(isolation: Isolation, faults: &[String]) -> Option<String> {
    let is_order =
        |fault: &&String| fault.parse::<Injection>().is_ok_and(|fault| fault.fault.is_order());
    let fault = faults.iter().find(is_order).filter(|_| isolation == Isolation::Thread)?;
    Some(format!("{fault} to the supervisor's process is an order to stop everything"))
}

fn of_scenario(error: &ScenarioError) -> Exit {
    match error {
        ScenarioError::Invalid(problems) => invalid(problems),
        ScenarioError::NoSuchWorker { .. } => said(error, Exit::NoSuchWorker),
        ScenarioError::Refused(_) => said(error, Exit::RefusedOrUnknown),
    }
}

fn invalid(problems: &crate::config::Diagnostics) -> Exit {
    eprintln!("{problems}");
    Exit::InvalidConfiguration
}

fn usage(why: &str) -> Exit {
    said(&why, Exit::Usage)
}

fn said(why: &dyn std::fmt::Display, exit: Exit) -> Exit {
    eprintln!("supervisord-rs: {}", harmless(&why.to_string()));
    exit
}
