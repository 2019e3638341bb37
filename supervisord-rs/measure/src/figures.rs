//! The shape of a report, as `measure --json` prints it.

use serde::{Deserialize, Serialize};

use crate::axes::Axis;
use crate::machine::Machine;
use crate::rounds::Taken;
use crate::statistics::{Spread, median};
use crate::words::significant;

/// Version of the shape. It grows when a field changes its meaning or goes; fields may be added.
pub const VERSION: u32 = 1;

/// `measure --json`. Each figure is in the base unit of its table ([`Unit`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this shape.
    pub version: u32,
    /// Version of the program.
    pub program: String,
    /// Whether it was taken with `--quick`: fewer rounds and sizes.
    pub quick: bool,
    /// How long the whole took.
    pub seconds: f64,
    /// What the figures were taken on.
    pub machine: Machine,
    /// In the order in which they were measured.
    pub axes: Vec<Measured>,
}

/// One axis, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Which.
    pub axis: Axis,
    /// What it answers.
    pub question: String,
    /// How long it took.
    pub seconds: f64,
    /// Its figures.
    pub tables: Vec<Table>,
    /// Which worker ran when, on which processor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timelines: Vec<Timeline>,
    /// What is to be known of the figures: what was left out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What the figures mean: two sentences, made from them.
    pub meaning: Vec<String>,
}

impl Measured {
    /// Without figures yet.
    pub(crate) fn new(axis: Axis) -> Self {
        Self {
            axis,
            question: axis.question().to_owned(),
            seconds: 0.0,
            tables: Vec::new(),
            timelines: Vec::new(),
            notes: Vec::new(),
            meaning: Vec::new(),
        }
    }

    /// The row of this name in the table of this name.
    #[must_use]
    pub fn row(&self, table: &str, row: &str) -> Option<&Row> {
        let table = self.tables.iter().find(|one| one.name == table)?;
        table.rows.iter().find(|one| one.name == row)
    }
}

/// Figures of one kind and unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// For programs; it never changes.
    pub name: String,
    /// For people.
    pub title: String,
    /// The unit of all its figures.
    pub unit: Unit,
    /// Which figures are the better ones.
    pub better: Better,
    /// What the limit is.
    pub limit: String,
    /// What [`Row::x`] counts, where rows of one series differ by a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<Unit>,
    /// Its figures.
    pub rows: Vec<Row>,
}

impl Table {
    /// Without rows yet.
    pub(crate) fn new(name: &str, title: &str, unit: Unit, better: Better, limit: &str) -> Self {
        let [name, title, limit] = [name, title, limit].map(str::to_owned);
        Self { name, title, unit, better, limit, x: None, rows: Vec::new() }
    }

    /// The rows have numbers of this unit.
    pub(crate) fn over(mut self, x: Unit) -> Self {
        self.x = Some(x);
        self
    }
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Time.
    Nanoseconds,
    /// Memory, or the length of a message.
    Bytes,
    /// A flow of bytes.
    BytesPerSecond,
    /// How many in a second.
    PerSecond,
    /// How many.
    Count,
    /// A part of a whole, from 0 to 1.
    Share,
    /// So many times as much.
    Times,
}

/// Which figures are the better ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// The smaller ones: times, memory.
    Less,
    /// The larger ones: throughput, fairness.
    More,
    /// Neither: a property.
    Neither,
}

/// One thing that was measured, wherever a worker can run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What.
    pub name: String,
    /// Rows of one series are one line of a plot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// Its number in the series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<f64>,
    /// The bare loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Entry>,
    /// That of processes, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_limit: Option<Entry>,
    /// Threads of one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<Entry>,
    /// Threads of a cell: a process of its own beside the supervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<Entry>,
    /// A process each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Entry>,
}

/// Where a worker can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// A thread of the supervisor.
    Thread,
    /// A thread of a cell.
    Cell,
    /// A process.
    Process,
}

impl Place {
    /// As tables call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Cell => "cell",
            Self::Process => "process",
        }
    }
}

/// What stands in a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// It was measured.
    Figure(Figure),
    /// The mechanism is the same as there: it is that figure.
    As(Place),
    /// It was not measured, and why.
    Untaken(String),
}

