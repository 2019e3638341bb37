//! Noticing that the loop did not run: stopped (SIGSTOP), suspended with the whole machine or
//! container, or not scheduled. The loop knows when it wanted to be back and when it is; and how
//! long it took for a turn, and how much of that it ran. It checks both before each judgement: a
//! pause may come at any moment of a round.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// So much later than it wanted to be back a loop may be on a busy machine.
const LATE: Duration = Duration::from_millis(250);
/// After a real pause others are behind too: the threads that read output, and workers that stood
/// still as well.
const REAL: Duration = Duration::from_secs(1);
/// So often within the time that is left until the next judgement the loop comes back, so that most
/// of a pause is noticed.
const LOOKS: u32 = 4;
/// And no sooner than this: the unnoticed part of a pause is less than the time that every worker
/// gets after it.
const LEAST: Duration = REAL;

/// Where the loop is in its round.
#[derive(Debug)]
pub(in crate::daemon) struct Lapse {
    round: Round,
    /// What was lost and has not been told yet.
    lost: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Round {
    /// It waits, and the wait is to be over by then at the latest.
    Waiting { until: Duration },
    /// It works: since when, and how much this thread had run by then.
    Working { since: Duration, ran: Duration },
}

impl Lapse {
    /// The loop works from now on.
    pub(in crate::daemon) fn new(now: Duration) -> Self {
        Self { round: Round::Working { since: now, ran: processor_time() }, lost: Duration::ZERO }
    }

    /// The loop is about to wait. Where a judgement is due, it comes back sooner than that. When it
    /// comes back at the latest.
    pub(in crate::daemon) fn begin_to_wait(
        &mut self,
        now: Duration,
        deadline: Option<Duration>,
        judgement: Option<Duration>,
    ) -> Option<Duration> {
        self.count(now);
        let look =
            judgement.map(|at| now.saturating_add((at.saturating_sub(now) / LOOKS).max(LEAST)));
        let until = deadline.into_iter().chain(look).min();
        // For ever: no worker is judged meanwhile.
        self.round = Round::Waiting { until: until.map_or(Duration::MAX, |until| until.max(now)) };
        until
    }

    /// The loop works, and is about to act on what the time is: how much was lost until `now`,
    /// which is the time that it acts on. What is lost after that is not in it.
    pub(in crate::daemon) fn until(&mut self, now: Duration) -> Option<Duration> {
        self.count(now);
        let lost = std::mem::take(&mut self.lost);
        Some(granted(lost)).filter(|lost| !lost.is_zero())
    }

    fn count(&mut self, now: Duration) {
        let ran_by_now = processor_time();
        let lost = counted(match self.round {
            Round::Waiting { until } => now.saturating_sub(until),
            Round::Working { since, ran } => {
                now.saturating_sub(since).saturating_sub(ran_by_now.saturating_sub(ran))
            }
        });
        self.lost = self.lost.saturating_add(lost);
        // A turn in which little is lost at a time goes on: all of it may be much.
        if matches!(self.round, Round::Waiting { .. }) || !lost.is_zero() {
            self.round = Round::Working { since: now, ran: ran_by_now };
        }
    }
}

/// The extra time of every worker for a given lost time.
pub(in crate::daemon) fn granted(lost: Duration) -> Duration {
    if is_real(lost) { lost.saturating_add(REAL) } else { lost }
}

/// Whether it is more than a busy machine.
pub(in crate::daemon) fn is_real(lost: Duration) -> bool {
    lost >= REAL
}

fn counted(late: Duration) -> Duration {
    if late > LATE { late } else { Duration::ZERO }
}

/// How much this thread has run.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// Whole seconds: the test itself runs for some microseconds.
    fn lost(lapse: &mut Lapse, now: Duration) -> Option<u64> {
        lapse.until(now).map(|lost| (lost + S / 2).as_secs())
    }

    #[test]
    fn a_pause_is_noticed_at_every_moment_of_a_round_and_once() {
        let mut lapse = Lapse::new(Duration::ZERO);
        assert_eq!(lost(&mut lapse, 5 * S), Some(6), "before the first wait");
        assert_eq!(lost(&mut lapse, 5 * S), None);
        assert_eq!(lost(&mut lapse, 10 * S), Some(6), "between two looks of a turn");
        lapse.begin_to_wait(15 * S, Some(16 * S), None);
        assert_eq!(lost(&mut lapse, 16 * S), Some(6), "between a turn and the wait");
        lapse.begin_to_wait(16 * S, Some(17 * S), None);
        assert_eq!(lost(&mut lapse, 22 * S), Some(6), "in the wait");
        assert_eq!(lost(&mut lapse, 22 * S), None);
    }
}
