//! The axes on which threads and processes differ, one file each.

pub(crate) mod communication;
pub mod isolation;
pub(crate) mod memory;
pub(crate) mod parallelism;
pub(crate) mod scalability;
pub(crate) mod switching;
pub(crate) mod synchronisation;
pub(crate) mod time_slicing;
pub(crate) mod window;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Bench;
use crate::figures::Measured;
use crate::rounds::Effort;
use isolation::Isolation;

/// An axis on which threads and processes differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Axis {
    /// What a worker takes.
    Memory,
    /// What a message takes.
    Communication,
    /// What it takes to go from one worker to another.
    Switching,
    /// What a crash takes along.
    Isolation,
    /// What more workers bring.
    Scalability,
    /// What more processors bring.
    Parallelism,
    /// How workers take turns.
    TimeSlicing,
    /// What locks take.
    Synchronisation,
}

/// All of them, in the order of the text-book comparison.
pub const ALL: [Axis; 8] = [
    Axis::Memory,
    Axis::Communication,
    Axis::Switching,
    Axis::Isolation,
    Axis::Scalability,
    Axis::Parallelism,
    Axis::TimeSlicing,
    Axis::Synchronisation,
];

impl Axis {
    /// On the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Communication => "communication",
            Self::Switching => "switching",
            Self::Isolation => "isolation",
            Self::Scalability => "scalability",
            Self::Parallelism => "parallelism",
            Self::TimeSlicing => "time-slicing",
            Self::Synchronisation => "synchronisation",
        }
    }

    /// What it answers.
    #[must_use]
    pub const fn question(self) -> &'static str {
        match self {
            Self::Memory => "What does one more worker take?",
            Self::Communication => "What does it take to hand a message to another worker?",
            Self::Switching => "What does it take to go from one worker to another?",
            Self::Isolation => "What does a crash take along, and how soon is all back?",
            Self::Scalability => "What do more workers bring, and where do they stop?",
            Self::Parallelism => "What do more CPUs bring, and to which work?",
            Self::TimeSlicing => "How do workers take turns on one CPU?",
            Self::Synchronisation => "What do locks take, and what when their owner dies?",
        }
    }

    /// How long it takes, about, in seconds.
    pub(crate) fn expected(self, effort: Effort) -> f64 {
        match self {
            Self::Memory => effort.pick(2.0, 25.0),
            Self::Communication => effort.pick(3.5, 60.0),
            Self::Switching => effort.pick(1.0, 6.0),
            Self::Isolation => effort.pick(4.0, 12.0),
            Self::Scalability => effort.pick(6.0, 60.0),
            Self::Parallelism => effort.pick(5.0, 50.0),
            Self::TimeSlicing => effort.pick(12.0, 110.0),
            Self::Synchronisation => effort.pick(4.0, 40.0),
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Axis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<&str> = ALL.iter().map(|axis| axis.name()).collect();
        let found = ALL.into_iter().find(|axis| axis.name() == text);
        found.ok_or_else(|| format!("there is no such axis; write {}", names.join(", ")))
    }
}

/// Measures one axis.
pub(crate) fn measure(axis: Axis, bench: &Bench<'_>, isolation: &dyn Isolation) -> Measured {
    let mut measured = Measured::new(axis);
    let result = match axis {
        Axis::Memory => memory::measure(bench, &mut measured),
        Axis::Communication => communication::measure(bench, &mut measured),
        Axis::Switching => switching::measure(bench, &mut measured),
        Axis::Isolation => isolation::measure(bench, isolation, &mut measured),
        Axis::Scalability => scalability::measure(bench, &mut measured),
        Axis::Parallelism => parallelism::measure(bench, &mut measured),
        Axis::TimeSlicing => time_slicing::measure(bench, &mut measured),
        Axis::Synchronisation => synchronisation::measure(bench, &mut measured),
    };
    if let Err(why) = result {
        measured.notes.push(format!("It could not be measured: {why}."));
    }
    measured.meaning = match axis {
        Axis::Memory => memory::meaning(&measured),
        Axis::Communication => communication::meaning(&measured),
        Axis::Switching => switching::meaning(&measured),
        Axis::Isolation => isolation::meaning(&measured),
        Axis::Scalability => scalability::meaning(&measured),
        Axis::Parallelism => parallelism::meaning(&measured),
        Axis::TimeSlicing => time_slicing::meaning(&measured),
        Axis::Synchronisation => synchronisation::meaning(&measured),
    };
    measured
}

/// Said of an axis without the figures that its sentences need.
pub(crate) fn without_figures() -> Vec<String> {
    vec!["The figures that would say it were not taken.".to_owned()]
}
