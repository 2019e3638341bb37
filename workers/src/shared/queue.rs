//! A bounded queue of messages between processes, which gives what a dead taker had not
//! acknowledged to another one.

mod channel;
mod message;
mod ring;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

pub use channel::Carrier;
use channel::Channel;
pub use message::Message;
use ring::{Cells, Claim, Ring};
pub use ring::{Census, Recovered};
use serde::Serialize;

use super::attachment::Attachment;
use super::event::Event;
use super::holder::Holder;
use super::pace::Pace;
use super::seats::Seats;
use super::segment::{HEADER, Kind, LINE, Numbers, Words};
use super::wait::SLICE;
use super::{Error, Lives, Wait};

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
struct Line<T>(T);

#[repr(C, align(64))]
struct QueueWords {
    head: Line<AtomicU64>,
    tail: Line<AtomicU64>,
    ready: Line<Event>,
    room: Line<Event>,
    returns: AtomicU64,
    searched: AtomicU64,
    torn: AtomicU64,
    overwritten: AtomicU64,
    sweeper: AtomicU64,
    swept: Pace,
}

// SAFETY: atomics, in the order of C.
unsafe impl Words for QueueWords {}

/// The beginning of a slot; the message follows.
#[repr(C)]
struct SlotWords {
    word: AtomicU64,
    /// The number of the message.
    number: AtomicU64,
    length: AtomicU32,
    deliveries: AtomicU32,
}

// SAFETY: atomics, in the order of C.
unsafe impl Words for SlotWords {}

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

/// How long a sender sleeps at first when there is no room; then twice as long each time. It may be
/// that slots become free, and not as many as it is woken for.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

const SEATS_AT: usize = HEADER + size_of::<QueueWords>();

impl QueueSize {
    fn of([capacity, message, users]: Numbers) -> Self {
        Self { capacity, message, users }
    }

    fn check(self) -> Result<(), Error> {
        Error::unless_fit("messages", self.capacity, 1..=CAPACITY_MAX)?;
        Error::unless_fit("bytes of a message", self.message, 1..=MESSAGE_MAX)?;
        Error::unless_fit("users", self.users, 1..=USERS_MAX)
    }

    fn slots_at(self) -> usize {
        SEATS_AT + (self.users * size_of::<AtomicU64>()).next_multiple_of(LINE)
    }

    fn stride(self) -> usize {
        (size_of::<SlotWords>() + self.message).next_multiple_of(LINE)
    }
}

