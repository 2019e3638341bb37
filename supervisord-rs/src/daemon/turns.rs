//! How long the loop is held: each stretch of work until it looks at its sources again, or sleeps,
//! counted by its length. By the clock, so that time in which the machine ran another process
//! counts too, as workers notice it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use workers::board::monotonic_ns;

use crate::control::protocol::{LoopReport, TurnCount};

/// Four for each power of two: a figure is right within a quarter. The last one takes all beyond
/// 500 s.
const BUCKETS: usize = 112;
/// Lengths below this, in microseconds, have a bucket each.
const EXACT: u64 = 4;

/// What a turn was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Work {
    /// What processes, boards, notify sockets and captured streams had to say.
    Workers,
    /// A signal.
    Signal,
    /// What goes on beside the loop: probes, hooks, stop commands.
    Beside,
    /// A request of a client.
    Request,
    /// What was due.
    Deadline,
    /// Tasks beside the loop on its thread.
    Tasks,
}

impl Work {
    const ALL: [Self; 6] =
        [Self::Workers, Self::Signal, Self::Beside, Self::Request, Self::Deadline, Self::Tasks];

    fn name(self) -> &'static str {
        match self {
            Self::Workers => "workers",
            Self::Signal => "signal",
            Self::Beside => "beside",
            Self::Request => "request",
            Self::Deadline => "deadline",
            Self::Tasks => "tasks",
        }
    }
}

/// The record. One thread writes it; any may read.
#[derive(Debug)]
pub(super) struct Turns {
    /// When the present turn began, in monotonic nanoseconds.
    began: AtomicU64,
    longest_us: AtomicU64,
    longest_in: AtomicU8,
    counts: [AtomicU64; BUCKETS],
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            began: AtomicU64::new(monotonic_ns()),
            longest_us: AtomicU64::new(0),
            longest_in: AtomicU8::new(Work::Tasks as u8),
            counts: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

impl Turns {
    /// A turn begins: the loop has slept, or has not turned yet.
    pub(super) fn begin(&self) {
        self.began.store(monotonic_ns(), Ordering::Relaxed);
    }

    /// A turn is over, and the next one begins.
    pub(super) fn end(&self, work: Work) {
        let now = monotonic_ns();
        let took_us = now.saturating_sub(self.began.swap(now, Ordering::Relaxed)) / 1000;
        self.counts[bucket(took_us)].fetch_add(1, Ordering::Relaxed);
        if took_us > self.longest_us.load(Ordering::Relaxed) {
            self.longest_us.store(took_us, Ordering::Relaxed);
            self.longest_in.store(work as u8, Ordering::Relaxed);
        }
    }

    /// All turns since the start.
    pub(super) fn report(&self) -> LoopReport {
        let counts: Vec<(usize, u64)> =
            self.counts.iter().map(|count| count.load(Ordering::Relaxed)).enumerate().collect();
        let turns = counts.iter().map(|(_, count)| count).sum();
        let longest_us = self.longest_us.load(Ordering::Relaxed);
        let longest_in = usize::from(self.longest_in.load(Ordering::Relaxed));
        let within = |percent: u64| {
            let mut seen = 0;
            let reached = counts.iter().find(|(_, count)| {
                seen += count;
                seen * 100 >= turns * percent
            });
            reached.map_or(0, |(bucket, _)| end_of(*bucket)).min(longest_us)
        };
        LoopReport {
            turns,
            p50_us: within(50),
            p99_us: within(99),
            longest_us,
            longest_in: Work::ALL.get(longest_in).map_or("", |work| work.name()).to_owned(),
            histogram: counts
                .iter()
                .filter(|(_, count)| *count > 0)
                .map(|(bucket, count)| TurnCount { below_us: end_of(*bucket), turns: *count })
                .collect(),
        }
    }
}

fn bucket(us: u64) -> usize {
    if us < EXACT {
        return usize::try_from(us).unwrap_or(0);
    }
    let octave = us.ilog2() - 2;
    let bucket = 4 * u64::from(octave) + (us >> octave);
    usize::try_from(bucket).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The first length that is beyond a bucket, in microseconds.
fn end_of(bucket: usize) -> u64 {
    let next = bucket as u64 + 1;
    if next <= EXACT { next } else { (4 + (next % 4)) << (next / 4 - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_has_one_bucket_and_lies_below_its_end() {
        for us in (0..5000).chain([1 << 20, (1 << 20) + 1, (1 << 28) - 1]) {
            let bucket = bucket(us);
            assert!(us < end_of(bucket), "{us} in {bucket}");
            assert!(bucket == 0 || us >= end_of(bucket - 1), "{us} in {bucket}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn turns_are_counted_and_the_longest_is_known_with_what_it_was_spent_on() {
        let turns = Turns::default();
        for _ in 0..99 {
            turns.begin();
            turns.end(Work::Workers);
        }
        turns.began.store(monotonic_ns() - 1_000_000_000, Ordering::Relaxed);
        turns.end(Work::Request);
        let report = turns.report();
        assert_eq!((report.turns, report.longest_in.as_str()), (100, "request"));
        assert!(report.longest_us >= 1_000_000 && report.p99_us < 1_000_000, "{report:?}");
        assert_eq!(report.histogram.iter().map(|count| count.turns).sum::<u64>(), 100);
    }
}
