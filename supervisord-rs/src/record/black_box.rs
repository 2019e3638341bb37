//! The black box: the supervisor's own board, in a file that survives it.
//!
//! Page 0 is the header; then a page for each worker: its board in the lower half (live, for
//! threads of the supervisor), a [`Note`] for its successor in the upper half. Everything is an
//! atomic store into mapped memory: no system call, and a SIGKILL at any instant leaves each word
//! either old or new. `post_mortem` reads it.
#![expect(unsafe_code, reason = "two layouts share a mapped page")]

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use nix::sys::memfd::{MFdFlags, memfd_create};
use supervision::Memo;
use workers::board::{Board, SIZE, monotonic_ns};
use workers::mapping::Mapping;

use super::memo::Words;
use super::post_mortem::PastCarried;
use super::stable_hash::stable_hash;

/// Name of the file in the runtime directory.
pub const FILE: &str = "blackbox";
/// Its name until it is complete.
const HIDDEN: &str = "blackbox.new";
/// First word: `SVBLBOX` and the version of the layout.
pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"SVBLBOX\x04");
/// Where a worker's note begins in its page.
pub(super) const NOTE: usize = SIZE / 2;
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
    /// Not 0: it gives way to another, which is no death.
    pub(super) gives_way: AtomicU32,
    /// Not 0: it was stopping everything.
    pub(super) is_stopping: AtomicU32,
    /// Which file its binary is, as a number.
    pub(super) binary: AtomicU64,
    /// Not 0: from now on it is this one that counts, and no longer the predecessor's.
    pub(super) is_published: AtomicU32,
    /// What the threads that carry output have in their own pipes: whose it is, and how far it has
    /// come.
    pub(super) carried: [Carried; CARRIERS + PAST_HANDS],
}

/// Threads that carry output at most.
pub const CARRIERS: usize = 32;
/// What predecessors had in their hands and nobody has written yet, at most.
const PAST_HANDS: usize = 32;

/// Bytes between a worker's pipe and its file, in a pipe that survives.
#[repr(C)]
pub struct Carried {
    /// Whose hands: the supervisor's pid and the number of the thread's hands; 0: nobody's.
    pub owner: AtomicU64,
    /// The stream, as a number; 0: none.
    pub stream: AtomicU64,
    /// How long its file was when a write to its end began, and how many bytes that writes; 0
    /// bytes: not begun.
    pub place: AtomicU64,
    /// See `place`; stored after the others.
    pub length: AtomicU64,
    /// How many bytes were in the hands then, and how many of them the write is for.
    pub held: AtomicU64,
    /// See `held`.
    pub covered: AtomicU64,
    /// Not 0: what is written is not those bytes, but the text that was made of them, which is kept
    /// too.
    pub is_text: AtomicU64,
}

impl Carried {
    /// From now on a successor knows that this write may have been done, wholly or in part.
    pub fn begin(&self, begun: Begun) {
        // A death in between leaves none, or the whole of this one.
        self.length.store(0, Ordering::SeqCst);
        self.place.store(begun.place, Ordering::Relaxed);
        self.held.store(begun.held, Ordering::Relaxed);
        self.covered.store(begun.covered, Ordering::Relaxed);
        self.is_text.store(begun.is_text.into(), Ordering::Relaxed);
        self.length.store(begun.length, Ordering::SeqCst);
    }

    /// The write that has begun, if any has.
    #[must_use]
    pub fn begun(&self) -> Option<Begun> {
        let length = self.length.load(Ordering::SeqCst);
        (length > 0).then(|| Begun {
            place: self.place.load(Ordering::Relaxed),
            length,
            held: self.held.load(Ordering::Relaxed),
            covered: self.covered.load(Ordering::Relaxed),
            is_text: self.is_text.load(Ordering::Relaxed) != 0,
        })
    }
}

/// A write of carried output that was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// How long the file was.
    pub place: u64,
    /// Bytes that are written.
    pub length: u64,
    /// Bytes in the hands when it began.
    pub held: u64,
    /// How many of them it is for: they are dropped as soon as it is done.
    pub covered: u64,
    /// Whether it writes a text that was made of them.
    pub is_text: bool,
}

