//! The board: one page of shared memory per worker, through which it shows its progress and gets
//! its orders.
//!
//! The layout is fixed and versioned, every field is atomic, and a process maps its own page only.
//! It outlives its worker. To the supervisor it is hostile input: [`Board::read`] validates every
//! value that it hands out. Times are nanoseconds of `CLOCK_MONOTONIC`, which all processes of a
//! machine share.

mod count;
mod life;
mod reading;
mod talk;
mod words;

use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use crate::runtime::handlers::Changed;
pub use life::State;
use life::{advanced, generation_of, life};
pub use reading::{Reading, Silent};
pub use talk::{STATUS_MAX, Talk};
pub use words::LastWords;

/// Size of a board: one page.
pub const SIZE: usize = 4096;
/// First word of a board: `SVBOARD` and the version of the layout.
pub const MAGIC: u64 = u64::from_be_bytes(*b"SVBOARD\x02");
/// Longest name on a board, in bytes; longer ones are cut.
pub const NAME_MAX: usize = 64;
/// Threads of one worker that the supervisor watches separately; it does not watch further ones.
pub const THREADS_MAX: usize = 128;
/// Longest text of last words, in bytes; longer ones are cut.
pub const TEXT_MAX: usize = 512;

/// An order of the supervisor. Stored in [`Board::order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Order {
    /// Run on.
    Run = 0,
    /// Stop soon.
    Stop = 1,
}

/// The page itself. Create it with [`Mapping`](crate::runtime::mapping::Mapping); a zeroed page is
/// a valid, empty board.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Board {
    magic: AtomicU64,
    name_length: AtomicU32,
    /// How many threads its worker has, and has left behind: see `board/count.rs`.
    count: AtomicU32,
    name: [AtomicU64; NAME_MAX / 8],
    /// The generation that uses this board, and its [`State`]: see `board/life.rs`.
    life: AtomicU64,
    /// The process it runs in.
    pub pid: AtomicI32,
    /// The thread it runs on.
    pub tid: AtomicI32,

    /// Counts the signs of life.
    pub heartbeats: AtomicU64,
    /// The time of the last sign of life.
    pub heartbeat_at: AtomicU64,
    /// Units of work done. Counts up over all generations.
    pub progress: AtomicU64,
    /// Units of work begun and not done.
    pub in_flight: AtomicU64,
    /// Signals of which the worker's process has changed what they do, as bits from the lowest.
    changed_signals: AtomicU32,
    /// The last operation begun (a [`crate::fault::Fault`]'s code + [`BREADCRUMB_FAULT`], or the
    /// worker's own number).
    pub breadcrumb: AtomicU32,

    /// An [`Order`].
    pub order: AtomicU32,
    /// The code of a fault to commit at the next checkpoint, 0 for none. Consumed by
    /// compare-exchange.
    pub fault: AtomicU32,
    /// Its parameter; stored before `fault`.
    pub fault_parameter: AtomicU64,
    /// When the worker was about to commit it.
    pub fault_at: AtomicU64,

    /// A [`LastWords`], stored last: the fields after it are valid when it is not 0.
    pub last_words: AtomicU32,
    /// The signal.
    pub signal: AtomicI32,
    /// Its `si_code`.
    pub code: AtomicI32,
    /// The thread that it hit.
    pub signal_tid: AtomicI32,
    /// Its `si_addr`.
    pub address: AtomicU64,
    /// When.
    pub last_words_at: AtomicU64,
    text_length: AtomicU32,
    /// Of which run the thread is that left these last words, if another has the board or that run
    /// is over: see `board/words.rs`.
    left_by: AtomicU32,
    text: [AtomicU64; TEXT_MAX / 8],

    /// The last [`Sign`] of each thread that has its own context, first of the one that runs the
    /// worker; 0: none.
    threads: [AtomicU64; THREADS_MAX],

    /// Units of work that failed or were dropped while their worker went on. Counts up over all
    /// generations.
    pub failed: AtomicU64,

    /// What the two tell each other besides.
    pub talk: Talk,
}

