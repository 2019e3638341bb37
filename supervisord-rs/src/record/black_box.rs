//! The black box: the supervisor's own board, in a file that survives it.
//!
//! Page 0 is the header; then a page for each worker: its board in the lower half (live, for threads of the supervisor),
//! a [`Note`] for its successor in the upper half. Everything is an atomic store into mapped memory: no system call, and
//! a SIGKILL at any instant leaves each word either old or new. `post_mortem` reads it.
#![expect(unsafe_code, reason = "two layouts share a mapped page")]

use std::fs::OpenOptions;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use supervision::Phase;
use workers::board::{Board, SIZE, monotonic_ns};
use workers::mapping::Mapping;

/// Name of the file in the runtime directory.
pub const FILE: &str = "blackbox";
/// First word: `SVBLBOX` and the version of the layout.
pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"SVBLBOX\x01");
/// Where a worker's note begins in its page.
pub(super) const NOTE: usize = SIZE / 2;
/// Failures that a successor hears of.
pub(super) const FAILURES: usize = 16;
/// Most workers.
const WORKERS_MAX: usize = 16 * 1024;

/// Page 0.
#[repr(C, align(64))]
pub(super) struct Header {
    pub(super) magic: AtomicU64,
    /// A hash of the boot id: monotonic times mean nothing after a reboot.
    pub(super) boot: AtomicU64,
    pub(super) pid: AtomicI32,
    pub(super) workers: AtomicU32,
    /// Not 0 after an orderly end.
    pub(super) is_clean: AtomicU32,
    /// The supervisor's own last words; stored last. 0: none.
    pub(super) signal: AtomicI32,
    pub(super) started_at: AtomicU64,
    pub(super) last_incident: AtomicU64,
    pub(super) code: AtomicI32,
    pub(super) tid: AtomicI32,
    pub(super) address: AtomicU64,
    pub(super) died_at: AtomicU64,
}

/// What a successor needs to know of a worker, beside its board.
#[repr(C, align(64))]
pub struct Note {
    pub(super) name_length: AtomicU32,
    pub(super) phase: AtomicU32,
    pub(super) name: [AtomicU64; 8],
    pub(super) generation: AtomicU64,
    pub(super) restarts: AtomicU64,
    pub(super) attempt: AtomicU32,
    pub(super) pid: AtomicI32,
    pub(super) is_stopped: AtomicU32,
    pub(super) fault: AtomicU32,
    pub(super) fault_parameter: AtomicU64,
    pub(super) fault_ordered_at: AtomicU64,
    pub(super) failures: [AtomicU64; FAILURES],
    /// Copied from the worker's own board by the handler of a fatal signal.
    pub(super) progress: AtomicU64,
    pub(super) in_flight: AtomicU64,
}

const _: () =
    assert!(size_of::<Board>() <= NOTE && size_of::<Note>() <= SIZE - NOTE && size_of::<Header>() <= SIZE);

impl Note {
    /// Before a launch: the generation, and that nothing has been ordered for it.
    pub fn set_generation(&self, generation: u64) {
        self.fault.store(0, Ordering::Relaxed);
        self.progress.store(0, Ordering::Relaxed);
        self.in_flight.store(0, Ordering::Relaxed);
        self.generation.store(generation, Ordering::Release);
    }

    /// Its process; 0 for none.
    pub fn set_pid(&self, pid: i32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Where it is in its life.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(code(phase), Ordering::Release);
    }

    /// Whether a person stopped it.
    pub fn set_stopped(&self, stopped: bool) {
        self.is_stopped.store(u32::from(stopped), Ordering::Relaxed);
    }

    /// Launches after the first.
    pub fn set_restarts(&self, restarts: u64) {
        self.restarts.store(restarts, Ordering::Relaxed);
    }

    /// Attempts since it was last stable.
    pub fn set_attempt(&self, attempt: u32) {
        self.attempt.store(attempt, Ordering::Relaxed);
    }

