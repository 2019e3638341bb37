//! The word of a lock, lock-free, so that a death at any instruction leaves nothing that survivors
//! cannot finish.
//!
//! It is 0, or its owner: to get the lock and to say who has it are one compare-exchange, and so
//! are to leave it and to say so. A [`Holder`] differs from all that had or will have its number,
//! and the dead write no more: a word that names a dead one is a lock that no thread has.
//!
//! ```text
//!   0 ──take──▶ owner ──release──▶ 0
//!                 │ dead: one that waits sees it
//!                 ├────────────────────────────▶ next owner, who learns
//!                 │ dead: a supervisor sees it        ▲
//!                 └──mark──▶ owner, fallen ───────────┘
//! ```
//!
//! No pointer and no index lies beside it. Whatever is written over it names a living thread, and
//! others wait for that one as long as their own limits say, or it names none, and is a lock of a
//! dead owner.

use std::sync::atomic::Ordering;

use crate::shared::atomics::Word;
use crate::shared::holder::Holder;

/// Takes a free lock.
///
/// # Errors
/// The word, if it is not free.
#[inline]
pub(super) fn take(word: &impl Word<u64>, own: Holder) -> Result<(), u64> {
    word.replace(0, own.to_bits()).map(drop)
}

/// Takes the lock of a dead owner, which the word was of when the caller saw it.
pub(super) fn take_over(word: &impl Word<u64>, seen: u64, own: Holder) -> bool {
    word.replace(seen, own.to_bits()).is_ok()
}

/// Leaves it, as of [`Word::replace_fenced`]. Returns false if it is the caller's no more: it was
/// taken for dead, and what it leaves is the lock of another one.
#[inline]
pub(super) fn release(word: &impl Word<u64>, own: Holder) -> bool {
    word.replace_fenced(own.to_bits(), 0).is_ok()
}

/// Where it is held, lets those that sleep elsewhere, and could do nothing without it, sleep on
/// until it is left: `move_them` says how many those were. Returns false if they have to be woken.
///
/// They are counted after they were moved: one that notifies in between and finds none of them asleep
/// is not to think that there are none. Who leaves the lock after that notifies them; if it
/// was left before, that is done here.
pub(super) fn take_sleepers(
    word: &impl Word<u64>,
    announced: &impl Word<u32>,
    move_them: impl FnOnce() -> Option<u32>,
    notify: impl FnOnce(),
) -> bool {
    if word.load(Ordering::Acquire) == 0 {
        return false;
    }
    let Some(count) = move_them() else { return false };
    if count > 0 {
        add_fenced(announced, count);
        if word.load(Ordering::SeqCst) == 0 {
            notify();
        }
    }
    true
}

fn add_fenced<W: Word<u32>>(announced: &W, count: u32) {
    announced.add(count, Ordering::AcqRel);
    W::fence(Ordering::SeqCst);
}

/// Marks its owner as dead, for those who cannot tell.
pub(super) fn mark(word: &impl Word<u64>, dead: Holder) -> bool {
    word.replace(dead.to_bits(), dead.fallen().to_bits()).is_ok()
}

#[cfg(test)]
mod tests;