/// The part of the black box that belongs to the threads that carry output.
#[derive(Clone, Debug)]
pub struct Carriers(Arc<Mapping>);

impl Carriers {
    /// Where the losses of a worker's stream are counted: its position, and the number of the
    /// stream among its own. `None`: of nobody's.
    #[must_use]
    pub fn losses(&self, of: Option<(usize, usize)>) -> Losses {
        let of =
            of.filter(|(worker, stream)| *worker + 1 < self.0.pages().get() && *stream < STREAMS);
        let note = of.map(|(worker, stream)| (self.clone(), worker, stream));
        Losses { note, own: Default::default() }
    }

    /// The words of one of them.
    #[must_use]
    pub fn slot(&self, carrier: usize) -> Option<&Carried> {
        header(&self.0).carried[..CARRIERS].get(carrier)
    }

    /// Passes on what stood in a predecessor's black box, for whoever comes after us before it is
    /// written. False: there is no room.
    pub fn pass_on(&self, past: &PastCarried) -> bool {
        let free = header(&self.0).carried[CARRIERS..]
            .iter()
            .find(|slot| slot.owner.load(Ordering::Relaxed) == 0);
        let Some(slot) = free else { return false };
        slot.stream.store(past.stream, Ordering::Relaxed);
        if let Some(begun) = past.begun {
            slot.begin(begun);
        }
        slot.owner.store(past.owner, Ordering::SeqCst);
        true
    }
}

/// What a successor needs to know of a worker, beside its board. Each group of words is written so
/// that a death at any instant leaves the old or the new: a memo is written beside the one that
/// counts, and then counts; a process is erased, written, and then named by its generation.
#[repr(C, align(64))]
pub struct Note {
    pub(super) name_length: AtomicU32,
    /// Which of the memos counts.
    pub(super) current: AtomicU32,
    pub(super) name: [AtomicU64; 8],
    pub(super) memos: [Words; 2],
    /// Of which generation the process below is; 0: of none. Stored last.
    pub(super) process_generation: AtomicU64,
    pub(super) pid: AtomicI32,
    pub(super) main_pid: AtomicI32,
    pub(super) start_time: AtomicU64,
    pub(super) main_start_time: AtomicU64,
    /// What was done and said in the generation that stands there.
    pub(super) ready_generation: AtomicU64,
    pub(super) stop_generation: AtomicU64,
    /// How it is launched, as a number: another one, and its process is not what the configuration
    /// wants.
    pub(super) plan: AtomicU64,
    pub(super) fault: AtomicU32,
    pub(super) fault_parameter: AtomicU64,
    pub(super) fault_ordered_at: AtomicU64,
    /// Copied from the worker's own board by the handler of a fatal signal.
    pub(super) progress: AtomicU64,
    pub(super) in_flight: AtomicU64,
    /// Bytes of its streams that were lost: by stream, in all and not yet marked in the file.
    pub(super) losses: [[AtomicU64; 2]; STREAMS],
}

/// Streams of a worker.
const STREAMS: usize = 2;

/// What one stream has lost, counted where it outlives us; somewhere else where the stream is no
/// worker's.
#[derive(Debug)]
pub struct Losses {
    note: Option<(Carriers, usize, usize)>,
    own: [AtomicU64; 2],
}

impl Losses {
    /// In all.
    #[must_use]
    pub fn lost(&self) -> &AtomicU64 {
        &self.words()[0]
    }

    /// Not marked in the file yet.
    #[must_use]
    pub fn unmarked(&self) -> &AtomicU64 {
        &self.words()[1]
    }

    fn words(&self) -> &[AtomicU64; 2] {
        match &self.note {
            Some((carriers, worker, stream)) => &note(&carriers.0, *worker).losses[*stream],
            None => &self.own,
        }
    }
}

const _: () = assert!(
    size_of::<Board>() <= NOTE && size_of::<Note>() <= SIZE - NOTE && size_of::<Header>() <= SIZE
);

