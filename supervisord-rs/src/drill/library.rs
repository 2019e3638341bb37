//! Drills in `cargo test`: the words of a scenario, against a program with workers of its own.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::junit::told;
use super::verdict::{Report, Verdict};

/// A drill against a program that calls [`supervisord_rs::main`](crate::main) with its workers. It
/// begins when all of them run, and marks that before each fault.
///
/// ```no_run
/// # let program = "target/debug/app"; // in a test: env!("CARGO_BIN_EXE_app")
/// supervisord_rs::drill::Drill::of(program)
///     .configuration("version: 1\nsupervisor: { fault_injection: allow }\nworkers: { api: { worker: api } }")
///     .inject("api", "segfault")
///     .expect("lost: [api], supervisor: alive, back: { within: 2s }")
///     .assert_holds();
/// ```
///
/// *Guarantees*: each run is bounded in time, and leaves neither processes nor files.
/// *Source*: `docs/drills.md` has the words of steps and expectations.
#[derive(Clone, Debug)]
pub struct Drill {
    program: PathBuf,
    name: String,
    configuration: Configured,
    steps: Vec<String>,
    repeat: u32,
    marks: u32,
}

#[derive(Clone, Debug)]
enum Configured {
    Text(String),
    File(PathBuf),
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// A file could not be written, or the program not be started.
    #[error("cannot run the drill: {0}")]
    Start(#[from] io::Error),
    /// The program refuses the drill: it is not valid.
    #[error("the drill was refused:\n{0}")]
    Refused(String),
    /// It gave no result.
    #[error("the drill gave no result: {0}")]
    NoResult(String),
}

/// What `drill run --json` writes.
#[derive(Deserialize)]
struct Results {
    runs: Vec<Report>,
}

impl Drill {
    /// Of this program, with an empty configuration.
    #[must_use]
    pub fn of(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            name: "a drill".to_owned(),
            configuration: Configured::Text("version: 1".to_owned()),
            steps: vec!["wait: { running: all, within: 60s }".to_owned()],
            repeat: 1,
            marks: 0,
        }
    }

    /// Its name, for people.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The text of the configuration. Paths in it are relative to a directory of its own.
    #[must_use]
    pub fn configuration(self, text: impl Into<String>) -> Self {
        Self { configuration: Configured::Text(text.into()), ..self }
    }

    /// The file of the configuration.
    #[must_use]
    pub fn configuration_file(self, file: impl Into<PathBuf>) -> Self {
        Self { configuration: Configured::File(file.into()), ..self }
    }

    /// How often it runs; 1 by default.
    #[must_use]
    pub fn repeat(self, times: u32) -> Self {
        Self { repeat: times, ..self }
    }

    /// A step as a scenario has it: `restart: api`.
    #[must_use]
    pub fn step(mut self, step: &str) -> Self {
        self.steps.push(step.to_owned());
        self
    }

    /// Marks who runs, and commits a fault.
    #[must_use]
    pub fn inject(self, worker: &str, fault: &str) -> Self {
        self.marked(&format!("inject: {{ worker: {worker:?}, fault: {fault:?} }}"))
    }

    /// Marks who runs, and kills the `supervisor` or the `guardian`.
    #[must_use]
    pub fn kill(self, whom: &str) -> Self {
        self.marked(&format!("kill: {whom:?}"))
    }

    /// What is to be so, as `expect:` of a scenario has it: `lost: [api], supervisor: alive`.
    #[must_use]
    pub fn expect(self, expected: &str) -> Self {
        self.step(&format!("expect: {{ {expected} }}"))
    }

    fn marked(mut self, step: &str) -> Self {
        self.marks += 1;
        let mark = format!("mark: \"{}\"", self.marks);
        self.step(&mark).step(step)
    }

    /// Runs it. Blocks until it is over.
    ///
    /// # Errors
    /// See [`DrillError`]; an expectation that was not met is in the reports.
    pub fn run(&self) -> Result<Vec<Report>, DrillError> {
        let directory = tempfile::tempdir()?;
        let scenario = directory.path().join("drill.yaml");
        std::fs::write(&scenario, self.scenario(directory.path())?)?;
        let results = directory.path().join("results.json");
        let mut command = Command::new(&self.program);
        command
            .args(["drill", "run"])
            .arg(&scenario)
            .args(["--shrink-for", "0s"])
            .arg("--json")
            .arg(&results);
        let output = command.output()?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = std::fs::read(&results).unwrap_or_default();
        match serde_json::from_slice::<Results>(&text) {
            Ok(results) => Ok(results.runs),
            Err(_) if matches!(output.status.code(), Some(2 | 78)) => {
                Err(DrillError::Refused(complaint))
            }
            Err(_) => Err(DrillError::NoResult(format!("{}: {complaint}", output.status))),
        }
    }

    /// Runs it, and fails the test where it does not hold.
    ///
    /// # Panics
    /// Where it does not hold, or could not be run: with all that is known of that.
    #[track_caller]
    pub fn assert_holds(&self) {
        let reports = match self.run() {
            Ok(reports) => reports,
            Err(error) => panic!("{error}"),
        };
        for report in &reports {
            if let Some(failure) = &report.failure {
                let (word, place) = (report.verdict.word(), failure.place());
                panic!("{word}: {}, {place}\n{}", report.title(), told(report, failure));
            }
        }
        let is_held = |report: &Report| report.verdict == Verdict::Held;
        assert!(!reports.is_empty() && reports.iter().all(is_held), "{reports:?}");
    }

    /// The text of the scenario; the configuration is a file beside it, or where it is.
    fn scenario(&self, directory: &Path) -> io::Result<String> {
        let file = match &self.configuration {
            Configured::Text(text) => {
                let file = directory.join("configuration.yaml");
                std::fs::write(&file, text)?;
                file
            }
            Configured::File(file) => std::path::absolute(file)?,
        };
        // A string of JSON is one of YAML too.
        let (name, file) =
            (format!("{:?}", self.name), format!("{:?}", file.display().to_string()));
        let repeat = self.repeat;
        let mut text = format!(
            "version: 1\nscenario: {name}\nconfiguration: {file}\nrepeat: {repeat}\nsteps:\n"
        );
        for step in &self.steps {
            let _ = writeln!(text, "  - {step}");
        }
        Ok(text)
    }
}
