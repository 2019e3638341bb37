//! A POSIX semaphore (sem_overview(7)): a number, which knows no holders.
//!
//! Its words are worked on here and not by the C library: others can write them, and glibc ends the
//! process of one that waits on words that it has not written itself (`futex_fatal_error`). The
//! layout is that of glibc since 2.21 on machines with atomic operations on 64 bits: the number in
//! the low half of the first word, how many wait in the high half. What follows, whether the
//! semaphore is one process's own, is never read: one with a name is not.

use std::mem::size_of;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::shared::Error;
use crate::shared::futex;
use crate::shared::mapped::Mapped;

/// One in the half that counts those who wait.
const WAITER: u64 = 1 << 32;
/// The half that has the number.
const NUMBER: u64 = WAITER - 1;
/// The largest number (`SEM_VALUE_MAX`).
const NUMBER_MAX: u64 = i32::MAX as u64;
/// Where the number lies, on which those who wait sleep.
const NUMBER_AT: usize = if cfg!(target_endian = "big") { 4 } else { 0 };

/// One that is mapped as sem_open(3) maps it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Posix(&'static Mapped);

impl Posix {
    /// Of the file that the C library keeps it in.
    pub(super) fn of(file: OwnedFd) -> Result<Self, Error> {
        Ok(Self(Mapped::of(file, size_of::<libc::sem_t>())?))
    }

    fn word(self) -> &'static AtomicU64 {
        // SAFETY: needed because shared memory has no safe form. The bytes are within a mapping that
        // lives as long as the process, aligned to a page, and any value is valid. All users change
        // them by atomic operations; what others write there is another number.
        unsafe { &*self.0.bytes(0, size_of::<AtomicU64>()).cast::<AtomicU64>() }
    }

    /// The half on which the kernel has threads sleep. Only its address is used.
    fn number(self) -> &'static AtomicU32 {
        // SAFETY: as above.
        unsafe { &*self.0.bytes(NUMBER_AT, size_of::<AtomicU32>()).cast::<AtomicU32>() }
    }

    /// Takes a permit, if there is one, and with it this much of those who wait.
    fn take_with(self, waiters: u64) -> bool {
        let taken =
            |words: u64| (words & NUMBER != 0).then(|| words.wrapping_sub(1).wrapping_sub(waiters));
        self.word().fetch_update(Ordering::Acquire, Ordering::Relaxed, taken).is_ok()
    }

    /// Takes a permit, if there is one.
    pub(super) fn try_take(self) -> bool {
        self.take_with(0)
    }

    /// Waits this long for a permit, or until it is to look again. False: there was none.
    pub(super) fn take_within(self, time: Duration) -> bool {
        if time.is_zero() {
            return self.try_take();
        }
        // Before the look: one that gives a permit back later sees that there is one to wake.
        self.word().fetch_add(WAITER, Ordering::Relaxed);
        if self.take_with(WAITER) {
            return true;
        }
        futex::wait(self.number(), 0, time);
        let is_taken = self.take_with(WAITER);
        if !is_taken {
            self.word().fetch_sub(WAITER, Ordering::Relaxed);
        }
        is_taken
    }

    /// Gives a permit back. Not where others have written a number that is too large.
    pub(super) fn give_back(self) {
        let given = |words: u64| (words & NUMBER < NUMBER_MAX).then(|| words.wrapping_add(1));
        let before = self.word().fetch_update(Ordering::Release, Ordering::Relaxed, given);
        if before.is_ok_and(|words| words >= WAITER) {
            futex::wake(self.number(), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use nix::errno::Errno;

    use super::*;
    use crate::shared::Named;

    fn made(name: &str, permits: usize) -> Posix {
        let name = format!("/supervisord-rs-test.{}.{name}", std::process::id());
        let named = Named::Semaphore { permits };
        let file = named.make(&name).expect("made");
        named.space().unlink(&name).expect("its name");
        Posix::of(file).expect("mapped")
    }

    fn words(semaphore: Posix) -> *mut libc::sem_t {
        semaphore.0.bytes(0, size_of::<libc::sem_t>()).cast()
    }

    fn c_wait(semaphore: Posix) {
        // SAFETY: made by sem_open(3), and mapped as long as the process lives.
        while Errno::result(unsafe { libc::sem_wait(words(semaphore)) }) == Err(Errno::EINTR) {}
    }

    fn c_post(semaphore: Posix) {
        // SAFETY: as above.
        Errno::result(unsafe { libc::sem_post(words(semaphore)) }).expect("given back");
    }

    fn wait(semaphore: Posix) {
        while !semaphore.take_within(Duration::from_secs(60)) {}
    }

    fn number(semaphore: Posix) -> (u64, u64) {
        let words = semaphore.word().load(Ordering::SeqCst);
        (words & NUMBER, words >> 32)
    }

    #[test]
    fn the_c_library_and_this_wake_each_other() {
        let one = made("wake", 1);
        assert!(one.try_take() && !one.try_take() && !one.take_within(Duration::from_millis(1)));
        type Step = fn(Posix);
        for (waits, posts) in [(c_wait as Step, Posix::give_back as Step), (wait, c_post)] {
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| waits(one));
                while number(one).1 == 0 {
                    std::thread::yield_now();
                }
                posts(one);
                waiter.join().expect("no panic");
            });
            assert_eq!(number(one), (0, 0));
        }
    }

    #[test]
    fn beside_the_c_library_there_are_never_more_permits_out_than_there_are() {
        let three = made("many", 3);
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for index in 0..8 {
                let inside = &inside;
                scope.spawn(move || {
                    for turn in 0..200 {
                        if (index + turn) % 2 == 0 {
                            wait(three)
                        } else {
                            c_wait(three)
                        }
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        if index % 2 == 0 { three.give_back() } else { c_post(three) }
                    }
                });
            }
        });
        assert_eq!(number(three), (3, 0));
    }

    #[test]
    fn whatever_others_write_a_wait_ends_and_the_process_goes_on() {
        let one = made("over", 1);
        for byte in [0, 0x55, 0x80, 0xff] {
            for of_number in [0, byte] {
                let size = size_of::<libc::sem_t>();
                // SAFETY: within the mapping, which no other thread uses here.
                unsafe { one.0.bytes(0, size).write_bytes(byte, size) };
                let words = u64::from_ne_bytes([byte; 8]) & !NUMBER;
                let words = words | u64::from_ne_bytes([of_number; 8]) & NUMBER;
                one.word().store(words, Ordering::SeqCst);
                let is_taken = one.take_within(Duration::from_millis(2));
                assert_eq!(is_taken, of_number != 0, "{byte:#x}");
                one.give_back();
                one.give_back();
            }
        }
    }
}
