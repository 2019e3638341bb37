//! Who waits for whom, and who belongs together: looked up by index, so that none of these
//! questions costs a walk over all workers.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use crate::effect::{Effect, GivingUp};
use crate::ending::Cause;
use crate::id::{GroupId, WorkerId};
use crate::machine::Machine;
use crate::prospects::has_no_prospect;
use crate::spec::{Condition, Dependency, Spec};
use crate::worker::{Phase, Worker};

/// The specification, turned round. References to nowhere are left out.
#[derive(Debug)]
pub(crate) struct Index {
    /// For each worker those that depend on it, how, and whether they need it.
    dependents: Vec<Vec<(WorkerId, Condition, bool)>>,
    groups: Vec<Option<GroupId>>,
    ranks: Vec<u32>,
}

impl Index {
    /// Turns the specification round.
    pub(crate) fn new(spec: &Spec) -> Self {
        let count = spec.workers.len();
        let dependents = vec![Vec::new(); count];
        let mut index =
            Self { dependents, groups: vec![None; count], ranks: crate::order::ranks(spec) };
        for (id, worker) in ids(count).zip(&spec.workers) {
            for dependency in &worker.depends_on {
                if let Some(list) = index.dependents.get_mut(dependency.on.index()) {
                    list.push((id, dependency.condition, !dependency.soft));
                }
            }
        }
        for (position, group) in (0_u32..).zip(&spec.groups) {
            for member in &group.workers {
                if let Some(slot) = index.groups.get_mut(member.index()) {
                    *slot = Some(GroupId(position));
                }
            }
        }
        index
    }

    /// The group of a worker.
    pub(crate) fn group(&self, worker: WorkerId) -> Option<GroupId> {
        self.groups[worker.index()]
    }

    /// The place of a worker in the order of starting; who starts later stops sooner.
    pub(crate) fn rank(&self, worker: WorkerId) -> u32 {
        self.ranks[worker.index()]
    }

    /// Those that wait for anything of this worker.
    pub(crate) fn dependents(&self, worker: WorkerId) -> impl Iterator<Item = WorkerId> + '_ {
        self.dependents[worker.index()].iter().map(|(dependent, ..)| *dependent)
    }

    /// Those that need this worker up: they are stopped before it. One that only waited for its
    /// finish is not.
    pub(crate) fn leaning(&self, worker: WorkerId) -> impl Iterator<Item = WorkerId> + '_ {
        let leans = |condition: Condition| match condition {
            Condition::Started | Condition::Ready => true,
            Condition::Finished => false,
        };
        let all = self.dependents[worker.index()].iter();
        all.filter(move |(_, condition, needs)| *needs && leans(*condition))
            .map(|(dependent, ..)| *dependent)
    }
}

/// The ids of so many workers, in the order of the file.
pub(crate) fn ids(count: usize) -> impl DoubleEndedIterator<Item = WorkerId> + ExactSizeIterator {
    // A specification is read from a file of bounded size: it has far less than 2^32 workers.
    let ids: Vec<WorkerId> = (0_u32..).take(count).map(WorkerId).collect();
    ids.into_iter()
}

impl Machine {
    /// Whether a dependency holds at this moment. What is about to stop does not count as up.
    pub(crate) fn holds(&self, dependency: &Dependency) -> bool {
        let Some(on) = self.workers.get(dependency.on.index()) else { return true };
        on.retired
            || (dependency.soft && has_no_prospect(on))
            || self.satisfies(on, dependency.condition)
    }

    /// Whether a worker is as the condition wants it.
    pub(crate) fn satisfies(&self, on: &Worker, condition: Condition) -> bool {
        match condition {
            Condition::Started => on.stays_up(),
            Condition::Ready => on.stays_up() && on.phase == Phase::Running && !on.unready,
            Condition::Finished => {
                on.phase == Phase::Finished
                    && on.last_ending.is_some_and(|ending| ending.cause == Cause::Finished)
            }
        }
    }

    /// What this worker waits for before it can be launched.
    pub(crate) fn unmet(&self, worker: WorkerId) -> impl Iterator<Item = WorkerId> + '_ {
        let all = self.spec.workers[worker.index()].depends_on.iter();
        all.filter(|dependency| !self.holds(dependency)).map(|dependency| dependency.on)
    }

    /// Who has failed for good, so that this worker cannot start before a person does something.
    fn hindrance(&self, worker: WorkerId) -> Option<WorkerId> {
        self.unmet(worker).find_map(|on| {
            let state = self.workers.get(on.index())?;
            match state.phase {
                Phase::Finished => Some(on),
                Phase::Quarantined if state.retry_at.is_none() => Some(on),
                Phase::Idle if state.wanted => state.in_vain,
                Phase::Idle
                | Phase::Quarantined
                | Phase::Launching
                | Phase::Starting
                | Phase::Running
                | Phase::Stopping
                | Phase::Killing
                | Phase::Backoff => None,
            }
        })
    }

    /// A worker that is to start and cannot says so once, and so do those that wait for it. A
    /// critical one that cannot is down for good.
    pub(crate) fn look_for_vain(&mut self, worker: WorkerId) {
        let hindrance = self.hindrance(worker);
        if self.workers[worker.index()].in_vain == hindrance {
            return;
        }
        self.workers[worker.index()].in_vain = hindrance;
        self.wake_dependents(worker);
        let Some(on) = hindrance else { return };
        self.effects.push_back(Effect::InVain { worker, on });
        if self.spec.workers[worker.index()].critical {
            let ending = self.workers[on.index()].last_ending;
            self.giving_up.get_or_insert(GivingUp::InVain { worker, on, ending });
        }
    }

    /// These and all that needs them up, however far away.
    pub(crate) fn with_leaning(&self, workers: &[WorkerId]) -> BTreeSet<WorkerId> {
        self.closure(workers, |worker| self.index.leaning(worker).collect())
    }

    /// These and all that they need and still wait for, however far away. A soft dependency is no
    /// need: it orders a start that something else asks for.
    pub(crate) fn with_unmet(&self, workers: &[WorkerId]) -> BTreeSet<WorkerId> {
        self.closure(workers, |worker| {
            // A dependency that is up may itself be about to go: look through it as well.
            let all = self.spec.workers[worker.index()].depends_on.iter();
            let known = all.filter(|dependency| dependency.on.index() < self.workers.len());
            known
                .filter(|dependency| !dependency.soft)
                .filter(|dependency| {
                    dependency.condition != Condition::Finished || !self.holds(dependency)
                })
                .map(|dependency| dependency.on)
                .collect()
        })
    }

    fn closure(
        &self,
        workers: &[WorkerId],
        next: impl Fn(WorkerId) -> Vec<WorkerId>,
    ) -> BTreeSet<WorkerId> {
        let mut found: BTreeSet<WorkerId> = workers.iter().copied().collect();
        let mut open: Vec<WorkerId> = workers.to_vec();
        while let Some(worker) = open.pop() {
            open.extend(next(worker).into_iter().filter(|other| found.insert(*other)));
        }
        found
    }

    /// Has those tried again that may have waited for a change of this worker.
    pub(crate) fn wake_dependents(&mut self, worker: WorkerId) {
        let waiting = self.waiting_for(worker);
        self.launches.extend(&waiting);
        self.review(waiting);
    }
}
