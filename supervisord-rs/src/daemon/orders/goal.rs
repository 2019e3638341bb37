//! What a client wants of a worker that it gave an order for, and how far that worker is from it.

use std::time::Duration;

use crate::control::protocol::EndingReport;
use crate::record::logs::Tail;

/// What a client wants of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Goal {
    /// It runs, or has ended with success. A failure of a generation after this one counts.
    Up { after: u64 },
    /// The same, of a generation after this one.
    Renewed { after: u64 },
    /// It is down. `was_live`: whether there was anything to stop.
    Down { was_live: bool },
    /// It goes down with one that it depends on. `returns`: and comes back with it, which is waited
    /// for as long as that one can come.
    Dependent { generation: u64, was_live: bool, returns: bool },
}

/// How far a worker is from a goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Progress {
    Reached,
    /// Where it is.
    OnTheWay(String),
    /// A later order wants something else; which.
    Superseded(&'static str),
    /// It will not get there by itself; why.
    Failed(String),
}

/// How a worker failed while a client waited for it.
#[derive(Debug)]
pub(in crate::daemon) struct FirstFailure {
    pub(in crate::daemon) ending: EndingReport,
    pub(in crate::daemon) incident: Option<u64>,
    /// Its last lines, as soon as they have been taken.
    pub(in crate::daemon) tail: Tail,
    /// How long they are waited for.
    pub(in crate::daemon) until: Duration,
}

impl FirstFailure {
    /// Until when the answer waits for the last lines; `None`: they are there.
    pub(in crate::daemon) fn due(&self) -> Option<Duration> {
        self.tail.get().is_none().then_some(self.until)
    }
}
