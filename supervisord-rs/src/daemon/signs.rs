//! Signs of life of the loop: when the guardian or the service manager is to hear the next one.

use std::time::Duration;

/// The last sign, and how often there is one. Times are on the machine's clock.
#[derive(Debug)]
pub(super) struct Signs {
    every: Option<Duration>,
    last: Duration,
}

impl Signs {
    /// `every`: how often they are wanted; `None`: not at all.
    pub(super) fn new(every: Option<Duration>) -> Self {
        Self { every, last: Duration::ZERO }
    }

    /// When the next one is due.
    pub(super) fn due(&self) -> Option<Duration> {
        self.every.map(|every| self.last.saturating_add(every))
    }

    /// So long after the last one, whether any are wanted or not.
    pub(super) fn after(&self, pause: Duration) -> Duration {
        self.last.saturating_add(pause)
    }

    /// One is given now.
    pub(super) fn given(&mut self, now: Duration) {
        self.last = now;
    }
}
