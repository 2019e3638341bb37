//! How many start at once, and how soon after each other: who may be launched now, and who waits
//! for a place.

use alloc::collections::BTreeSet;
use core::time::Duration;

use crate::id::WorkerId;
use crate::machine::Machine;
use crate::spec::StartLimits;
use crate::timers::Timer;
use crate::worker::Phase;

/// The places, and those that wait for one.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// Workers whose launch waits for a place or for the time between launches.
    waiting: BTreeSet<WorkerId>,
    /// How many workers are launching or starting.
    coming_up: u32,
    last_launch: Option<Duration>,
}

/// What came of a wish to be launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It has its place.
    Admitted,
    /// It waits for one of those that are coming up.
    NoPlace,
    /// It waits at least until then.
    TooSoon(Duration),
}

impl Admission {
    /// Gives the worker a place, or lets it wait.
    fn admit(&mut self, worker: WorkerId, limits: StartLimits, now: Duration) -> Verdict {
        let next = self.last_launch.map(|last| last.saturating_add(limits.stagger));
        let verdict = match next.filter(|next| !limits.stagger.is_zero() && *next > now) {
            Some(next) => Verdict::TooSoon(next),
            None if limits.concurrency.is_none_or(|places| self.coming_up < places.max(1)) => {
                Verdict::Admitted
            }
            None => Verdict::NoPlace,
        };
        if verdict == Verdict::Admitted {
            self.last_launch = Some(now);
            self.waiting.remove(&worker);
        } else {
            self.waiting.insert(worker);
        }
        verdict
    }

    /// Counts the workers that are coming up. Whether a place has become free.
    fn count(&mut self, from: Phase, to: Phase) -> bool {
        let is_coming_up = |phase: Phase| matches!(phase, Phase::Launching | Phase::Starting);
        match (is_coming_up(from), is_coming_up(to)) {
            (false, true) => self.coming_up += 1,
            (true, false) => {
                self.coming_up = self.coming_up.saturating_sub(1);
                return true;
            }
            (true, true) | (false, false) => {}
        }
        false
    }

    /// None is to be launched any more.
    pub(crate) fn forget_waiting(&mut self) {
        self.waiting.clear();
    }
}

impl Machine {
    /// Whether a worker may be launched at this moment. One that may not waits.
    pub(crate) fn is_admitted(&mut self, worker: WorkerId) -> bool {
        match self.admission.admit(worker, self.spec.start, self.now) {
            Verdict::Admitted => true,
            Verdict::NoPlace => false,
            Verdict::TooSoon(next) => {
                self.set_timer(Timer::Stagger, next);
                false
            }
        }
    }

    /// Those that waited for a place are looked at again.
    pub(crate) fn admit_waiting(&mut self) {
        self.launches.append(&mut self.admission.waiting);
    }

    /// A free place goes to one that waits.
    pub(crate) fn count_coming_up(&mut self, from: Phase, to: Phase) {
        if self.admission.count(from, to) {
            self.admit_waiting();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: WorkerId = WorkerId(0);
    const B: WorkerId = WorkerId(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_place_is_free_again_when_a_worker_has_come_up() {
        let limits = StartLimits { concurrency: Some(1), stagger: Duration::ZERO };
        let mut admission = Admission::default();
        assert_eq!(admission.admit(A, limits, SECOND), Verdict::Admitted);
        assert!(!admission.count(Phase::Idle, Phase::Launching));
        assert_eq!(admission.admit(B, limits, SECOND), Verdict::NoPlace);
        assert!(!admission.count(Phase::Launching, Phase::Starting), "it still has its place");
        assert!(admission.count(Phase::Starting, Phase::Running));
        assert_eq!(admission.admit(B, limits, SECOND), Verdict::Admitted);
        assert!(admission.waiting.is_empty());
    }

    #[test]
    fn no_limit_admits_none_at_all() {
        let limits = StartLimits { concurrency: Some(0), stagger: Duration::ZERO };
        assert_eq!(Admission::default().admit(A, limits, SECOND), Verdict::Admitted);
    }

    #[test]
    fn two_launches_keep_their_distance() {
        let limits = StartLimits { concurrency: None, stagger: SECOND };
        let mut admission = Admission::default();
        assert_eq!(admission.admit(A, limits, SECOND), Verdict::Admitted);
        assert_eq!(admission.admit(B, limits, SECOND), Verdict::TooSoon(2 * SECOND));
        assert_eq!(admission.admit(B, limits, 2 * SECOND), Verdict::Admitted);
    }
}
