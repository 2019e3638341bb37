//! The black box: the supervisor's own board, in a file that survives it.
//!
//! Page 0 is the header; then a page for each worker: its board in the lower half (live, for
//! threads of the supervisor), a [`Note`] for its successor in the upper half; then an [`Account`]
//! of the last ending of each. Everything is an atomic store into mapped memory: no system call,
//! and a SIGKILL at any instant leaves each word either old or new. `post_mortem` reads it.
//!
//! | file | concept |
//! |---|---|
//! | `header` | page 0 |
//! | `note` | what a successor needs to know of a worker |
//! | `account` | how a worker ended last, in words |
//! | `bytes` | text in mapped memory |
//! | `carried` | output between a pipe and its file |
//! | `carriers` | what the threads that carry it use |
//! | `losses`, `counts` | what is counted where it outlives us |
//! | `room` | the file, and the room for the next one |
//! | `fatal` | what the handler of a fatal signal writes |
//! | `identity` | which boot of the machine, which binary |

mod account;
mod bytes;
mod carried;
mod carriers;
mod counts;
mod fatal;
mod header;
mod identity;
mod losses;
mod note;
mod room;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::sys::memfd::{MFdFlags, memfd_create};
use workers::runtime::board::{SIZE, monotonic_ns};
use workers::runtime::mapping::Mapping;

pub use account::Account;
pub(super) use account::{in_page, page_of};
pub(super) use bytes::load;
pub use carried::{Begun, CARRIERS, Carried, PastCarried};
pub use carriers::Carriers;
pub use counts::{Count, Counter, Counts};
use fatal::PAGES;
use header::header;
pub(super) use header::{Header, MAGIC};
pub(super) use identity::{binary, boot};
pub use losses::{Losses, Whose};
pub(super) use note::{NOTE, STREAMS};
pub use note::{Note, ProcessMark};
use note::{note, store_name};
pub use room::{FILE, Reserve};
use room::{HIDDEN, open, pages};

/// The black box of this supervisor.
pub struct BlackBox {
    mapping: Arc<Mapping>,
    /// Workers that it has pages for.
    capacity: usize,
    runtime_dir: PathBuf,
    place: Place,
}

/// Where it is.
enum Place {
    /// In a file of the runtime directory.
    File,
    /// In memory that the fd store keeps: why it is in no file.
    Memory(io::Error),
    /// In memory that ends with this process: likewise.
    Private(io::Error),
}

impl Place {
    const fn homeless(&self) -> Option<&io::Error> {
        match self {
            Self::File => None,
            Self::Memory(why) | Self::Private(why) => Some(why),
        }
    }
}

impl BlackBox {
    /// Creates a new file under another name, with pages for `spare` workers more: no successor
    /// reads it before it is [published](Self::publish). It lives until the process ends: the
    /// handler of fatal signals writes to it.
    ///
    /// # Errors
    /// What open(2), posix_fallocate(3) or mmap(2) say; ENOSPC when the directory is full.
    pub fn create(runtime_dir: &Path, workers: &[&str], spare: usize) -> io::Result<Self> {
        let pages = pages(workers.len() + spare)?;
        let file = open(runtime_dir)?;
        // Overwritten, not truncated: another file could take the reserved room at once.
        let mapping = Mapping::file(file, pages)?.cleared();
        Ok(Self::begin(mapping, runtime_dir, workers, spare, Place::File))
    }

    /// The same; in memory alone where the directory has no room or cannot be written to. A black
    /// box in the fd store does not need a file: the file is for a start without a store. Where a
    /// limit on the size of files forbids even that, it ends with the supervisor.
    ///
    /// # Errors
    /// What memfd_create(2) or mmap(2) say.
    pub fn create_anywhere(runtime_dir: &Path, workers: &[&str], spare: usize) -> io::Result<Self> {
        Self::create(runtime_dir, workers, spare).or_else(|homeless| {
            let pages = pages(workers.len() + spare)?;
            let memory = memfd_create(c"blackbox", MFdFlags::MFD_CLOEXEC)?;
            let (mapping, place) = match Mapping::file(memory.into(), pages) {
                Ok(mapping) => (mapping, Place::Memory(homeless)),
                Err(_) => (Mapping::private(pages)?, Place::Private(homeless)),
            };
            Ok(Self::begin(mapping, runtime_dir, workers, spare, place))
        })
    }

