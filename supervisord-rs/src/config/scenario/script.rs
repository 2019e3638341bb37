//! What a scenario means.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::pattern::Pattern;
use crate::config::probes;
use crate::config::scenario::storm::{Storm, Whom};
use crate::config::settings::{Address, Check, Settings};
use crate::config::source::Source;

/// A valid scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, for people and for `--only`.
    pub name: String,
    /// The file, as it was named.
    pub file: PathBuf,
    /// What runs: first that of `configuration:`, then those of the steps that reload.
    pub configurations: Vec<Configuration>,
    /// How often it runs.
    pub repeat: u32,
    /// Workers that need not be up and well before the first fault.
    pub already_broken: Vec<String>,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// What one of its runs at least must have reached.
    pub sometimes: Vec<Sometimes>,
    /// Its text, and where the keys `scenario:` and `sometimes:` stand in it, in bytes.
    pub text: String,
    /// See [`text`](Self::text).
    pub name_key: Range<usize>,
    /// See [`text`](Self::text).
    pub sometimes_key: Option<Range<usize>>,
}

impl Scenario {
    /// Whether it has a disk of its own, which it fills.
    #[must_use]
    pub fn fills(&self) -> bool {
        fn does(step: &Step) -> bool {
            match &step.action {
                Action::Fill(_) => true,
                Action::Load(load) => load.steps.iter().any(does),
                _ => false,
            }
        }
        self.steps.iter().any(does)
    }

    /// Its storms by their number, also those beside a load.
    #[must_use]
    pub fn storms(&self) -> Vec<&Storm> {
        fn collect<'a>(steps: &'a [Step], storms: &mut Vec<&'a Storm>) {
            for step in steps {
                match &step.action {
                    Action::Storm(storm) => storms.push(storm),
                    Action::Load(load) => collect(&load.steps, storms),
                    Action::Wait(..)
                    | Action::Mark(_)
                    | Action::Inject { .. }
                    | Action::Expect(_)
                    | Action::Kill(_)
                    | Action::Signal { .. }
                    | Action::Order(..)
                    | Action::Reload(..)
                    | Action::Fill(_)
                    | Action::Scale { .. } => {}
                }
            }
        }
        let mut storms = Vec::new();
        collect(&self.steps, &mut storms);
        storms
    }
}

/// A fault at a moment that a campaign must have reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sometimes {
    /// The line of the file, from 1.
    pub line: usize,
    /// The fault, without a parameter, or `kill-supervisor`.
    pub fault: String,
    /// In whom; for what kills the supervisor or the guardian: who is looked at.
    pub worker: Option<String>,
    /// Where that one lives.
    pub isolation: Option<&'static str>,
    /// What phase that one was in.
    pub phase: Option<Phase>,
}

/// A configuration of a scenario.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Its text.
    pub source: Source,
    /// What that means as it is written.
    pub settings: Settings,
}

/// A step.
#[derive(Clone, Debug)]
pub struct Step {
    /// The line of the file, from 1.
    pub line: usize,
    /// Its key.
    pub word: &'static str,
    /// What is done.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Waits until something is so, at most so long.
    Wait(Until, Duration),
    /// Remembers who runs, by this name.
    Mark(String),
    /// Commits a fault, and waits until its fate is clear.
    Inject {
        /// In whom.
        worker: String,
        /// The fault, as written.
        fault: String,
        /// The configuration in force: its number.
        configuration: usize,
    },
    /// Has a server asked again and again while something happens.
    Load(Box<Load>),
    /// Looks whether something is so.
    Expect(Box<Expectation>),
    /// Has many faults strike at random moments.
    Storm(Box<Storm>),
    /// Kills with SIGKILL.
    Kill(Whom),
    /// Sends a signal.
    Signal {
        /// To whom.
        workers: Vec<String>,
        /// Its number.
        signal: i32,
    },
    /// Gives an order, and waits for its outcome, at most so long.
    Order(Order, Vec<String>, Duration),
    /// Applies another configuration: its number.
    Reload(usize, Duration),
    /// Fills the disk of the run, or makes room on it again.
    Fill(Filling),
    /// Changes the number of instances.
    Scale {
        /// Of whom.
        worker: String,
        /// How many there are to be.
        instances: u32,
        /// For the outcome.
        within: Duration,
    },
}

/// How full the disk of the run is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// Nothing more can be written.
    Full,
    /// As if it had not been filled.
    Room,
}

/// Requests to a server.
#[derive(Clone, Debug)]
pub struct Load {
    /// What is asked.
    pub asked: Asked,
    /// So many ask at once, each for its next answer when it has one.
    pub clients: u32,
    /// What happens meanwhile.
    pub steps: Vec<Step>,
    /// How long it goes on where nothing is to happen.
    pub lasts: Duration,
    /// Requests without a good answer, at most.
    pub failed: u64,
    /// The longest that an answer may take; `None`: it is not looked at.
    pub slowest: Option<Duration>,
}

