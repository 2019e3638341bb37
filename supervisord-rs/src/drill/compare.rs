//! `compare`: the same four workers under each isolation, a fault in one of them, and who died with
//! it.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::report;
use super::trial::{self, Isolation, Setting, Trial};

/// The options of a comparison.
#[derive(Clone, Debug)]
pub struct Options {
    /// The faults, as written.
    pub faults: Vec<String>,
    /// The isolations of the workers.
    pub isolations: Vec<Isolation>,
    /// Whether to print JSON.
    pub json: bool,
}

/// The faults of a comparison by default.
pub const DEFAULT_FAULTS: [&str; 3] = ["panic", "segfault", "hang"];

/// `compare --json`, version 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// Version of this shape.
    pub version: u32,
    /// The machine: times depend on it, counts do not.
    pub machine: Machine,
    /// One for each fault and isolation.
    pub trials: Vec<Trial>,
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
/// Exit status 0: every trial has finished, and every incident agrees with the view from outside;
/// otherwise 1.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let settings = settings(options);
    let mut trials = Vec::new();
    let mut failed = false;
    for (index, setting) in settings.iter().enumerate() {
        progress(index + 1, settings.len(), setting);
        match trial::run(*setting) {
            Ok(trial) => trials.push(trial),
            Err(error) => {
                failed = true;
                clear_progress();
                eprintln!("supervisord-rs: {}: {error}", report::describe(setting));
            }
        }
    }
    clear_progress();
    let comparison = Comparison { version: 1, machine: machine(), trials };
    let text = if options.json {
        serde_json::to_string_pretty(&comparison).expect("strings and numbers are valid JSON")
    } else {
        let stdout = std::io::stdout();
        let size = stdout.is_terminal().then(|| ratatui::crossterm::terminal::size().ok());
        report::table(&comparison, size.flatten().map(|(columns, _)| columns))
    };
    // A reader that went away (`| head`) is not a failure of the comparison.
    if let Err(error) = writeln!(std::io::stdout(), "{text}")
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        failed = true;
        eprintln!("supervisord-rs: cannot write to standard output: {error}");
    }
    let lies = comparison.trials.iter().filter(|trial| !trial.incident_agrees);
    for trial in lies {
        failed = true;
        eprintln!(
            "supervisord-rs: {} in {}: the incident disagrees with the view from outside (lost {}, survived {}): {}",
            trial.fault,
            trial.isolation.name(),
            trial.lost.join(" "),
            trial.survived.join(" "),
            trial.sentence
        );
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Each fault in each isolation; a panic in shared memory also contained, since the answer differs.
fn settings(options: &Options) -> Vec<Setting<'_>> {
    let mut settings = Vec::new();
    for fault in &options.faults {
        for &isolation in &options.isolations {
            settings.push(Setting { fault, isolation, contain: false });
        }
        for &isolation in &options.isolations {
            if fault == "panic" && isolation != Isolation::Process {
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

fn progress(index: usize, count: usize, setting: &Setting<'_>) {
    let text = report::describe(setting);
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K[{index}/{count}] {text} ...");
    } else {
        eprintln!("[{index}/{count}] {text}");
    }
}

fn clear_progress() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}
