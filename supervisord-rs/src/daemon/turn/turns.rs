//! How long the loop is held: each stretch of work until it looks at its sources again, or sleeps,
//! counted by its length. By the clock, so that time in which the machine ran another process
//! counts too, as workers notice it; and by the processor, so that what the loop does itself can be
//! told from that.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use workers::runtime::board::monotonic_ns;

use crate::control::protocol::{LoopReport, TurnCount};

/// Four for each power of two: a figure is right within a quarter. The last one takes all beyond
/// 500 s.
const BUCKETS: usize = 112;
/// Lengths below this, in microseconds, have a bucket each.
const EXACT: u64 = 4;

/// What a turn was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::daemon) enum Work {
    /// What processes, boards, notify sockets and captured streams had to say.
    Workers,
    /// A signal.
    Signal,
    /// What goes on in the background: probes, hooks, stop commands.
    Background,
    /// A request of a client.
    Request,
    /// What was due.
    Deadline,
    /// Tasks in the background on its thread.
    Tasks,
}

impl Work {
    const ALL: [Self; 6] =
        [Self::Workers, Self::Signal, Self::Background, Self::Request, Self::Deadline, Self::Tasks];

    fn name(self) -> &'static str {
        match self {
            Self::Workers => "workers",
            Self::Signal => "signal",
            Self::Background => "background",
            Self::Request => "request",
            Self::Deadline => "deadline",
            Self::Tasks => "tasks",
        }
    }
}

/// The record. One thread writes it; any may read.
#[derive(Debug)]
pub(in crate::daemon) struct Turns {
    /// By the clock.
    by_clock: Lengths,
    /// By what the loop's thread ran.
    by_processor: Lengths,
}

/// How many were how long, in one way to measure.
#[derive(Debug)]
struct Lengths {
    /// When the present turn began, in nanoseconds.
    began: AtomicU64,
    longest_us: AtomicU64,
    longest_in: AtomicU8,
    counts: [AtomicU64; BUCKETS],
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            by_clock: Lengths::since(monotonic_ns()),
            by_processor: Lengths::since(processor_ns()),
        }
    }
}

impl Turns {
    /// A turn begins: the loop has slept, or has not turned yet.
    pub(in crate::daemon) fn begin(&self) {
        self.by_clock.began.store(monotonic_ns(), Ordering::Relaxed);
        self.by_processor.began.store(processor_ns(), Ordering::Relaxed);
    }

    /// A turn is over, and the next one begins.
    pub(in crate::daemon) fn end(&self, work: Work) {
        self.by_clock.end(monotonic_ns(), work);
        self.by_processor.end(processor_ns(), work);
    }

    /// All turns since the start.
    pub(in crate::daemon) fn report(&self) -> LoopReport {
        let (by_clock, by_processor) = (self.by_clock.counts(), self.by_processor.counts());
        LoopReport {
            turns: by_clock.iter().sum(),
            p50_us: self.by_clock.within(50, &by_clock),
            p99_us: self.by_clock.within(99, &by_clock),
            longest_us: self.by_clock.longest_us.load(Ordering::Relaxed),
            longest_in: self.by_clock.longest_in(),
            cpu_p99_us: self.by_processor.within(99, &by_processor),
            cpu_longest_us: self.by_processor.longest_us.load(Ordering::Relaxed),
            cpu_longest_in: self.by_processor.longest_in(),
            histogram: by_clock
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
                .map(|(bucket, count)| TurnCount { below_us: end_of(bucket), turns: *count })
                .collect(),
        }
    }
}

impl Lengths {
    fn since(began: u64) -> Self {
        Self {
            began: AtomicU64::new(began),
            longest_us: AtomicU64::new(0),
            longest_in: AtomicU8::new(Work::Tasks as u8),
            counts: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }

    fn end(&self, now: u64, work: Work) {
        let took_us = now.saturating_sub(self.began.swap(now, Ordering::Relaxed)) / 1000;
        self.counts[bucket(took_us)].fetch_add(1, Ordering::Relaxed);
        if took_us > self.longest_us.load(Ordering::Relaxed) {
            self.longest_us.store(took_us, Ordering::Relaxed);
            self.longest_in.store(work as u8, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> [u64; BUCKETS] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// So many in a hundred took no longer, in microseconds.
    fn within(&self, percent: u64, counts: &[u64; BUCKETS]) -> u64 {
        let turns: u64 = counts.iter().sum();
        let mut seen = 0;
        let reached = counts.iter().position(|count| {
            seen += count;
            seen * 100 >= turns * percent
        });
        reached.map_or(0, end_of).min(self.longest_us.load(Ordering::Relaxed))
    }

    fn longest_in(&self) -> String {
        let work = Work::ALL.get(usize::from(self.longest_in.load(Ordering::Relaxed)));
        work.map_or("", |work| work.name()).to_owned()
    }
}

/// How much this thread has run.
fn processor_ns() -> u64 {
    let ran =
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from);
    u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX)
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
        turns.by_clock.began.store(monotonic_ns() - 1_000_000_000, Ordering::Relaxed);
        turns.end(Work::Request);
        let report = turns.report();
        assert_eq!((report.turns, report.longest_in.as_str()), (100, "request"));
        assert!(report.longest_us >= 1_000_000 && report.p99_us < 1_000_000, "{report:?}");
        assert!(report.cpu_longest_us < 1_000_000, "it only waited: {report:?}");
        assert_eq!(report.histogram.iter().map(|count| count.turns).sum::<u64>(), 100);
    }
}
