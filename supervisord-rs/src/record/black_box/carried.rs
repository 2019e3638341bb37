//! What the threads that carry output have in their hands, where a successor reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use workers::mapping::Mapping;

use super::counts::{Count, Counter};
use super::header::header;
use super::losses::{Losses, Whose};
use crate::record::post_mortem::PastCarried;

/// Threads that carry output at most.
pub const CARRIERS: usize = 32;
/// The most pieces of predecessors' output that are read from pipes and not yet written.
pub(super) const PAST_HANDS: usize = 32;

/// Bytes between a worker's pipe and its file, in a pipe that survives.
#[repr(C)]
pub struct Carried {
    /// Whose hands: the supervisor's PID and the number of the thread's hands; 0: none.
    pub owner: AtomicU64,
    /// The stream, as a number; 0: none.
    pub stream: AtomicU64,
    /// How long its file was when a write to its end began, and how many bytes that writes; 0
    /// bytes: not begun.
    pub place: AtomicU64,
    /// See `place`; stored after the others.
    pub length: AtomicU64,
    /// How many bytes were in the hands then, and how many of them the write is for.
    pub held: AtomicU64,
    /// See `held`.
    pub covered: AtomicU64,
    /// Not 0: what is written is not those bytes, but the text that was made of them, which is kept
    /// too.
    pub is_text: AtomicU64,
}

impl Carried {
    /// From now on a successor knows that this write may have been done, wholly or in part.
    pub fn begin(&self, begun: Begun) {
        // A death in between leaves none, or the whole of this one.
        self.length.store(0, Ordering::SeqCst);
        self.place.store(begun.place, Ordering::Relaxed);
        self.held.store(begun.held, Ordering::Relaxed);
        self.covered.store(begun.covered, Ordering::Relaxed);
        self.is_text.store(begun.is_text.into(), Ordering::Relaxed);
        self.length.store(begun.length, Ordering::SeqCst);
    }

    /// The write that has begun, if any has.
    #[must_use]
    pub fn begun(&self) -> Option<Begun> {
        let length = self.length.load(Ordering::SeqCst);
        (length > 0).then(|| Begun {
            place: self.place.load(Ordering::Relaxed),
            length,
            held: self.held.load(Ordering::Relaxed),
            covered: self.covered.load(Ordering::Relaxed),
            is_text: self.is_text.load(Ordering::Relaxed) != 0,
        })
    }
}

/// A write of carried output that was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// How long the file was.
    pub place: u64,
    /// Bytes that are written.
    pub length: u64,
    /// Bytes in the hands when it began.
    pub held: u64,
    /// How many of them it is for: they are dropped as soon as it is done.
    pub covered: u64,
    /// Whether it writes a text that was made of them.
    pub is_text: bool,
}

/// The part of the black box that belongs to the threads that carry output.
#[derive(Clone, Debug)]
pub struct Carriers(pub(super) Arc<Mapping>);

impl Carriers {
    /// Where the losses of a stream are counted.
    #[must_use]
    pub fn losses(&self, whose: Whose) -> Losses {
        Losses::new(&self.0, whose)
    }

    /// Where that is counted.
    #[must_use]
    pub fn counter(&self, count: Count) -> Counter {
        Counter::new(&self.0, count)
    }

    /// The words of one of them.
    #[must_use]
    pub fn slot(&self, carrier: usize) -> Option<&Carried> {
        header(&self.0).carried[..CARRIERS].get(carrier)
    }

    /// Passes on an entry of a predecessor's black box, for a successor that starts before the
    /// output is written. False: there is no room.
    pub fn pass_on(&self, past: &PastCarried) -> bool {
        let free = header(&self.0).carried[CARRIERS..]
            .iter()
            .find(|slot| slot.owner.load(Ordering::Relaxed) == 0);
        let Some(slot) = free else { return false };
        slot.stream.store(past.stream, Ordering::Relaxed);
        if let Some(begun) = past.begun {
            slot.begin(begun);
        }
        slot.owner.store(past.owner, Ordering::SeqCst);
        true
    }
}
