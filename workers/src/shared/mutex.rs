//! A mutex between processes that tells the next owner when the last one died.
//!
//! Its word is its owner, so that one that waits can see that the owner is dead, and take it over
//! ([`lock`]). Beside it lies a version of the data, odd while they are being changed: that the
//! mutex comes back says nothing of them.
//!
//! It is not the robust mutex of the C library (pthread_mutexattr_setrobust(3)), which keeps the
//! list of what a thread has in the mutexes themselves: a process that writes over one leads the
//! others to write through its pointers, the supervisor too, where a worker is a thread of that.

mod lock;
mod words;

use std::marker::PhantomData;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

pub(crate) use words::MutexWords as Inner;
use words::{Given, LOOK_PAUSE, Look, MutexWords};

use super::attachment::Attachment;
use super::holder::Holder;
use super::segment::{HEADER, Kind, Numbers};
use super::spinning::Tries;
use super::{Error, OnOwnerDeath, SLICE, Segment, Wait};

/// A mutex between threads and processes. It guards what its users agree on, mostly a
/// [`Region`](super::Region).
///
/// *Guarantees*: at most one owner. The next owner learns of the death of one, at any instruction,
/// by any signal. It has the mutex at once where it comes after that death, or a supervisor sees the
/// death; one that waits already, after an eighth of the time that it has waited until then, and a
/// [`SLICE`](super::SLICE) at most. Not fair, not reentrant.
///
/// *Trust*: its users trust each other's memory accesses. One that writes over the words of the
/// mutex brings down no other: it can make them wait as long as their own limits say, have them told
/// of a death that was none, or let in two at a time. A supervisor never locks.
///
/// *Forks and programs*: a child after fork(2) opens the mutex again, and drops no guard of its
/// parent, which would release it. One that execs keeps what it has until it ends.
#[derive(Debug)]
pub struct Mutex {
    attachment: Attachment,
    words: &'static MutexWords,
    /// None: as the segment says.
    on_owner_death: Option<OnOwnerDeath>,
}

/// What [`Mutex::lock`] got.
#[must_use = "the mutex is released when this is dropped"]
#[derive(Debug)]
pub enum Locked<'a> {
    /// The data are as the last owner left them on purpose.
    Clean(Guard<'a>),
    /// The last owner died with the mutex, or unwound within a change.
    OwnerDied(Recovery<'a>),
}

/// The ownership of a mutex. Dropped, it is released. It stays on its thread.
#[derive(Debug)]
pub struct Guard<'a> {
    words: &'a MutexWords,
    own: Holder,
    _stays_on_its_thread: PhantomData<*const ()>,
}

/// The ownership of a mutex whose last owner died.
///
/// Look at the data, mend them, then say [`Self::repaired`]. Dropped without that, also by a panic,
/// the mutex is poisoned: from then on all get [`Error::Poisoned`].
#[derive(Debug)]
pub struct Recovery<'a> {
    /// None: it has gone on.
    guard: Option<Guard<'a>>,
}

/// What can be seen of a mutex without locking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Who has it.
    pub holder: Holder,
    /// For how long that is known: since a waiter or an observer saw this hold for the first time.
    /// (To read a clock at each lock would take longer than the lock.)
    pub at_least: Duration,
}

/// What it consists of.
pub(super) fn inner(segment: &Segment) -> &Inner {
    segment.at(HEADER)
}

pub(super) fn whole_size(numbers: Numbers) -> Option<usize> {
    (numbers == [0; 3]).then_some(HEADER + size_of::<MutexWords>())
}

