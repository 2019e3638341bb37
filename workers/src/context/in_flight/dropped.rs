//! Units that were dropped on this thread and may be lost: what `?` or a panic unwinds. If the worker
//! ends with that, its death has destroyed them; a sign of life says that it does not.
//!
//! A sign of life of one task says nothing of what another one has dropped: its error is on its way
//! to the worker that waits for it.

use std::cell::RefCell;
use std::collections::VecDeque;

/// What runs on this thread: a task, or all else.
#[cfg(feature = "tokio")]
type Who = Option<tokio::task::Id>;
#[cfg(not(feature = "tokio"))]
type Who = Option<std::convert::Infallible>;

/// Tasks that are remembered; the units of older ones have failed.
const TASKS_MAX: usize = 64;

thread_local! {
    static DROPPED: RefCell<VecDeque<(Who, u64)>> = const { RefCell::new(VecDeque::new()) };
}

#[cfg(feature = "tokio")]
fn who() -> Who {
    tokio::task::try_id()
}

#[cfg(not(feature = "tokio"))]
const fn who() -> Who {
    None
}

/// A destructor of another thread local may come after this one, and finds nothing.
fn with<T: Default>(what: impl FnOnce(&mut VecDeque<(Who, u64)>) -> T) -> T {
    DROPPED.try_with(|dropped| what(&mut dropped.borrow_mut())).unwrap_or_default()
}

/// Units were dropped here.
pub(super) fn add(units: u64) {
    if units == 0 {
        return;
    }
    let who = who();
    with(|dropped| {
        if let Some((_, all)) = dropped.iter_mut().find(|(by, _)| *by == who) {
            *all = all.saturating_add(units);
            return;
        }
        if dropped.len() == TASKS_MAX {
            dropped.pop_front();
        }
        dropped.push_back((who, units));
    });
}

/// Work goes on here: what it has dropped before has not ended the worker.
pub(super) fn forget_own() {
    let who = who();
    with(|dropped| dropped.retain(|(by, _)| *by != who));
}

/// The worker goes on although it could have heard of all that its tasks have dropped.
#[cfg(feature = "tokio")]
pub(super) fn forget_tasks() {
    with(|dropped| dropped.retain(|(by, _)| by.is_none()));
}

/// All of them.
pub(super) fn take() -> u64 {
    with(|dropped| dropped.drain(..).fold(0, |all, (_, units)| u64::saturating_add(all, units)))
}