/// A process, so that it is not mistaken for another that has its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessMark {
    /// Its number; 0: none.
    pub pid: i32,
    /// When it was born, in clock ticks since boot (`starttime`, proc_pid_stat(5)).
    pub start_time: u64,
}

impl Note {
    /// Remembers where the worker stands.
    pub fn remember(&self, memo: &Memo) {
        let next = usize::from(self.current.load(Ordering::Relaxed) == 0);
        self.memos[next].write(memo);
        self.current.store(u32::from(next == 1), Ordering::SeqCst);
    }

    /// Before a launch: nothing has been ordered for the new generation, and it has no process yet.
    pub fn begin_launch(&self) {
        self.process_generation.store(0, Ordering::SeqCst);
        self.fault.store(0, Ordering::Relaxed);
        self.progress.store(0, Ordering::Relaxed);
        self.in_flight.store(0, Ordering::Relaxed);
    }

    /// A generation has this process; and the other one if that is what it calls its main one. Its
    /// successor may take it over from now on.
    pub fn set_process(&self, generation: u64, process: ProcessMark, main: Option<ProcessMark>) {
        self.process_generation.store(0, Ordering::SeqCst);
        self.pid.store(process.pid, Ordering::Relaxed);
        self.start_time.store(process.start_time, Ordering::Relaxed);
        let main = main.unwrap_or_default();
        self.main_pid.store(main.pid, Ordering::Relaxed);
        self.main_start_time.store(main.start_time, Ordering::Relaxed);
        self.process_generation.store(generation, Ordering::SeqCst);
    }

    /// It has said that it is ready.
    pub fn set_ready(&self, generation: u64) {
        self.ready_generation.store(generation, Ordering::SeqCst);
    }

    /// It has been asked to stop.
    pub fn set_stop_ordered(&self, generation: u64) {
        self.stop_generation.store(generation, Ordering::SeqCst);
    }

    /// How it is launched, as a number.
    pub fn set_plan(&self, plan: u64) {
        self.plan.store(plan, Ordering::Relaxed);
    }

    /// The fault just ordered, and when.
    pub fn set_fault_ordered(&self, code: u32, parameter: u64, at: u64) {
        self.fault_parameter.store(parameter, Ordering::Relaxed);
        self.fault_ordered_at.store(at, Ordering::Relaxed);
        self.fault.store(code, Ordering::Release);
    }
}

/// The black box of this supervisor.
pub struct BlackBox {
    mapping: Arc<Mapping>,
    /// Workers that it has pages for.
    capacity: usize,
    runtime_dir: PathBuf,
    /// Why it is in no file.
    homeless: Option<io::Error>,
}

/// The file of the next black box, made beforehand: a disk that is full by then has room for it.
#[derive(Clone, Debug)]
pub struct Reserve {
    runtime_dir: PathBuf,
    pages: usize,
    /// Why the present one is in no file.
    homeless: Option<String>,
}

impl Reserve {
    /// Makes it, if it is not there. Whoever takes it over empties it.
    ///
    /// # Errors
    /// What open(2) or posix_fallocate(3) say; ENOSPC when the directory is full.
    pub fn make(&self) -> io::Result<()> {
        let file = open(&self.runtime_dir)?;
        let length = i64::try_from(self.pages * SIZE).unwrap_or(i64::MAX);
        nix::fcntl::posix_fallocate(&file, 0, length)?;
        Ok(())
    }

    /// What is said where it cannot be made.
    #[must_use]
    pub fn trouble(&self, error: &io::Error) -> String {
        let whose = if self.homeless.is_some() { "this supervisor's" } else { "the next" };
        let reason = self.homeless.clone().unwrap_or_else(|| error.to_string());
        format!(
            "no room for {whose} black box in {}: {reason}; meanwhile it is in memory, and outlives the supervisor and not the guardian; make room: it is tried again",
            self.runtime_dir.display()
        )
    }
}

/// What the handler of a fatal signal copies: from a worker's own board to its note. Set while the
/// worker lives.
static MIRRORED: [AtomicPtr<Board>; WORKERS_MAX] =
    [const { AtomicPtr::new(ptr::null_mut()) }; WORKERS_MAX];
