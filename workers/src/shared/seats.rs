//! The places of those that use a queue: a small number for each, which fits in the word of a slot.
//!
//! Places are given, left and taken from the dead by one at a time, the *sweeper*, so that none is
//! given to another holder while somebody still cleans up after the last. To be it is to have
//! written one's name into a word; if that one is dead, the next one takes its name out. It is no
//! mutex, because a supervisor sweeps too, and waits for no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::attachment::Attachment;
use super::holder::Holder;
use super::{Error, Wait};

/// The table, and the word of the sweeper.
#[derive(Clone, Copy)]
pub(crate) struct Seats<'a> {
    pub(crate) attachment: Attachment,
    pub(crate) sweeper: &'a AtomicU64,
    pub(crate) seats: &'a [AtomicU64],
}

/// The right to sweep. Dropped, it is another's.
pub(crate) struct Sweep<'a> {
    seats: Seats<'a>,
    own: Holder,
}

/// A sweep takes microseconds; one that waits for another looks again after this time.
const RETRY: Duration = Duration::from_millis(1);

impl<'a> Seats<'a> {
    /// The right to sweep, unless a living one has it. Never waits; reads a file or two.
    pub(crate) fn try_sweep(self) -> Result<Option<Sweep<'a>>, Error> {
        let own = Holder::this_thread()?.seen_from(self.attachment.segment.namespaces());
        let word = self.sweeper.load(Ordering::Acquire);
        let is_free = Holder::from_bits(word).is_none_or(|holder| self.attachment.is_dead(holder));
        let is_own = is_free
            && self
                .sweeper
                .compare_exchange(word, own.to_bits(), Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        Ok(is_own.then_some(Sweep { seats: self, own }))
    }

    /// The right to sweep, as soon as another one is done.
    pub(crate) fn sweep(self, wait: &Wait<'_>) -> Result<Sweep<'a>, Error> {
        loop {
            if let Some(sweep) = self.try_sweep()? {
                return Ok(sweep);
            }
            std::thread::sleep(wait.next()?.min(RETRY));
        }
    }

    /// All that have a place. Never waits.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let words = self.seats.iter().map(|seat| seat.load(Ordering::Acquire));
        words.filter_map(Holder::from_bits).collect()
    }
}

impl Sweep<'_> {
    /// Frees the places of those that `is_dead` says, after `clean_up` has heard which places
    /// no holder is at.
    pub(crate) fn free<R>(
        &self,
        is_dead: impl Fn(Holder) -> bool,
        clean_up: impl FnOnce(&dyn Fn(usize) -> bool) -> R,
    ) -> R {
        let seats = self.seats.seats;
        let judge = |seat: &AtomicU64| {
            let word = seat.load(Ordering::Acquire);
            (word, Holder::from_bits(word).is_none_or(&is_dead))
        };
        let judged: Vec<(u64, bool)> = seats.iter().map(judge).collect();
        let result = clean_up(&|seat| judged.get(seat).is_none_or(|(_, is_gone)| *is_gone));
        for (seat, (word, _)) in seats.iter().zip(judged).filter(|(_, (_, is_gone))| *is_gone) {
            // One that was written over meanwhile is another one's.
            let _ = seat.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
        result
    }

    /// Gives a free place to the holder.
    pub(crate) fn give(&self, holder: Holder) -> Option<usize> {
        let word = holder.to_bits();
        let take = |seat: &AtomicU64| {
            seat.compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        self.seats.seats.iter().position(take)
    }
}

impl Drop for Sweep<'_> {
    fn drop(&mut self) {
        let own = self.own.to_bits();
        // If it is not there any more, it was written over.
        let _ = self.seats.sweeper.compare_exchange(own, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}
