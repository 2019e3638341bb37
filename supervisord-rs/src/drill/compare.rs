//! `compare`: a fault in one worker under each isolation, and who died with it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::expectation::{Expectation, Verdict, judge};
use super::outcome::Trial;
use super::scenario::Scenario;
use super::setting::{Isolation, Setting, WrittenFault};
use super::{interrupt, report, trial};

/// A comparison to be made.
#[derive(Debug)]
pub struct Plan {
    /// What is compared.
    pub scenario: Scenario,
    /// The trials, in this order.
    pub settings: Vec<Setting>,
    /// What there is no trial of.
    pub impossible: Vec<Impossible>,
    /// What is to be found.
    pub expectations: Vec<Expectation>,
}

/// The faults of a comparison by default.
pub const DEFAULT_FAULTS: [&str; 3] = ["panic", "segfault", "hang"];
/// The same for a `command:`, which only a signal can strike.
pub const DEFAULT_FAULTS_OF_COMMAND: [&str; 2] = ["signal-segv", "signal-kill"];

/// `compare --json`, version 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// Version of this shape.
    pub version: u32,
    /// The user's file; `None`: the built-in configuration.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// The worker that the faults struck.
    #[serde(default)]
    pub worker: String,
    /// Its isolation in the user's file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub written: Option<Isolation>,
    /// The machine: times depend on it, counts do not.
    pub machine: Machine,
    /// One for each fault and isolation.
    pub trials: Vec<Trial>,
    /// What there is no trial of.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub impossible: Vec<Impossible>,
    /// What was expected (`--expect`), and what was found.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub expectations: Vec<Verdict>,
}

/// An isolation that a worker cannot have, or in which a fault is none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Impossible {
    /// Which.
    pub isolation: Isolation,
    /// The fault, as written; `None`: each.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<String>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Impossible {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Some(fault) => write!(formatter, "{fault}: {}", self.reason),
            None => formatter.write_str(&self.reason),
        }
    }
}

/// The machine of a comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// `uname -s -r`.
    pub kernel: String,
    /// Processors that this process may use.
    pub cpus: usize,
    /// Version of the program.
    pub version: String,
}

/// Where a comparison says how far it is.
pub trait Progress {
    /// A trial begins, one of so many.
    fn begins(&self, index: usize, count: usize, subject: &str);
    /// Why the present trial takes a while.
    fn takes_long(&self, why: &str);
    /// The present trial could not be finished.
    fn failed(&self, why: &str);
}

/// Runs every trial. False: one of them could not be finished.
#[must_use]
pub fn run(plan: &Plan, progress: &dyn Progress) -> (Comparison, bool) {
    let mut comparison = plan.comparison();
    let mut is_complete = true;
    for (index, setting) in plan.settings.iter().enumerate() {
        let subject = report::describe(&plan.scenario, setting);
        progress.begins(index + 1, plan.settings.len(), &subject);
        match trial::run(&plan.scenario, setting, progress) {
            Ok(trial) => {
                // A contained panic is a trial of its own beside the one that is expected.
                let expected: &[Expectation] =
                    if setting.contain { &[] } else { &plan.expectations };
                comparison.expectations.extend(judge(expected, &trial));
                comparison.trials.push(trial);
            }
            Err(error) => {
                interrupt::hold_if_interrupted();
                is_complete = false;
                progress.failed(&format!("{subject}: {error}"));
                if error.is_of_every_trial(plan.scenario.worker()) {
                    break;
                }
            }
        }
    }
    (comparison, is_complete)
}

impl Plan {
    /// Each fault in each isolation, where it is a fault. In the built-in configuration a panic in
    /// shared memory is also contained, since the answer differs; a user's file says itself what a
    /// panic ends.
    #[must_use]
    pub fn new(scenario: Scenario, faults: &[WrittenFault], isolations: &[Isolation]) -> Self {
        let mut settings: Vec<Setting> = Vec::new();
        for fault in faults {
            let setting = |isolation, contain| Setting { fault: fault.clone(), isolation, contain };
            settings.extend(isolations.iter().map(|&isolation| setting(isolation, false)));
            if fault.text() == "panic" && scenario.file().is_none() {
                let shared = isolations.iter().filter(|one| !one.capabilities().has_own_memory);
                settings.extend(shared.map(|&isolation| setting(isolation, true)));
            }
        }
        let none_there = |setting: &Setting| {
            let (isolation, fault) = (setting.isolation, Some(setting.fault.to_string()));
            Some(Impossible { isolation, fault, reason: setting.obstacle()?.to_owned() })
        };
        let impossible = settings.iter().filter_map(none_there).collect();
        settings.retain(|setting| setting.obstacle().is_none());
        Self { scenario, settings, impossible, expectations: Vec::new() }
    }

    /// The isolations that there are trials in.
    #[must_use]
    pub fn isolations(&self) -> Vec<Isolation> {
        let mut isolations = Isolation::ALL.to_vec();
        isolations.retain(|one| self.settings.iter().any(|setting| setting.isolation == *one));
        isolations
    }

    /// The comparison before its first trial.
    fn comparison(&self) -> Comparison {
        let scenario = &self.scenario;
        let is_file = scenario.file().is_some();
        Comparison {
            version: 1,
            file: scenario.file().map(|file| file.display().to_string()),
            worker: scenario.worker().to_owned(),
            written: is_file.then(|| scenario.written()),
            machine: machine(),
            trials: Vec::new(),
            impossible: self.impossible.clone(),
            expectations: Vec::new(),
        }
    }
}

impl Comparison {
    /// Each incident that disagrees with the view from outside, and each expectation that is not
    /// met.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let lies = self.trials.iter().filter(|trial| !trial.incident_agrees).map(|trial| {
            format!(
                "{} in {}: the incident disagrees with the view from outside (lost {}, survived \
                 {}): {}",
                trial.fault,
                trial.isolation.name(),
                trial.lost.join(" "),
                trial.survived.join(" "),
                trial.sentence
            )
        });
        let unmet = self.expectations.iter().filter(|verdict| !verdict.met).map(|verdict| {
            let names = match verdict.lost.as_slice() {
                [] => String::new(),
                lost => format!(" ({})", lost.join(" ")),
            };
            format!(
                "{} in isolation {}: expected {} lost, found {}{names}",
                verdict.fault,
                verdict.isolation.name(),
                verdict.expected,
                verdict.lost.len()
            )
        });
        lies.chain(unmet).collect()
    }
}

fn machine() -> Machine {
    let kernel = nix::sys::utsname::uname().map_or_else(
        |_| "unknown".to_owned(),
        |name| format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
    );
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    Machine { kernel, cpus, version: env!("CARGO_PKG_VERSION").to_owned() }
}
