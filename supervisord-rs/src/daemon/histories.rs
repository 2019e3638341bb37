//! What the machine does not know of each worker's past, for people: since when it is in its phase
//! by wall time, and in words how its last incarnation ended.

use std::time::SystemTime;

use supervision::WorkerId;

use crate::control::protocol::EndingReport;

/// One for each worker, by its number.
#[derive(Debug)]
pub(super) struct Histories(Vec<History>);

#[derive(Debug)]
struct History {
    since: SystemTime,
    ending: Option<EndingReport>,
}

impl Histories {
    /// Of so many workers that have not run yet.
    pub(super) fn new(workers: usize) -> Self {
        let mut histories = Self(Vec::new());
        (0..workers).for_each(|_| histories.add());
        histories
    }

    /// One more worker, at the end.
    pub(super) fn add(&mut self) {
        self.0.push(History { since: SystemTime::now(), ending: None });
    }

    /// It has entered its phase at that time.
    pub(super) fn enter(&mut self, worker: WorkerId, at: SystemTime) {
        self.0[worker.index()].since = at;
    }

    /// Its incarnation has ended in this way; `None`: none has.
    pub(super) fn end(&mut self, worker: WorkerId, ending: Option<EndingReport>) {
        self.0[worker.index()].ending = ending;
    }

    /// When it entered its phase.
    pub(super) fn since(&self, worker: WorkerId) -> SystemTime {
        self.0[worker.index()].since
    }

    /// How its last incarnation ended.
    pub(super) fn ending(&self, worker: WorkerId) -> Option<&EndingReport> {
        self.0[worker.index()].ending.as_ref()
    }
}