impl Mutex {
    /// Makes a mutex.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn create(holder: Holder) -> Result<Self, Error> {
        let attachment = Attachment::create(Kind::Mutex, [0; 3], whole_size, holder)?;
        let mutex = Self::of(attachment);
        mutex.words.initialize();
        Ok(mutex)
    }

    /// Uses the mutex behind this descriptor, in the name of `holder`: the thread that will lock.
    /// Another thread opens it again: what is locked in a name comes back when that one has ended,
    /// and [`Error::Deadlock`] is of that thread.
    ///
    /// # Errors
    /// [`Error::OtherKind`], [`Error::Foreign`], [`Error::System`].
    pub fn open(fd: OwnedFd, holder: Holder) -> Result<Self, Error> {
        Ok(Self::of(Attachment::open(fd, Kind::Mutex, whole_size, holder)?))
    }

    fn of(attachment: Attachment) -> Self {
        let words = inner(attachment.segment);
        Self { attachment, words, on_owner_death: None }
    }

    /// The same, with what follows here when an owner dies; without, as the maker of its memory has
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

    /// Its words, for what waits with it.
    pub(super) fn words(&self) -> &'static Inner {
        self.words
    }

    /// In whose name it is locked here.
    pub(super) fn holder(&self) -> Holder {
        self.attachment.holder
    }

    /// Waits for the mutex. Two atomic operations where it is free.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::GivenUp`]; [`Error::Poisoned`]; [`Error::Deadlock`] when this
    /// thread has it; [`Error::Overwritten`]; [`Error::UsersRestart`]. It is not locked then.
    #[inline]
    pub fn lock(&self, wait: &Wait<'_>) -> Result<Locked<'_>, Error> {
        let holder = self.attachment.holder;
        let is_taken = self.words.try_take(holder);
        // No other way here: a result that is passed on is copied, which takes as long as the lock.
        if is_taken && self.words.is_settled() {
            return Ok(Locked::Clean(self.words.guard(holder)));
        }
        self.lock_otherwise(is_taken, wait)
    }

    #[cold]
    fn lock_otherwise(&self, is_taken: bool, wait: &Wait<'_>) -> Result<Locked<'_>, Error> {
        match self.words.lock_otherwise(is_taken, self.attachment, wait, true)? {
            Locked::Clean(guard) => Ok(Locked::Clean(guard)),
            Locked::OwnerDied(recovery) => recovery.by(self.policy(), wait),
        }
    }

    /// Who has it. Does not lock, never waits.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.words.hold()
    }

    /// The version of the data: odd while they are being changed (or since a death within a
    /// change). Two equal, even versions, and what was read between them was not changed
    /// meanwhile. Does not lock, never waits.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.words.version()
    }

    /// How often an owner has died, since the mutex was made, and was noticed.
    #[must_use]
    pub fn recoveries(&self) -> u32 {
        self.words.recoveries()
    }

    /// Whether its holder is known to be dead: the next one to lock will be told. Reads files.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.words.is_abandoned(self.attachment)
    }
}

impl MutexWords {
    /// As [`Mutex::lock`]. Where `is_seen`, one that has to wait is seen in the segment.
    #[inline]
    pub(crate) fn lock(
        &self,
        own: Attachment,
        wait: &Wait<'_>,
        is_seen: bool,
    ) -> Result<Locked<'_>, Error> {
        let is_taken = self.try_take(own.holder);
        if is_taken && self.is_settled() {
            return Ok(Locked::Clean(self.guard(own.holder)));
        }
        self.lock_otherwise(is_taken, own, wait, is_seen)
    }

    #[cold]
    fn lock_otherwise(
        &self,
        is_taken: bool,
        own: Attachment,
        wait: &Wait<'_>,
        is_seen: bool,
    ) -> Result<Locked<'_>, Error> {
        let given = if is_taken { Given::Clean } else { self.wait_for(own, wait, is_seen)? };
        self.given(given, own.holder)
    }

    #[inline]
    fn guard(&self, own: Holder) -> Guard<'_> {
        self.begin_hold();
        Guard { words: self, own, _stays_on_its_thread: PhantomData }
    }

    /// What the one that has it now is to be told.
    fn given(&self, given: Given, own: Holder) -> Result<Locked<'_>, Error> {
        let guard = self.guard(own);
        let version = self.version();
        if words::is_poisoned(version) {
            return Err(Error::Poisoned);
        }
        let last = match given {
            Given::Clean if words::is_settled(version) => return Ok(Locked::Clean(guard)),
            Given::Clean if words::is_untold(version) => self.fallen(),
            // It has unwound within a change.
            Given::Clean => None,
            Given::OwnerDied(owner) => Some(owner),
        };
        self.note_fallen(last);
        if given != Given::Clean || !words::is_untold(version) {
            self.count_recovery();
        }
        Ok(Locked::OwnerDied(Recovery { guard: Some(guard) }))
    }

    /// Where another one has it.
    fn wait_for(&self, own: Attachment, wait: &Wait<'_>, is_seen: bool) -> Result<Given, Error> {
        self.check()?;
        // Who watches shall know since when others wait, and who.
        let _ = self.hold();
        let place = is_seen.then(|| own.place());
        let wait = place.as_ref().map_or(*wait, |place| wait.seen_at(place));
        let mut waited = Duration::ZERO;
        let mut has_spun = false;
        loop {
            if words::is_poisoned(self.version()) {
                return Err(Error::Poisoned);
            }
            let time = match wait.next() {
                Ok(time) => time.min(pause_after(waited)),
                Err(error) => return self.take_from_dead(own, Look::Well)?.ok_or(error),
            };
            if !has_spun && !time.is_zero() {
                has_spun = true;
                let attempt =
                    || (self.holder().is_none() && self.try_take(own.holder)).then_some(());
                if HELD.with(|tries| tries.until(attempt)).is_some() {
                    return Ok(Given::Clean);
                }
            }
            let ticket = self.announce();
            if let Some(given) = self.take_from_dead(own, Look::Glance)? {
                return Ok(given);
            }
            if self.sleep(ticket, time) {
                waited += time;
                if let Some(given) = self.take_from_dead(own, Look::Well)? {
                    return Ok(given);
                }
            }
        }
    }
}

