//! What code of thread workers has done to the supervisor's own process.

use std::time::Duration;

use supervision::WorkerId;

use super::Drivers;
use crate::isolation::own_signals::OwnSignals;
use crate::record::words;

impl Drivers {
    /// Puts back what signals do in this process, where code of a thread worker has changed that.
    /// `is_urgent`: whether a look was taken a moment ago or not.
    pub fn keep_signals(&mut self, now: Duration, is_urgent: bool) {
        let Some(own) = &mut self.means.own_signals else { return };
        let restored = own.keep(now, is_urgent);
        if restored.is_empty() {
            return;
        }
        let signals: Vec<String> = restored.into_iter().map(words::signal).collect();
        let threads: Vec<&str> = self
            .means
            .registry
            .lives()
            .filter(|live| self.means.registry[live.domain].capabilities.is_of_supervisor())
            .map(|live| self.means.registry[live.incarnation.worker].launch.name.as_str())
            .collect();
        tracing::warn!(
            signals = signals.join(", "),
            threads = threads.join(", "),
            "a thread worker changed what these signals do in the supervisor's process; that is put \
             back: a worker that handles or ignores signals needs `isolation: process`"
        );
    }

    /// When the next look at them is due.
    #[must_use]
    pub fn next_look_at_signals(&self) -> Option<Duration> {
        self.means.own_signals.as_ref().and_then(OwnSignals::due)
    }

    /// The signals that were changed and put back in the process that a worker shares with others;
    /// none for a thread of the supervisor.
    #[must_use]
    pub fn changed_signals_of(&self, worker: WorkerId) -> Vec<String> {
        words::signals(self.means.registry.home(worker).changed_signals)
    }

    /// The signals that thread workers have changed, and the supervisor has put back.
    #[must_use]
    pub fn changed_signals(&self) -> Vec<String> {
        let changed = self.means.own_signals.iter().flat_map(OwnSignals::changed);
        changed.map(|signal| words::signal(*signal)).collect()
    }
}
