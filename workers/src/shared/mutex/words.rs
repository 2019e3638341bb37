//! The words of a mutex in shared memory.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use super::{Hold, lock};
use crate::shared::Error;
use crate::shared::attachment::Attachment;
use crate::shared::event::{Event, Ticket};
use crate::shared::holder::Holder;
use crate::shared::pace::{Pace, now};
use crate::shared::segment::Words;

/// A mutex. Its first line has all that an undisturbed owner touches.
#[repr(C, align(64))]
pub(crate) struct MutexWords {
    /// 0, or the [`Holder`] that has it: see [`lock`].
    word: AtomicU64,
    /// Even: the data are whole. Odd: they are being changed. [`POISONED`] too: given up.
    version: AtomicU64,
    /// [`MARK`], unless it was written over.
    mark: AtomicU64,
    /// Those that wait sleep here.
    freed: Event,
    recoveries: AtomicU32,
    /// Counts the owners: what was seen of one says nothing of the next.
    holds: AtomicU64,
    /// The [`Holder`] that died last with the mutex and was noticed, or 0.
    fallen: AtomicU64,
    /// When one that waits has looked the last time whether the owner lives.
    looked: Pace,
    /// The hold that was seen last, and when it was for the first time.
    seen: AtomicU64,
    seen_at: AtomicU64,
}

// SAFETY: atomics, in the order of C.
unsafe impl Words for MutexWords {}

/// How it was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Clean,
    /// This one died with it.
    OwnerDied(Holder),
}

/// How one looks whether the owner lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// By a system call.
    Glance,
    /// By files too, unless another one has just done so.
    Well,
}

/// So often the users of a mutex together read the files of its owner, at most: it takes them less
/// than a twentieth of that time.
pub(super) const LOOK_PAUSE: Duration = Duration::from_micros(250);

/// What no other program writes by mistake.
const MARK: u64 = u64::from_be_bytes(*b"SVMUTEX\x02");

const POISONED: u64 = 1 << 63;
/// An owner died, and the one that came next has left it to others to be told.
const UNTOLD: u64 = 1 << 62;

/// Whether nothing has to be mended.
pub(super) const fn is_settled(version: u64) -> bool {
    version & (1 | POISONED | UNTOLD) == 0
}

pub(super) const fn is_untold(version: u64) -> bool {
    version & UNTOLD != 0
}

pub(super) const fn is_changing(version: u64) -> bool {
    version & 1 != 0
}

pub(super) const fn is_poisoned(version: u64) -> bool {
    version & POISONED != 0
}

impl MutexWords {
    /// Whether its owner has left it within a change, or has not left it.
    pub(crate) fn is_in_doubt(&self) -> bool {
        !is_settled(self.version()) || self.holder().is_some()
    }

    /// Makes it a free mutex, of zeros. No thread uses it yet.
    pub(crate) fn initialize(&self) {
        self.mark.store(MARK, Ordering::Relaxed);
    }

