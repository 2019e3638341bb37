//! What code of thread workers has done to the supervisor's own process.

use std::time::Duration;

use supervision::WorkerId;

use super::Drivers;
use crate::isolation::own_process::{Changes, Found, OwnProcess};
use crate::record::words;

impl Drivers {
    /// Puts back what code of a thread worker has changed of this process. `is_urgent`: whether a
    /// look was taken a moment ago or not.
    pub fn keep_own_process(&mut self, now: Duration, is_urgent: bool) {
        let Some(own) = &mut self.means.own_process else { return };
        let Found { signals, limits, identity } = own.keep(now, is_urgent);
        if !signals.is_empty() {
            let signals: Vec<String> = signals.into_iter().map(words::signal).collect();
            tracing::warn!(
                signals = signals.join(", "),
                threads = self.threads_here(),
                "a thread worker changed what these signals do in the supervisor's process; that is \
                 put back: a worker that handles or ignores signals needs `isolation: process`"
            );
        }
        self.tell_of_limits(&limits);
        self.tell_of_identity(&identity);
    }

    fn tell_of_limits(&self, Changes { restored, lost }: &Changes<String>) {
        if !restored.is_empty() {
            tracing::warn!(
                limits = restored.join(", "),
                threads = self.threads_here(),
                "a thread worker lowered these limits of the supervisor's process (setrlimit); they \
                 are put back: give such a worker `limits:` and `isolation: process`"
            );
        }
        if !lost.is_empty() {
            tracing::error!(
                limits = lost.join(", "),
                threads = self.threads_here(),
                "a thread worker lowered these limits of the supervisor's process (setrlimit), and the \
                 supervisor has no right to raise them again: restart it, and give such a worker \
                 `isolation: process`"
            );
        }
    }

    fn tell_of_identity(&self, Changes { restored, lost }: &Changes<&'static str>) {
        if !restored.is_empty() {
            tracing::warn!(
                what = restored.join(", "),
                threads = self.threads_here(),
                "a thread worker changed who the supervisor's process is (setuid, setgid); that is put \
                 back, for the worker too: one that gives up rights needs `user:` and `isolation: \
                 process`"
            );
        }
        if !lost.is_empty() {
            tracing::error!(
                what = lost.join(", "),
                threads = self.threads_here(),
                "a thread worker changed who the supervisor's process is (setuid, setgid), and the \
                 supervisor has no right to change that back: files, signals and launches may be \
                 refused from now on. Restart it, and give such a worker `user:` and `isolation: \
                 process`"
            );
        }
    }

    /// Whether a signal that this process has sent to itself is the doing of a thread worker, and
    /// so no order to the supervisor. The log says so.
    #[must_use]
    pub fn disowns(&self, signal: i32) -> bool {
        if self.means.own_process.is_none() {
            return false;
        }
        tracing::warn!(
            signal = words::signal(signal),
            threads = self.threads_here(),
            "a thread worker sent this signal to its own process, which is the supervisor's; it has no \
             effect: a worker ends when it returns, and the supervisor by `supervisord-rs shutdown`"
        );
        true
    }

    /// The workers that run here, by name.
    fn threads_here(&self) -> String {
        let registry = &self.means.registry;
        let lives = registry.lives();
        let here = lives.filter(|live| registry[live.domain].capabilities.is_of_supervisor());
        let names: Vec<&str> =
            here.map(|live| registry[live.incarnation.worker].launch.name.as_str()).collect();
        names.join(", ")
    }

    /// When the next look at it is due.
    #[must_use]
    pub fn next_look_at_own_process(&self) -> Option<Duration> {
        self.means.own_process.as_ref().and_then(OwnProcess::due)
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
        self.means.own_process.as_ref().map(OwnProcess::changed_signals).unwrap_or_default()
    }

    /// The limits of this process that thread workers have lowered, by name.
    #[must_use]
    pub fn changed_limits(&self) -> Vec<String> {
        self.means.own_process.as_ref().map(OwnProcess::changed_limits).unwrap_or_default()
    }

    /// What thread workers have changed of who this process is.
    #[must_use]
    pub fn changed_identity(&self) -> Vec<String> {
        self.means.own_process.as_ref().map(OwnProcess::changed_identity).unwrap_or_default()
    }
}
