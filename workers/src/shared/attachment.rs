//! What each user of a shared thing has: the segment, and the name under which it holds.

use std::os::fd::OwnedFd;

use super::holder::{Holder, Life, own_namespaces};
use super::segment::{Kind, Numbers, Segment, SizeOf};
use super::waiters::Place;
use super::{Error, Lives, lives};

/// A segment, used by one holder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attachment {
    pub(crate) segment: &'static Segment,
    pub(crate) holder: Holder,
    /// Whether PIDs of other holders mean the same here.
    is_native: bool,
}

impl Attachment {
    /// To a new segment.
    pub(crate) fn create(
        kind: Kind,
        numbers: Numbers,
        size_of: SizeOf,
        holder: Holder,
    ) -> Result<Self, Error> {
        Ok(Self::new(Segment::create(kind, numbers, size_of)?, holder))
    }

    /// To the segment behind a descriptor.
    pub(crate) fn open(
        fd: OwnedFd,
        kind: Kind,
        size_of: SizeOf,
        holder: Holder,
    ) -> Result<Self, Error> {
        Ok(Self::new(Segment::open(fd, kind, size_of)?, holder))
    }

    fn new(segment: &'static Segment, holder: Holder) -> Self {
        let is_native = segment.namespaces() == own_namespaces();
        Self { segment, holder: holder.seen_from(segment.namespaces()), is_native }
    }

    /// For one that only looks, and gives back what others had.
    pub(crate) fn observing(segment: &'static Segment, observer: Holder) -> Self {
        Self::new(segment, observer)
    }

    /// For a wait: where those who watch see it.
    pub(crate) fn place(&self) -> Place {
        Place::new(self.segment, self.holder)
    }

    /// The same thing, for another holder.
    pub(crate) fn for_holder(self, holder: Holder) -> Self {
        Self::new(self.segment, holder)
    }

    /// Whether that holder is known to be dead.
    pub(crate) fn is_dead(&self, holder: Holder) -> bool {
        self.is_dead_by(&Lives::default(), holder)
    }

    /// The same at a glance, by one system call: not that of a zombie, nor of one whose number
    /// another one has.
    pub(crate) fn is_gone(&self, holder: Holder) -> bool {
        self.is_native && lives::is_gone(holder)
    }

    /// The same, for one of many.
    pub(crate) fn is_dead_by(&self, lives: &Lives, holder: Holder) -> bool {
        self.is_native && lives.of(holder) == Life::Dead
    }
}