/// The median of some rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Half of the rounds lie below.
    pub median: f64,
    /// The lower quartile of the rounds.
    pub low: f64,
    /// Their upper quartile.
    pub high: f64,
    /// How many rounds there were.
    pub rounds: usize,
    /// Of the single events in a round, what 99 of 100 do not exceed: the median of the rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// So many times its limit: the median of the rounds, each divided by the limit of its round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
}

impl Entry {
    /// In a cell workers are threads of one process.
    pub(crate) fn as_thread() -> Option<Self> {
        Some(Self::As(Place::Thread))
    }

    /// Why there is none.
    pub(crate) fn untaken(why: &str) -> Option<Self> {
        Some(Self::Untaken(why.to_owned()))
    }

    /// The limit itself.
    pub(crate) fn of(taken: &Taken) -> Option<Self> {
        Self::beside(taken, None)
    }

    /// What was measured, beside its limit.
    pub(crate) fn beside(taken: &Taken, limit: Option<&Taken>) -> Option<Self> {
        let samples = match taken {
            Ok(samples) => samples,
            Err(why) => return Some(Self::Untaken(why.clone())),
        };
        let spread = Spread::of(&samples.values)?;
        let ratios: Vec<f64> = match limit {
            Some(Ok(limit)) => {
                let pairs = samples.values.iter().zip(&limit.values);
                pairs.filter(|(_, limit)| **limit > 0.0).map(|(own, limit)| own / limit).collect()
            }
            _ => Vec::new(),
        };
        Some(Self::Figure(Figure {
            median: spread.median,
            low: spread.low,
            high: spread.high,
            rounds: samples.values.len(),
            p99: median(&samples.tails).map(significant),
            ratio: median(&ratios).map(significant),
        }))
    }
}

impl Row {
    /// Without figures yet.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            series: None,
            x: None,
            limit: None,
            process_limit: None,
            thread: None,
            cell: None,
            process: None,
        }
    }

    /// One of a series.
    pub(crate) fn at(mut self, series: &str, x: f64) -> Self {
        (self.series, self.x) = (Some(series.to_owned()), Some(x));
        self
    }

    /// A row whose cell is a thread like others, and whose limit is the same for all.
    pub(crate) fn with(mut self, limit: &Taken, thread: &Taken, process: &Taken) -> Self {
        self.limit = Entry::of(limit);
        self.thread = Entry::beside(thread, Some(limit));
        self.cell = Entry::as_thread();
        self.process = Entry::beside(process, Some(limit));
        self
    }

    /// What stands there.
    #[must_use]
    pub const fn entry(&self, place: Place) -> Option<&Entry> {
        match place {
            Place::Thread => self.thread.as_ref(),
            Place::Cell => self.cell.as_ref(),
            Place::Process => self.process.as_ref(),
        }
    }

    /// The figure there, also where it is that of another place.
    #[must_use]
    pub fn figure(&self, place: Place) -> Option<&Figure> {
        match self.entry(place)? {
            Entry::Figure(figure) => Some(figure),
            Entry::As(other) if *other != place => self.figure(*other),
            Entry::As(_) | Entry::Untaken(_) => None,
        }
    }

    /// The median there.
    #[must_use]
    pub fn median(&self, place: Place) -> Option<f64> {
        self.figure(place).map(|figure| figure.median)
    }

    /// The median of the limit.
    #[must_use]
    pub fn limit_median(&self) -> Option<f64> {
        match self.limit.as_ref()? {
            Entry::Figure(figure) => Some(figure.median),
            Entry::As(_) | Entry::Untaken(_) => None,
        }
    }
}

/// Who ran when, and where: for a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// For people.
    pub title: String,
    /// Where its workers ran.
    pub place: Place,
    /// How many processors they had.
    pub cpus: usize,
    /// From its beginning to its end, in nanoseconds.
    pub length: f64,
    /// A lane for each worker.
    pub lanes: Vec<Lane>,
}

/// One worker in a timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// Its name.
    pub worker: String,
    /// When it ran, ascending.
    pub runs: Vec<Run>,
}

/// A stretch of time in which a worker had a processor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The processor.
    pub cpu: usize,
    /// Nanoseconds since the beginning of the timeline.
    pub from: f64,
    /// The same.
    pub to: f64,
}