    /// When its recent failures were, in monotonic nanoseconds, oldest first; the newest 16 are kept.
    pub fn set_failures(&self, failures: impl DoubleEndedIterator<Item = u64>) {
        let mut newest = failures.rev();
        for slot in &self.failures {
            slot.store(newest.next().unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// The fault just ordered, and when.
    pub fn set_fault_ordered(&self, code: u32, parameter: u64, at: u64) {
        self.fault_parameter.store(parameter, Ordering::Relaxed);
        self.fault_ordered_at.store(at, Ordering::Relaxed);
        self.fault.store(code, Ordering::Release);
    }
}

/// Phases as stored: stable numbers.
const PHASES: [Phase; 9] = [
    Phase::Idle,
    Phase::Launching,
    Phase::Starting,
    Phase::Running,
    Phase::Stopping,
    Phase::Killing,
    Phase::Backoff,
    Phase::Quarantined,
    Phase::Finished,
];

fn code(phase: Phase) -> u32 {
    PHASES.iter().position(|known| *known == phase).and_then(|index| u32::try_from(index).ok()).unwrap_or(0)
}

/// The phase with this number.
pub(super) fn phase(code: u32) -> Option<Phase> {
    PHASES.get(usize::try_from(code).ok()?).copied()
}

/// The black box of this supervisor.
pub struct BlackBox {
    mapping: Arc<Mapping>,
    /// Workers that it has pages for.
    capacity: usize,
}

/// What the handler of a fatal signal copies: from a worker's own board to its note. Set while the worker lives.
static MIRRORED: [AtomicPtr<Board>; WORKERS_MAX] = [const { AtomicPtr::new(ptr::null_mut()) }; WORKERS_MAX];
/// Page 0 of the black box, for the handler.
static PAGES: AtomicPtr<Header> = AtomicPtr::new(ptr::null_mut());

impl BlackBox {
    /// Creates the file anew, with pages for `spare` workers more: whole under another name, then renamed, so that a predecessor's file is never truncated
    /// under whoever maps it. It lives until the process ends: the handler of fatal signals writes to it.
    ///
    /// # Errors
    /// What open(2), posix_fallocate(3), mmap(2) or rename(2) say; ENOSPC when the directory is full.
    pub fn create(runtime_dir: &Path, workers: &[&str], spare: usize) -> io::Result<Self> {
        if workers.len() + spare > WORKERS_MAX {
            return Err(io::Error::other(format!("more than {WORKERS_MAX} workers")));
        }
        let hidden = runtime_dir.join("blackbox.new");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&hidden)?;
        let mapping = Mapping::file(file, NonZeroUsize::MIN.saturating_add(workers.len() + spare))?;
        let black_box = Self { mapping: Arc::new(mapping), capacity: workers.len() + spare };
        for (index, name) in workers.iter().enumerate() {
            store_name(black_box.note(index), name);
        }
        let header = black_box.header();
        header.boot.store(boot(), Ordering::Relaxed);
        header.pid.store(nix::unistd::getpid().as_raw(), Ordering::Relaxed);
        header.workers.store(u32::try_from(workers.len()).unwrap_or(0), Ordering::Relaxed);
        header.started_at.store(monotonic_ns(), Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::SeqCst);
        std::fs::rename(&hidden, runtime_dir.join(FILE))?;
        PAGES.store(ptr::from_ref(header).cast_mut(), Ordering::Release);
        // Never unmapped: the handler may run at any time until the process is gone.
        std::mem::forget(Arc::clone(&black_box.mapping));
        Ok(black_box)
    }

    /// The memory, for the boards of the supervisor's own threads.
    #[must_use]
    pub fn mapping(&self) -> Arc<Mapping> {
        Arc::clone(&self.mapping)
    }

    /// The page of a worker.
    #[must_use]
    pub const fn page(&self, worker: usize) -> usize {
        worker + 1
    }

    /// The note of a worker.
    #[must_use]
    pub fn note(&self, worker: usize) -> &Note {
        let page = ptr::from_ref(self.mapping.nth(self.page(worker)));
        // SAFETY: needed because a mapped page has no type. The page is SIZE bytes long, NOTE is half of that and a
        // multiple of the note's alignment, every bit pattern is valid for atomics, and the board ends before NOTE.
        unsafe { &*page.byte_add(NOTE).cast::<Note>() }
    }

    /// How many more workers it has pages for, beside so many.
    #[must_use]
    pub const fn room(&self, workers: usize) -> usize {
        self.capacity.saturating_sub(workers)
    }

    /// One more worker, at the end.
    pub fn add(&self, worker: usize, name: &str) {
        if worker < self.capacity {
            store_name(self.note(worker), name);
            let count = u32::try_from(worker + 1).unwrap_or(u32::MAX);
            self.header().workers.store(count, Ordering::Relaxed);
        }
    }

    /// Goes on counting a worker's progress where its predecessor's ended.
    pub fn carry_progress(&self, worker: usize, progress: u64) {
        self.mapping.nth(self.page(worker)).progress.store(progress, Ordering::Relaxed);
    }

    /// The number of the last incident.
    pub fn set_last_incident(&self, id: u64) {
        self.header().last_incident.store(id, Ordering::Relaxed);
    }

    /// Says that the end is an orderly one.
    pub fn mark_clean(&self) {
        self.header().is_clean.store(1, Ordering::SeqCst);
    }

    /// Has the board of a worker in another process copied when the supervisor dies; `None`: no longer. The caller
    /// keeps the board mapped until then.
    pub fn mirror(&self, worker: usize, board: Option<&Board>) {
        let board = board.map_or(ptr::null_mut(), |board| ptr::from_ref(board).cast_mut());
        MIRRORED[worker].store(board, Ordering::Release);
    }

    /// What the handler of a fatal signal does: the supervisor's own last words, and a copy of what its process workers
    /// had done. Async-signal-safe: loads and stores of mapped memory, clock_gettime.
    pub fn on_fatal(signal: i32, code: i32, address: u64, tid: i32) {
        let header = PAGES.load(Ordering::Acquire);
        if header.is_null() {
            return;
        }
        // SAFETY: set by `create` to a mapping that is never unmapped.
        let header_ref = unsafe { &*header };
        if header_ref.signal.load(Ordering::Acquire) != 0 {
            return;
        }
        let workers = header_ref.workers.load(Ordering::Relaxed) as usize;
        for (index, mirrored) in MIRRORED.iter().enumerate().take(workers) {
            // SAFETY: boards stay mapped while they are mirrored; the page of this worker lies `index + 1` pages behind
            // the header, within the mapping.
            unsafe {
                let Some(board) = mirrored.load(Ordering::Acquire).as_ref() else { continue };
                let note = &*header.byte_add((index + 1) * SIZE + NOTE).cast::<Note>();
                note.progress.store(board.progress.load(Ordering::Relaxed), Ordering::Relaxed);
                note.in_flight.store(board.in_flight.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        header_ref.code.store(code, Ordering::Relaxed);
        header_ref.address.store(address, Ordering::Relaxed);
        header_ref.tid.store(tid, Ordering::Relaxed);
        header_ref.died_at.store(monotonic_ns(), Ordering::Relaxed);
        header_ref.signal.store(signal, Ordering::Release);
    }

    fn header(&self) -> &Header {
        let page = ptr::from_ref(self.mapping.nth(0));
        // SAFETY: as in `note`; page 0 is used as a header only.
        unsafe { &*page.cast::<Header>() }
    }
}

impl std::fmt::Debug for BlackBox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BlackBox").field("mapping", &self.mapping).finish()
    }
}

fn store_name(note: &Note, name: &str) {
    let bytes = name.as_bytes();
    let cut = bytes.len().min(note.name.len() * 8);
    for (word, part) in note.name.iter().zip(bytes[..cut].chunks(8)) {
        let mut padded = [0; 8];
        padded[..part.len()].copy_from_slice(part);
        word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
    }
    note.name_length.store(u32::try_from(cut).unwrap_or(0), Ordering::Relaxed);
}

/// A number for this boot of the machine; 0 where the kernel does not tell.
pub(super) fn boot() -> u64 {
    use std::hash::Hasher;
    let Ok(id) = std::fs::read("/proc/sys/kernel/random/boot_id") else { return 0 };
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(&id);
    hasher.finish() | 1
}
