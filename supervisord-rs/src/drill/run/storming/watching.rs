//! Looks at everyone while a storm goes on.

use std::time::{Duration, Instant};

use super::Storming;
use crate::config::scenario::storm::Invariant;
use crate::control::protocol::StatusReport;
use crate::drill::outcome;
use crate::drill::storm::history::{Seen, Sight};
use crate::drill::twice::running_twice;
use crate::drill::up::is_up;

/// Between two readings of the newest incidents, and of the table of processes.
const INCIDENTS: Duration = Duration::from_millis(200);
const TABLE: Duration = Duration::from_millis(300);
/// So many of the newest are read each time.
const NEWEST: usize = 48;
/// For the answer with all incidents of a long storm.
const ALL: Duration = Duration::from_secs(60);

impl Storming<'_, '_> {
    /// Looks, and notes what that breaks. `None`: no supervisor answers now.
    pub(super) fn look(&mut self) -> Option<StatusReport> {
        if self.table_read.elapsed() > TABLE {
            self.table_read = Instant::now();
            for (name, [one, two]) in running_twice(self.run.bed.path()) {
                let text = format!("{name} is PID {one} and PID {two} at once");
                self.history.breaks(Invariant::Instance, &name, text);
            }
        }
        if let Some(status) = self.run.bed.ended() {
            let code = outcome::code(status);
            let text = format!("it ended for good, with exit status {code}");
            self.history.breaks(Invariant::Supervisor, "", text);
            return None;
        }
        let asked = self.now();
        let Ok(status) = self.run.bed.client.status() else {
            self.history.see_none(asked);
            return None;
        };
        self.history.see(sight(&status, asked));
        if self.incidents_read.elapsed() > INCIDENTS {
            self.incidents_read = Instant::now();
            self.read(NEWEST);
        }
        self.last = Some(status.clone());
        Some(status)
    }

    /// Reads all of the storm that have not been read yet, or were open then; false: no supervisor
    /// answers.
    pub(super) fn read_all_incidents(&mut self) -> bool {
        if !self.read(NEWEST) {
            return false;
        }
        let newest = self.incidents.keys().max().copied().unwrap_or(self.known);
        let missing = (self.known + 1..=newest).find(|id| !self.incidents.contains_key(id));
        let first = missing.into_iter().chain(self.oldest_open()).min();
        let count = first.and_then(|first| usize::try_from(newest - first + 1).ok());
        count.filter(|count| *count > NEWEST).is_none_or(|count| self.read(count))
    }

    fn oldest_open(&self) -> Option<u64> {
        self.incidents.values().find(|one| one.open).map(|one| one.id)
    }

    fn read(&mut self, count: usize) -> bool {
        let patient = self.run.bed.client.clone_with(Some(ALL));
        let answer = match self.run.bed.ended() {
            Some(_) => Ok(self.run.bed.recorded_incidents()),
            None => patient.incidents_and_open(count),
        };
        let Ok(read) = answer else { return false };
        let new = read.into_iter().filter(|one| one.id > self.known);
        self.incidents.extend(new.map(|one| (one.id, one.into())));
        true
    }
}

/// What a history needs of a status.
pub(super) fn sight(status: &StatusReport, at: Duration) -> Sight {
    let workers = status.workers.iter().map(|worker| Seen {
        name: worker.name.clone(),
        phase: worker.phase.clone(),
        generation: worker.generation,
        pid: worker.pid,
        progress: worker.progress,
        is_up: is_up(worker),
    });
    Sight { at, supervisor: status.supervisor.pid, workers: workers.collect() }
}
