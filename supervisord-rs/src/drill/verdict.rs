//! What came of a run of a scenario.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::storm::sometimes::Reached;
use crate::config::scenario::script::Scenario;

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every expectation was met, and nothing was left behind.
    Held,
    /// One was not, or something was.
    Failed,
    /// Something was broken before the first fault: that is an error of the scenario.
    Unsteady,
    /// The run could not be made, or did not end in time.
    Unfinished,
}

impl Verdict {
    /// As people read it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Failed => "FAILED",
            Self::Unsteady => "UNSTEADY",
            Self::Unfinished => "UNFINISHED",
        }
    }
}

/// A run of a scenario; an element of `runs` in `drill run --json`, version 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The name of the scenario.
    pub scenario: String,
    /// Its file, as it was named.
    pub file: PathBuf,
    /// Which of its runs, from 1.
    pub run: u32,
    /// How many of them there are.
    pub of: u32,
    /// What came of it.
    pub verdict: Verdict,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The incidents in it, each in one line.
    pub incidents: Vec<String>,
    /// Why it did not hold; `None`: it did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
    /// Its directory, where that was kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub directory: Option<PathBuf>,
    /// The storms in it, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub storms: Vec<StormReport>,
    /// What it has reached, where its scenario has `sometimes:`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub reached: BTreeSet<Reached>,
}

/// What a storm did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StormReport {
    /// What its schedule was drawn from; `None`: that was written.
    pub seed: Option<u64>,
    /// A hash of its schedule: one seed has one, in every run.
    pub schedule: String,
    /// How many blows there were to be.
    pub blows: usize,
    /// How far in the schedule it came, from 1.
    pub up_to: usize,
    /// How many blows were struck.
    pub struck: usize,
    /// How many were not: their victim did not run.
    pub passed_over: usize,
}

impl StormReport {
    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { seed, schedule, blows, up_to: _, struck, passed_over } = self;
        let seed = seed.map_or_else(String::new, |seed| format!("seed {seed}, "));
        format!(
            "{seed}schedule {schedule}: {struck} of {blows} blows struck, {passed_over} passed over"
        )
    }
}

/// What became of a storm that failed when it was made shorter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrunk {
    /// The scenario with the shortest schedule that was found; `None`: see `trouble`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<PathBuf>,
    /// How many blows that has.
    pub blows: usize,
    /// How many the storm had.
    pub of: usize,
    /// How many runs it took.
    pub runs: u32,
    /// How often the shortest schedule failed in the last of them, and in how many.
    pub failed: u32,
    /// See `failed`.
    pub tried: u32,
    /// Why there is no file, or why it may be longer than it need be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
}

impl Shrunk {
    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { file, blows, of, runs, failed, tried, trouble } = self;
        let trouble = trouble.as_ref().map_or_else(String::new, |why| format!("; {why}"));
        let rate = format!("it failed in {failed} of {tried} runs");
        match file {
            Some(file) => format!(
                "{blows} of {of} blows are enough, found in {runs} runs: {rate}; see {}{trouble}",
                file.display()
            ),
            None => format!("not made shorter: {blows} of {of} blows, {rate}{trouble}"),
        }
    }
}

/// A campaign that never came where it was to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vacuous {
    /// The name of the scenario.
    pub scenario: String,
    /// Its file, as it was named.
    pub file: PathBuf,
    /// The line of the first that is missing.
    pub line: usize,
    /// What none of the runs has reached.
    pub missing: Vec<String>,
    /// How many runs there were.
    pub runs: usize,
}

impl Vacuous {
    /// What is wrong and what to do, in one line.
    #[must_use]
    pub fn message(&self) -> String {
        let runs = if self.runs == 1 { "1 run".to_owned() } else { format!("{} runs", self.runs) };
        format!(
            "{runs} held and never reached: {}; make the storm longer or `repeat:` larger, or \
             remove it from `sometimes:`",
            self.missing.join("; ")
        )
    }
}

impl Report {
    /// A run that has not failed so far.
    pub(super) fn of(scenario: &Scenario, run: u32, of: u32) -> Self {
        Self {
            scenario: scenario.name.clone(),
            file: scenario.file.clone(),
            run,
            of,
            verdict: Verdict::Held,
            took_ms: 0,
            incidents: Vec::new(),
            failure: None,
            directory: None,
            storms: Vec::new(),
            reached: BTreeSet::new(),
        }
    }

    /// Its scenario, and which run of it where there are several.
    #[must_use]
    pub fn title(&self) -> String {
        match self.of {
            1 => self.scenario.clone(),
            of => format!("{}, run {} of {of}", self.scenario, self.run),
        }
    }
}

/// Why a run did not hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Failure {
    /// The number of the step, from 1; 0: it was none, but what is checked at the end.
    pub step: usize,
    /// Its line in the file.
    pub line: usize,
    /// Its key.
    pub word: String,
    /// What was expected, and what was seen.
    pub unmet: Vec<Unmet>,
    /// The last lines of the workers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub output: BTreeMap<String, Vec<String>>,
    /// The last lines of the supervisor's own log.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub log: Vec<String>,
    /// The command that repeats it.
    pub repeat: String,
    /// The same failure with fewer blows, for a storm that a seed has drawn.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shrunk: Option<Shrunk>,
}

/// An expectation that is not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmet {
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
}

impl Unmet {
    pub(super) fn new(expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { expected: expected.into(), seen: seen.into() }
    }
}

impl Failure {
    /// Where it was: `step 4 (line 12, expect)`.
    #[must_use]
    pub fn place(&self) -> String {
        match self.step {
            0 => "at the end".to_owned(),
            step => format!("step {step} (line {}, `{}`)", self.line, self.word),
        }
    }

    /// All of what was expected and seen, in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let one = |unmet: &Unmet| format!("expected {}; seen: {}", unmet.expected, unmet.seen);
        self.unmet.iter().map(one).collect::<Vec<_>>().join(" | ")
    }
}

/// What a run says while it goes on: a line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Moment {
    /// It has this directory.
    Directory(PathBuf),
    /// It begins this step, from 1.
    Step(usize),
    /// A storm begins that is drawn from this seed.
    Seed(u64),
    /// It is over.
    Over(Box<Report>),
}
