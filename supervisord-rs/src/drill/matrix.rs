//! `drill matrix`: every fault in every isolation, again and again, and whether each destroys what
//! the catalogue says. The trials are those of `compare`, with its own four workers.

pub(crate) mod column;
pub(crate) mod page;
mod radius;
pub(crate) mod running;
pub(crate) mod table;

use measure::machine::Machine;
use measure::pinning::Cpus;
use measure::statistics::median;
use serde::Serialize;
use workers::fault::Blast;

use super::outcome::Trial;
use super::setting::{Setting, WrittenFault};
use super::subject::Subject;
use crate::prose::list;
use column::Column;

/// What is to be tried.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) subject: Subject,
    pub(crate) faults: Vec<WrittenFault>,
    pub(crate) columns: Vec<Column>,
    /// How often each.
    pub(crate) repeat: u32,
    /// So many at once.
    pub(crate) jobs: usize,
}

/// What came of it: `drill matrix --json`, version 1.
#[derive(Debug, Serialize)]
pub(crate) struct Matrix {
    version: u32,
    /// The version of the program.
    program: &'static str,
    pub(crate) machine: Machine,
    /// How long all took.
    pub(crate) seconds: f64,
    /// How often each was to be tried.
    pub(crate) repeat: u32,
    /// How many at once.
    pub(crate) jobs: usize,
    /// The worker that the faults struck.
    pub(crate) worker: String,
    /// The isolations, in the order of the cells of one fault.
    pub(crate) columns: Vec<Column>,
    /// Fault by fault; each has all columns.
    pub(crate) cells: Vec<Cell>,
    /// What was left behind when all was over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) left: Vec<String>,
    #[serde(skip)]
    pub(crate) interrupted: Option<i32>,
}

/// A fault in an isolation.
#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) fault: String,
    pub(crate) column: Column,
    /// What it should destroy, in a word of the catalogue.
    pub(crate) expected: &'static str,
    /// Why it is no fault there; `None`: it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) impossible: Option<&'static str>,
    pub(crate) trials: Vec<Trial>,
    /// What was not as expected, with the number of its trial.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) differs: Vec<String>,
    /// Why trials could not be finished.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unfinished: Vec<String>,
    /// The command that tries this alone.
    pub(crate) again: String,
    #[serde(skip)]
    setting: Setting,
}

impl Plan {
    /// The matrix before its first trial.
    ///
    /// # Errors
    /// The machine cannot be described.
    pub(crate) fn matrix(&self) -> Result<Matrix, String> {
        let cell = |fault: &WrittenFault, column: &Column| Cell::new(self, fault, *column);
        let of_fault = |fault| self.columns.iter().map(move |column| cell(fault, column));
        Ok(Matrix {
            version: 1,
            program: env!("CARGO_PKG_VERSION"),
            machine: Machine::of(&Cpus::of_this_process()?),
            seconds: 0.0,
            repeat: self.repeat,
            jobs: self.jobs,
            worker: self.subject.worker().to_owned(),
            columns: self.columns.clone(),
            cells: self.faults.iter().flat_map(of_fault).collect(),
            left: Vec::new(),
            interrupted: None,
        })
    }
}

