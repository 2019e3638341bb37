//! Signs of life of the loop: when the guardian or the service manager is to hear the next one.

use std::time::Duration;

/// The last sign, and how often there is one. Times are on the machine's clock.
#[derive(Debug)]
pub(in crate::daemon) struct Signs {
    every: Option<Duration>,
    last: Duration,
}

impl Signs {
    /// `every`: how often they are wanted; `None`: not at all.
    pub(in crate::daemon) fn new(every: Option<Duration>) -> Self {
        Self { every, last: Duration::ZERO }
    }

    /// When the next one is due.
    pub(in crate::daemon) fn due(&self) -> Option<Duration> {
        self.every.map(|every| self.last.saturating_add(every))
    }

    /// So long after the last one, whether any are wanted or not.
    pub(in crate::daemon) fn after(&self, pause: Duration) -> Duration {
        self.last.saturating_add(pause)
    }

    /// One is given now.
    pub(in crate::daemon) fn given(&mut self, now: Duration) {
        self.last = now;
    }
}
