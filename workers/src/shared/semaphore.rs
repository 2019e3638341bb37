//! A semaphore between processes that knows who holds its permits.
//!
//! A POSIX semaphore is a number: the permit of a dead holder is lost (sem_overview(7)). Here each
//! permit is a place with the name of its holder, so that it comes back. Where POSIX has the permits
//! (`by: posix`), the places only say who has one.

mod posix;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use posix::Posix;

use super::attachment::Attachment;
use super::event::Event;
use super::holder::Holder;
use super::holdings::Holdings;
use super::pace::Pace;
use super::segment::{HEADER, Kind, LINE, Numbers, Words};
use super::{Error, Lives, Wait};

/// The most permits that a semaphore has: to look for a free one takes longer with each.
pub const PERMITS_MAX: usize = 4096;

#[repr(C, align(64))]
struct SemaphoreWords {
    freed: Event,
    swept: Pace,
    /// Of POSIX: permits of the dead, which are gone.
    lost: AtomicU64,
}

const _: () = assert!(size_of::<SemaphoreWords>() == LINE);

// SAFETY: an event is atomics; in the order of C.
unsafe impl Words for SemaphoreWords {}

/// Lets a number of holders in at a time, among all threads and processes that use it.
///
/// *Guarantees*: never more permits out than there are. Those of a dead holder come back: at once
/// by [`Self::release_of`] or [`Self::release_dead`], else by a waiter within about two
/// [`SLICE`](super::SLICE)s. Not fair.
///
/// *Trust*: a process that writes over its words can give out more permits, or none: the name
/// of a living holder makes others wait as long as their own limits say, any other one comes back. It brings no process down.
///
/// *Of POSIX* ([`Self::open_posix`]): those of a dead holder do **not** come back; and one that makes
/// its file shorter ends all that use it (SIGBUS).
#[derive(Debug)]
pub struct Semaphore {
    attachment: Attachment,
    permits: usize,
    /// What has the permits; `None`: the places.
    posix: Option<Posix>,
}

/// A permit. Dropped, it is given back.
#[must_use = "the permit is given back when this is dropped"]
#[derive(Debug)]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    /// `None`: of POSIX, and no place was free to note it.
    index: Option<usize>,
}

const PERMITS_AT: usize = HEADER + LINE;

pub(super) fn whole_size([permits, b, c]: Numbers) -> Option<usize> {
    let fits = (1..=PERMITS_MAX).contains(&permits) && (b, c) == (0, 0);
    fits.then_some(PERMITS_AT + permits * size_of::<AtomicU64>())
}

impl Semaphore {
    /// Makes a semaphore with so many permits, 1 to [`PERMITS_MAX`].
    ///
    /// # Errors
    /// [`Error::Unfit`], [`Error::System`].
    pub fn create(permits: usize, holder: Holder) -> Result<Self, Error> {
        Error::unless_fit("permits", permits, 1..=PERMITS_MAX)?;
        let numbers = [permits, 0, 0];
        Ok(Self::of(Attachment::create(Kind::Semaphore, numbers, whole_size, holder)?))
    }

    /// Uses the semaphore behind this descriptor, in the name of `holder`.
    ///
    /// # Errors
    /// [`Error::OtherKind`], [`Error::Foreign`], [`Error::System`].
    pub fn open(fd: OwnedFd, holder: Holder) -> Result<Self, Error> {
        Ok(Self::of(Attachment::open(fd, Kind::Semaphore, whole_size, holder)?))
    }

