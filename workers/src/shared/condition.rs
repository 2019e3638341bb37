//! A condition variable between processes that no death keeps waiting.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::mutex::{Guard, Inner, Locked, Mutex};
use super::segment::{HEADER, Kind, LINE, Numbers, Words};
use super::waiters::Place;
use super::{Error, Segment, Wait, futex};

/// Lets threads and processes wait, without the mutex, until another one has changed the data.
///
/// *Guarantees*: no signal is lost that is given after a change under the mutex. The death of a
/// waiter that was woken, or of the one that signals, delays others by a
/// [`SLICE`](super::SLICE) at most: each waiter looks again after that time, also whether the
/// owner of the mutex has died, and then gets the mutex as any other that locks it.
/// [`Recovery`](super::Recovery) is for the first, the others wake up too.
///
/// As with every condition variable a wait may end without a signal: look at the data again.
#[derive(Debug)]
pub struct Condition {
    segment: &'static Segment,
    /// The mutex that it goes with, as soon as that is known.
    mutex: OnceLock<&'static Inner>,
}

#[repr(C, align(64))]
struct ConditionWords {
    /// Counts the signals: a waiter sleeps while it is what it was under the mutex.
    signals: AtomicU32,
}

// SAFETY: an atomic, in the order of C.
unsafe impl Words for ConditionWords {}

pub(super) fn whole_size(numbers: Numbers) -> Option<usize> {
    (numbers == [0; 3]).then_some(HEADER + LINE)
}

