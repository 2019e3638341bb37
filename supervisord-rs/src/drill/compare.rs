//! `compare`: a fault in one worker under each isolation, and who died with it.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::expectation::{Expectation, Verdict, judge};
use super::scenario::{Isolation, Scenario, Setting};
use super::trial::{self, Trial};
use super::{interrupt, report};

/// A comparison to be made.
#[derive(Debug)]
pub struct Plan {
    /// What is compared.
    pub scenario: Scenario,
    /// The faults, as written.
    pub faults: Vec<String>,
    /// The isolations of the worker.
    pub isolations: Vec<Isolation>,
    /// Those that it cannot have.
    pub impossible: Vec<Impossible>,
    /// What is to be found.
    pub expectations: Vec<Expectation>,
    /// Whether to print JSON.
    pub json: bool,
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
    /// Isolations that the worker cannot have.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub impossible: Vec<Impossible>,
    /// What was expected (`--expect`), and what was found.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub expectations: Vec<Verdict>,
}

/// An isolation that a worker cannot have.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Impossible {
    /// Which.
    pub isolation: Isolation,
    /// Why.
    pub reason: String,
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

/// Runs every trial, shows progress while it runs, and prints the table or JSON.
///
/// Exit status 0: every trial has finished, every incident agrees with the view from outside, and
/// every expectation is met; otherwise 1.
#[must_use]
pub fn run(plan: &Plan) -> ExitCode {
    let settings = settings(plan);
    if let Some(warning) = report::warning(&plan.scenario, settings.len()) {
        eprintln!("supervisord-rs: {warning}");
    }
    let mut comparison = plan.comparison();
    let mut failed = false;
    for (index, setting) in settings.iter().enumerate() {
        let subject = report::describe(&plan.scenario, setting);
        progress(index + 1, settings.len(), &subject);
        match trial::run(&plan.scenario, *setting) {
            Ok(trial) => {
                // A contained panic is a trial of its own beside the one that is expected.
                let expected: &[Expectation] =
                    if setting.contain { &[] } else { &plan.expectations };
                comparison.expectations.extend(judge(expected, &trial));
                comparison.trials.push(trial);
            }
            Err(error) => {
                interrupt::hold_if_interrupted();
                failed = true;
                clear_progress();
                eprintln!("supervisord-rs: {subject}: {error}");
                if error.is_of_every_trial(plan.scenario.worker()) {
                    break;
                }
            }
        }
    }
    clear_progress();
    failed |= !print(&comparison, plan.json);
    failed |= !is_consistent(&comparison);
    failed |= !is_as_expected(&comparison);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

impl Plan {
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

/// False: it could not be printed.
fn print(comparison: &Comparison, as_json: bool) -> bool {
    let text = if as_json {
        serde_json::to_string_pretty(comparison).expect("strings and numbers are valid JSON")
    } else {
        let stdout = std::io::stdout();
        let size = stdout.is_terminal().then(|| ratatui::crossterm::terminal::size().ok());
        report::table(comparison, size.flatten().map(|(columns, _)| columns))
    };
    // A reader that went away (`| head`) is not a failure of the comparison.
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("supervisord-rs: cannot write to standard output: {error}");
            false
        }
        Ok(()) | Err(_) => true,
    }
}

/// False, and says so: an incident disagrees with the view from outside.
fn is_consistent(comparison: &Comparison) -> bool {
    let lies = comparison.trials.iter().filter(|trial| !trial.incident_agrees);
    for trial in lies.clone() {
        eprintln!(
            "supervisord-rs: {} in {}: the incident disagrees with the view from outside (lost \
                {}, survived {}): {}",
            trial.fault,
            trial.isolation.name(),
            trial.lost.join(" "),
            trial.survived.join(" "),
            trial.sentence
        );
    }
    lies.count() == 0
}

/// False, and says so: more or fewer workers were lost than expected.
fn is_as_expected(comparison: &Comparison) -> bool {
    let unmet = comparison.expectations.iter().filter(|verdict| !verdict.met);
    for verdict in unmet.clone() {
        let names = match verdict.lost.as_slice() {
            [] => String::new(),
            lost => format!(" ({})", lost.join(" ")),
        };
        eprintln!(
            "supervisord-rs: {} in isolation {}: expected {} lost, found {}{names}",
            verdict.fault,
            verdict.isolation.name(),
            verdict.expected,
            verdict.lost.len()
        );
    }
    unmet.count() == 0
}

/// Each fault in each isolation. In the built-in configuration a panic in shared memory is also
/// contained, since the answer differs; a user's file says itself what a panic ends.
fn settings(plan: &Plan) -> Vec<Setting<'_>> {
    let mut settings = Vec::new();
    for fault in &plan.faults {
        for &isolation in &plan.isolations {
            settings.push(Setting { fault, isolation, contain: false });
        }
        for &isolation in &plan.isolations {
            let is_shared = isolation != Isolation::Process;
            if fault == "panic" && is_shared && plan.scenario.file().is_none() {
                settings.push(Setting { fault, isolation, contain: true });
            }
        }
    }
    settings
}

fn machine() -> Machine {
    let kernel = nix::sys::utsname::uname().map_or_else(
        |_| "unknown".to_owned(),
        |name| format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
    );
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    Machine { kernel, cpus, version: env!("CARGO_PKG_VERSION").to_owned() }
}

fn progress(index: usize, count: usize, subject: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K[{index}/{count}] {subject} ...");
    } else {
        eprintln!("[{index}/{count}] {subject}");
    }
}

/// Says why the present trial takes a while.
pub(super) fn note(why: &str) {
    if std::io::stderr().is_terminal() {
        eprint!(" {why}");
    } else {
        eprintln!("  {why}");
    }
}

fn clear_progress() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}
