//! The board: one page of shared memory per worker, through which it shows its progress and gets
//! its orders.
//!
//! The layout is fixed and versioned, every field is atomic, and a process maps its own page only.
//! It outlives its worker. To the supervisor it is hostile input: [`Board::read`] validates every
//! value that it hands out. Times are nanoseconds of `CLOCK_MONOTONIC`, which all processes of a
//! machine share.

use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

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

/// The state of the worker, as far as the host knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// No incarnation has used this board yet.
    Empty = 0,
    /// The host has begun to run the worker.
    Launched = 1,
    /// The worker has reported that it is ready.
    Ready = 2,
    /// It returned `Ok`.
    Returned = 3,
    /// It returned an error; the text says which.
    Failed = 4,
    /// It panicked, and the panic was contained; the text is the message.
    Panicked = 5,
    /// The host does not know this worker, or could not read its `args`; the text says what.
    Unregistered = 6,
    /// The host could not create the thread.
    NotStarted = 7,
}

/// An order of the supervisor. Stored in [`Board::order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Order {
    /// Run on.
    Run = 0,
    /// Stop soon.
    Stop = 1,
}

/// The kind of last words on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LastWords {
    /// None.
    None = 0,
    /// A panic (first of all: a panic that aborts).
    Panic = 1,
    /// A panic while panicking, or one that cannot unwind.
    PanicNoUnwind = 2,
    /// A fatal signal; signal, code and address are set.
    Signal = 3,
    /// A fatal signal whose address lies at the end of the thread's stack.
    StackOverflow = 4,
    /// Its heartbeat stopped and its domain was ended because of it.
    Hang = 5,
    /// It called exit(3), which ends its domain.
    Exit = 6,
}

/// The page itself. Create it with [`Mapping`](crate::mapping::Mapping); a zeroed page is a valid,
/// empty board.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Board {
    magic: AtomicU64,
    name_length: AtomicU32,
    _reserved: AtomicU32,
    name: [AtomicU64; NAME_MAX / 8],
    /// The generation that uses this board, and its [`State`] in the lowest byte: one word, so that
    /// an abandoned thread cannot change the state of its successor between a load and a store.
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
    _unused: AtomicU32,
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
    _padding: AtomicU32,
    text: [AtomicU64; TEXT_MAX / 8],

    /// The last [`Sign`] of each thread that has its own context; 0: none.
    threads: [AtomicU64; THREADS_MAX],
}

/// A thread's last sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// When.
    pub at: u64,
    /// Whether it has waited inside the SDK since then, where it answers the supervisor.
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

/// The state takes the lowest byte of [`Board::life`].
const STATE_BITS: u32 = 8;

const _: () = assert!(size_of::<Board>() <= SIZE);

