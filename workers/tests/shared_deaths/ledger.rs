//! What the processes have done, in memory that outlives them: no part of what is tested.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// How many processes run at a time.
pub(crate) const CHILDREN: usize = 10;
/// The most messages in a round; then senders only look on.
const NUMBERS: usize = 2 << 20;

#[repr(C)]
struct Page {
    is_stopping: AtomicU32,
    next: AtomicU64,
    /// The number of the message that each process has in work, and 1; or 0.
    current: [AtomicU64; CHILDREN],
    sent: [AtomicU8; NUMBERS],
    deliveries: [AtomicU8; NUMBERS],
    done: [AtomicU8; NUMBERS],
}

/// Shared with all children.
pub(crate) struct Ledger(&'static Page);

impl Ledger {
    pub(crate) fn new() -> Self {
        let length = NonZeroUsize::new(size_of::<Page>()).expect("not empty");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, of zeros, which are valid atomics; it is never unmapped.
        let page = unsafe {
            mmap_anonymous(None, length, access, MapFlags::MAP_SHARED)
                .expect("memory")
                .cast::<Page>()
                .as_ref()
        };
        Self(page)
    }

    pub(crate) fn order_stop(&self) {
        self.0.is_stopping.store(1, Ordering::SeqCst);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Ordering::SeqCst) != 0
    }

    /// A number for a message, unless there are enough.
    pub(crate) fn next(&self) -> Option<u64> {
        let number = self.0.next.fetch_add(1, Ordering::SeqCst);
        (number < NUMBERS as u64).then_some(number)
    }

    pub(crate) fn numbers(&self) -> u64 {
        self.0.next.load(Ordering::SeqCst).min(NUMBERS as u64)
    }

    /// The queue has said that it has the message.
    pub(crate) fn send(&self, number: u64) {
        self.0.sent[number as usize].store(1, Ordering::SeqCst);
    }

    pub(crate) fn was_sent(&self, number: u64) -> bool {
        self.0.sent[number as usize].load(Ordering::SeqCst) != 0
    }

    /// This process has the message in work.
    pub(crate) fn begin(&self, place: usize, number: u64) {
        self.0.current[place].store(number + 1, Ordering::SeqCst);
        self.deliver(number);
    }

    pub(crate) fn deliver(&self, number: u64) {
        let is_done = self.0.done[number as usize].load(Ordering::SeqCst);
        assert_eq!(is_done, 0, "message {number} is taken after it was acknowledged");
        self.0.deliveries[number as usize].fetch_add(1, Ordering::SeqCst);
    }

    /// It has acknowledged it.
    pub(crate) fn end(&self, place: usize, number: u64) {
        self.0.done[number as usize].store(1, Ordering::SeqCst);
        self.0.current[place].store(0, Ordering::SeqCst);
    }

    pub(crate) fn take_current(&self, place: usize) -> Option<u64> {
        self.0.current[place].swap(0, Ordering::SeqCst).checked_sub(1)
    }

    pub(crate) fn deliveries(&self, number: u64) -> u8 {
        self.0.deliveries[number as usize].load(Ordering::SeqCst)
    }
}
