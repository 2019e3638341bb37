//! Launches that the machine wants and that wait until everything else was done: a launch takes its
//! time, and many may be wanted at once.

use std::collections::{BTreeMap, VecDeque};

use supervision::{Incarnation, WorkerId};

/// The queue, and how each worker is launched.
#[derive(Debug, Default)]
pub(super) struct Launches {
    waiting: VecDeque<Incarnation>,
    /// How each worker that was launched is launched, as a number.
    fingerprints: BTreeMap<WorkerId, u64>,
}

impl Launches {
    /// One that ran well and is down (`is_urgent`) goes before those that begin or have failed.
    pub(super) fn add(&mut self, incarnation: Incarnation, is_urgent: bool) {
        if is_urgent {
            self.waiting.push_front(incarnation);
        } else {
            self.waiting.push_back(incarnation);
        }
    }

    /// The next one, which waits no more.
    pub(super) fn next(&mut self) -> Option<Incarnation> {
        self.waiting.pop_front()
    }

    /// Takes one out of the queue. False: it does not wait there.
    pub(super) fn take(&mut self, incarnation: Incarnation) -> bool {
        // From the end: when all are stopped, the last ones come first.
        let at = self.waiting.iter().rposition(|waiting| *waiting == incarnation);
        at.and_then(|at| self.waiting.remove(at)).is_some()
    }

    /// How a worker is launched, as a number that is made once.
    pub(super) fn fingerprint(&mut self, worker: WorkerId, make: impl FnOnce() -> u64) -> u64 {
        *self.fingerprints.entry(worker).or_insert_with(make)
    }
}

#[cfg(test)]
mod tests {
    use supervision::Generation;

    use super::*;

    fn incarnation(worker: u32) -> Incarnation {
        Incarnation { worker: WorkerId(worker), generation: Generation(1) }
    }

    #[test]
    fn one_that_ran_well_goes_first_and_one_that_was_taken_does_not_come() {
        let mut launches = Launches::default();
        for worker in 0..3 {
            launches.add(incarnation(worker), false);
        }
        launches.add(incarnation(3), true);
        assert!(launches.take(incarnation(1)) && !launches.take(incarnation(1)));
        let order: Vec<u32> = std::iter::from_fn(|| Some(launches.next()?.worker.0)).collect();
        assert_eq!(order, [3, 0, 2]);
    }

    #[test]
    fn a_fingerprint_is_taken_once() {
        let mut launches = Launches::default();
        assert_eq!(launches.fingerprint(WorkerId(0), || 7), 7);
        assert_eq!(launches.fingerprint(WorkerId(0), || unreachable!("it is known")), 7);
    }
}