impl Matrix {
    /// Cells that are not as the catalogue says.
    pub(crate) fn differing(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|cell| !cell.differs.is_empty())
    }

    /// Whether every trial that is possible was made, and nothing was left.
    pub(crate) fn is_complete(&self) -> bool {
        let is_it =
            |cell: &Cell| cell.impossible.is_some() || cell.trials.len() == self.repeat as usize;
        self.cells.iter().all(is_it) && self.left.is_empty()
    }

    /// How many trials were made, and in how many of those with an incident it names worker and
    /// fault.
    pub(crate) fn attributed(&self) -> (usize, usize, usize) {
        let trials = || self.cells.iter().flat_map(|cell| &cell.trials);
        let of = trials().filter(|trial| trial.attributed.is_some()).count();
        let right = trials().filter(|trial| trial.attributed == Some(true)).count();
        (trials().count(), right, of)
    }

    /// What the trials ran on, and what made them slow.
    pub(crate) fn circumstances(&self) -> String {
        let mut slow = Vec::new();
        if self.jobs > 1 {
            slow.push(format!("{} trials went on at once", self.jobs));
        }
        if self.machine.is_busy() {
            slow.push("others wanted the CPUs too".to_owned());
        }
        if !self.machine.is_optimized {
            slow.push("the program is compiled without optimization".to_owned());
        }
        let slow = match slow.as_slice() {
            [] => String::new(),
            reasons => format!(" Times are longer, since {}.", list(reasons)),
        };
        format!("{}.{slow}", self.machine.description())
    }

    /// In two sentences.
    pub(crate) fn conclusion(&self) -> String {
        let (trials, right, of) = self.attributed();
        let differing = self.differing().count();
        let cells = self.cells.iter().filter(|cell| !cell.trials.is_empty()).count();
        let radius = match (differing, cells) {
            (0, 1) => "The only cell is as the catalogue says".to_owned(),
            (0, _) => format!("All {cells} cells are as the catalogue says"),
            (1, _) => format!("1 of {} is not as the catalogue says", count(cells, "cell")),
            _ => format!("{differing} of {cells} cells are not as the catalogue says"),
        };
        format!(
            "{radius}, in {}. {right} of {} with an incident name the worker and the fault that was \
             ordered.",
            count(trials, "trial"),
            count(of, "trial")
        )
    }
}

fn count(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

impl Cell {
    fn new(plan: &Plan, fault: &WrittenFault, column: Column) -> Self {
        let setting =
            Setting { fault: fault.clone(), isolation: column.isolation, contain: column.contain };
        Self {
            fault: fault.to_string(),
            column,
            expected: setting.expected().word(),
            impossible: setting.obstacle(),
            trials: Vec::new(),
            differs: Vec::new(),
            unfinished: Vec::new(),
            again: format!(
                "supervisord-rs drill matrix --only {fault} --isolation {} --repeat {}",
                column.name(),
                plan.repeat
            ),
            setting,
        }
    }

    /// Takes a trial of it.
    fn take(&mut self, trial: Trial, worker: &str) {
        let number = self.trials.len() + 1;
        let differences = radius::differences(self.setting.expected(), worker, &trial);
        self.differs.extend(differences.into_iter().map(|one| format!("trial {number}: {one}")));
        self.trials.push(trial);
    }

    /// Until all were back, in microseconds: the median of its trials.
    pub(crate) fn back(&self) -> Option<u64> {
        let back = self.trials.iter().filter_map(|trial| trial.back_after_us);
        let back: Vec<f64> = back.map(|us| us as f64).collect();
        median(&back).map(|us| us as u64)
    }

    /// The fewest and the most workers that were lost, and whether the supervisor died in one;
    /// `None`: there was no trial.
    pub(crate) fn radius(&self) -> Option<(usize, usize, bool)> {
        let lost = || self.trials.iter().map(|trial| trial.lost.len());
        let died = self.trials.iter().any(|trial| trial.supervisor_died);
        Some((lost().min()?, lost().max()?, died))
    }

    /// How many workers ran.
    pub(crate) fn running(&self) -> usize {
        self.trials.iter().map(|trial| trial.running.len()).max().unwrap_or(0)
    }
}

impl Setting {
    /// What it should destroy, by the catalogue.
    pub(crate) fn expected(&self) -> Blast {
        let entry = self.fault.kind().entry();
        match (self.isolation.capabilities.has_own_memory, self.contain) {
            _ if self.obstacle().is_some() => Blast::NotPossible,
            (true, _) => entry.process,
            (false, true) => entry.shared_contain,
            (false, false) => entry.shared,
        }
    }
}