    /// Bytes of a file that it takes.
    ///
    /// # Errors
    /// More than the most workers.
    pub fn size(workers: usize) -> io::Result<usize> {
        Ok(pages(workers)?.get() * SIZE)
    }

    fn begin(
        mapping: Mapping,
        runtime_dir: &Path,
        workers: &[&str],
        spare: usize,
        place: Place,
    ) -> Self {
        let capacity = workers.len() + spare;
        let black_box =
            Self { mapping: Arc::new(mapping), capacity, runtime_dir: runtime_dir.into(), place };
        for (index, name) in workers.iter().enumerate() {
            store_name(black_box.note(index), name);
        }
        let header = black_box.header();
        header.boot.store(boot(), Ordering::Relaxed);
        header.pid.store(nix::unistd::getpid().as_raw(), Ordering::Relaxed);
        header.workers.store(u32::try_from(workers.len()).unwrap_or(0), Ordering::Relaxed);
        header.accounts.store(u32::try_from(capacity + 1).unwrap_or(0), Ordering::Relaxed);
        header.started_at.store(monotonic_ns(), Ordering::Relaxed);
        header.binary.store(binary(), Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::SeqCst);
        // Never unmapped: the handler may run at any time until the process is gone.
        std::mem::forget(Arc::clone(&black_box.mapping));
        black_box
    }

    /// From now on this is what a successor reads, and no longer the predecessor's: by renaming, so
    /// that there is always one of them, whole, and a predecessor's is never truncated while it is
    /// mapped. Where this one has no file, the file there belongs to another supervisor, and is
    /// removed.
    ///
    /// # Errors
    /// What rename(2) says.
    pub fn publish(&self) -> io::Result<()> {
        let place = self.runtime_dir.join(FILE);
        if self.place.homeless().is_none() {
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
        let homeless = self.place.homeless().map(ToString::to_string);
        Reserve {
            runtime_dir: self.runtime_dir.clone(),
            workers: self.capacity,
            homeless,
            is_private: matches!(self.place, Place::Private(_)),
        }
    }

    /// For the fd store; `None`: no other process can have it.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self.place {
            Place::File | Place::Memory(_) => Some(self.mapping.fd()),
            Place::Private(_) => None,
        }
    }

    /// Says that another supervisor takes over while we live: our end is no death.
    pub fn give_way(&self, gives_way: bool) {
        self.header().gives_way.store(u32::from(gives_way), Ordering::SeqCst);
    }

    /// Records that everything is stopping: after a death in the middle of that, the next
    /// supervisor starts afresh.
    pub fn set_stopping(&self) {
        self.header().is_stopping.store(1, Ordering::SeqCst);
    }

    /// Where the threads that carry output write down what they have in their hands.
    #[must_use]
    pub fn carriers(&self) -> Carriers {
        Carriers(Arc::clone(&self.mapping))
    }

    /// Where that is counted.
    #[must_use]
    pub fn counter(&self, count: Count) -> Counter {
        Counter::new(&self.mapping, count)
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

    /// How a worker ended last, in words.
    #[must_use]
    pub fn account(&self, worker: usize) -> &Account {
        in_page(self.mapping.page(self.capacity + 1 + page_of(worker)), worker)
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

    /// Goes on counting what was counted over all supervisors.
    pub fn carry_counts(&self, counts: Counts) {
        for count in Count::ALL {
            self.counter(count).set(counts.get(count));
        }
    }

    /// So many events about past incarnations the machine has heard.
    pub fn set_stale_events(&self, all: u64) {
        self.counter(Count::StaleEvents).set(all);
    }

    /// Goes on counting what its streams have lost.
    pub fn carry_losses(&self, worker: usize, losses: [[u64; 2]; STREAMS]) {
        for (words, past) in self.note(worker).losses.iter().zip(losses) {
            for (word, past) in words.iter().zip(past) {
                word.store(past, Ordering::Relaxed);
            }
        }
    }

    /// Goes on counting what its streams have carried of its incarnation.
    pub fn carry_carried(&self, worker: usize, carried: [u64; STREAMS]) {
        for (word, past) in self.note(worker).carried.iter().zip(carried) {
            word.store(past, Ordering::Relaxed);
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

    fn header(&self) -> &Header {
        header(&self.mapping)
    }
}

impl std::fmt::Debug for BlackBox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BlackBox").field("mapping", &self.mapping).finish()
    }
}