/// Page 0 of the black box, for the handler.
static PAGES: AtomicPtr<Header> = AtomicPtr::new(ptr::null_mut());

impl BlackBox {
    /// Creates the file anew under another name, with pages for `spare` workers more: nobody reads
    /// it before it is [published](Self::publish). It lives until the process ends: the handler of
    /// fatal signals writes to it.
    ///
    /// # Errors
    /// What open(2), posix_fallocate(3) or mmap(2) say; ENOSPC when the directory is full.
    pub fn create(runtime_dir: &Path, workers: &[&str], spare: usize) -> io::Result<Self> {
        let pages = pages(workers.len() + spare)?;
        let file = open(runtime_dir)?;
        // Overwritten, not cut off: what was reserved would be somebody else's at once.
        let stale = usize::try_from(file.metadata()?.len()).unwrap_or(0).min(pages.get() * SIZE);
        file.write_all_at(&vec![0; stale], 0)?;
        let mapping = Mapping::file(file, pages)?;
        Ok(Self::begin(mapping, runtime_dir, workers, spare, None))
    }

    /// The same; in memory alone where the directory has no room or cannot be written to. What is
    /// kept in the fd store does not need a file: it is for whoever starts when nothing is kept.
    ///
    /// # Errors
    /// What memfd_create(2) or mmap(2) say.
    pub fn create_anywhere(runtime_dir: &Path, workers: &[&str], spare: usize) -> io::Result<Self> {
        Self::create(runtime_dir, workers, spare).or_else(|homeless| {
            let memory = memfd_create(c"blackbox", MFdFlags::MFD_CLOEXEC)?;
            let mapping = Mapping::file(memory.into(), pages(workers.len() + spare)?)?;
            Ok(Self::begin(mapping, runtime_dir, workers, spare, Some(homeless)))
        })
    }

    fn begin(
        mapping: Mapping,
        runtime_dir: &Path,
        workers: &[&str],
        spare: usize,
        homeless: Option<io::Error>,
    ) -> Self {
        let capacity = workers.len() + spare;
        let black_box = Self {
            mapping: Arc::new(mapping),
            capacity,
            runtime_dir: runtime_dir.into(),
            homeless,
        };
        for (index, name) in workers.iter().enumerate() {
            store_name(black_box.note(index), name);
        }
        let header = black_box.header();
        header.boot.store(boot(), Ordering::Relaxed);
        header.pid.store(nix::unistd::getpid().as_raw(), Ordering::Relaxed);
        header.workers.store(u32::try_from(workers.len()).unwrap_or(0), Ordering::Relaxed);
        header.started_at.store(monotonic_ns(), Ordering::Relaxed);
        header.binary.store(binary(), Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::SeqCst);
        // Never unmapped: the handler may run at any time until the process is gone.
        std::mem::forget(Arc::clone(&black_box.mapping));
        black_box
    }

    /// From now on this is what a successor reads, and no longer the predecessor's: by renaming, so
    /// that there is always one of them, whole, and a predecessor's is never truncated under
    /// whoever maps it. Where it is in no file, what lies there tells of somebody else, and is
    /// removed.
    ///
    /// # Errors
    /// What rename(2) says.
    pub fn publish(&self) -> io::Result<()> {
        let place = self.runtime_dir.join(FILE);
        if self.homeless.is_none() {
            std::fs::rename(self.runtime_dir.join(HIDDEN), place)?;
        } else {
            let _ = std::fs::remove_file(place);
        }
        self.header().is_published.store(1, Ordering::SeqCst);
        PAGES.store(ptr::from_ref(self.header()).cast_mut(), Ordering::Release);
        Ok(())
    }

    /// The room that a successor needs.
    #[must_use]
    pub fn reserve(&self) -> Reserve {
        let homeless = self.homeless.as_ref().map(ToString::to_string);
        Reserve { runtime_dir: self.runtime_dir.clone(), pages: self.capacity + 1, homeless }
    }

