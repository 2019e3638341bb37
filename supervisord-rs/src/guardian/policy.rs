//! What the death of a supervisor means. Pure: time comes from the caller.

use std::collections::VecDeque;
use std::time::Duration;

use crate::service_manager::Ending;

/// Deaths within [`WINDOW`] after which the guardian gives up.
pub(super) const DEATHS_MAX: usize = 10;
/// Deaths older than this are forgotten.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Before the second restart of a window; doubled at each further one. The first is at once.
const DELAY: Duration = Duration::from_millis(100);
/// Longest delay.
const DELAY_MAX: Duration = Duration::from_secs(5);

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
    deaths: VecDeque<Duration>,
    ordered_to_end: Option<i32>,
    /// Whether deaths are what is wanted: a test kills the supervisor again and again.
    is_storm: bool,
}

impl Policy {
    pub(super) fn new(is_storm: bool) -> Self {
        Self { is_storm, ..Self::default() }
    }

    /// A person or a service manager wants us to end.
    pub(super) fn on_order_to_end(&mut self, signal: i32) {
        self.ordered_to_end = Some(signal);
    }

    pub(super) fn ordered_to_end(&self) -> Option<i32> {
        self.ordered_to_end
    }

    pub(super) fn on_death(&mut self, now: Duration, death: Death) -> Verdict {
        let is_wanted = death.was_stopping || self.ordered_to_end.is_some();
        match death.ending {
            // Before it was ready an exit says that it cannot start (78: invalid configuration): trying again is vain.
            Ending::Exited(code) if is_wanted || !death.was_ready => {
                return Verdict::Exit(u8::try_from(code).unwrap_or(1));
            }
            Ending::Signaled(signal) if is_wanted => return Verdict::Exit(by_signal(signal)),
            // Also exit code 0: a thread worker that calls exit() claims success for all of us.
            Ending::Exited(_) | Ending::Signaled(_) => {}
        }
        if self.is_storm {
            return Verdict::Restart { after: Duration::ZERO };
        }
        while self.deaths.front().is_some_and(|at| now.saturating_sub(*at) > WINDOW) {
            self.deaths.pop_front();
        }
        self.deaths.push_back(now);
        match self.deaths.len() {
            count if count > DEATHS_MAX => Verdict::GiveUp,
            1 => Verdict::Restart { after: Duration::ZERO },
            count => {
                let doublings = u32::try_from(count - 2).unwrap_or(u32::MAX);
                let factor = 2_u32.saturating_pow(doublings);
                Verdict::Restart { after: DELAY.saturating_mul(factor).min(DELAY_MAX) }
            }
        }
    }
}

/// As a shell has it.
pub(super) fn by_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGFAULT: Death = Death { ending: Ending::Signaled(11), was_ready: true, was_stopping: false };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn deaths_are_restarted_at_once_then_later_then_no_more() {
        let mut policy = Policy::default();
        let mut delays = Vec::new();
        while let Verdict::Restart { after } = policy.on_death(seconds(1), SEGFAULT) {
            delays.push(after.as_millis());
        }
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert_eq!(policy.on_death(seconds(2), SEGFAULT), Verdict::GiveUp);
    }

    #[test]
    fn deaths_out_of_the_window_are_forgotten() {
        let mut policy = Policy::default();
        for death in 0..100 {
            let verdict = policy.on_death(seconds(death * 61), SEGFAULT);
            assert_eq!(verdict, Verdict::Restart { after: Duration::ZERO });
        }
    }

    #[test]
    fn an_exit_that_claims_success_without_having_said_that_it_stops_is_a_death() {
        let exit = Death { ending: Ending::Exited(0), ..SEGFAULT };
        assert_eq!(Policy::default().on_death(seconds(1), exit), Verdict::Restart { after: Duration::ZERO });
    }

    #[test]
    fn an_exit_before_it_was_ready_is_passed_on() {
        let exit = Death { ending: Ending::Exited(78), was_ready: false, was_stopping: false };
        assert_eq!(Policy::default().on_death(seconds(1), exit), Verdict::Exit(78));
    }

    #[test]
    fn an_ordered_end_is_an_end_whatever_it_looks_like() {
        let mut policy = Policy::default();
        policy.on_order_to_end(15);
        assert_eq!(policy.on_death(seconds(1), SEGFAULT), Verdict::Exit(139));
        let stopping = Death { ending: Ending::Exited(1), was_stopping: true, ..SEGFAULT };
        assert_eq!(Policy::default().on_death(seconds(1), stopping), Verdict::Exit(1));
    }
}
