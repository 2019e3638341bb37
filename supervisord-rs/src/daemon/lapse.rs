//! Noticing that the loop did not run: stopped (SIGSTOP), suspended with the whole machine or
//! container, or not scheduled. The loop knows when it wanted to be back and when it is; and how
//! long it took for a turn, and how much of that it ran.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// So much later than it wanted to be back a loop may be on a busy machine.
const LATE: Duration = Duration::from_millis(250);
/// After a real pause others are behind too: threads of ours that read output, workers that stood
/// still as we did.
const REAL: Duration = Duration::from_secs(1);
/// So often within the time that is left until the next judgement the loop comes back, so that most
/// of a pause is noticed.
const LOOKS: u32 = 4;
/// And no sooner than this: what is not noticed of a pause is less than what everybody gets after
/// it.
const LEAST: Duration = REAL;

/// Where the loop is in its round.
#[derive(Debug, Default)]
pub(super) struct Lapse {
    /// When the wait is to be over at the latest; `None`: it does not wait.
    armed: Option<Duration>,
    /// When the turn began, and how much this thread had run by then; `None`: it waits.
    turn: Option<(Duration, Duration)>,
    /// What was lost in the last turn.
    lost: Duration,
}

impl Lapse {
    /// The loop is about to wait. Where a judgement is due, it comes back sooner than that. When it
    /// comes back at the latest.
    pub(super) fn begin_to_wait(
        &mut self,
        now: Duration,
        deadline: Option<Duration>,
        judgement: Option<Duration>,
    ) -> Option<Duration> {
        // What was done since then was no turn: an answer, say.
        if let Some(armed) = self.armed.take() {
            self.lost = self.lost.saturating_add(counted(now.saturating_sub(armed)));
        }
        if let Some((begun, ran)) = self.turn.take() {
            let slept =
                now.saturating_sub(begun).saturating_sub(processor_time().saturating_sub(ran));
            self.lost = self.lost.saturating_add(counted(slept));
        }
        let look =
            judgement.map(|at| now.saturating_add((at.saturating_sub(now) / LOOKS).max(LEAST)));
        let until = deadline.into_iter().chain(look).min();
        // For ever: nobody is judged meanwhile.
        self.armed = Some(until.map_or(Duration::MAX, |until| until.max(now)));
        until
    }

    /// A turn begins. How much time was lost in the wait, and in the turn before it.
    pub(super) fn end_wait(&mut self, now: Duration) -> Option<Duration> {
        let armed = self.armed.take()?;
        self.turn = Some((now, processor_time()));
        let lost =
            std::mem::take(&mut self.lost).saturating_add(counted(now.saturating_sub(armed)));
        Some(granted(lost)).filter(|lost| !lost.is_zero())
    }
}

/// How much everybody gets for so much time that was lost.
pub(super) fn granted(lost: Duration) -> Duration {
    if is_real(lost) { lost.saturating_add(REAL) } else { lost }
}

/// Whether it is more than a busy machine.
pub(super) fn is_real(lost: Duration) -> bool {
    lost >= REAL
}

fn counted(late: Duration) -> Duration {
    if late > LATE { late } else { Duration::ZERO }
}

/// How much this thread has run.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