impl Condition {
    /// Makes a condition variable.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn create() -> Result<Self, Error> {
        Ok(Self::of(Segment::create(Kind::Condition, [0; 3], whole_size)?))
    }

    /// Uses the one behind this descriptor.
    ///
    /// # Errors
    /// [`Error::OtherKind`], [`Error::Foreign`], [`Error::System`].
    pub fn open(fd: OwnedFd) -> Result<Self, Error> {
        Ok(Self::of(Segment::open(fd, Kind::Condition, whole_size)?))
    }

    fn of(segment: &'static Segment) -> Self {
        Self { segment, mutex: OnceLock::new() }
    }

    /// The descriptor, for a process that will use it.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.segment.fd()
    }

    fn signals(&self) -> &AtomicU32 {
        &self.segment.at::<ConditionWords>(HEADER).signals
    }

    /// Releases the mutex, which `guard` is of, waits for a signal, and locks it again. The same
    /// `wait` is for both, and `mutex` always the same one for one condition.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::GivenUp`]; those of [`Mutex::lock`]. The mutex is not locked
    /// then.
    pub fn wait<'a>(
        &self,
        mutex: &'a Mutex,
        guard: Guard<'_>,
        wait: &Wait<'_>,
    ) -> Result<Locked<'a>, Error> {
        let place = Place::new(self.segment, mutex.holder());
        let wait = &wait.seen_at(&place);
        self.mutex.get_or_init(|| mutex.words());
        let seen = self.signals().load(Ordering::Acquire);
        let recoveries = mutex.recoveries();
        drop(guard);
        loop {
            let time = wait.next()?;
            let is_time_over = futex::wait(self.signals(), seen, time);
            let is_signalled = self.signals().load(Ordering::Acquire) != seen;
            if is_signalled || mutex.recoveries() != recoveries {
                return mutex.lock(wait);
            }
            // One that died before its signal may be the one that would have given it.
            if is_time_over && mutex.is_abandoned() {
                return mutex.lock(wait);
            }
        }
    }

    /// Waits until `is_over`, which is asked under the mutex. The guard is one that `mutex` gave.
    ///
    /// # Errors
    /// As of [`Self::wait`].
    pub fn wait_until<'a>(
        &self,
        mutex: &'a Mutex,
        guard: Guard<'a>,
        wait: &Wait<'_>,
        mut is_over: impl FnMut(&mut Guard<'a>) -> bool,
    ) -> Result<Locked<'a>, Error> {
        let mut guard = guard;
        while !is_over(&mut guard) {
            match self.wait(mutex, guard, wait)? {
                Locked::Clean(again) => guard = again,
                died @ Locked::OwnerDied(_) => return Ok(died),
            }
        }
        Ok(Locked::Clean(guard))
    }

    /// Wakes one waiter. Call it with the mutex or after it; never waits.
    pub fn signal(&self) {
        self.wake(1);
    }

    /// Wakes all waiters.
    pub fn broadcast(&self) {
        self.wake(i32::MAX);
    }

    /// Who is woken needs the mutex: where that is held, it sleeps on until that is free, and does
    /// not wake up just to find it held.
    fn wake(&self, count: i32) {
        let signals = self.signals();
        let number = signals.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        let is_left_to_it = |mutex: &&Inner| mutex.take_sleepers(signals, number, count);
        if !self.mutex.get().is_some_and(is_left_to_it) {
            futex::wake(signals, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::shared::Holder;

    const LONG: Duration = Duration::from_secs(60);

    fn mutex() -> Mutex {
        Mutex::create(Holder::this_thread().expect("/proc")).expect("made")
    }

    fn here(mutex: &Mutex) -> Mutex {
        let fd = mutex.fd().try_clone_to_owned().expect("a descriptor");
        Mutex::open(fd, Holder::this_thread().expect("/proc")).expect("opened")
    }

    #[test]
    fn waiters_are_woken_one_by_one_or_all() {
        let (mutex, condition) = (mutex(), Condition::create().expect("made"));
        let (tokens, taken) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mutex = here(&mutex);
                    let guard = mutex.lock(&Wait::at_most(LONG)).expect("in time").carry_on();
                    let is_over = |_: &mut Guard<'_>| tokens.load(Ordering::Relaxed) > 0;
                    let locked = condition.wait_until(&mutex, guard, &Wait::at_most(LONG), is_over);
                    let guard = locked.expect("in time").carry_on();
                    tokens.fetch_sub(1, Ordering::Relaxed);
                    taken.fetch_add(1, Ordering::Relaxed);
                    drop(guard);
                });
            }
            for (count, wake) in
                [(1, Condition::signal as fn(&Condition)), (3, Condition::broadcast)]
            {
                let guard = mutex.lock(&Wait::at_most(LONG)).expect("in time").carry_on();
                tokens.fetch_add(count, Ordering::Relaxed);
                drop(guard);
                wake(&condition);
            }
        });
        assert_eq!((tokens.into_inner(), taken.into_inner()), (0, 4));
    }

    #[test]
    fn who_waits_for_one_that_dies_is_told() {
        let (mutex, condition) = (mutex(), Condition::create().expect("made"));
        let guard = mutex.lock(&Wait::none()).expect("free").carry_on();
        let begun = Instant::now();
        let locked = std::thread::scope(|scope| {
            scope.spawn(|| {
                // It dies with the mutex, before it has signalled.
                let mutex = here(&mutex);
                std::mem::forget(mutex.lock(&Wait::at_most(LONG)).expect("in time"));
            });
            condition.wait(&mutex, guard, &Wait::at_most(LONG)).expect("in time")
        });
        assert!(matches!(locked, Locked::OwnerDied(_)), "{locked:?}");
        assert!(begun.elapsed() < LONG / 2);
    }

    #[test]
    fn without_a_signal_the_wait_ends_at_its_deadline_and_leaves_the_mutex() {
        let (mutex, condition) = (mutex(), Condition::create().expect("made"));
        let guard = mutex.lock(&Wait::none()).expect("free").carry_on();
        let answer = condition.wait(&mutex, guard, &Wait::at_most(Duration::from_millis(80)));
        assert!(matches!(answer, Err(Error::TimedOut)), "{answer:?}");
        drop(mutex.lock(&Wait::none()).expect("free"));
    }
}
