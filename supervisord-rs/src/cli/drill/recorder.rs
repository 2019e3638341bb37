//! What hears of the runs of a campaign: it says how far they are, and appends what came of each.

use std::time::Duration;

use super::progress::OnStderr;
use crate::config::scenario::script::Scenario;
use crate::drill::campaign::Watcher;
use crate::drill::lines::Lines;
use crate::drill::verdict::Report;

#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) told: OnStderr,
    pub(super) lines: Option<Lines>,
    /// Why a result could not be written.
    pub(super) trouble: Option<String>,
}

impl Watcher for Recorder {
    fn begins(&mut self, number: usize, all: usize, scenario: &Scenario) {
        self.told.begins(number, all, scenario);
    }

    fn step(&mut self, number: usize, scenario: &Scenario, step: usize, left: Option<Duration>) {
        self.told.step(number, scenario, step, left);
    }

    fn storm(&mut self, scenario: &Scenario, seed: u64) {
        self.told.storm(scenario, seed);
    }

    fn shrinks(&mut self, scenario: &Scenario, blows: (usize, usize), runs: u32, left: Duration) {
        self.told.shrinks(scenario, blows, runs, left);
    }

    fn over(&mut self, number: usize, all: usize, report: &Report, left: Option<Duration>) {
        Watcher::over(&mut self.told, number, all, report, left);
        if let Some(lines) = &mut self.lines
            && let Err(error) = lines.trial(number, report)
        {
            self.trouble = Some(format!("cannot append a result: {error}"));
        }
    }
}
