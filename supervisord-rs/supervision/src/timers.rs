//! What falls due when. Every timer has a key, so that it can be moved or cancelled without a
//! search.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use crate::id::WorkerId;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// One of a worker's; all of these go when its phase changes.
    Worker(WorkerId, Due),
    /// The next launch may follow the last.
    Stagger,
    /// The time to stop everything is over.
    Shutdown,
}

/// What falls due for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// The end of its phase: readiness, the grace period of a stop, the next attempt.
    Phase,
    /// A look at its heartbeat.
    Heartbeat,
    /// The injection at this position of its specification.
    Injection(usize),
}

/// All timers. Setting, cancelling and taking cost O(log timers).
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(Duration, Timer)>,
    by_key: BTreeMap<Timer, Duration>,
}

impl Timers {
    /// Sets the timer; an earlier setting of the same one is forgotten.
    pub(crate) fn set(&mut self, timer: Timer, at: Duration) {
        self.cancel(timer);
        self.by_key.insert(timer, at);
        self.by_time.insert((at, timer));
    }

    /// When the timer is due, if it is set.
    pub(crate) fn at(&self, timer: Timer) -> Option<Duration> {
        self.by_key.get(&timer).copied()
    }

    /// Forgets the timer, if it is set.
    pub(crate) fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.by_key.remove(&timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    /// Forgets all timers of a worker.
    pub(crate) fn cancel_worker(&mut self, worker: WorkerId) {
        let range =
            Timer::Worker(worker, Due::Phase)..=Timer::Worker(worker, Due::Injection(usize::MAX));
        let keys: Vec<Timer> = self.by_key.range(range).map(|(key, _)| *key).collect();
        for key in keys {
            self.cancel(key);
        }
    }

    /// Takes the earliest timer that is due.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<(Duration, Timer)> {
        let &(at, timer) = self.by_time.first()?;
        if at > now {
            return None;
        }
        self.cancel(timer);
        Some((at, timer))
    }

    /// When the earliest is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// When the earliest of these is due.
    pub(crate) fn first(&self, is_meant: impl Fn(Timer) -> bool) -> Option<Duration> {
        self.by_time.iter().find(|(_, timer)| is_meant(*timer)).map(|(at, _)| *at)
    }

    /// All of these, with when they are due.
    pub(crate) fn all(&self, is_meant: impl Fn(Timer) -> bool) -> Vec<(Timer, Duration)> {
        let meant = self.by_key.iter().filter(|(timer, _)| is_meant(**timer));
        meant.map(|(timer, at)| (*timer, *at)).collect()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.by_time.clear();
        self.by_key.clear();
    }
}
