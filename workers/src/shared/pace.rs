//! How often something is done at most, by all processes together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::wait::SLICE;

/// When it was done the last time: nanoseconds of the clock that all processes share. Zero: never.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Pace(AtomicU64);

/// Now, by the clock that all processes of the machine share.
pub(crate) fn now() -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(Duration::ZERO, Duration::from)
}

impl Pace {
    /// Whether it is the caller's to do it: once in a [`SLICE`]. Many waiters look for dead holders
    /// no more often than one.
    pub(crate) fn is_due(&self) -> bool {
        self.is_due_after(SLICE / 2)
    }

    /// The same, if it was not done for this long.
    pub(crate) fn is_due_after(&self, pause: Duration) -> bool {
        let now = u64::try_from(now().as_nanos()).unwrap_or(u64::MAX);
        let last = self.0.load(Ordering::Relaxed);
        // A time that is yet to come was written over.
        let is_recent = last <= now && u128::from(now - last) < pause.as_nanos();
        let exchanged = |word: &AtomicU64| {
            word.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        !is_recent && exchanged(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_in_a_slice_and_again_after_it() {
        let pace = Pace::default();
        assert!(pace.is_due());
        assert!(!pace.is_due());
        pace.0.store(u64::MAX, Ordering::Relaxed);
        assert!(pace.is_due(), "a time that is yet to come");
        let later = u64::try_from((now() - SLICE).as_nanos()).expect("some years");
        pace.0.store(later, Ordering::Relaxed);
        assert!(pace.is_due());
    }
}