    /// Uses the semaphore whose permits POSIX has: `posix` is the file in which the C library keeps
    /// it. What is behind `fd` says who has one.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub fn open_posix(fd: OwnedFd, posix: OwnedFd, holder: Holder) -> Result<Self, Error> {
        let semaphore = Self::open(fd, holder)?;
        Ok(Self { posix: Some(Posix::of(posix)?), ..semaphore })
    }

    pub(super) fn of(attachment: Attachment) -> Self {
        Self { permits: attachment.segment.numbers()[0], attachment, posix: None }
    }

    /// The descriptor, for a process that will use it.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.attachment.segment.fd()
    }

    /// How many permits there are.
    #[must_use]
    pub fn permits(&self) -> usize {
        self.permits
    }

    fn places(&self) -> Holdings<'_> {
        Holdings(self.attachment.segment.list(PERMITS_AT, self.permits))
    }

    fn words(&self) -> &SemaphoreWords {
        self.attachment.segment.at(HEADER)
    }

    fn freed(&self) -> &Event {
        &self.words().freed
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::GivenUp`].
    pub fn acquire(&self, wait: &Wait<'_>) -> Result<Permit<'_>, Error> {
        let permit = |index| Permit { semaphore: self, index: Some(index) };
        let place = self.attachment.place();
        let wait = &wait.seen_at(&place);
        if let Some(posix) = self.posix {
            return self.acquire_posix(posix, wait);
        }
        loop {
            if let Some(index) = self.places().claim(self.attachment.holder) {
                return Ok(permit(index));
            }
            let time = wait.next()?;
            let ticket = self.freed().announce();
            if let Some(index) = self.places().claim(self.attachment.holder) {
                return Ok(permit(index));
            }
            if self.freed().sleep(ticket, time) && self.words().swept.is_due() {
                self.release_dead();
            }
        }
    }

    /// The permit is taken before it is noted: a death between the two is a permit that is missing,
    /// and in no incident.
    fn acquire_posix(&self, posix: Posix, wait: &Wait<'_>) -> Result<Permit<'_>, Error> {
        while !posix.try_take() && !posix.take_within(wait.next()?) {}
        Ok(Permit { semaphore: self, index: self.places().claim(self.attachment.holder) })
    }

    /// Who holds permits now, once for each. Never waits.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        self.places().holders()
    }

    /// Gives back the permits of a holder that the caller knows to be dead, and returns how many
    /// there were. Never waits.
    pub fn release_of(&self, holder: Holder) -> usize {
        let holder = holder.seen_from(self.attachment.segment.namespaces());
        self.tell(self.places().release_if(|other| other == holder))
    }

    /// Gives back the permits of all holders that are dead, and returns how many there were. Never
    /// waits; reads a file for each holder.
    pub fn release_dead(&self) -> usize {
        let lives = Lives::default();
        self.release_if(|holder| self.attachment.is_dead_by(&lives, holder))
    }

    /// The same of those of whom the caller says that they are dead.
    pub(super) fn release_if(&self, is_dead: impl Fn(Holder) -> bool) -> usize {
        self.tell(self.places().release_if(is_dead))
    }

    /// Permits of POSIX that are gone with the dead, as far as a supervisor has noted it. Never waits.
    pub(super) fn lost(&self) -> u64 {
        self.words().lost.load(Ordering::Relaxed)
    }

    /// Notes that permits are gone.
    pub(super) fn note_lost(&self, count: u64) {
        self.words().lost.fetch_add(count, Ordering::Relaxed);
    }

    fn tell(&self, released: usize) -> usize {
        if released > 0 {
            self.freed().notify_all();
        }
        released
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let semaphore = self.semaphore;
        if let Some(index) = self.index {
            semaphore.places().release(index, semaphore.attachment.holder);
        }
        match semaphore.posix {
            Some(posix) => posix.give_back(),
            None => semaphore.freed().notify_one(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::AtomicUsize;
    use std::time::{Duration, Instant};

    use super::*;

    fn semaphore(permits: usize) -> Semaphore {
        Semaphore::create(permits, Holder::this_thread().expect("/proc")).expect("made")
    }

    fn here(semaphore: &Semaphore) -> Semaphore {
        let fd = semaphore.fd().try_clone_to_owned().expect("a descriptor");
        Semaphore::open(fd, Holder::this_thread().expect("/proc")).expect("opened")
    }

    /// A thread that ends with permits.
    fn die_with(semaphore: &Semaphore, permits: usize) -> Holder {
        let dead = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let semaphore = here(semaphore);
                for _ in 0..permits {
                    std::mem::forget(semaphore.acquire(&Wait::none()).expect("free"));
                }
                semaphore.attachment.holder
            });
            thread.join().expect("no panic")
        });
        dead.wait_until_dead();
        dead
    }

    #[test]
    fn no_more_permits_than_there_are() {
        let semaphore = semaphore(3);
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let semaphore = here(&semaphore);
                    for _ in 0..200 {
                        let wait = Wait::at_most(Duration::from_secs(60));
                        let permit = semaphore.acquire(&wait).expect("in time");
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(semaphore.holders(), []);
    }

    #[test]
    fn numbers_that_no_semaphore_has_are_refused() {
        let holder = Holder::this_thread().expect("/proc");
        for permits in [0, PERMITS_MAX + 1, usize::MAX] {
            let answer = Semaphore::create(permits, holder);
            assert!(matches!(answer, Err(Error::Unfit { .. })), "{answer:?}");
        }
    }

    #[test]
    fn permits_of_the_dead_come_back_by_a_waiter() {
        let semaphore = semaphore(4);
        die_with(&semaphore, 4);
        assert_eq!(semaphore.holders().len(), 4);
        assert!(matches!(semaphore.acquire(&Wait::none()), Err(Error::TimedOut)));
        let begun = Instant::now();
        let permit = semaphore.acquire(&Wait::at_most(Duration::from_secs(60))).expect("back");
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(semaphore.holders().len(), 1);
        drop(permit);
    }

    #[test]
    fn permits_of_one_that_is_known_to_be_dead_come_back_at_once() {
        let semaphore = semaphore(3);
        let own = semaphore.acquire(&Wait::none()).expect("free");
        let dead = die_with(&semaphore, 2);
        assert_eq!(semaphore.release_of(dead), 2);
        assert_eq!(semaphore.release_of(dead), 0);
        assert_eq!(semaphore.release_dead(), 0);
        assert_eq!(semaphore.holders().len(), 1);
        drop(own);
    }

    /// What the kernel needs to see that a thread has ended.
    #[test]
    fn a_posix_semaphore_keeps_the_permit_of_its_dead_holder() {
        let name = format!("/supervisord-rs-test.{}.gate", std::process::id());
        let named = crate::shared::Named::Semaphore { permits: 2 };
        let file = named.make(&name).expect("made");
        named.space().unlink(&name).expect("its name");
        let card = semaphore(2);
        let open = || {
            let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().expect("a descriptor");
            let holder = Holder::this_thread().expect("/proc");
            Semaphore::open_posix(copy(card.fd()), copy(file.as_fd()), holder).expect("opened")
        };
        let dead = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let gate = open();
                std::mem::forget(gate.acquire(&Wait::none()).expect("free"));
                gate.attachment.holder
            });
            thread.join().expect("no panic")
        });
        dead.wait_until_dead();
        let gate = open();
        assert_eq!(gate.holders(), [dead]);
        let last = gate.acquire(&Wait::none()).expect("the other one");
        assert_eq!(gate.release_dead(), 1);
        let segment = gate.attachment.segment;
        assert_eq!(segment.look().lost_permits, 0);
        segment.note_lost_permits(1);
        assert_eq!(segment.look().lost_permits, 1);
        let answer = gate.acquire(&Wait::at_most(Duration::from_millis(120)));
        assert!(matches!(answer, Err(Error::TimedOut)), "it came back: {answer:?}");
        // One that waits gets what is given back.
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let gate = open();
                let wait = Wait::at_most(Duration::from_secs(60));
                drop(gate.acquire(&wait).expect("given back"));
            });
            drop(last);
            waiter.join().expect("no panic");
        });
        assert_eq!(gate.holders(), []);
    }

    #[test]
    fn words_that_were_written_over_make_no_wait_endless() {
        for byte in [0x55, 0xff] {
            let semaphore = semaphore(4);
            semaphore.attachment.segment.copy_into(HEADER, &[byte; LINE + 32]);
            let answer = semaphore.acquire(&Wait::at_most(Duration::from_millis(120)));
            // No thread has this number, or its namespace is unknown.
            assert!(matches!(answer, Ok(_) | Err(Error::TimedOut)), "{answer:?}");
            assert!(semaphore.holders().len() <= 4);
        }
    }
}