const fn life(generation: u64, state: State) -> u64 {
    generation << STATE_BITS | state as u64
}

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
    /// Starts a new incarnation: clears all but progress, then writes its identity. The caller is
    /// the only writer.
    pub fn begin(&self, name: &str, generation: u64) {
        // First: from here on no store of a predecessor counts.
        self.life.store(life(generation, State::Empty), Ordering::SeqCst);
        self.threads.iter().for_each(|sign| sign.store(0, Ordering::SeqCst));
        for word in
            [&self.breadcrumb, &self.order, &self.fault, &self.last_words, &self.text_length]
        {
            word.store(0, Ordering::Relaxed);
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
        self.life.load(Ordering::Acquire) >> STATE_BITS
    }

    /// Stores the state of this generation. Returns false, and changes nothing, when the board
    /// belongs to another one.
    pub fn set_state(&self, generation: u64, state: State) -> bool {
        let next = |now: u64| (now >> STATE_BITS == generation).then_some(life(generation, state));
        self.life.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok()
    }

    /// Counts units of work as done. Never takes the count below zero, which may be a successor's.
    pub fn end_units(&self, units: u64) {
        let next = |begun: u64| Some(begun.saturating_sub(units));
        let _ = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
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

    /// Writes text for people; at most [`TEXT_MAX`] bytes of it. Async-signal-safe.
    pub fn write_text(&self, text: &[u8]) {
        store_text(&self.text, &self.text_length, text);
    }

    /// Writes last words unless there are some already: the first are the cause, later ones its
    /// consequence. Async-signal-safe.
    pub fn write_last_words(
        &self,
        kind: LastWords,
        signal: i32,
        code: i32,
        address: u64,
        tid: i32,
    ) {
        if self.last_words.load(Ordering::Acquire) != LastWords::None as u32 {
            return;
        }
        self.signal.store(signal, Ordering::Relaxed);
        self.code.store(code, Ordering::Relaxed);
        self.address.store(address, Ordering::Relaxed);
        self.signal_tid.store(tid, Ordering::Relaxed);
        self.last_words_at.store(monotonic_ns(), Ordering::Relaxed);
        self.last_words.store(kind as u32, Ordering::Release);
    }

    /// Reads everything, validated: whatever a hostile worker wrote, the result is well-formed.
    /// `None` when this is no board of our version.
    #[must_use]
    pub fn read(&self) -> Option<Reading> {
        if !self.is_known() {
            return None;
        }
        let last_words = match self.last_words.load(Ordering::Acquire) {
            1 => LastWords::Panic,
            2 => LastWords::PanicNoUnwind,
            3 => LastWords::Signal,
            4 => LastWords::StackOverflow,
            5 => LastWords::Hang,
            6 => LastWords::Exit,
            _ => LastWords::None,
        };
        let life = self.life.load(Ordering::Acquire);
        let state = match life & ((1 << STATE_BITS) - 1) {
            0 => State::Empty,
            1 => State::Launched,
            2 => State::Ready,
            3 => State::Returned,
            4 => State::Failed,
            5 => State::Panicked,
            6 => State::Unregistered,
            7 => State::NotStarted,
            _ => return None,
        };
        let [heartbeat_at, fault_at, last_words_at] =
            [&self.heartbeat_at, &self.fault_at, &self.last_words_at]
                .map(|time| time.load(Ordering::Acquire));
        let signs: Vec<Sign> = self
            .threads
            .iter()
            .map(|word| word.load(Ordering::Acquire))
            .filter(|word| *word != 0)
            .map(Sign::decode)
            .collect();
        // After all that is judged by it: a worker writes while it is read, and a sign that is
        // younger than this clock would look like one from the future, which is invalid.
        let now = monotonic_ns();
        let past = |at: u64| Some(at).filter(|&at| at != 0 && at <= now);
        let oldest = |is_waiting| {
            let signs = signs.iter().filter(|sign| sign.is_waiting == is_waiting);
            signs.map(|sign| past(sign.at).unwrap_or(0)).min()
        };
        Some(Reading {
            name: load_text(&self.name, &self.name_length),
            state,
            generation: life >> STATE_BITS,
            pid: self.pid.load(Ordering::Relaxed),
            tid: self.tid.load(Ordering::Relaxed),
            heartbeats: self.heartbeats.load(Ordering::Relaxed),
            heartbeat_at: past(heartbeat_at),
            progress: self.progress.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            working: oldest(false),
            waiting: oldest(true),
            breadcrumb: self.breadcrumb.load(Ordering::Relaxed),
            fault_pending: self.fault.load(Ordering::Relaxed) != 0,
            fault_at: past(fault_at),
            last_words,
            signal: self.signal.load(Ordering::Relaxed),
            code: self.code.load(Ordering::Relaxed),
            address: self.address.load(Ordering::Relaxed),
            signal_tid: self.signal_tid.load(Ordering::Relaxed),
            last_words_at: past(last_words_at),
            text: load_text(&self.text, &self.text_length),
        })
    }
}

/// A validated copy of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Who.
    pub name: String,
    /// See [`State`].
    pub state: State,
    /// Which run.
    pub generation: u64,
    /// As the worker claims.
    pub pid: i32,
    /// As the worker claims.
    pub tid: i32,
    /// Signs of life.
    pub heartbeats: u64,
    /// The last of them; `None` when it claims to be in the future.
    pub heartbeat_at: Option<u64>,
    /// Units of work done.
    pub progress: u64,
    /// Units of work begun and not done.
    pub in_flight: u64,
    /// The oldest last sign of life among its threads that work; `None`: there is none.
    pub working: Option<u64>,
    /// The same among those that wait inside the SDK.
    pub waiting: Option<u64>,
    /// The last operation begun.
    pub breadcrumb: u32,
    /// Whether an injection was ordered and not begun.
    pub fault_pending: bool,
    /// When it was about to commit an injected fault.
    pub fault_at: Option<u64>,
    /// See [`LastWords`].
    pub last_words: LastWords,
    /// The fatal signal.
    pub signal: i32,
    /// Its `si_code`.
    pub code: i32,
    /// Its `si_addr`.
    pub address: u64,
    /// The thread that it hit.
    pub signal_tid: i32,
    /// When.
    pub last_words_at: Option<u64>,
    /// A panic message or an error.
    pub text: String,
}

fn store_text(words: &[AtomicU64], length: &AtomicU32, text: &[u8]) {
    let cut = text.len().min(words.len() * 8);
    for (word, bytes) in words.iter().zip(text[..cut].chunks(8)) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
    }
    length.store(u32::try_from(cut).unwrap_or(0), Ordering::Release);
}

fn load_text(words: &[AtomicU64], length: &AtomicU32) -> String {
    let length = (length.load(Ordering::Acquire) as usize).min(words.len() * 8);
    let bytes: Vec<u8> =
        words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}
