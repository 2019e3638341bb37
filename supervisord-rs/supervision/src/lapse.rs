//! Time in which the driver of the machine did not run: stopped, suspended, not scheduled. The
//! machine heard no worker in it, so it counts against none.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::machine::Machine;
use crate::timers::{Due, Timer};
use crate::worker::Phase;

/// Lapses that are remembered: a heartbeat that is judged lies not so far back.
const KEPT: usize = 64;

/// The lapses of late, oldest first: when each was over, and how long it took.
#[derive(Debug, Default)]
pub(crate) struct Lapses(VecDeque<(Duration, Duration)>);

impl Lapses {
    pub(crate) fn add(&mut self, now: Duration, by: Duration) {
        self.0.push_back((now, by));
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// How much time was lost since then.
    pub(crate) fn since(&self, at: Duration) -> Duration {
        let later = self.0.iter().filter(|(end, _)| *end > at);
        later.fold(Duration::ZERO, |sum, (_, by)| sum.saturating_add(*by))
    }
}

impl Machine {
    /// The next deadline that judges a worker by a missing sign: too late to start, to stop, or to
    /// beat.
    #[must_use]
    pub fn next_judgement(&self) -> Option<Duration> {
        self.timers.first(|timer| self.is_judgement(timer))
    }

    /// How much time since then counts against no worker.
    #[must_use]
    pub fn time_lost_since(&self, at: Duration) -> Duration {
        self.lapses.since(at)
    }

    /// What was to be judged is judged that much later. What is only to be done, such as the next
    /// attempt, is done when it is due.
    pub(crate) fn on_time_lost(&mut self, by: Duration) {
        self.lapses.add(self.now, by);
        let judgements = self.timers.all(|timer| self.is_judgement(timer));
        for (timer, at) in judgements {
            self.set_timer(timer, at.saturating_add(by));
        }
    }

    fn is_judgement(&self, timer: Timer) -> bool {
        match timer {
            Timer::Worker(worker, Due::Phase) => match self.workers[worker.index()].phase {
                Phase::Launching | Phase::Starting | Phase::Stopping => true,
                Phase::Idle
                | Phase::Running
                | Phase::Killing
                | Phase::Backoff
                | Phase::Quarantined
                | Phase::Finished => false,
            },
            Timer::Worker(_, Due::Heartbeat) | Timer::Shutdown => true,
            Timer::Worker(_, Due::Injection(_)) | Timer::Stagger => false,
        }
    }
}
