//! Who is not worth waiting for: a soft dependency on one of those is passed over.
//!
//! A soft dependency waits only for what has an end: a launch, a start, a stop, and the turn of
//! what these let start. It does not wait for another attempt, for a person, or for a failed
//! group. So it orders, and never blocks for good.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use crate::effect::Effect;
use crate::id::WorkerId;
use crate::machine::Machine;
use crate::spec::Dependency;
use crate::worker::{Phase, Worker};

/// Whether it is down, or of no use, and nothing that has begun changes that.
pub(crate) fn has_no_prospect(worker: &Worker) -> bool {
    match worker.phase {
        Phase::Backoff | Phase::Quarantined | Phase::Finished => true,
        // Held: its group waits for the next attempt of another one.
        Phase::Idle => !worker.wanted || worker.held || worker.stranded,
        // Nothing limits how long its probe may say so.
        Phase::Running => worker.unready,
        // It may be there for ever.
        Phase::Stopping | Phase::Killing => worker.unkillable,
        Phase::Launching | Phase::Starting => false,
    }
}

impl Machine {
    /// Whether it waits for one without prospects, however far away.
    fn is_stranded(&self, worker: WorkerId) -> bool {
        let mut awaited = self.unmet(worker).chain(self.earlier_coming(worker));
        awaited.any(|on| self.workers.get(on.index()).is_some_and(has_no_prospect))
    }

    /// The one that this worker waits for, however far away, and that was not asked to start or was
    /// stopped: without another order neither comes.
    #[must_use]
    pub fn barred_by(&self, worker: WorkerId) -> Option<WorkerId> {
        let mut seen = BTreeSet::new();
        let mut open = vec![worker];
        while let Some(worker) = open.pop() {
            let Some(state) = self.workers.get(worker.index()) else { continue };
            match state.phase {
                Phase::Idle if !state.wanted => return Some(worker).filter(|_| !seen.is_empty()),
                // One that is not stranded waits for nothing of that kind.
                Phase::Idle if state.stranded || seen.is_empty() => {
                    let awaited = self.unmet(worker).chain(self.earlier_coming(worker));
                    open.extend(awaited.filter(|on| seen.insert(*on)));
                }
                Phase::Idle
                | Phase::Launching
                | Phase::Starting
                | Phase::Running
                | Phase::Stopping
                | Phase::Killing
                | Phase::Backoff
                | Phase::Quarantined
                | Phase::Finished => {}
            }
        }
        None
    }

    /// Looks at the prospects of those that wait, and of all that wait for them where they have
    /// changed: before any of them is launched, whose soft dependency they may be.
    pub(crate) fn review(&mut self, waiting: Vec<WorkerId>) {
        let mut open = waiting;
        while let Some(worker) = open.pop() {
            let is_stranded = self.is_stranded(worker);
            // A look is no change: the checkpoint of each that is changed is written again.
            if self.workers[worker.index()].stranded == is_stranded {
                continue;
            }
            self.workers[worker.index()].stranded = is_stranded;
            let concerned = self.waiting_for(worker);
            self.launches.extend(&concerned);
            open.extend(concerned);
        }
    }

    /// Those in phase idle that are to start, and wait for this one or might.
    pub(crate) fn waiting_for(&self, worker: WorkerId) -> Vec<WorkerId> {
        let all = self.index.dependents(worker).chain(self.later(worker));
        all.filter(|other| {
            let other = &self.workers[other.index()];
            other.wanted && other.phase == Phase::Idle
        })
        .collect()
    }

    /// A worker is launched: says once which soft dependencies it starts without.
    pub(crate) fn tell_what_is_missing(&mut self, worker: WorkerId) {
        let all = self.spec.workers[worker.index()].depends_on.iter();
        let missing = |dependency: &&Dependency| {
            let is_there = |on: &Worker| on.retired || self.satisfies(on, dependency.condition);
            let on = self.workers.get(dependency.on.index());
            dependency.soft && !on.is_none_or(is_there)
        };
        let without: Vec<WorkerId> = all.filter(missing).map(|dependency| dependency.on).collect();
        let state = &mut self.workers[worker.index()];
        let known = core::mem::replace(&mut state.without, without.clone());
        for on in without.into_iter().filter(|on| !known.contains(on)) {
            self.effects.push_back(Effect::StartsWithout { worker, on });
        }
    }
}
