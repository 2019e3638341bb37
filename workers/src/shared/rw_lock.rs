//! A reader-writer lock between processes that survives readers and writers.
//!
//! A writer has a mutex and says so in a word. A reader takes a place in a table, then looks
//! at that word; a writer writes that word, then looks at the table: with a full fence between the
//! two on both sides, at least one of them sees the other. The place has the name of the reader, so
//! that a dead one is no reader any more.
//!
//! ```text
//! reader: place = holder │ fence │ writer = 0?  yes: it reads    no: place = 0, it sleeps
//! writer: mutex │ writer = holder │ fence │ all places 0?  yes: it writes    no: it sleeps
//! ```

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::attachment::Attachment;
use super::event::Event;
use super::holder::Holder;
use super::holdings::Holdings;
use super::mutex::{Guard, Inner, Locked, Recovery, restarts_soon};
use super::pace::Pace;
use super::segment::{HEADER, Kind, LINE, Numbers, Words};
use super::{Error, Lives, OnOwnerDeath, Segment, Wait};

/// The most readers at a time that a lock can be made for.
pub const READERS_MAX: usize = 4096;

#[repr(C, align(64))]
struct RwWords {
    mutex: Inner,
    /// The [`Holder`] that writes or wants to, or 0.
    writer: AtomicU64,
    /// A writer waits for readers here.
    read: Event,
    /// Readers wait for a writer, or for a place.
    free: Event,
    swept: Pace,
}

// SAFETY: words and atomics, in the order of C.
unsafe impl Words for RwWords {}

/// Lets many read or one write, among all threads and processes that use it.
///
/// *Guarantees*: no writer beside others. New readers wait for a waiting writer. A dead reader is
/// none any more: at once by [`Self::release_of`] or [`Self::release_dead`], else by a waiter
/// within about two [`SLICE`](super::SLICE)s. The first that comes after a dead writer, reader or
/// not, gets the lock for writing, and learns of it.
///
/// *Trust*: as of [`Mutex`](super::Mutex).
#[derive(Debug)]
pub struct RwLock {
    attachment: Attachment,
    readers: usize,
    /// None: as the segment says.
    on_owner_death: Option<OnOwnerDeath>,
}

/// What [`RwLock::read`] got.
#[must_use = "the lock is released when this is dropped"]
#[derive(Debug)]
pub enum ReadLocked<'a> {
    /// The data are whole.
    Clean(ReadGuard<'a>),
    /// The last writer died. This one has the lock alone, to mend the data.
    WriterDied(WriteRecovery<'a>),
}

/// What [`RwLock::write`] got.
#[must_use = "the lock is released when this is dropped"]
#[derive(Debug)]
pub enum WriteLocked<'a> {
    /// The data are whole.
    Clean(WriteGuard<'a>),
    /// The last writer died.
    WriterDied(WriteRecovery<'a>),
}

/// One of the readers. Dropped, it is none any more.
#[derive(Debug)]
pub struct ReadGuard<'a> {
    lock: &'a RwLock,
    index: usize,
}

/// The writer. Dropped, it is none any more. It stays on its thread.
#[derive(Debug)]
pub struct WriteGuard<'a> {
    // The first field goes first: as long as it is there, no reader comes.
    _claim: Claim<'a>,
    guard: Guard<'a>,
}

/// The writer after one that died: as [`Recovery`](super::Recovery).
#[derive(Debug)]
pub struct WriteRecovery<'a> {
    // The first field goes first: it poisons before a reader comes.
    recovery: Recovery<'a>,
    claim: Claim<'a>,
}

/// The word of the writer. Dropped, it is 0.
#[derive(Debug)]
struct Claim<'a>(&'a RwLock);

const READERS_AT: usize = HEADER + size_of::<RwWords>().next_multiple_of(LINE);

/// What a writer has.
pub(super) fn inner(segment: &Segment) -> &Inner {
    &segment.at::<RwWords>(HEADER).mutex
}

pub(super) fn whole_size([readers, b, c]: Numbers) -> Option<usize> {
    let fits = (1..=READERS_MAX).contains(&readers) && (b, c) == (0, 0);
    fits.then_some(READERS_AT + readers * size_of::<AtomicU64>())
}

