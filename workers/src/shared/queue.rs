//! A bounded queue of messages between processes, which gives what a dead taker had not
//! acknowledged to another one.

mod channel;
mod message;
mod recovery;
mod ring;
mod sending;
mod size;
mod taking;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use channel::Carrier;
use channel::Channel;
pub use message::Message;
use ring::{Cells, Ring};
pub use ring::{Census, Recovered};
pub(super) use size::whole_size;
pub use size::{CAPACITY_MAX, MESSAGE_MAX, QueueSize, USERS_MAX};
use size::{QueueWords, SEATS_AT, SlotWords};

use super::attachment::Attachment;
use super::holder::Holder;
use super::seats::Seats;
use super::segment::{HEADER, Kind};
use super::{Error, Lives, Wait};

/// A queue of messages that threads and processes send and take.
///
/// *Guarantees*: a message whose [`Self::send`] has returned is taken, and again each time that its
/// taker dies (or drops it) before it has acknowledged it; after [`Message::acknowledge`] never
/// again. It is whole: what a sender had half written when it died is skipped and counted
/// ([`Self::torn`]). In the order in which senders came, but for what is taken again. What dead
/// users had comes back at once by [`Self::release_of`] or [`Self::release_dead`], else by one that
/// waits, within about two [`SLICE`](super::SLICE)s. A sender that is stopped in the middle of a
/// message holds back those behind it until it goes on or is dead.
///
/// *Trust*: a process that writes over its memory can lose and forge messages. What no user
/// can have written ends no wait later; the place of a living user in a slot that it is not at holds
/// up that slot. It brings no process down: lengths, indices and states are checked at each use.
///
/// *Forks*: a child opens the queue again; it must not use the one of its parent.
#[derive(Debug)]
pub struct Queue {
    attachment: Attachment,
    size: QueueSize,
    /// Where the slots begin, and how far they are apart, in bytes.
    slots_at: usize,
    stride: usize,
    seat: usize,
    /// What carries its messages; `None`: its memory.
    channel: Option<Channel>,
    /// A child after fork(2) does not give up the place of its parent.
    pid: u32,
}

/// To get or leave a place takes microseconds, unless words were overwritten.
pub(crate) const PLACE_TIME: Duration = Duration::from_secs(5);

/// So long a thread that leaves its place waits at most: it gives no signs of life there.
const LEAVE_TIME: Duration = Duration::from_millis(500);

impl Queue {
    /// Makes a queue.
    ///
    /// # Errors
    /// [`Error::Unfit`]; [`Error::System`].
    pub fn create(size: QueueSize, holder: Holder) -> Result<Self, Error> {
        size.check()?;
        let numbers = [size.capacity, size.message, size.users];
        let attachment = Attachment::create(Kind::Queue, numbers, whole_size, holder)?;
        Self::of(attachment, &Wait::at_most(PLACE_TIME))
    }

    /// Uses the queue behind this descriptor, in the name of `holder`. It takes one of the places.
    ///
    /// # Errors
    /// [`Error::NoPlace`]; [`Error::OtherKind`], [`Error::Foreign`], [`Error::System`].
    pub fn open(fd: OwnedFd, holder: Holder) -> Result<Self, Error> {
        Self::open_within(fd, holder, &Wait::at_most(PLACE_TIME))
    }

    /// The same, as long as `wait` says: one that has lost its way may have taken the right to give
    /// places.
    pub(crate) fn open_within(fd: OwnedFd, holder: Holder, wait: &Wait<'_>) -> Result<Self, Error> {
        Self::of(Attachment::open(fd, Kind::Queue, whole_size, holder)?, wait)
    }

