//! A blow that was struck, and whom it can reach.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::scenario::storm::Blow;

/// A blow that was struck.
#[derive(Clone, Debug)]
pub(in crate::drill) struct Strike {
    pub(in crate::drill) blow: Blow,
    /// Since the storm began.
    pub(in crate::drill) at: Duration,
    /// The generations of the victim that it can have struck: those when it was ordered, and when
    /// that was answered. `None`: it was no worker, or no one has looked since.
    pub(in crate::drill) from: Option<u64>,
    pub(in crate::drill) to: Option<u64>,
    /// The newest incident that was known before.
    pub(in crate::drill) known: u64,
    /// Whom it can take.
    pub(in crate::drill) reach: BTreeSet<String>,
    /// Whether it can take the supervisor.
    pub(in crate::drill) takes_supervisor: bool,
    /// Whether it ends nothing, so that no incident need come of it, and one of any kind may.
    pub(in crate::drill) is_silent: bool,
    /// Whether it can end its worker with success.
    pub(in crate::drill) may_end_well: bool,
    /// Whether it was certainly ordered: a supervisor that dies before it answers may have done
    /// nothing.
    pub(in crate::drill) is_sure: bool,
}

impl Strike {
    /// The worker in which it was ordered.
    pub(in crate::drill) fn victim(&self) -> Option<&str> {
        match &self.blow {
            Blow::Fault { worker, .. } => Some(worker),
            Blow::Kill(_) => None,
        }
    }

    /// Whether it can have struck this run of a worker.
    pub(super) fn can_strike(&self, worker: &str, generation: Option<u64>) -> bool {
        let is_within = |generation: u64| {
            self.from.is_none_or(|from| from <= generation)
                && self.to.is_none_or(|to| generation <= to)
        };
        self.victim() == Some(worker) && generation.is_none_or(is_within)
    }
}
