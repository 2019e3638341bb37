//! How long to wait before an attempt, and when it is enough: backoff, jitter, and the limit within
//! a window.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::id::WorkerId;
use crate::spec::{Backoff, Limit};

/// More multiplications than these change nothing that anyone would notice, and they bound the
/// work.
const MAX_STEPS: u32 = 4096;
/// What a factor or a share is counted in.
const PERMILLE: u128 = 1000;

/// The delay before attempt `attempt` (0 first) of a worker: grown, jittered, and at most
/// `backoff.max`.
pub(crate) fn delay(backoff: &Backoff, worker: WorkerId, attempt: u32) -> Duration {
    let max = backoff.max.as_nanos();
    let grown = grown(backoff, attempt, max);
    let span = grown * u128::from(backoff.jitter_permille.min(1000)) / PERMILLE;
    let seed = hash(u64::from(worker.0), u64::from(attempt));
    // `span` is below 2^94 and the fraction below 2^32: the product fits.
    let shift = (2 * span * u128::from(seed >> 32)) >> 32;
    from_nanos((grown - span + shift).min(max))
}

fn grown(backoff: &Backoff, attempt: u32, max: u128) -> u128 {
    let mut nanos = backoff.initial.as_nanos().min(max);
    let factor = u128::from(backoff.factor_permille);
    if factor <= PERMILLE {
        return nanos;
    }
    for _ in 0..attempt.min(MAX_STEPS) {
        if nanos == 0 || nanos >= max {
            break;
        }
        nanos = (nanos * factor / PERMILLE).min(max);
    }
    nanos
}

fn from_nanos(nanos: u128) -> Duration {
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    let rest = u32::try_from(nanos % 1_000_000_000).expect("a remainder below 10^9 fits");
    Duration::new(seconds, rest)
}

/// A well-mixed number out of two: the same two give the same one, on every machine and in every
/// release.
pub(crate) const fn hash(a: u64, b: u64) -> u64 {
    mix(mix(a.wrapping_add(0x9e37_79b9_7f4a_7c15)) ^ b.wrapping_mul(0xd1b5_4a32_d192_ed03))
}

/// The finalizer of splitmix64: each bit of the input changes about half of the bits of the output.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The recent failures that a [`Limit`] looks at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    failures: VecDeque<Duration>,
}

impl Window {
    /// Failures at these moments.
    pub(crate) fn of(moments: &[Duration]) -> Self {
        let mut failures = moments.to_vec();
        failures.sort_unstable();
        Self { failures: failures.into() }
    }

    /// Counts one more; true when that is beyond the limit.
    pub(crate) fn count(&mut self, now: Duration, limit: &Limit) -> bool {
        while self.failures.front().is_some_and(|at| now.saturating_sub(*at) >= limit.within) {
            self.failures.pop_front();
        }
        let beyond = self.failures.len() >= limit.restarts as usize;
        self.failures.push_back(now);
        beyond
    }

    /// Those within the window that ends now.
    pub(crate) fn recent(&self, now: Duration, limit: &Limit) -> Vec<Duration> {
        let is_recent = |at: &&Duration| now.saturating_sub(**at) < limit.within;
        self.failures.iter().filter(is_recent).copied().collect()
    }

    /// A person said to start afresh.
    pub(crate) fn clear(&mut self) {
        self.failures.clear();
    }
}