    /// Uses the queue whose messages this carrier has: its ends, to take from and to send to. What
    /// is behind `fd` has the rest.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub fn open_carried(
        fd: OwnedFd,
        (take, send): (OwnedFd, OwnedFd),
        carrier: Carrier,
        holder: Holder,
    ) -> Result<Self, Error> {
        let queue = Self::open(fd, holder)?;
        Ok(Self::with(queue, Channel::new(carrier, take, send)))
    }

    fn with(mut queue: Self, channel: Channel) -> Self {
        queue.channel = Some(channel);
        queue
    }

    /// The same queue, for another holder.
    ///
    /// # Errors
    /// [`Error::NoPlace`], [`Error::System`].
    pub fn for_holder(&self, holder: Holder) -> Result<Self, Error> {
        Self::of(self.attachment.for_holder(holder), &Wait::at_most(PLACE_TIME))
    }

    /// Without a place, which neither sends nor takes.
    pub(super) fn observer(attachment: Attachment) -> Self {
        let size = QueueSize::of(attachment.segment.numbers());
        let (slots_at, stride) = (size.slots_at(), size.stride());
        // No process has this number: there is no place to give up.
        Self { attachment, size, slots_at, stride, seat: usize::MAX, channel: None, pid: 0 }
    }

    fn of(attachment: Attachment, wait: &Wait<'_>) -> Result<Self, Error> {
        let mut queue = Self::observer(attachment);
        let size = queue.size;
        let sweep = queue.seats().sweep(wait)?;
        let seat = sweep.give(attachment.holder).or_else(|| {
            let lives = Lives::default();
            let is_dead = |holder| attachment.is_dead_by(&lives, holder);
            sweep.free(is_dead, |is_gone| queue.clean_up(is_gone));
            sweep.give(attachment.holder)
        });
        drop(sweep);
        let seat = seat.ok_or(Error::NoPlace(size.users))?;
        (queue.seat, queue.pid) = (seat, std::process::id());
        Ok(queue)
    }

    /// The descriptor, for a process that will use it.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.attachment.segment.fd()
    }

    /// What it was made with.
    #[must_use]
    pub fn size(&self) -> QueueSize {
        self.size
    }

    #[inline]
    fn words(&self) -> &QueueWords {
        self.attachment.segment.at(HEADER)
    }

    fn ring(&self) -> Ring<&Self> {
        Ring(self)
    }

    #[inline]
    fn slot_words(&self, index: usize) -> &SlotWords {
        self.attachment.segment.at(self.slot_at(index))
    }

    fn slot_at(&self, index: usize) -> usize {
        self.slots_at + index * self.stride
    }

    fn data_at(&self, index: usize) -> usize {
        self.slot_at(index) + size_of::<SlotWords>()
    }

    fn seats(&self) -> Seats<'_> {
        let (attachment, sweeper) = (self.attachment, &self.words().sweeper);
        Seats { attachment, sweeper, seats: attachment.segment.list(SEATS_AT, self.size.users) }
    }

    /// How many messages there are: right if no other user is at it now. Never waits; looks at all
    /// slots.
    #[must_use]
    pub fn census(&self) -> Census {
        self.ring().census()
    }

    /// Who uses it. Never waits.
    #[must_use]
    pub fn users(&self) -> Vec<Holder> {
        self.seats().holders()
    }
}

impl Cells for &Queue {
    type Word = AtomicU64;

    fn head(&self) -> &AtomicU64 {
        &self.words().head.0
    }

    fn tail(&self) -> &AtomicU64 {
        &self.words().tail.0
    }

    fn returns(&self) -> &AtomicU64 {
        &self.words().returns
    }

    fn searched(&self) -> &AtomicU64 {
        &self.words().searched
    }

    fn slot(&self, index: usize) -> &AtomicU64 {
        &self.slot_words(index).word
    }

    fn count(&self) -> usize {
        self.size.capacity
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            return;
        }
        // If it cannot be had, the place is free as soon as this holder has ended.
        let Ok(sweep) = self.seats().sweep(&Wait::at_most(LEAVE_TIME)) else { return };
        // What was forgotten (mem::forget) is taken again, as if it had died.
        let seat = &self.seats().seats[self.seat];
        let own = self.attachment.holder.to_bits();
        let _ = seat.compare_exchange(own, 0, Ordering::AcqRel, Ordering::Relaxed);
        sweep.free(|_| false, |is_gone| self.clean_up(is_gone));
    }
}

#[cfg(test)]
mod tests;