/// What is asked, as written: an address of `sockets:` is another one in a trial.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A URL.
    Http(String),
    /// Whether a connection is taken.
    Tcp(String),
}

impl Asked {
    /// The question; `None`: there is none like that.
    #[must_use]
    pub fn check(&self, private: impl Fn(&str) -> String) -> Option<Check> {
        match self {
            Self::Http(url) => probes::http(&private(url)),
            Self::Tcp(address) => Address::parse(&private(address), false).map(Check::Tcp),
        }
    }
}

/// What is waited for.
#[derive(Clone, Debug)]
pub enum Until {
    /// The time has passed.
    For(Duration),
    /// These run; `None`: all that are to run.
    Running(Option<Vec<String>>),
    /// Workers are in a phase.
    Phase(Vec<(String, Phase)>),
    /// Workers have written a line that matches, since the last mark.
    Log(Vec<(String, Pattern)>),
    /// Workers have done so many units of work more.
    Progress(Vec<(String, u64)>),
}

/// The phases that a scenario can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Stopped, or not started yet.
    Idle,
    /// On its way up.
    Starting,
    /// Up.
    Running,
    /// Up, and suspended.
    Paused,
    /// Waiting for its next attempt.
    Backoff,
    /// No further attempt by itself.
    Quarantined,
    /// Ended, however.
    Finished,
    /// Ended with success.
    Succeeded,
    /// Ended with a failure.
    Failed,
}

impl Phase {
    /// All of them, as they are written.
    pub const WORDS: [(&'static str, Self); 9] = [
        ("idle", Self::Idle),
        ("starting", Self::Starting),
        ("running", Self::Running),
        ("paused", Self::Paused),
        ("backoff", Self::Backoff),
        ("quarantined", Self::Quarantined),
        ("finished", Self::Finished),
        ("succeeded", Self::Succeeded),
        ("failed", Self::Failed),
    ];

    /// As it is written.
    #[must_use]
    pub fn word(self) -> &'static str {
        let mut words = Self::WORDS.into_iter();
        words.find(|(_, phase)| *phase == self).map_or("", |(word, _)| word)
    }
}

/// An order to workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start.
    Start,
    /// Stop.
    Stop,
    /// Restart.
    Restart,
    /// Suspend.
    Pause,
    /// Let go on.
    Resume,
}

/// What is to be so. What is not written is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// The mark that it compares with; empty: there is none.
    pub since: String,
    /// For it to become so.
    pub within: Duration,
    /// Whose incarnation has ended since the mark: these, and no others.
    pub lost: Option<Vec<String>>,
    /// What has become of the supervisor.
    pub supervisor: Option<Supervisor>,
    /// All that were lost run again so long after the fault, at most.
    pub back: Option<Duration>,
    /// Units of work that were begun and not done, at most.
    pub work_lost: Option<u64>,
    /// What was recorded.
    pub incident: Option<Recorded>,
    /// What workers have written.
    pub log: Vec<(String, Pattern)>,
    /// Lines of workers that are numbered without a gap: the first group of the pattern is a number.
    pub numbered: Vec<(String, Pattern)>,
    /// That nothing was damaged unnoticed.
    pub no_silent_damage: bool,
    /// Who has outlived the supervisor.
    pub adopted: Vec<String>,
    /// Phases of workers.
    pub phase: Vec<(String, Phase)>,
}

/// What has become of the supervisor since the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervisor {
    /// It is the same process.
    Alive,
    /// It is another process.
    Died,
    /// It has ended for good, with this exit status if one is written.
    Ended(Option<i32>),
}

/// What was recorded since the mark.
#[derive(Clone, Debug)]
pub enum Recorded {
    /// Nothing.
    Nothing,
    /// An incident in which all that is written is so.
    Incident(Box<ExpectedIncident>),
}

/// What an incident says. What is not written is not looked at.
#[derive(Clone, Debug, Default)]
pub struct ExpectedIncident {
    /// The culprit.
    pub worker: Option<String>,
    /// The fault, or else the cause.
    pub fault: Option<String>,
    /// Whether the fault was ordered.
    pub injected: Option<bool>,
    /// Whether the cause is known.
    pub cause_known: Option<bool>,
    /// The signal that ended it, such as `SIGSEGV`.
    pub signal: Option<String>,
    /// Its exit status.
    pub exit: Option<i32>,
    /// Whether the supervisor died of it.
    pub supervisor_died: Option<bool>,
    /// Who was lost.
    pub lost: Option<Vec<String>>,
}