thread_local! {
    /// Of one that finds a lock held.
    static HELD: Tries = const { Tries::new() };
}

/// How long one that has waited so long in vain sleeps before it looks again whether the owner lives:
/// so that the death of an owner costs little beside that time, and the looks do too.
fn pause_after(waited: Duration) -> Duration {
    (waited / 8).clamp(LOOK_PAUSE, SLICE)
}

impl<'a> Locked<'a> {
    /// The guard, whether the owner died or not: for data that any state is right for.
    #[must_use]
    pub fn carry_on(self) -> Guard<'a> {
        match self {
            Self::Clean(guard) => guard,
            Self::OwnerDied(recovery) => recovery.repaired(),
        }
    }

    /// The guard, after `repair` where the owner died.
    #[must_use]
    pub fn or_repair(self, repair: impl FnOnce(&Recovery<'a>)) -> Guard<'a> {
        match self {
            Self::Clean(guard) => guard,
            Self::OwnerDied(recovery) => {
                repair(&recovery);
                recovery.repaired()
            }
        }
    }
}

impl Guard<'_> {
    /// Changes the data: until `work` returns, their version is odd. A death or a panic in it is
    /// told to the next owner as [`Recovery::is_torn`]; outside of it the data are whole, and a
    /// death costs nothing.
    pub fn change<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let were_whole = self.words.begin_change();
        let result = work();
        // If not, a change before has unwound, and this one does not mend it.
        if were_whole {
            self.words.end_change();
        }
        result
    }

    /// The version of the data.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.words.version()
    }

    /// For tests of a death within a change.
    #[cfg(test)]
    pub(crate) fn begin_half_a_change(&self) {
        self.words.begin_change();
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.words.unlock(self.own);
    }
}

impl<'a> Recovery<'a> {
    /// Whether the last owner was within [`Guard::change`]: the data may be half of each. If not,
    /// they are whole.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| words::is_changing(guard.words.version()))
    }

    /// Who died, if it came as far as to say its name.
    #[must_use]
    pub fn last(&self) -> Option<Holder> {
        self.guard.as_ref().and_then(|guard| guard.words.fallen())
    }

    /// Says that the data are whole again: from here on this is an ordinary owner.
    #[must_use = "the mutex is released when the guard is dropped"]
    pub fn repaired(mut self) -> Guard<'a> {
        let is_torn = self.is_torn();
        let guard = self.guard.take().expect("taken here only, which consumes it");
        guard.words.note_told();
        if is_torn {
            guard.words.end_change();
        }
        fence(Ordering::Release);
        guard
    }
}

impl<'a> Recovery<'a> {
    /// What the users have agreed on for such a case.
    fn by(self, on_owner_death: OnOwnerDeath, wait: &Wait<'_>) -> Result<Locked<'a>, Error> {
        match on_owner_death {
            OnOwnerDeath::Repair => Ok(Locked::OwnerDied(self)),
            OnOwnerDeath::Continue => Ok(Locked::Clean(self.repaired())),
            // Dropped, it poisons.
            OnOwnerDeath::Poison => Err(Error::Poisoned),
            OnOwnerDeath::RestartUsers => {
                self.leave_to_the_next();
                Err(restarts_soon(wait))
            }
        }
    }
}

impl Recovery<'_> {
    /// Releases the mutex as if this owner had died too: the next one learns of it again.
    pub(crate) fn leave_to_the_next(mut self) {
        let guard = self.guard.take().expect("taken here only, which consumes it");
        guard.words.leave_untold();
    }
}

/// For the supervisor to see the death, and to order this user to stop: it is not the one that has
/// failed, and says so only if it is not restarted.
const RESTART_TIME: Duration = Duration::from_secs(2);

/// Waits for the order to stop, which is on its way. The error of the wait.
pub(super) fn restarts_soon(wait: &Wait<'_>) -> Error {
    let end = Instant::now() + RESTART_TIME;
    while Instant::now() < end {
        match wait.next() {
            Ok(time) => std::thread::sleep(time.min(RESTART_TIME / 200)),
            Err(Error::GivenUp) => return Error::GivenUp,
            Err(_) => break,
        }
    }
    Error::UsersRestart
}

impl Drop for Recovery<'_> {
    fn drop(&mut self) {
        // Then the guard goes, and with it the mutex.
        if let Some(guard) = &self.guard {
            guard.words.poison();
        }
    }
}

#[cfg(test)]
mod tests;
