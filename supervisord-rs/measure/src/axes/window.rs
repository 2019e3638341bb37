//! A stretch of time in which several workers do something at once: they begin and end by the clock
//! that all processes of a machine share.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Until all have read their order.
const AHEAD: Duration = Duration::from_millis(2);

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// One of this length, soon.
pub(crate) fn next(length: Duration) -> (u64, u64) {
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let from = now() + ns(AHEAD);
    (from, from + ns(length))
}

/// Waits for its beginning.
pub(crate) fn begin(from: u64) {
    std::thread::sleep(Duration::from_nanos(from.saturating_sub(now())));
}

/// How often something can be done in it.
pub(crate) fn count(from: u64, to: u64, mut work: impl FnMut()) -> u64 {
    /// Looking at the clock each time would be a part of the figure: so many nanoseconds pass
    /// between two looks.
    const BETWEEN: u64 = 5_000;
    begin(from);
    let (mut count, mut at_once, mut last) = (0, 1, now());
    while last < to {
        (0..at_once).for_each(|_| work());
        count += at_once;
        let at = now();
        if at - last < BETWEEN {
            at_once *= 2;
        }
        last = at;
    }
    count
}

/// Nanoseconds for each of so many.
pub(crate) fn each(from: u64, to: u64, count: u64) -> f64 {
    (to - from) as f64 / count.max(1) as f64
}
