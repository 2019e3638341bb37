//! What workers do, alone and together.

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use serde::{Deserialize, Serialize};
use workers::shared::{Holder, Mutex, Queue, Wait};

use crate::axes::communication::{copy, queue};
use crate::memory::in_words;

/// What workers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Load {
    /// A unit, which needs nothing of others.
    Independent,
    /// A unit while it has the only lock.
    Locked,
    /// A unit for each message; the message goes on to the next one.
    Queued,
    /// Takes memory of the kernel and gives it back.
    Mapping,
}

pub(super) const LOADS: [Load; 4] = [Load::Independent, Load::Locked, Load::Queued, Load::Mapping];

const LONG: Duration = Duration::from_secs(20);
/// What a worker takes of the kernel each time.
const MAPPED: NonZeroUsize = NonZeroUsize::new(64 << 10).expect("not 0");

/// About a microsecond of work in registers.
#[inline]
pub(super) fn unit() {
    let mut state = std::hint::black_box(0x9E37_79B9_7F4A_7C15_u64);
    for _ in 0..700 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    std::hint::black_box(state);
}

/// Takes memory, writes each page of it, and gives it back.
fn map() -> Result<(), String> {
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses touches no other memory.
    let memory = unsafe { mmap_anonymous(None, MAPPED, access, MapFlags::MAP_PRIVATE) }
        .map_err(|error| format!("memory: {}", error.desc()))?;
    for page in (0..MAPPED.get()).step_by(4096) {
        // SAFETY: within the mapping, which is writable and this function's alone.
        unsafe { memory.cast::<u8>().add(page).write_volatile(7) };
    }
    // SAFETY: it was made above, and nothing points into it any more.
    unsafe { munmap(memory, MAPPED.get()) }.map_err(|error| error.desc().to_owned())
}

impl Load {
    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Independent => "independent work",
            Self::Locked => "behind one lock",
            Self::Queued => "over a queue",
            Self::Mapping => "mapping memory",
        }
    }

    /// Whether one works at a time, however many processors there are.
    pub(super) const fn is_serial(self) -> bool {
        matches!(self, Self::Locked)
    }

    /// The same work without lock and queue.
    pub(super) fn bare(self) -> fn() {
        match self {
            Self::Independent | Self::Locked | Self::Queued => super::bare_unit,
            Self::Mapping => || drop(map()),
        }
    }

    /// The work of one that shares what these descriptors are.
    pub(super) fn open(
        self,
        given: Vec<OwnedFd>,
    ) -> Result<Box<dyn FnMut() -> Result<(), String>>, String> {
        let fd = given.into_iter().next();
        let here = Holder::this_thread().map_err(in_words)?;
        Ok(match self {
            Self::Independent => Box::new(|| {
                unit();
                Ok(())
            }),
            Self::Mapping => Box::new(map),
            Self::Locked => {
                let mutex = Mutex::open(fd.ok_or("no lock")?, here).map_err(in_words)?;
                Box::new(move || {
                    let locked = mutex.lock(&Wait::at_most(LONG)).map_err(in_words)?;
                    let guard = locked.carry_on();
                    unit();
                    drop(guard);
                    Ok(())
                })
            }
            Self::Queued => {
                let queue = Queue::open(fd.ok_or("no queue")?, here).map_err(in_words)?;
                Box::new(move || {
                    let wait = Wait::at_most(LONG);
                    let message = queue.take(&wait).map_err(in_words)?;
                    unit();
                    message.acknowledge().map_err(in_words)?;
                    queue.send(&[7; 8], &wait).map_err(in_words)
                })
            }
        })
    }
}

/// What a team shares.
#[derive(Debug)]
pub(super) enum Shared {
    Nothing,
    Mutex(Mutex),
    Queue(Queue),
}

impl Shared {
    /// For a team of so many.
    pub(super) fn create(load: Load, team: usize) -> Result<Self, String> {
        let here = Holder::this_thread().map_err(in_words)?;
        Ok(match load {
            Load::Independent | Load::Mapping => Self::Nothing,
            Load::Locked => Self::Mutex(Mutex::create(here).map_err(in_words)?),
            Load::Queued => {
                let messages = 2 * team;
                let queue = queue(2 * messages, 8, team + 2)?;
                for _ in 0..messages {
                    queue.send(&[7; 8], &Wait::none()).map_err(in_words)?;
                }
                Self::Queue(queue)
            }
        })
    }

    pub(super) fn descriptors(&self) -> Result<Vec<OwnedFd>, String> {
        Ok(match self {
            Self::Nothing => Vec::new(),
            Self::Mutex(mutex) => vec![copy(&mutex.fd())?],
            Self::Queue(queue) => vec![copy(&queue.fd())?],
        })
    }
}
