//! A table of what is held, and by whom: the permits of a semaphore, the readers of a lock.
//!
//! Each place is one word, 0 or its holder. To take one and to say who took it are the same store,
//! and there is no count beside the table: whatever the instruction at which a holder dies, what it
//! held is there with its name.

use std::sync::atomic::{AtomicU64, Ordering};

use super::holder::Holder;

/// The places.
#[derive(Clone, Copy)]
pub(crate) struct Holdings<'a>(pub(crate) &'a [AtomicU64]);

impl Holdings<'_> {
    /// Takes a free place, and returns its index.
    pub(crate) fn claim(&self, holder: Holder) -> Option<usize> {
        let Self(places) = *self;
        // Holders begin at different places, so that they seldom meet.
        let first = holder.id() as usize % places.len();
        let order = (first..places.len()).chain(0..first);
        for index in order {
            let place = &places[index];
            if place.load(Ordering::Relaxed) == 0
                && place
                    .compare_exchange(0, holder.to_bits(), Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            {
                return Some(index);
            }
        }
        None
    }

    /// Gives a place back. Returns whether this holder still had it.
    pub(crate) fn release(&self, index: usize, holder: Holder) -> bool {
        let word = holder.to_bits();
        self.0[index].compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Gives back what those hold that are known to be dead, and returns how much that was.
    pub(crate) fn release_if(&self, is_dead: impl Fn(Holder) -> bool) -> usize {
        let mut released = 0;
        for place in self.0 {
            let word = place.load(Ordering::Acquire);
            let Some(holder) = Holder::from_bits(word) else { continue };
            if is_dead(holder)
                && place.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                released += 1;
            }
        }
        released
    }

    /// Who holds a place now. One that holds several is there as often.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let words = self.0.iter().map(|place| place.load(Ordering::Acquire));
        words.filter_map(Holder::from_bits).collect()
    }

    /// Whether no place is held. With a full fence before it, if the caller needs one.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|place| place.load(Ordering::Acquire) == 0)
    }
}
