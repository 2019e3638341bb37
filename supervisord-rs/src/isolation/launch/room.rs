//! The descriptors that a launch needs, and those that it leaves free.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use supervision::LaunchFailure;

use super::{copy_above, failure};
use crate::stages;

/// What a supervisor has open without workers, with some room, and what each process adds to it.
const OPEN_FILES_OWN: usize = 80;
const OPEN_FILES_EACH: usize = 6;

/// What is to be said where so many workers that are processes need more open files than we may
/// have; measured generously, so that who heeds it has peace.
#[must_use]
pub fn short_of_open_files(processes: usize) -> Option<String> {
    let (_, limit) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let need = OPEN_FILES_OWN + OPEN_FILES_EACH * processes;
    let workers =
        if processes == 1 { "worker that is a process" } else { "workers that are processes" };
    (usize::try_from(limit).unwrap_or(usize::MAX) < need).then(|| {
        format!(
            "short of descriptors: the hard limit of open files is {limit}, and {processes} \
             {workers} need about {need}; launches may fail, and workers may end with this \
             supervisor: raise it (`LimitNOFILE=`, `ulimit -n`)"
        )
    })
}

/// Descriptors that launches leave free: for clients of the control API, records, and logs that are
/// reopened. Without them, a supervisor that is short of descriptors could not be asked why.
const RESERVE: u64 = 16;

/// What a launch opens on its thread besides: the handle of the child, and a file or directory at a
/// time.
pub(in crate::isolation) const LAUNCH_OPENS: usize = 3;

/// Whether there are descriptors for one more of our processes, which needs so many of its `own`.
/// `owed`: what we are bound to open yet, without it.
///
/// # Errors
/// `Descriptors` with EMFILE.
pub(in crate::isolation) fn has_room(
    own: usize,
    owed: impl FnOnce() -> usize,
) -> Result<(), LaunchFailure> {
    let none = failure(stages::DESCRIPTORS, Errno::EMFILE);
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    if own as u64 <= MOST_EACH && LOOK.still_counts(limit) {
        return Ok(());
    }
    // The lowest free number: all below it are taken.
    let lowest = copy_above(io::stdin().as_fd(), 0).map_err(|_| none)?.as_raw_fd();
    // There may be gaps below others: the kernel counts them all (Linux 6.2; 0 before).
    let open = std::fs::metadata("/proc/self/fd").map_or(0, |found| found.len());
    let taken = u64::try_from(lowest).unwrap_or(0).max(open);
    let taken = taken.saturating_add((own + owed()) as u64);
    LOOK.was_made(limit, taken);
    if taken.saturating_add(RESERVE) < limit { Ok(()) } else { Err(none) }
}

/// Where much is free, a look at what is open counts for some launches.
static LOOK: Look = Look { limit: AtomicU64::new(0), left: AtomicU64::new(0) };
/// With fewer free descriptors each launch looks.
const PLENTY: u64 = 1024;
/// A launch that opens more looks.
const MOST_EACH: u64 = 64;

struct Look {
    /// The limit that it found.
    limit: AtomicU64,
    /// The launches that it still counts for. What else is opened meanwhile has as much room.
    left: AtomicU64,
}

impl Look {
    fn still_counts(&self, limit: u64) -> bool {
        let less = |left: u64| left.checked_sub(1);
        self.limit.load(Ordering::Relaxed) == limit
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn was_made(&self, limit: u64, taken: u64) {
        let free = limit.saturating_sub(taken);
        let left = if free > PLENTY { free / 2 / MOST_EACH } else { 0 };
        self.limit.store(limit, Ordering::Relaxed);
        self.left.store(left, Ordering::Relaxed);
    }
}
