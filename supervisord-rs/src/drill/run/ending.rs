//! The end of a run: why it did not hold, and what is left.

use std::path::Path;

use super::{Run, Stop};
use crate::config::scenario::script::Scenario;
use crate::control::client::MANY_INCIDENTS;
use crate::drill::bed::last_lines;
use crate::drill::left_behind::{self, SharedMemory};
use crate::drill::verdict::{Failure, Report, Unmet, Verdict};

/// Last lines of each worker, and of how many of them, in a failure.
const LAST_LINES: usize = 5;
const SHOWN: usize = 8;
/// Of a storm the last incidents are enough to show.
const SHOWN_INCIDENTS: usize = 30;

impl Run<'_> {
    /// The incidents so far, each in one line.
    pub(super) fn incidents(&mut self) -> Vec<String> {
        let known = self.bed.client.incidents_and_open(MANY_INCIDENTS);
        let known = known.unwrap_or_else(|_| self.bed.recorded_incidents());
        let most = if self.storms.is_empty() { usize::MAX } else { SHOWN_INCIDENTS };
        let passed_over = known.len() - known.len().min(most);
        known.into_iter().skip(passed_over).map(|one| one.sentence).collect()
    }

    /// Why it stopped, with what is to be seen of it now.
    pub(super) fn stopped(&mut self, number: usize, stop: Stop, report: &mut Report) {
        fail(self.scenario, number, stop, report);
        let Some(failure) = &mut report.failure else { return };
        let workers = self.bed.client.status().map(|status| status.workers).unwrap_or_default();
        for worker in workers.iter().take(SHOWN) {
            let lines = last_lines(Path::new(&worker.stdout), LAST_LINES);
            if !lines.is_empty() {
                failure.output.insert(worker.name.clone(), lines);
            }
        }
        failure.log = self.bed.log().lines().map(str::to_owned).collect();
    }

    /// Ends everything in order, and looks what is left.
    pub(super) fn end(&mut self, before: Option<&SharedMemory>, report: &mut Report) {
        let was_over = self.bed.ended().is_some();
        let mut left = Vec::new();
        match self.bed.stop() {
            Ok(processes) => {
                left.extend(processes);
                left.extend(left_behind::left(self.bed.path(), &self.private));
                left.extend(before.iter().flat_map(|before| before.left()));
            }
            Err(error) => left.push(format!("a supervisor that does not end: {error}")),
        }
        let status = self.bed.ended().and_then(|status| status.code());
        if let Some(status) = status.filter(|status| *status != 0 && !was_over) {
            left.push(format!("what its exit status {status} stands for: see its log"));
        }
        if left.is_empty() {
            return;
        }
        let unmet = Unmet::new("nothing left behind", left.join("; "));
        match &mut report.failure {
            Some(failure) => failure.unmet.push(unmet),
            None => {
                fail(self.scenario, 0, Stop::Unmet(vec![unmet]), report);
                if let Some(failure) = &mut report.failure {
                    failure.log = self.bed.log().lines().map(str::to_owned).collect();
                }
            }
        }
    }
}

/// Writes down why a run did not hold.
pub(in crate::drill) fn fail(scenario: &Scenario, number: usize, stop: Stop, report: &mut Report) {
    let step = number.checked_sub(1).and_then(|index| scenario.steps.get(index));
    let (verdict, unmet) = match stop {
        Stop::Unmet(unmet) => (Verdict::Failed, unmet),
        Stop::Unsteady(unmet) => (Verdict::Unsteady, vec![unmet]),
        Stop::Unfinished(why) => (Verdict::Unfinished, vec![Unmet::new("a run to the end", why)]),
    };
    report.verdict = verdict;
    report.failure = Some(Failure {
        step: number,
        line: step.map_or(0, |step| step.line),
        word: step.map_or_else(|| "finally".to_owned(), |step| step.word.to_owned()),
        unmet,
        repeat: repeat(scenario, report),
        ..Failure::default()
    });
}

/// The command that runs it again.
fn repeat(scenario: &Scenario, report: &Report) -> String {
    let name = scenario.name.replace('\'', r"'\''");
    let seed = report.storms.iter().find_map(|storm| storm.seed);
    let seed = seed.map_or_else(String::new, |seed| format!(" --seed {seed}"));
    let file = scenario.file.display();
    format!("supervisord-rs drill run '{file}' --only '{name}'{seed} --keep")
}