impl RwLock {
    /// Makes a lock for so many readers at a time, 1 to [`READERS_MAX`]; further ones wait. A
    /// writer looks at all places.
    ///
    /// # Errors
    /// [`Error::Unfit`], [`Error::System`].
    pub fn create(readers: usize, holder: Holder) -> Result<Self, Error> {
        Error::unless_fit("readers", readers, 1..=READERS_MAX)?;
        let numbers = [readers, 0, 0];
        let lock = Self::of(Attachment::create(Kind::RwLock, numbers, whole_size, holder)?);
        lock.words().mutex.initialize();
        Ok(lock)
    }

    /// Uses the lock behind this descriptor, in the name of `holder`: the thread that will lock.
    ///
    /// # Errors
    /// [`Error::OtherKind`], [`Error::Foreign`], [`Error::System`].
    pub fn open(fd: OwnedFd, holder: Holder) -> Result<Self, Error> {
        Ok(Self::of(Attachment::open(fd, Kind::RwLock, whole_size, holder)?))
    }

    pub(super) fn of(attachment: Attachment) -> Self {
        let readers = attachment.segment.numbers()[0];
        Self { readers, attachment, on_owner_death: None }
    }

    /// The same, with what follows here when a writer dies; without, as the maker of its memory has
    /// said ([`Segment::agree_on_owner_death`]).
    #[must_use]
    pub const fn on_owner_death(mut self, on_owner_death: OnOwnerDeath) -> Self {
        self.on_owner_death = Some(on_owner_death);
        self
    }

    fn policy(&self) -> OnOwnerDeath {
        self.on_owner_death.unwrap_or_else(|| self.attachment.segment.on_owner_death())
    }

    /// The descriptor, for a process that will use it.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.attachment.segment.fd()
    }

    fn words(&self) -> &RwWords {
        self.attachment.segment.at(HEADER)
    }

    fn places(&self) -> Holdings<'_> {
        Holdings(self.attachment.segment.list(READERS_AT, self.readers))
    }

    /// Waits until it may read.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::GivenUp`]; after a dead writer those of
    /// [`Mutex::lock`](super::Mutex::lock).
    pub fn read(&self, wait: &Wait<'_>) -> Result<ReadLocked<'_>, Error> {
        let place = self.attachment.place();
        let wait = &wait.seen_at(&place);
        loop {
            if let Some(guard) = self.try_read()? {
                return Ok(ReadLocked::Clean(guard));
            }
            let time = wait.next()?;
            let ticket = self.words().free.announce();
            if let Some(guard) = self.try_read()? {
                return Ok(ReadLocked::Clean(guard));
            }
            let has_unwound = self.is_to_be_mended(false);
            let is_time_over = !has_unwound && self.words().free.sleep(ticket, time);
            if is_time_over && self.words().swept.is_due() {
                self.release_dead();
            }
            if self.is_to_be_mended(is_time_over)
                && let WriteLocked::WriterDied(recovery) = self.write(wait)?
            {
                return Ok(ReadLocked::WriterDied(recovery));
            }
            // Else another one has mended it, or what was left is right as it is: it reads then.
        }
    }

    /// Whether the writer is gone and has left half a change; its life is only asked for if the
    /// caller has waited.
    fn is_to_be_mended(&self, has_waited: bool) -> bool {
        let mutex = &self.words().mutex;
        match self.writer() {
            // A writer that has not the mutex is none: its name was written by one that has lost
            // its way.
            Some(writer) => {
                has_waited && (mutex.holder().is_none() || self.attachment.is_dead(writer))
            }
            None => mutex.is_to_be_told(),
        }
    }

    fn try_read(&self) -> Result<Option<ReadGuard<'_>>, Error> {
        let Some(index) = self.places().claim(self.attachment.holder) else { return Ok(None) };
        fence(Ordering::SeqCst);
        let words = self.words();
        let is_poisoned = words.mutex.is_given_up();
        // An odd version without a writer is one that has unwound.
        let is_whole = !words.mutex.is_to_be_told();
        if !is_poisoned && is_whole && words.writer.load(Ordering::Acquire) == 0 {
            return Ok(Some(ReadGuard { lock: self, index }));
        }
        self.places().release(index, self.attachment.holder);
        // The writer that waits for it, and no other reader, which would do the same.
        words.read.notify_one();
        if is_poisoned { Err(Error::Poisoned) } else { Ok(None) }
    }

    /// Waits until it may write.
    ///
    /// # Errors
    /// Those of [`Mutex::lock`](super::Mutex::lock).
    pub fn write(&self, wait: &Wait<'_>) -> Result<WriteLocked<'_>, Error> {
        let words = self.words();
        let place = self.attachment.place();
        let wait = &wait.seen_at(&place);
        let locked = words.mutex.lock(self.attachment, wait, false)?;
        words.writer.store(self.attachment.holder.to_bits(), Ordering::Relaxed);
        let claim = Claim(self);
        fence(Ordering::SeqCst);
        while !self.places().is_empty() {
            let time = match wait.next() {
                Ok(time) => time,
                Err(error) => {
                    // Before the mutex: the word is another writer's as soon as that has it.
                    drop(claim);
                    // What is to be mended stays to be mended: the next one learns of it again.
                    if let Locked::OwnerDied(recovery) = locked {
                        recovery.leave_to_the_next();
                    }
                    return Err(error);
                }
            };
            let ticket = words.read.announce();
            let has_readers = !self.places().is_empty();
            if has_readers && words.read.sleep(ticket, time) && words.swept.is_due() {
                self.release_dead();
            }
        }
        match locked {
            Locked::Clean(guard) => Ok(WriteLocked::Clean(WriteGuard { _claim: claim, guard })),
            Locked::OwnerDied(recovery) => {
                WriteRecovery { recovery, claim }.by(self.policy(), wait)
            }
        }
    }

    /// Who writes, or waits for readers to do so. Never waits.
    #[must_use]
    pub fn writer(&self) -> Option<Holder> {
        Holder::from_bits(self.words().writer.load(Ordering::Acquire))
    }

    /// Who reads. Never waits.
    #[must_use]
    pub fn readers(&self) -> Vec<Holder> {
        self.places().holders()
    }

    /// The version of the data: as [`Mutex::version`](super::Mutex::version).
    #[must_use]
    pub fn version(&self) -> u64 {
        self.words().mutex.version()
    }

    /// Ends the reading of a holder that the caller knows to be dead, and returns in how many
    /// places that was. Never waits.
    pub fn release_of(&self, holder: Holder) -> usize {
        let holder = holder.seen_from(self.attachment.segment.namespaces());
        self.tell(self.places().release_if(|other| other == holder))
    }

    /// Ends the reading of all that are dead. Never waits; reads a file for each reader.
    pub fn release_dead(&self) -> usize {
        let lives = Lives::default();
        self.release_if(|holder| self.attachment.is_dead_by(&lives, holder))
    }

    /// The same of those of whom the caller says that they are dead.
    pub(super) fn release_if(&self, is_dead: impl Fn(Holder) -> bool) -> usize {
        self.tell(self.places().release_if(is_dead))
    }

    fn tell(&self, released: usize) -> usize {
        if released > 0 {
            self.words().read.notify_all();
            self.words().free.notify_all();
        }
        released
    }
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        self.lock.places().release(self.index, self.lock.attachment.holder);
        self.lock.words().read.notify_one();
        // One may wait for the place, where all were taken.
        self.lock.words().free.notify_one();
    }
}