/// A thread's last sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// When.
    pub at: u64,
    /// Whether it answers the supervisor when it is asked: it waits inside the SDK since then, or a
    /// loop of its own watches the descriptor.
    pub is_waiting: bool,
}

impl Sign {
    /// As one word; never 0.
    #[must_use]
    pub const fn encode(self) -> u64 {
        self.at << 1 | self.is_waiting as u64
    }

    const fn decode(word: u64) -> Self {
        Self { at: word >> 1, is_waiting: word & 1 != 0 }
    }
}

/// Added to the code of a fault in [`Board::breadcrumb`] just before it is committed.
pub const BREADCRUMB_FAULT: u32 = 0x8000_0000;

const _: () = assert!(size_of::<Board>() <= SIZE);

/// Now, in nanoseconds of `CLOCK_MONOTONIC`. Async-signal-safe (clock_gettime(2) is on the list of
/// signal-safety(7)).
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: needed because std's Instant does not show its value. `now` is a valid timespec that
    // outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

impl Board {
    /// Starts a new incarnation: clears all but progress and the count of threads, then writes its
    /// identity. The caller is the only writer.
    pub fn begin(&self, name: &str, generation: u64) {
        // First: from here on no store of a predecessor counts.
        self.life.store(life(generation, State::Empty), Ordering::SeqCst);
        self.count_from(generation);
        self.threads.iter().for_each(|sign| sign.store(0, Ordering::SeqCst));
        self.talk.clear();
        for word in [
            &self.breadcrumb,
            &self.order,
            &self.fault,
            &self.last_words,
            &self.text_length,
            &self.left_by,
            &self.changed_signals,
        ] {
            // After the generation, for all to see: see `is_still_of`.
            word.store(0, Ordering::SeqCst);
        }
        for word in [
            &self.in_flight,
            &self.fault_parameter,
            &self.fault_at,
            &self.address,
            &self.last_words_at,
        ] {
            word.store(0, Ordering::Relaxed);
        }
        for word in [&self.pid, &self.tid, &self.signal, &self.code, &self.signal_tid] {
            word.store(0, Ordering::Relaxed);
        }
        self.heartbeat_at.store(monotonic_ns(), Ordering::Relaxed);
        store_text(&self.name, &self.name_length, name.as_bytes());
        self.magic.store(MAGIC, Ordering::SeqCst);
    }

