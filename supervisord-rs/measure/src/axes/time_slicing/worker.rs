//! What a worker notices of its turns.

use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::axes::window::now;

/// One that has not looked at the clock for so long had no processor: shorter are interrupts.
const AWAY_NS: u64 = 80_000;
/// Between two wake-ups.
const EVERY: Duration = Duration::from_millis(2);

/// What one that computes has seen.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Computed {
    /// Nanoseconds that it had a processor.
    pub(super) used: u64,
    /// How long it ran each time before another one did, in nanoseconds; without the first and the
    /// last time, which the end of the measurement cuts.
    pub(super) turns: Vec<u64>,
}

/// Computes until then.
pub(super) fn compute(to: u64) -> Computed {
    let used = || {
        let used = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
        u64::try_from(used.map_or(Duration::ZERO, Duration::from).as_nanos()).unwrap_or(0)
    };
    let before = used();
    let (mut began, mut last) = (now(), now());
    let mut turns = Vec::new();
    while last < to {
        let at = now();
        if at - last > AWAY_NS {
            turns.push(last - began);
            began = at;
        }
        last = at;
    }
    if !turns.is_empty() {
        turns.remove(0);
    }
    Computed { used: used() - before, turns }
}

/// Sleeps again and again until then; returns how late it woke up each time, in nanoseconds.
pub(super) fn wake(to: u64) -> Vec<f64> {
    // Otherwise the kernel lets it sleep up to 50 µs longer, to wake several at once.
    let _ = prctl::set_timerslack(1);
    let mut late = Vec::new();
    while now() < to {
        let wanted = Instant::now() + EVERY;
        std::thread::sleep(EVERY);
        late.push(wanted.elapsed().as_nanos() as f64);
    }
    late
}