impl WriteGuard<'_> {
    /// Changes the data: as [`Guard::change`](super::Guard::change).
    pub fn change<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.guard.change(work)
    }
}

impl<'a> WriteRecovery<'a> {
    /// As [`Recovery::is_torn`](super::Recovery::is_torn).
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.recovery.is_torn()
    }

    /// Who died, if it came as far as to say its name.
    #[must_use]
    pub fn last(&self) -> Option<Holder> {
        self.recovery.last()
    }

    /// Says that the data are whole again. Dropped without that, the lock is poisoned.
    #[must_use = "the lock is released when the guard is dropped"]
    pub fn repaired(self) -> WriteGuard<'a> {
        WriteGuard { _claim: self.claim, guard: self.recovery.repaired() }
    }
}

impl<'a> WriteRecovery<'a> {
    /// What the users have agreed on for such a case.
    fn by(self, on_owner_death: OnOwnerDeath, wait: &Wait<'_>) -> Result<WriteLocked<'a>, Error> {
        match on_owner_death {
            OnOwnerDeath::Repair => Ok(WriteLocked::WriterDied(self)),
            OnOwnerDeath::Continue => Ok(WriteLocked::Clean(self.repaired())),
            // Dropped, it poisons.
            OnOwnerDeath::Poison => Err(Error::Poisoned),
            OnOwnerDeath::RestartUsers => {
                // The word of the writer before the mutex: it is another's as soon as that has it.
                drop(self.claim);
                self.recovery.leave_to_the_next();
                Err(restarts_soon(wait))
            }
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let words = self.0.words();
        words.writer.store(0, Ordering::Release);
        words.free.notify_all();
    }
}

#[cfg(test)]
mod tests;
