//! Where a worker commits a fault.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::context::Context;

/// Between two signs of life.
const PAUSE: Duration = Duration::from_millis(5);

/// What a fault has of the worker that commits it.
pub(crate) struct Scene<'a> {
    /// Its context; `None`: no worker commits it.
    pub(crate) context: Option<&'a Context>,
    /// Where the worker writes.
    pub(crate) output: BorrowedFd<'a>,
}

impl Scene<'_> {
    /// A sign of life: a fault that leaves its worker alive gives one every few milliseconds.
    pub(super) fn beat(&self) {
        if let Some(context) = self.context {
            context.tick();
        }
    }

    /// Gives signs of life for so long, or until that is true.
    pub(super) fn beat_until(&self, is_over: impl Fn() -> bool, at_most: Duration) {
        let end = Instant::now() + at_most;
        while !is_over() && Instant::now() < end {
            self.beat();
            std::thread::sleep(PAUSE);
        }
    }
}
