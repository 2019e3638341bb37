//! The order within groups: members are started in the order of the list and stopped in reverse, as
//! an OTP supervisor does, where they are restarted together. Members that are restarted one for
//! one do not wait for each other.
//!
//! A dependency is stronger than the order: each worker has a rank in which dependencies come first
//! and lists second. No worker waits for one of a higher rank to start, nor for one of a lower rank
//! to stop. So no worker waits for itself.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use crate::dependencies::ids;
use crate::id::WorkerId;
use crate::machine::Machine;
use crate::spec::{Spec, Strategy};
use crate::worker::{Phase, Worker};

/// The rank of each worker.
pub(crate) fn ranks(spec: &Spec) -> Vec<u32> {
    let count = spec.workers.len();
    let mut after: Vec<Vec<(WorkerId, bool)>> = vec![Vec::new(); count];
    // How many dependencies, and how many places in a list, are still in the way of each.
    let mut left = vec![(0_usize, 0_usize); count];
    for (id, worker) in ids(count).zip(&spec.workers) {
        for dependency in
            worker.depends_on.iter().filter(|dependency| dependency.on.index() < count)
        {
            after[dependency.on.index()].push((id, true));
            left[id.index()].0 += 1;
        }
    }
    for group in spec.groups.iter().filter(|group| is_ordered(group.strategy)) {
        let members: Vec<WorkerId> =
            group.workers.iter().copied().filter(|member| member.index() < count).collect();
        for pair in members.windows(2) {
            after[pair[0].index()].push((pair[1], false));
            left[pair[1].index()].1 += 1;
        }
    }
    let mut ranks = vec![u32::MAX; count];
    let mut free: BTreeSet<(bool, WorkerId)> = ids(count)
        .filter(|id| left[id.index()].0 == 0)
        .map(|id| (left[id.index()].1 > 0, id))
        .collect();
    let mut next = 0;
    // A worker that only a list holds back starts when no other can: the list contradicts a
    // dependency.
    while let Some((_, worker)) = free.pop_first() {
        ranks[worker.index()] = next;
        next += 1;
        for &(other, is_dependency) in &after[worker.index()] {
            let (dependencies, places) = &mut left[other.index()];
            let was_free = free.remove(&(*places > 0, other));
            if is_dependency {
                *dependencies -= 1;
            } else {
                *places -= 1;
            }
            let is_open = ranks[other.index()] == u32::MAX && *dependencies == 0;
            if was_free || is_open {
                free.insert((*places > 0, other));
            }
        }
    }
    ranks
}

const fn is_ordered(strategy: Strategy) -> bool {
    match strategy {
        Strategy::OneForOne => false,
        Strategy::OneForAll | Strategy::RestForOne => true,
    }
}

/// Whether it is on its way to running, now or later, by itself.
fn is_coming(worker: &Worker) -> bool {
    let is_up = worker.phase == Phase::Running && worker.order.is_none();
    worker.wanted && !worker.retired && !is_up
}

impl Machine {
    /// The members of its group that start before this one, or after it.
    fn fellows(&self, worker: WorkerId, earlier: bool) -> impl Iterator<Item = WorkerId> + '_ {
        let group = self.index.group(worker).map(|group| &self.spec.groups[group.index()]);
        let members =
            group.filter(|group| is_ordered(group.strategy)).map(|group| &group.workers[..]);
        let members = members.unwrap_or_default();
        let position = members.iter().position(|member| *member == worker).unwrap_or(members.len());
        let chosen = if earlier {
            &members[..position]
        } else {
            members.get(position + 1..).unwrap_or_default()
        };
        let rank = self.index.rank(worker);
        chosen.iter().copied().filter(move |other| {
            other.index() < self.workers.len()
                && (if earlier {
                    self.index.rank(*other) < rank
                } else {
                    self.index.rank(*other) > rank
                })
        })
    }

    /// Earlier members that are not running yet and will be: this one is launched after them.
    pub(crate) fn earlier_coming(&self, worker: WorkerId) -> impl Iterator<Item = WorkerId> + '_ {
        self.fellows(worker, true).filter(|other| is_coming(&self.workers[other.index()]))
    }

    /// Whether a later member is still there that is to end too: this one is stopped after it.
    pub(crate) fn has_later_ending(&self, worker: WorkerId) -> bool {
        self.fellows(worker, false).any(|other| self.workers[other.index()].is_to_go())
    }

    /// Later members of its group.
    pub(crate) fn later(&self, worker: WorkerId) -> impl Iterator<Item = WorkerId> + '_ {
        self.fellows(worker, false)
    }

    /// Has earlier members looked at that may have waited for this one's end.
    pub(crate) fn wake_earlier(&mut self, worker: WorkerId) {
        let waiting: Vec<WorkerId> = self
            .fellows(worker, true)
            .filter(|other| self.workers[other.index()].order.is_some())
            .collect();
        self.stops.extend(waiting);
    }
}