    /// # Errors
    /// [`Error::Overwritten`].
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_one() { Ok(()) } else { Err(Error::Overwritten) }
    }

    #[inline]
    fn is_one(&self) -> bool {
        self.mark.load(Ordering::Relaxed) == MARK
    }

    /// Takes it if it is a mutex, and free.
    #[inline]
    pub(super) fn try_take(&self, own: Holder) -> bool {
        self.is_one() && lock::take(&self.word, own).is_ok()
    }

    /// Whether nothing has to be mended.
    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        is_settled(self.version())
    }

    /// Takes it if it is free, or if `look` finds that its owner is dead.
    ///
    /// # Errors
    /// [`Error::Deadlock`].
    pub(super) fn take_from_dead(
        &self,
        own: Attachment,
        look: Look,
    ) -> Result<Option<Given>, Error> {
        let Err(word) = lock::take(&self.word, own.holder) else { return Ok(Some(Given::Clean)) };
        let Some(owner) = Holder::from_bits(word) else { return Ok(None) };
        if owner == own.holder {
            // Else another thread has locked it in the name of that one, which is alive.
            let is_this = owner.id() == nix::unistd::gettid().as_raw().unsigned_abs();
            return if is_this { Err(Error::Deadlock) } else { Ok(None) };
        }
        let is_dead = owner.is_fallen()
            || own.is_gone(owner)
            || look == Look::Well && self.looked.is_due_after(LOOK_PAUSE) && own.is_dead(owner);
        let is_taken = is_dead && lock::take_over(&self.word, word, own.holder);
        Ok(is_taken.then_some(Given::OwnerDied(owner.unmarked())))
    }

    /// The caller is about to sleep, and looks once more before.
    pub(super) fn announce(&self) -> Ticket {
        self.freed.announce()
    }

    /// Sleeps until it may be free. Returns whether the time is over.
    pub(super) fn sleep(&self, ticket: Ticket, time: Duration) -> bool {
        self.freed.sleep(ticket, time)
    }

    /// Of the one that has it. One that was taken for dead has it no more, and leaves nothing.
    #[inline]
    pub(super) fn unlock(&self, own: Holder) {
        if lock::release(&self.word, own) {
            self.freed.notify_one_fenced();
        }
    }

    /// Where it is held, lets at most `count` of those that sleep on another word, which the caller
    /// has made `expected`, sleep on until it is free. Returns false if they have to be woken.
    pub(crate) fn take_sleepers(&self, word: &AtomicU32, expected: u32, count: i32) -> bool {
        let Self { word: lock, freed, .. } = self;
        let move_them = || freed.take_sleepers(word, expected, count);
        lock::take_sleepers(lock, freed.announced(), move_them, || freed.notify_one())
    }

    /// Where `is_dead` says so of its owner, tells those that wait: some of them cannot know.
    pub(crate) fn give_up_if(&self, is_dead: impl Fn(Holder) -> bool) {
        let owner = Holder::from_bits(self.word.load(Ordering::Acquire));
        if let Some(owner) = owner.filter(|owner| !owner.is_fallen() && is_dead(*owner))
            && lock::mark(&self.word, owner)
        {
            self.freed.notify_one();
        }
    }

    /// Takes it from an owner that was marked as dead, no matter which.
    #[cfg(test)]
    pub(super) fn take_for_test(&self, own: Holder) {
        let seen = self.word.load(Ordering::Acquire);
        assert!(lock::take_over(&self.word, seen, own));
    }

    #[cfg(test)]
    pub(super) fn has_announced(&self) -> bool {
        self.freed.announced().load(Ordering::Acquire) > 0
    }

    /// Whether its owner is known to be dead.
    pub(super) fn is_abandoned(&self, attachment: Attachment) -> bool {
        let owner = Holder::from_bits(self.word.load(Ordering::Acquire));
        owner.is_some_and(|owner| owner.is_fallen() || attachment.is_dead(owner))
    }

    /// The caller has the mutex.
    #[inline]
    pub(super) fn begin_hold(&self) {
        self.holds.store(self.holds.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Returns whether the data were whole.
    #[inline]
    pub(super) fn begin_change(&self) -> bool {
        let version = self.version();
        self.version.store(version | 1, Ordering::Relaxed);
        // No store of the change goes before it.
        fence(Ordering::Release);
        !is_changing(version)
    }

    #[inline]
    pub(super) fn end_change(&self) {
        let next = (self.version() | 1).wrapping_add(1) & !(POISONED | UNTOLD);
        self.version.store(next, Ordering::Release);
    }

    pub(super) fn poison(&self) {
        self.version.store(self.version() | POISONED, Ordering::Release);
    }

    /// The caller has the mutex after a dead owner, and leaves that to the next one.
    pub(super) fn leave_untold(&self) {
        self.version.store(self.version() | UNTOLD, Ordering::Release);
    }

    /// The caller has the mutex, and knows of the dead owner.
    pub(super) fn note_told(&self) {
        self.version.store(self.version() & !UNTOLD, Ordering::Release);
    }

    /// Whether the next one is to be told of a dead owner, or of one that has unwound in a change.
    pub(crate) fn is_to_be_told(&self) -> bool {
        self.version() & (1 | UNTOLD) != 0
    }

    /// Who died last with it and was noticed.
    pub(crate) fn fallen(&self) -> Option<Holder> {
        Holder::from_bits(self.fallen.load(Ordering::Acquire))
    }

    pub(super) fn note_fallen(&self, holder: Option<Holder>) {
        self.fallen.store(holder.map_or(0, Holder::to_bits), Ordering::Release);
    }

    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn is_given_up(&self) -> bool {
        is_poisoned(self.version())
    }

    pub(super) fn count_recovery(&self) {
        self.recoveries.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn recoveries(&self) -> u32 {
        self.recoveries.load(Ordering::Acquire)
    }

    pub(crate) fn holder(&self) -> Option<Holder> {
        Holder::from_bits(self.word.load(Ordering::Acquire)).map(Holder::unmarked)
    }

    pub(crate) fn hold(&self) -> Option<Hold> {
        let holder = self.holder()?;
        let hold = self.holds.load(Ordering::Relaxed);
        let now = now();
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        if self.seen.load(Ordering::Acquire) != hold {
            self.seen_at.store(nanos, Ordering::Relaxed);
            self.seen.store(hold, Ordering::Release);
        }
        let since = Duration::from_nanos(self.seen_at.load(Ordering::Relaxed));
        Some(Hold { holder, at_least: now.saturating_sub(since) })
    }
}

impl std::fmt::Debug for MutexWords {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = (self.holder(), self.version(), self.recoveries());
        formatter.debug_tuple("MutexWords").field(&fields).finish()
    }
}
