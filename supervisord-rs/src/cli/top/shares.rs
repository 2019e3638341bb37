//! Of the time between two looks, how much a worker ran, and how much it waited for a processor.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::control::protocol::{StatusReport, Usage};

/// What was seen at the last look, by worker, and what has come since.
#[derive(Debug, Default)]
pub(super) struct Shares {
    seen: BTreeMap<String, (Instant, Times)>,
    shares: BTreeMap<String, Share>,
}

/// Percent of one processor: more than 100 where several threads run or wait at once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Share {
    pub(super) run: f64,
    /// `None`: the kernel does not count it.
    pub(super) waited: Option<f64>,
}

/// So far, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Times {
    run: u64,
    waited: Option<u64>,
}

impl Shares {
    /// Takes over a look at the workers.
    pub(super) fn look(&mut self, report: &StatusReport, now: Instant) {
        let mut seen = BTreeMap::new();
        for worker in &report.workers {
            let Some(times) = worker.usage.as_ref().map(Times::of) else { continue };
            if let Some((then, before)) = self.seen.get(&worker.name) {
                let passed = now.duration_since(*then).as_secs_f64().max(0.001);
                self.shares.insert(worker.name.clone(), times.since(*before, passed));
            }
            seen.insert(worker.name.clone(), (now, times));
        }
        self.seen = seen;
    }

    /// That of a worker, once it was seen twice.
    pub(super) fn of(&self, worker: &str) -> Option<Share> {
        self.shares.get(worker).copied()
    }
}

impl Times {
    const fn of(usage: &Usage) -> Self {
        Self { run: usage.cpu_us, waited: usage.wait_us }
    }

    /// What has come in so many seconds. A count that begins again, with its worker, is none yet.
    fn since(self, before: Self, passed: f64) -> Share {
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        let percent = |now: u64, then: u64| now.saturating_sub(then) as f64 / 1e4 / passed;
        let waited = self.waited.zip(before.waited);
        Share {
            run: percent(self.run, before.run),
            waited: waited.map(|(now, then)| percent(now, then)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_time_between_two_looks() {
        let before = Times { run: 1_000_000, waited: Some(500_000) };
        let now = Times { run: 3_000_000, waited: Some(600_000) };
        let share = now.since(before, 2.0);
        assert_eq!(share, Share { run: 100.0, waited: Some(5.0) });
        let again = Times { run: 10, waited: None };
        assert_eq!(again.since(now, 2.0), Share { run: 0.0, waited: None });
    }
}