    /// Whether it is a board of this version.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.magic.load(Ordering::Acquire) == MAGIC
    }

    /// The generation that uses this board.
    #[must_use]
    pub fn generation(&self) -> u64 {
        generation_of(self.life.load(Ordering::Acquire))
    }

    /// Stores how far this generation has come. Returns false, and changes nothing, when the board
    /// belongs to another one, or this one has come as far already: the first end is the end.
    pub fn set_state(&self, generation: u64, state: State) -> bool {
        let next = |now: u64| advanced(now, generation, state);
        self.life.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok()
    }

    /// Says that what these signals do was changed in the worker's process, and put back. False:
    /// that is no news.
    pub(crate) fn note_changed_signals(&self, Changed(signals): Changed) -> bool {
        let before = self.changed_signals.fetch_or(signals, Ordering::AcqRel);
        before | signals != before
    }

    /// Takes units of work out of flight. Never takes the count below zero, which may be a
    /// successor's.
    pub fn end_units(&self, units: u64) {
        let next = |begun: u64| Some(begun.saturating_sub(units));
        let _ = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Units that were counted as failed are lost with their worker: they are in flight at its end.
    pub(crate) fn lose_units(&self, units: u64) {
        let next = |failed: u64| Some(failed.saturating_sub(units));
        let _ = self.failed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        add(&self.in_flight, units);
    }

    /// Replaces the last sign of a thread. False: that sign is not there.
    pub(crate) fn replace_sign(&self, index: usize, last: u64, next: u64) -> bool {
        self.threads[index]
            .compare_exchange(last, next, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// A sign of life: two stores and a look at the clock (vDSO), no system call.
    pub fn beat(&self) {
        self.heartbeats.fetch_add(1, Ordering::Relaxed);
        self.heartbeat_at.store(monotonic_ns(), Ordering::Release);
    }

    /// Orders the worker to stop. The caller also makes the incarnation's `wake` readable.
    pub fn order_stop(&self) {
        self.order.store(Order::Stop as u32, Ordering::Release);
    }

    /// Orders the worker to commit a fault at its next checkpoint; wake it as for
    /// [`order_stop`](Self::order_stop).
    pub fn order_fault(&self, code: u32, parameter: u64) {
        self.fault_parameter.store(parameter, Ordering::Relaxed);
        self.fault.store(code, Ordering::Release);
    }

    /// Takes the ordered fault, once: two checkpoints never commit the same order.
    #[must_use]
    pub fn take_fault(&self) -> Option<(u32, u64)> {
        let code = self.fault.load(Ordering::Acquire);
        let parameter = self.fault_parameter.load(Ordering::Relaxed);
        let taken = code != 0
            && self.fault.compare_exchange(code, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        taken.then_some((code, parameter))
    }

    /// Whether the worker has an order to stop.
    #[must_use]
    pub fn stop_requested(&self) -> bool {
        self.order.load(Ordering::Acquire) == Order::Stop as u32
    }

    fn is_of(&self, generation: u64) -> bool {
        generation_of(self.life.load(Ordering::SeqCst)) == generation
    }

    /// Takes back what was written where a successor has begun meanwhile. Checked afterwards: a
    /// successor writes that it has begun before it clears the page.
    fn is_still_of(&self, generation: u64, take_back: impl FnOnce()) -> bool {
        let is_still_ours = self.is_of(generation);
        if !is_still_ours {
            take_back();
        }
        is_still_ours
    }
}

fn store_text(words: &[AtomicU64], length: &AtomicU32, text: &[u8]) {
    let cut = text.len().min(words.len() * 8);
    for (word, bytes) in words.iter().zip(text[..cut].chunks(8)) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
    }
    length.store(u32::try_from(cut).unwrap_or(0), Ordering::SeqCst);
}

/// Adds to a counter, which stays at its end instead of beginning again.
pub(crate) fn add(counter: &AtomicU64, units: u64) {
    let before = counter.fetch_add(units, Ordering::Relaxed);
    if before.checked_add(units).is_none() {
        counter.store(u64::MAX, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// Supervisors and workers of other releases map the same page: a change that moves a field
    /// gives [`MAGIC`] another version, by which a successor refuses to adopt it.
    #[test]
    fn the_layout_of_version_2_is_what_it_was() {
        assert_eq!(MAGIC.to_be_bytes(), *b"SVBOARD\x02");
        let offsets = [
            offset_of!(Board, magic),
            offset_of!(Board, name_length),
            offset_of!(Board, name),
            offset_of!(Board, life),
            offset_of!(Board, pid),
            offset_of!(Board, heartbeats),
            offset_of!(Board, progress),
            offset_of!(Board, breadcrumb),
            offset_of!(Board, order),
            offset_of!(Board, fault),
            offset_of!(Board, fault_parameter),
            offset_of!(Board, fault_at),
            offset_of!(Board, last_words),
            offset_of!(Board, address),
            offset_of!(Board, text_length),
            offset_of!(Board, text),
            offset_of!(Board, threads),
            offset_of!(Board, failed),
            offset_of!(Board, talk),
        ];
        let known = [
            0, 8, 16, 80, 88, 96, 112, 132, 136, 140, 144, 152, 160, 176, 192, 200, 712, 1736, 1744,
        ];
        assert_eq!(size_of::<Talk>(), 304, "another part comes after it");
        assert_eq!(offsets, known);
        let states = [State::Empty, State::Launched, State::Ready, State::Returned, State::Failed];
        assert_eq!(states.map(|state| life(1, state)), [256, 257, 258, 259, 260]);
    }
}
