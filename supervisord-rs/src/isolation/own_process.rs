//! The supervisor's own process: code of a thread worker may change at any time what signals do in
//! it, its limits, and who it is.
//!
//! Nothing keeps a thread from that, so the supervisor looks: after each launch, at each sign of
//! life of its loop, and now and then when it runs anyway. What it finds changed it puts back.

mod identity;
mod limits;
mod signals;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::record::words;
use identity::OwnIdentity;
use limits::OwnLimits;
use signals::OwnSignals;

/// Least time between two looks that nothing calls for.
const PAUSE: Duration = Duration::from_millis(100);
/// After the launch of a thread worker it is looked twice, so long after it: most change their
/// process when they begin.
const AFTER_LAUNCH: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// What is kept, and when to look next. Times are on the machine's clock.
#[derive(Debug)]
pub(in crate::isolation) struct OwnProcess {
    signals: OwnSignals,
    limits: OwnLimits,
    identity: OwnIdentity,
    launched: Duration,
    looked: Duration,
    due: Option<Duration>,
    /// All limits, and parts of the identity, that were found changed.
    changed_limits: BTreeSet<String>,
    changed_identity: BTreeSet<&'static str>,
}

/// What was found changed.
#[derive(Debug, Default)]
pub(in crate::isolation) struct Found {
    /// What these signals do. It is put back.
    pub(in crate::isolation) signals: Vec<i32>,
    pub(in crate::isolation) limits: Changes<String>,
    pub(in crate::isolation) identity: Changes<&'static str>,
}

/// What has changed of one kind.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::isolation) struct Changes<T> {
    /// It is put back.
    pub(in crate::isolation) restored: Vec<T>,
    /// The kernel does not let it be put back. Found once.
    pub(in crate::isolation) lost: Vec<T>,
}

impl<T> Default for Changes<T> {
    fn default() -> Self {
        Self { restored: Vec::new(), lost: Vec::new() }
    }
}

impl OwnProcess {
    /// As it is now: before the first thread worker is launched.
    pub(in crate::isolation) fn take() -> Self {
        Self {
            signals: OwnSignals::take(),
            limits: OwnLimits::take(),
            identity: OwnIdentity::take(),
            launched: Duration::ZERO,
            looked: Duration::ZERO,
            due: None,
            changed_limits: BTreeSet::new(),
            changed_identity: BTreeSet::new(),
        }
    }

    /// A thread worker begins.
    pub(in crate::isolation) fn on_launch(&mut self, now: Duration) {
        self.launched = now;
        self.due = AFTER_LAUNCH.first().map(|pause| now.saturating_add(*pause));
    }

    /// When to look, whatever else happens.
    pub(in crate::isolation) const fn due(&self) -> Option<Duration> {
        self.due
    }

    /// All signals that were found changed since the supervisor began.
    pub(in crate::isolation) fn changed_signals(&self) -> Vec<String> {
        self.signals.changed().iter().map(|signal| words::signal(*signal)).collect()
    }

    /// The same of its limits, by name.
    pub(in crate::isolation) fn changed_limits(&self) -> Vec<String> {
        self.changed_limits.iter().cloned().collect()
    }

    /// The same of who it is: `user`, `group`, `groups`.
    pub(in crate::isolation) fn changed_identity(&self) -> Vec<String> {
        self.changed_identity.iter().map(|&what| what.to_owned()).collect()
    }

    /// Looks, if it is time or `is_urgent`, and puts back what has changed, as far as that goes.
    pub(in crate::isolation) fn keep(&mut self, now: Duration, is_urgent: bool) -> Found {
        let is_due = self.due.is_some_and(|at| at <= now);
        if !is_due && !is_urgent && now < self.looked.saturating_add(PAUSE) {
            return Found::default();
        }
        self.looked = now;
        let later = AFTER_LAUNCH.into_iter().map(|pause| self.launched.saturating_add(pause));
        self.due = later.into_iter().find(|at| *at > now).filter(|_| self.due.is_some());
        // Its rights first: hard limits need them.
        let identity = self.identity.keep();
        let found = Found { identity, signals: self.signals.keep(), limits: self.limits.keep() };
        let Changes { restored, lost } = &found.limits;
        self.changed_limits.extend(restored.iter().chain(lost).cloned());
        let Changes { restored, lost } = &found.identity;
        self.changed_identity.extend(restored.iter().chain(lost));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_launch_it_is_looked_twice_and_then_now_and_then() {
        let mut own = OwnProcess::take();
        let at = Duration::from_millis;
        assert_eq!(own.due(), None);
        own.on_launch(at(1000));
        assert_eq!(own.due(), Some(at(1100)));
        let _ = own.keep(at(1100), false);
        assert_eq!(own.due(), Some(at(2000)));
        let _ = own.keep(at(2000), false);
        assert_eq!((own.due(), own.looked), (None, at(2000)));
        let _ = own.keep(at(2050), false);
        assert_eq!(own.looked, at(2000), "too soon");
        let _ = own.keep(at(2050), true);
        assert_eq!(own.looked, at(2050));
    }
}
