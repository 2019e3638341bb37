//! How large a queue is, and where its words lie.

use std::sync::atomic::{AtomicU32, AtomicU64};

use super::ring;
use crate::shared::Error;
use crate::shared::event::Event;
use crate::shared::pace::Pace;
use crate::shared::segment::{HEADER, LINE, Numbers, Words};

/// The most messages that a queue can be made for.
pub const CAPACITY_MAX: usize = ring::SLOTS_MAX;
/// The longest message that a queue can be made for: 16 MiB.
pub const MESSAGE_MAX: usize = 16 << 20;
/// The most users at a time that a queue can be made for.
pub const USERS_MAX: usize = ring::SEATS_MAX;

/// What a queue is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSize {
    /// The messages that lie in it at most, with those that are taken and not acknowledged: 1 to
    /// [`CAPACITY_MAX`]. The room of one that was acknowledged after those behind it is used again
    /// when the ring comes around.
    pub capacity: usize,
    /// The longest message, in bytes: 1 to [`MESSAGE_MAX`].
    pub message: usize,
    /// Who uses it at a time, at most: 1 to [`USERS_MAX`]. Each open queue is one.
    pub users: usize,
}

#[repr(C, align(64))]
pub(super) struct Line<T>(pub(super) T);

#[repr(C, align(64))]
pub(super) struct QueueWords {
    pub(super) head: Line<AtomicU64>,
    pub(super) tail: Line<AtomicU64>,
    pub(super) ready: Line<Event>,
    pub(super) room: Line<Event>,
    pub(super) returns: AtomicU64,
    pub(super) searched: AtomicU64,
    pub(super) torn: AtomicU64,
    pub(super) overwritten: AtomicU64,
    pub(super) sweeper: AtomicU64,
    pub(super) swept: Pace,
}

// SAFETY: atomics, in the order of C.
unsafe impl Words for QueueWords {}

/// The beginning of a slot; the message follows.
#[repr(C)]
pub(super) struct SlotWords {
    pub(super) word: AtomicU64,
    /// The number of the message.
    pub(super) number: AtomicU64,
    pub(super) length: AtomicU32,
    pub(super) deliveries: AtomicU32,
}

// SAFETY: atomics, in the order of C.
unsafe impl Words for SlotWords {}

pub(super) const SEATS_AT: usize = HEADER + size_of::<QueueWords>();

impl QueueSize {
    pub(super) fn of([capacity, message, users]: Numbers) -> Self {
        Self { capacity, message, users }
    }

    pub(super) fn check(self) -> Result<(), Error> {
        Error::unless_fit("messages", self.capacity, 1..=CAPACITY_MAX)?;
        Error::unless_fit("bytes of a message", self.message, 1..=MESSAGE_MAX)?;
        Error::unless_fit("users", self.users, 1..=USERS_MAX)
    }

    pub(super) fn slots_at(self) -> usize {
        SEATS_AT + (self.users * size_of::<AtomicU64>()).next_multiple_of(LINE)
    }

    pub(super) fn stride(self) -> usize {
        (size_of::<SlotWords>() + self.message).next_multiple_of(LINE)
    }
}

pub(in crate::shared) fn whole_size(numbers: Numbers) -> Option<usize> {
    let size = QueueSize::of(numbers);
    size.check().ok()?;
    Some(size.slots_at() + size.capacity * size.stride())
}
