//! The numbers of helpers, which what they leave behind bears: one of a helper that is over is
//! no process's any more.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::isolation::tree::marks::HELPER_MAX;

static LIVING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
static LAST: AtomicU32 = AtomicU32::new(0);
/// Whether any is over of which nothing was looked for.
static ARE_NEWS: AtomicBool = AtomicBool::new(false);

/// The number of a helper, as long as that exists.
#[derive(Debug)]
pub(in crate::isolation) struct Number(u32);

impl Number {
    /// One that no living helper has.
    pub(in crate::isolation) fn new() -> Self {
        let mut living = living();
        loop {
            let number = 1 + LAST.fetch_add(1, Ordering::Relaxed) % HELPER_MAX;
            if living.insert(number) {
                return Self(number);
            }
        }
    }

    pub(in crate::isolation) const fn get(&self) -> u32 {
        self.0
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        living().remove(&self.0);
        look();
    }
}

/// Whether no helper has this number any more.
pub(in crate::isolation) fn is_over(number: u32) -> bool {
    !living().contains(&number)
}

/// Something may be left of one that is over.
pub(in crate::isolation) fn look() {
    ARE_NEWS.store(true, Ordering::SeqCst);
}

/// Whether something may be left that was not looked for.
pub(in crate::isolation) fn take_news() -> bool {
    ARE_NEWS.swap(false, Ordering::SeqCst)
}

fn living() -> MutexGuard<'static, BTreeSet<u32>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}
