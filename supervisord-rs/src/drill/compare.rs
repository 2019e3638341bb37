//! `compare`: a fault in one worker under each isolation, and who died with it.

use serde::{Deserialize, Serialize};

use super::expectation::{Expectation, Verdict, judge};
use super::outcome::Trial;
use super::plan::{Impossible, Plan};
use super::progress::Progress;
use super::{interrupt, trial};
use crate::config::Kind;

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
    pub written: Option<&'static Kind>,
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

/// Runs every trial. False: one of them could not be finished.
#[must_use]
pub fn run(plan: &Plan, progress: &dyn Progress) -> (Comparison, bool) {
    let mut comparison = Comparison::begun(plan);
    let mut is_complete = true;
    for (index, setting) in plan.settings.iter().enumerate() {
        let subject = plan.subject.describe(setting);
        progress.begins(index + 1, plan.settings.len(), &subject);
        match trial::run(&plan.subject, setting, progress) {
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
                if error.is_of_every_trial(plan.subject.worker()) {
                    break;
                }
            }
        }
    }
    (comparison, is_complete)
}

impl Comparison {
    /// The comparison before its first trial.
    fn begun(plan: &Plan) -> Self {
        let subject = &plan.subject;
        let is_file = subject.file().is_some();
        Self {
            version: 1,
            file: subject.file().map(|file| file.display().to_string()),
            worker: subject.worker().to_owned(),
            written: is_file.then(|| subject.written()),
            machine: Machine::here(),
            trials: Vec::new(),
            impossible: plan.impossible.clone(),
            expectations: Vec::new(),
        }
    }

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

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        let kernel = nix::sys::utsname::uname().map_or_else(
            |_| "unknown".to_owned(),
            |name| {
                format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
            },
        );
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self { kernel, cpus, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}
