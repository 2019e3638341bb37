//! Noticing that the loop did not run: stopped (SIGSTOP), suspended with the whole machine or container, or not scheduled.
//! The loop knows when it wanted to be back and when it is; and how long it took for a turn, and how much of that it ran.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// So much later than it wanted to be back a loop may be on a busy machine.
const LATE: Duration = Duration::from_millis(250);
/// After a real pause others are behind too: threads of ours that read output, workers that stood still as we did.
const REAL: Duration = Duration::from_secs(1);
/// So often within the time that is left until the next judgement the loop comes back, so that most of a pause is noticed.
const LOOKS: u32 = 4;
/// And no sooner than this: what is not noticed of a pause is less than what everybody gets after it.
const LEAST: Duration = REAL;

/// Where the loop is in its round.
#[derive(Debug, Default)]
pub(super) struct Lapse {
    /// When the wait is to be over at the latest; `None`: it may last for ever, and nobody is judged meanwhile.
    armed: Option<Duration>,
    /// When the turn began, and how much this thread had run by then; `None`: it waits.
    turn: Option<(Duration, Duration)>,
}

impl Lapse {
    /// The loop is about to wait. Where a judgement is due, it comes back sooner than that. When it comes back at the latest.
    pub(super) fn begin_to_wait(
        &mut self,
        now: Duration,
        deadline: Option<Duration>,
        judgement: Option<Duration>,
    ) -> Option<Duration> {
        let look = judgement.map(|at| now.saturating_add((at.saturating_sub(now) / LOOKS).max(LEAST)));
        let until = deadline.into_iter().chain(look).min();
        self.armed = until.map(|until| until.max(now));
        until
    }

    /// A turn begins. How much time was lost in the wait, and in the turn before it.
    pub(super) fn end_wait(&mut self, now: Duration) -> Option<Duration> {
        let in_turn = self.turn.take().map(|(begun, ran)| {
            let took = now.saturating_sub(begun);
            took.saturating_sub(processor_time().saturating_sub(ran))
        });
        let in_wait = self.armed.take().map(|armed| now.saturating_sub(armed));
        // A turn that began is followed by a wait, or by another turn at once: only one of them is known.
        let lost = in_wait.or(in_turn);
        self.turn = Some((now, processor_time()));
        lost.filter(|lost| *lost > LATE)
            .map(|lost| if lost > REAL { lost.saturating_add(REAL) } else { lost })
    }
}

/// How much this thread has run.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
