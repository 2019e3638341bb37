//! futex(2): to sleep until a word in shared memory changes.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

#[cfg(feature = "tokio")]
pub(crate) use noted::instead_of_sleeping;
#[cfg(feature = "tokio")]
use noted::is_noted;

/// Sleeps while the word is `expected`, this long at most. Returns for other reasons too: the
/// caller looks again. Returns whether the time is over.
pub(crate) fn wait(word: &AtomicU32, expected: u32, time: Duration) -> bool {
    #[cfg(feature = "tokio")]
    if is_noted(word, expected) {
        return true;
    }
    sleep(word, expected, time)
}

fn sleep(word: &AtomicU32, expected: u32, time: Duration) -> bool {
    let time = libc::timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    // SAFETY: needed because std's futexes are private to a process. The word and the time outlive
    // the call, and the kernel writes to neither.
    let answer = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, &raw const time)
    };
    answer == -1 && nix::errno::Errno::last() == nix::errno::Errno::ETIMEDOUT
}

/// Wakes at most `count` of those that sleep on the word, in all processes, and returns how many
/// there were. Async-signal-safe.
pub(crate) fn wake(word: &AtomicU32, count: i32) -> u32 {
    // SAFETY: needed as above. The word outlives the call; the kernel only uses its address.
    let answer = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
    u32::try_from(answer).unwrap_or(0)
}

/// Lets at most `count` of those that sleep on the word sleep on another one, as if they had fallen
/// asleep there, and returns how many there were. `None`: the word is not `expected` any more.
pub(crate) fn requeue(
    word: &AtomicU32,
    expected: u32,
    count: i32,
    onto: &AtomicU32,
) -> Option<u32> {
    let none: usize = 0;
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: needed as above. Both words outlive the call; the kernel uses the address of the
    // second, and reads the first.
    let answer = unsafe {
        let operation = libc::FUTEX_CMP_REQUEUE;
        let (from, onto) = (word.as_ptr(), onto.as_ptr());
        libc::syscall(libc::SYS_futex, from, operation, none, count, onto, expected)
    };
    u32::try_from(answer).ok()
}

/// For tasks: where an operation would sleep is noted, and another thread sleeps there.
#[cfg(feature = "tokio")]
mod noted {
    use std::cell::Cell;
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use super::sleep;

    thread_local! {
        /// None: threads sleep as they should.
        static NOTE: Cell<Option<Note>> = const { Cell::new(None) };
    }

    #[derive(Clone, Copy)]
    enum Note {
        Nothing,
        Place(*const AtomicU32, u32),
    }

    /// A word on which an operation would have slept, and what it was.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Place(&'static AtomicU32, u32);

    impl Place {
        /// Sleeps there.
        pub(crate) fn sleep(self, time: Duration) {
            sleep(self.0, self.1, time);
        }
    }

    /// Has an operation return at once where it would sleep, as if its time were over. Where that
    /// was the last time.
    ///
    /// The operation is one on a resource: its words lie in a segment, which is never unmapped.
    pub(crate) fn instead_of_sleeping<T>(operation: impl FnOnce() -> T) -> (T, Option<Place>) {
        /// Also after a panic, which a runtime catches.
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                NOTE.set(None);
            }
        }
        NOTE.set(Some(Note::Nothing));
        let reset = Reset;
        let result = operation();
        let note = NOTE.get();
        drop(reset);
        let place = match note {
            Some(Note::Place(word, seen)) => {
                // SAFETY: a word of a segment, which lives as long as the process.
                Some(Place(unsafe { &*word }, seen))
            }
            Some(Note::Nothing) | None => None,
        };
        (result, place)
    }

    pub(super) fn is_noted(word: &AtomicU32, seen: u32) -> bool {
        let is_asked = NOTE.get().is_some();
        if is_asked {
            NOTE.set(Some(Note::Place(word, seen)));
        }
        is_asked
    }
}
