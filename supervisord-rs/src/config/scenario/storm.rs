//! What a storm means: many faults at random moments, and what holds meanwhile.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A storm.
#[derive(Clone, Debug)]
pub struct Storm {
    /// Which of its scenario, from 0, in the order of the file.
    pub number: usize,
    /// Where its key stands in the file, in bytes.
    pub key: Range<usize>,
    /// What strikes.
    pub blows: Blows,
    /// What must hold.
    pub invariants: Vec<Invariant>,
    /// For everyone to be back after a blow.
    pub within: Duration,
    /// The configuration in force: its number.
    pub configuration: usize,
}

/// What strikes in a storm.
#[derive(Clone, Debug)]
pub enum Blows {
    /// What the seed draws.
    Drawn(Lots),
    /// What is written, one after the other.
    Written(Vec<Injection>),
}

/// What a seed draws from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lots {
    /// `None`: each campaign has another.
    pub seed: Option<u64>,
    /// Each is as likely as the others.
    pub choices: Vec<Choice>,
    /// Blows a second, in thousandths.
    pub per_second_permille: u32,
    /// How long.
    pub lasts: Duration,
}

impl Lots {
    /// How many blows it has.
    #[must_use]
    pub fn count(&self) -> usize {
        let count = u128::from(self.per_second_permille) * self.lasts.as_millis() / 1_000_000;
        usize::try_from(count).unwrap_or(usize::MAX)
    }
}

/// One of the kinds of blows of a storm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A fault in one of these.
    Fault {
        /// As written.
        fault: String,
        /// Who can have it.
        workers: Vec<Candidate>,
    },
    /// SIGKILL.
    Kill(Whom),
}

/// Who can be struck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Whether it counts its work, so that the moment of a blow can be counted in it.
    pub counts: bool,
}

/// One blow of a storm, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injection {
    /// After the one before it was due; the first: after the storm has begun.
    pub after: Duration,
    /// From then on, so many units of work of the victim. 0: at once.
    pub progress: u64,
    /// What.
    pub blow: Blow,
}

/// What strikes whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Blow {
    /// A fault in a worker.
    Fault {
        /// In whom.
        worker: String,
        /// The fault, as written.
        fault: String,
    },
    /// SIGKILL.
    Kill(Whom),
}

impl Blow {
    /// Its name: that of a fault without its parameter, or `kill-supervisor`.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Fault { fault, .. } => fault.split(':').next().unwrap_or(fault),
            Self::Kill(whom) => whom.word(),
        }
    }
}

/// Whom a scenario can kill besides workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Whom {
    /// The supervisor; its guardian starts another one.
    Supervisor,
    /// The guardian; the supervisor then stops everything.
    Guardian,
}

impl Whom {
    /// Both, as `faults:` of a storm names them.
    pub const WORDS: [(&'static str, Self); 2] =
        [("kill-supervisor", Self::Supervisor), ("kill-guardian", Self::Guardian)];

    /// As `faults:` of a storm names it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Supervisor => Self::WORDS[0].0,
            Self::Guardian => Self::WORDS[1].0,
        }
    }
}

/// What must hold during a storm and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// The supervisor lives, or another one is there soon after a fault that takes it.
    Supervisor,
    /// No worker ends that no fault can reach, none more often than faults reach it, and who
    /// survives goes on working.
    Radius,
    /// Everyone is back in time.
    Back,
    /// Each fault has its incident with its cause, and each incident its fault.
    Attribution,
    /// Generations go forward, and one generation has one process.
    Generation,
    /// No worker runs twice.
    Instance,
}

impl Invariant {
    /// All of them, as they are written.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("supervisor", Self::Supervisor),
        ("radius", Self::Radius),
        ("back", Self::Back),
        ("attribution", Self::Attribution),
        ("generation", Self::Generation),
        ("instance", Self::Instance),
    ];

    /// What a report calls it.
    #[must_use]
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Supervisor => "a supervisor alive, or another one soon after its death",
            Self::Radius => "no worker lost outside the radius of a fault",
            Self::Back => "everyone back in time",
            Self::Attribution => "each fault with its incident, and each incident with its fault",
            Self::Generation => "generations that go forward, with one process each",
            Self::Instance => "no worker running twice",
        }
    }
}