pub(super) fn whole_size(numbers: Numbers) -> Option<usize> {
    let size = QueueSize::of(numbers);
    size.check().ok()?;
    Some(size.slots_at() + size.capacity * size.stride())
}

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
        self.attachment.segment.at(self.slots_at + index * self.stride)
    }

    fn data_at(&self, index: usize) -> usize {
        self.slots_at + index * self.stride + size_of::<SlotWords>()
    }

    fn seats(&self) -> Seats<'_> {
        let (attachment, sweeper) = (self.attachment, &self.words().sweeper);
        Seats { attachment, sweeper, seats: attachment.segment.list(SEATS_AT, self.size.users) }
    }

    /// Puts a message into the queue, as soon as there is room. It is copied.
    ///
    /// # Errors
    /// [`Error::TooLong`]; [`Error::TimedOut`], [`Error::GivenUp`]: the queue is full;
    /// [`Error::Evicted`].
    pub fn send(&self, message: &[u8], wait: &Wait<'_>) -> Result<(), Error> {
        let (length, limit) = (message.len(), self.size.message);
        if length > limit {
            return Err(Error::TooLong { length, limit });
        }
        if let Some(channel) = &self.channel {
            let place = self.attachment.place();
            return channel.send(message, &wait.seen_at(&place));
        }
        let claim = self.claim(wait)?;
        self.fill(claim, message, || {})
    }

    /// The same, with something between the last byte and the word that it is whole: for a death
    /// there. What the kernel carries is whole or not there.
    pub(crate) fn send_but(
        &self,
        message: &[u8],
        wait: &Wait<'_>,
        before_it_is_whole: impl FnOnce(),
    ) -> Result<(), Error> {
        if self.channel.is_some() {
            before_it_is_whole();
            return self.send(message, wait);
        }
        let claim = self.claim(wait)?;
        self.fill(claim, message, before_it_is_whole)
    }

    /// Waits for room.
    fn claim(&self, wait: &Wait<'_>) -> Result<Claim, Error> {
        let mut pause = FIRST_PAUSE;
        let place = self.attachment.place();
        let wait = &wait.seen_at(&place);
        loop {
            if let Some(claim) = self.ring().claim(self.seat) {
                return Ok(claim);
            }
            let time = wait.next()?.min(pause);
            pause = (pause * 2).min(SLICE);
            let ticket = self.words().room.0.announce();
            if let Some(claim) = self.ring().claim(self.seat) {
                return Ok(claim);
            }
            if self.words().room.0.sleep(ticket, time) {
                self.look_after();
            }
        }
    }

    /// Sends a value as JSON, for [`Message::value`].
    ///
    /// # Errors
    /// [`Error::Value`]; those of [`Self::send`].
    pub fn send_value<T: Serialize + ?Sized>(
        &self,
        value: &T,
        wait: &Wait<'_>,
    ) -> Result<(), Error> {
        self.send(&serde_json::to_vec(value).map_err(Error::Value)?, wait)
    }

    fn fill(
        &self,
        claim: Claim,
        message: &[u8],
        before_it_is_whole: impl FnOnce(),
    ) -> Result<(), Error> {
        let slot = self.slot_words(claim.index);
        slot.number.store(claim.number(), Ordering::Relaxed);
        slot.length.store(message.len() as u32, Ordering::Relaxed);
        slot.deliveries.store(0, Ordering::Relaxed);
        self.attachment.segment.copy_into(self.data_at(claim.index), message);
        before_it_is_whole();
        if !self.ring().commit(claim, self.seat) {
            return Err(Error::Evicted);
        }
        self.words().ready.0.notify_one();
        Ok(())
    }

    /// Takes the next message, as soon as there is one.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::GivenUp`]: the queue is empty.
    pub fn take(&self, wait: &Wait<'_>) -> Result<Message<'_>, Error> {
        let place = self.attachment.place();
        let wait = &wait.seen_at(&place);
        if let Some(channel) = &self.channel {
            let bytes = channel.take(self.size.message, wait)?;
            let Attachment { segment, holder, .. } = self.attachment;
            return Ok(Message::carried(self, bytes, segment.note_taken(holder)));
        }
        loop {
            if let Some(index) = self.ring().take(self.seat) {
                return Ok(Message::new(self, index));
            }
            let time = wait.next()?;
            self.words().room.0.notify_all();
            let ticket = self.words().ready.0.announce();
            if let Some(index) = self.ring().take(self.seat) {
                return Ok(Message::new(self, index));
            }
            if self.words().ready.0.sleep(ticket, time) {
                self.look_after();
                if let Some(index) = self.ring().take_any(self.seat) {
                    return Ok(Message::new(self, index));
                }
            }
        }
    }

    /// After a slot has become free. Who waits for room is not woken for each: then sender and
    /// taker would change places at each message of a full queue.
    fn tell_room(&self, index: usize) {
        let part = (self.size.capacity / 4).max(1);
        if (index + 1).is_multiple_of(part) {
            self.words().room.0.notify_all();
        }
    }

    /// What one does that has waited in vain: looks for the dead, and for what was written over.
    fn look_after(&self) {
        if self.words().swept.is_due() {
            // If another one does it, or `/proc` cannot be read, the next one that waits tries.
            let _ = self.release_dead();
            self.ring().realign();
        }
    }

    /// Gives back what a holder had that the caller knows to be dead. None: another one is doing
    /// that for all dead; try again. Never waits; reads files.
    ///
    /// # Errors
    /// [`Error::System`] where `/proc` is not mounted.
    pub fn release_of(&self, holder: Holder) -> Result<Option<Recovered>, Error> {
        let holder = holder.seen_from(self.attachment.segment.namespaces());
        self.release_if(|other| other == holder)
    }

    /// Gives back what all dead users had. None: as of [`Self::release_of`]. Never waits; reads a
    /// file for each user.
    ///
    /// # Errors
    /// As of [`Self::release_of`].
    pub fn release_dead(&self) -> Result<Option<Recovered>, Error> {
        let lives = Lives::default();
        self.release_if(|holder| self.attachment.is_dead_by(&lives, holder))
    }

    pub(super) fn release_if(
        &self,
        is_dead: impl Fn(Holder) -> bool,
    ) -> Result<Option<Recovered>, Error> {
        let Some(sweep) = self.seats().try_sweep()? else { return Ok(None) };
        Ok(Some(sweep.free(is_dead, |is_gone| self.clean_up(is_gone))))
    }

    fn clean_up(&self, is_gone: &dyn Fn(usize) -> bool) -> Recovered {
        let recovered = self.ring().recover(is_gone);
        let words = self.words();
        words.torn.fetch_add(recovered.torn as u64, Ordering::Relaxed);
        words.overwritten.fetch_add(recovered.overwritten as u64, Ordering::Relaxed);
        if recovered.torn + recovered.overwritten > 0 {
            words.room.0.notify_all();
            // Takers may wait behind a half message.
            words.ready.0.notify_all();
        }
        if recovered.returned > 0 {
            words.ready.0.notify_all();
        }
        recovered
    }

    /// Half messages of dead senders, since the queue was made.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.words().torn.load(Ordering::Relaxed)
    }

    /// Slots that had been written over, since the queue was made.
    #[must_use]
    pub fn overwritten(&self) -> u64 {
        self.words().overwritten.load(Ordering::Relaxed)
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