    /// For the fd store.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.mapping.fd()
    }

    /// Says that another supervisor takes over while we live: our end is no death.
    pub fn give_way(&self, gives_way: bool) {
        self.header().gives_way.store(u32::from(gives_way), Ordering::SeqCst);
    }

    /// Says that everything is being stopped: whoever comes after a death in the midst of that
    /// starts afresh.
    pub fn set_stopping(&self) {
        self.header().is_stopping.store(1, Ordering::SeqCst);
    }

    /// Where the threads that carry output write down what they have in their hands.
    #[must_use]
    pub fn carriers(&self) -> Carriers {
        Carriers(Arc::clone(&self.mapping))
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
        note(&self.mapping, worker)
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

    /// Goes on counting what its streams have lost.
    pub fn carry_losses(&self, worker: usize, losses: [[u64; 2]; 2]) {
        for (words, past) in self.note(worker).losses.iter().zip(losses) {
            for (word, past) in words.iter().zip(past) {
                word.store(past, Ordering::Relaxed);
            }
        }
    }

    /// The number of the last incident.
    pub fn set_last_incident(&self, id: u64) {
        self.header().last_incident.store(id, Ordering::Relaxed);
    }

    /// Says that the end is an orderly one.
    pub fn mark_clean(&self) {
        self.header().is_clean.store(1, Ordering::SeqCst);
    }

    /// Has the board of a worker in another process copied when the supervisor dies; `None`: no
    /// longer. The caller keeps the board mapped until then.
    pub fn mirror(&self, worker: usize, board: Option<&Board>) {
        let board = board.map_or(ptr::null_mut(), |board| ptr::from_ref(board).cast_mut());
        MIRRORED[worker].store(board, Ordering::Release);
    }

    /// What the handler of a fatal signal does: the supervisor's own last words, and a copy of what
    /// its process workers had done. Async-signal-safe: loads and stores of mapped memory,
    /// clock_gettime.
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
            // SAFETY: boards stay mapped while they are mirrored; the page of this worker lies
            // `index + 1` pages behind the header, within the mapping.
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
        header(&self.mapping)
    }
}

fn header(mapping: &Mapping) -> &Header {
    let page = ptr::from_ref(mapping.nth(0));
    // SAFETY: as in `note`; page 0 is used as a header only.
    unsafe { &*page.cast::<Header>() }
}

impl std::fmt::Debug for BlackBox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BlackBox").field("mapping", &self.mapping).finish()
    }
}

fn note(mapping: &Mapping, worker: usize) -> &Note {
    let page = ptr::from_ref(mapping.nth(worker + 1));
    // SAFETY: needed because a mapped page has no type. The page is SIZE bytes long, NOTE is half
    // of that and a multiple of the note's alignment, every bit pattern is valid for atomics, and
    // the board ends before NOTE.
    unsafe { &*page.byte_add(NOTE).cast::<Note>() }
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

fn pages(workers: usize) -> io::Result<NonZeroUsize> {
    if workers > WORKERS_MAX {
        return Err(io::Error::other(format!("more than {WORKERS_MAX} workers")));
    }
    Ok(NonZeroUsize::MIN.saturating_add(workers))
}

/// The file under the name that nobody reads. What is no file there, a FIFO or a link, gives way to
/// one.
fn open(runtime_dir: &Path) -> io::Result<File> {
    let path = runtime_dir.join(HIDDEN);
    if std::fs::symlink_metadata(&path).is_ok_and(|there| !there.is_file()) {
        std::fs::remove_file(&path)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// A number for this boot of the machine; 0 where the kernel does not tell.
pub(super) fn boot() -> u64 {
    std::fs::read("/proc/sys/kernel/random/boot_id").map_or(0, stable_hash)
}

/// A number for the file of our binary: another one after an upgrade, and 0 where it cannot be
/// known.
pub(super) fn binary() -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(file) = std::fs::metadata("/proc/self/exe") else { return 0 };
    let words = [file.dev(), file.ino(), file.mtime_nsec().cast_unsigned()];
    stable_hash(words.into_iter().flat_map(u64::to_le_bytes))
}
