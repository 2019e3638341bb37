//! What the death of a supervisor means. Pure: time comes from the caller.
//!
//! A first supervisor that is never ready cannot start, and the guardian ends too. Once one was
//! ready, workers depend on the guardian: then no failure of a successor's start is final. The
//! guardian ends on an order, or when supervisors die too often.

use std::collections::VecDeque;
use std::time::Duration;

use crate::service_manager::{Custody, Ending};

/// How a supervisor ended, and what it had said before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) ending: Ending,
    pub(super) was_ready: bool,
    pub(super) was_stopping: bool,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It ended in order, or could not start: so do we.
    Exit(u8),
    /// It was to end and did not come to the end of that: what it had begun is carried out.
    GoOnEnding,
    /// Start another.
    Restart {
        /// After this long.
        after: Duration,
    },
    /// It dies too often.
    GiveUp,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Policy {
    rules: Custody,
    deaths: VecDeque<Duration>,
    /// Starts that came to nothing since a supervisor was last ready.
    vain: u32,
    was_ever_ready: bool,
    ordered_to_end: Option<i32>,
    /// Whether deaths are what is wanted: a test kills the supervisor again and again.
    is_storm: bool,
}

impl Policy {
    pub(super) fn new(rules: Custody, is_storm: bool) -> Self {
        Self { rules, is_storm, ..Self::default() }
    }

    /// A person or a service manager wants us to end.
    pub(super) fn on_order_to_end(&mut self, signal: i32) {
        self.ordered_to_end = Some(signal);
    }

    pub(super) fn ordered_to_end(&self) -> Option<i32> {
        self.ordered_to_end
    }

    /// The rules that hold from now on: the configuration may have changed.
    pub(super) fn set_rules(&mut self, rules: Custody) {
        self.rules = rules;
    }

    pub(super) fn rules(&self) -> Custody {
        self.rules
    }

    pub(super) fn on_ready(&mut self) {
        self.was_ever_ready = true;
        self.vain = 0;
    }

    pub(super) fn on_death(&mut self, now: Duration, death: Death) -> Verdict {
        let is_wanted = death.was_stopping || self.ordered_to_end.is_some();
        match death.ending {
            // It says that it cannot start (78: invalid configuration), and nothing depends on it:
            // trying again is vain.
            Ending::Exited(code) if !self.was_ever_ready && !death.was_stopping => {
                return Verdict::Exit(u8::try_from(code).unwrap_or(1));
            }
            Ending::Exited(code) if death.was_stopping => {
                return Verdict::Exit(u8::try_from(code).unwrap_or(1));
            }
            Ending::Exited(_) | Ending::Signaled(_) if is_wanted => return Verdict::GoOnEnding,
            // A successor that cannot start now may be able to later. It has lost nothing, so it
            // does not count.
            Ending::Exited(_) if !death.was_ready => {
                return Verdict::Restart { after: self.on_vain_start() };
            }
            // Also exit code 0: a thread worker that calls exit() claims success for all of us.
            Ending::Exited(_) | Ending::Signaled(_) => {}
        }
        if self.is_storm {
            return Verdict::Restart { after: Duration::ZERO };
        }
        let limit = self.rules.limit;
        while self.deaths.front().is_some_and(|at| now.saturating_sub(*at) > limit.within) {
            self.deaths.pop_front();
        }
        self.deaths.push_back(now);
        let count = u32::try_from(self.deaths.len()).unwrap_or(u32::MAX);
        if count > limit.restarts {
            return Verdict::GiveUp;
        }
        // The first of a window is at once.
        let after = count
            .checked_sub(2)
            .map_or(Duration::ZERO, |attempt| self.rules.backoff.delay(attempt));
        Verdict::Restart { after }
    }

    /// No supervisor could be launched, or one could not start: how long to wait before the next
    /// attempt.
    pub(super) fn on_vain_start(&mut self) -> Duration {
        self.vain = self.vain.saturating_add(1);
        self.rules.backoff.delay(self.vain - 1)
    }
}

#[cfg(test)]
mod tests {
    use supervision::spec::Limit;

    use super::*;

    const SEGFAULT: Death =
        Death { ending: Ending::Signaled(11), was_ready: true, was_stopping: false };
    const REFUSAL: Death =
        Death { ending: Ending::Exited(78), was_ready: false, was_stopping: false };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ready() -> Policy {
        let mut policy = Policy::default();
        policy.on_ready();
        policy
    }

    #[test]
    fn deaths_are_restarted_at_once_then_later_then_no_more() {
        let mut policy = ready();
        let mut delays = Vec::new();
        while let Verdict::Restart { after } = policy.on_death(seconds(1), SEGFAULT) {
            delays.push(after.as_millis());
        }
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert_eq!(policy.on_death(seconds(2), SEGFAULT), Verdict::GiveUp);
    }

    #[test]
    fn the_limit_is_the_configurations() {
        let limit = Limit { restarts: 2, within: seconds(10) };
        let mut policy = Policy::new(Custody { limit, ..Custody::default() }, false);
        policy.on_ready();
        for second in [0, 1, 20, 21] {
            assert!(
                matches!(policy.on_death(seconds(second), SEGFAULT), Verdict::Restart { .. }),
                "{second}"
            );
        }
        assert_eq!(policy.on_death(seconds(22), SEGFAULT), Verdict::GiveUp);
        policy.set_rules(Custody::default());
        assert!(matches!(policy.on_death(seconds(23), SEGFAULT), Verdict::Restart { .. }));
    }

    #[test]
    fn deaths_out_of_the_window_are_forgotten() {
        let mut policy = ready();
        for death in 0..100 {
            let verdict = policy.on_death(seconds(death * 61), SEGFAULT);
            assert_eq!(verdict, Verdict::Restart { after: Duration::ZERO });
        }
    }

    #[test]
    fn an_exit_that_claims_success_without_having_said_that_it_stops_is_a_death() {
        let exit = Death { ending: Ending::Exited(0), ..SEGFAULT };
        assert_eq!(ready().on_death(seconds(1), exit), Verdict::Restart { after: Duration::ZERO });
    }

    #[test]
    fn only_the_first_start_of_all_is_final() {
        assert_eq!(Policy::default().on_death(seconds(1), REFUSAL), Verdict::Exit(78));
        let mut policy = ready();
        for _ in 0..1000 {
            let verdict = policy.on_death(seconds(1), REFUSAL);
            assert!(
                matches!(verdict, Verdict::Restart { after } if after <= seconds(5)),
                "{verdict:?}"
            );
        }
        assert_eq!(policy.on_vain_start(), seconds(5));
        policy.on_ready();
        assert_eq!(policy.on_vain_start(), Duration::from_millis(100));
    }

    #[test]
    fn an_end_that_was_begun_is_gone_on_with() {
        let mut policy = ready();
        policy.on_order_to_end(15);
        assert_eq!(policy.on_death(seconds(1), SEGFAULT), Verdict::GoOnEnding);
        assert_eq!(policy.on_death(seconds(1), REFUSAL), Verdict::GoOnEnding);
        let died = Death { was_stopping: true, ..SEGFAULT };
        assert_eq!(ready().on_death(seconds(1), died), Verdict::GoOnEnding);
        let ended = Death { ending: Ending::Exited(1), was_stopping: true, ..SEGFAULT };
        assert_eq!(ready().on_death(seconds(1), ended), Verdict::Exit(1));
    }
}
