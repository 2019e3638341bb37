//! Words in memory that threads and processes share.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use workers::shared::Region;

/// Bytes of one word with its cache lines: what two sides write lies apart.
const APART: usize = 128;

/// Shared memory: some words, each on cache lines of its own, and bytes behind them.
#[derive(Debug)]
pub(crate) struct Shared {
    region: Region,
    words: usize,
}

impl Shared {
    /// With so many words and bytes, all 0. It stays mapped as long as this process lives.
    pub(crate) fn create(words: usize, bytes: usize) -> Result<Self, String> {
        let region = Region::create(words * APART + bytes.max(1)).map_err(in_words)?;
        Ok(Self { region, words })
    }

    /// That of another process.
    pub(crate) fn open(fd: OwnedFd, words: usize) -> Result<Self, String> {
        Ok(Self { region: Region::open(fd).map_err(in_words)?, words })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.region.fd()
    }

    /// One of its words.
    pub(crate) fn word(&self, index: usize) -> &AtomicU32 {
        assert!(index < self.words, "a word that there is");
        // SAFETY: safe code has no atomics in memory of other processes. The region is that long,
        // aligned to a page and mapped for the rest of the process's life; any bits are a number,
        // and all that know of the word use it as an atomic.
        unsafe { AtomicU32::from_ptr(self.region.as_ptr().add(index * APART).cast()) }
    }

    /// Copies bytes into it, behind the words.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), String> {
        self.region.write(self.words * APART + offset, bytes).map_err(in_words)
    }

    /// Copies bytes out of it.
    pub(crate) fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), String> {
        self.region.read(self.words * APART + offset, bytes).map_err(in_words)
    }
}

/// Sets a word, and wakes one that waits for it.
pub(crate) fn give(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
    // SAFETY: the kernel looks at the address of a word that lives; it writes nothing.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

/// Sleeps until the word has this value; false when the limit has passed.
pub(crate) fn await_value(word: &AtomicU32, value: u32, limit: Duration) -> bool {
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    loop {
        let now = word.load(Ordering::Acquire);
        if now == value {
            return true;
        }
        // SAFETY: the word lives, and so does the time during the call; the kernel reads both.
        let slept = unsafe {
            libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, now, &raw const time)
        };
        if slept != 0 && nix::errno::Errno::last() == nix::errno::Errno::ETIMEDOUT {
            return word.load(Ordering::Acquire) == value;
        }
    }
}

/// Spins until the word has this value; false when the other side is gone for seconds.
pub(crate) fn spin_until(word: &AtomicU32, value: u32) -> bool {
    let mut spins: u64 = 0;
    while word.load(Ordering::Acquire) != value {
        std::hint::spin_loop();
        spins += 1;
        if spins > 4_000_000_000 {
            return false;
        }
    }
    true
}

/// An error of the SDK's shared memory, in words.
pub(crate) fn in_words(error: workers::shared::Error) -> String {
    error.to_string()
}
