//! What the threads that carry output have in their hands, where a successor reads it.

use std::sync::atomic::{AtomicU64, Ordering};

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

/// What a thread that carried output had in its hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PastCarried {
    /// Whose hands, as a number.
    pub owner: u64,
    /// Whose it is, as a number.
    pub stream: u64,
    /// The write to its file; `None`: that had not begun.
    pub begun: Option<Begun>,
}

impl PastCarried {
    pub(in crate::record) fn read(carried: &Carried) -> Self {
        Self {
            owner: carried.owner.load(Ordering::Relaxed),
            stream: carried.stream.load(Ordering::Relaxed),
            begun: carried.begun(),
        }
    }
}
