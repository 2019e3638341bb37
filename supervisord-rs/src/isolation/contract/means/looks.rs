//! When to look again at what is ending: at process trees whose main process is gone, and who waits
//! for a look at the process table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use supervision::DomainId;
use workers::runtime::board::monotonic_ns;

/// Between two looks at those whose main process is gone and whose process tree is not: at first,
/// and at most.
const LOOK_FIRST: Duration = Duration::from_millis(1);
pub(in crate::isolation) const LOOK_MAX: Duration = Duration::from_millis(50);

/// Who is to be looked at, and when.
#[derive(Debug, Default)]
pub(in crate::isolation) struct Looks {
    /// Domains whose main process is gone and whose process tree is not, or may not be.
    pub(super) remains: BTreeSet<DomainId>,
    /// When to look at them next, in monotonic nanoseconds.
    pub(super) next_look: Option<u64>,
    /// How long to wait after that.
    pause: Duration,
    /// What the last look at the process table took.
    cost: Duration,
    /// Domains of which only a look at the process table tells what is left, that was begun at
    /// this moment or later, in monotonic nanoseconds.
    pub(super) awaited: BTreeMap<DomainId, u64>,
    /// Domains whose main process was just found to be gone, and whose process tree was not looked
    /// at.
    pub(super) fresh: Vec<DomainId>,
}

impl Looks {
    /// Looks at a domain in a moment.
    pub(in crate::isolation) fn soon(&mut self, domain: DomainId) {
        self.pause = LOOK_FIRST;
        self.next_look = None;
        self.later(domain);
    }

    /// Looks at a domain with the others.
    pub(super) fn later(&mut self, domain: DomainId) {
        self.remains.insert(domain);
        self.again();
    }

    /// Looks again, at whatever is left.
    pub(in crate::isolation) fn again(&mut self) {
        let pause = u64::try_from(self.pause.as_nanos()).unwrap_or(u64::MAX);
        self.next_look.get_or_insert_with(|| monotonic_ns().saturating_add(pause));
    }

    /// Whether a look is due, which begins then. Where looks are dear there are fewer: most of the
    /// time is for others.
    pub(super) fn begin(&mut self) -> bool {
        if self.next_look.is_none_or(|at| at > monotonic_ns()) {
            return false;
        }
        self.next_look = None;
        self.pause = (self.pause * 2).min(LOOK_MAX).max(self.cost * 8);
        true
    }

    /// A look at the process table has taken so long.
    pub(super) fn note_cost(&mut self, cost: Duration) {
        self.cost = cost;
    }
}
