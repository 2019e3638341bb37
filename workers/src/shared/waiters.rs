//! Who waits for something shared, for those who watch: a table in its header, in which each one
//! that is about to sleep has a place until its wait is over. Nothing depends on it: where it is
//! full, or was written over, waiters are not seen.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;

use super::Segment;
use super::holder::Holder;
use super::holdings::Holdings;
use super::segment::HEADER;

/// Behind the words of the header, in the page that it has for itself.
const WAITERS_AT: usize = HEADER / 2;
/// How many are seen at most.
const WAITERS_MAX: usize = (HEADER - WAITERS_AT) / size_of::<AtomicU64>();

/// One that may come to wait. Dropped, it waits no more.
#[derive(Debug)]
pub(crate) struct Place {
    segment: &'static Segment,
    holder: Holder,
    index: Cell<Option<usize>>,
}

impl Place {
    pub(crate) fn new(segment: &'static Segment, holder: Holder) -> Self {
        Self { segment, holder, index: Cell::new(None) }
    }

    /// It is about to sleep.
    pub(crate) fn take(&self) {
        if self.index.get().is_none() {
            self.index.set(self.segment.waiting().claim(self.holder));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(index) = self.index.get() {
            self.segment.waiting().release(index, self.holder);
        }
    }
}

/// What takers of a queue have that the kernel carries: a place for each message.
const TAKEN_AT: usize = HEADER / 4;
const TAKEN_MAX: usize = (WAITERS_AT - TAKEN_AT) / size_of::<AtomicU64>();

impl Segment {
    fn taken(&self) -> Holdings<'_> {
        Holdings(self.list(TAKEN_AT, TAKEN_MAX))
    }

    /// Notes that this holder has a message. `None`: there is no place, and nothing depends on it.
    pub(super) fn note_taken(&self, holder: Holder) -> Option<usize> {
        self.taken().claim(holder)
    }

    pub(super) fn forget_taken(&self, place: Option<usize>, holder: Holder) {
        if let Some(place) = place {
            self.taken().release(place, holder);
        }
    }

    /// Forgets what those had that are dead, and returns how many messages that were.
    pub(super) fn lose_taken(&self, is_dead: impl Fn(Holder) -> bool) -> usize {
        self.taken().release_if(is_dead)
    }

    fn waiting(&self) -> Holdings<'_> {
        Holdings(self.list(WAITERS_AT, WAITERS_MAX))
    }

    /// Who waits for it now. Never waits.
    #[must_use]
    pub fn waiters(&self) -> Vec<Holder> {
        self.waiting().holders()
    }

    /// Takes those out that are known to be dead.
    pub(super) fn forget_waiters(&self, is_dead: impl Fn(Holder) -> bool) {
        self.waiting().release_if(is_dead);
    }
}
