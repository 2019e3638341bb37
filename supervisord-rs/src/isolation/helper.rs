//! Small processes of our own beside the workers: exec probes, stop commands, hooks. Each is bounded in time, and takes
//! all that it started along.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::time::Duration;

use supervision::{Status, WorkerId};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::launch::Child;
use super::reaper;

/// Their numbers: whoever reaps orphans leaves these alone.
static HELPERS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Those that were killed and do not die, each with the worker that it was for: the kernel does not let go of them.
static STUCK: Mutex<Vec<(Option<WorkerId>, Child)>> = Mutex::new(Vec::new());

/// How many helpers of this worker, or of none, were killed and are still there. No more of them should be started.
#[must_use]
pub fn stuck(worker: Option<WorkerId>) -> usize {
    let mut stuck = STUCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    stuck.retain(|(_, child)| !reaper::has_exited(&child.pidfd));
    stuck.iter().filter(|(of, _)| *of == worker).count()
}

/// Whether somebody waits for this child.
pub(super) fn is_helper(pid: i32) -> bool {
    numbers().contains(&pid)
}

fn numbers() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    HELPERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A process that we wait for, for a while. Dropped, it is killed.
#[derive(Debug)]
pub struct Helper {
    /// `None`: it is over.
    child: Option<Child>,
    worker: Option<WorkerId>,
}

impl Helper {
    pub(super) fn new(child: Child, worker: Option<WorkerId>) -> Self {
        numbers().insert(child.pid);
        Self { child: Some(child), worker }
    }

    /// How it ended; `None` when it had not within `limit`: it is killed then, with its process group.
    pub async fn wait(mut self, limit: Duration) -> Option<Status> {
        let status = match &self.child {
            Some(child) => tokio::time::timeout(limit, ended(child)).await.ok().flatten(),
            None => None,
        };
        self.finish();
        status
    }

    /// Does not wait for it to die: one that is stuck in the kernel would hold the loop. It is an orphan from then on, and
    /// reaped as one when it comes out.
    fn finish(&mut self) {
        let Some(child) = self.child.take() else { return };
        reaper::signal_group(&child, libc::SIGKILL);
        numbers().remove(&child.pid);
        if reaper::peek(&child).is_some() {
            reaper::discard(&child.pidfd);
        } else {
            STUCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((self.worker, child));
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.finish();
    }
}

async fn ended(child: &Child) -> Option<Status> {
    let handle: OwnedFd = child.pidfd.as_fd().try_clone_to_owned().ok()?;
    #[expect(unsafe_code, reason = "tokio leaves the lifetime of the descriptor to its caller")]
    // SAFETY: an OwnedFd keeps the same open descriptor until the AsyncFd, which owns it, is dropped.
    let watched = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }.ok()?;
    loop {
        if let Some(status) = reaper::peek(child) {
            return Some(status);
        }
        watched.readable().await.ok()?.clear_ready();
    }
}
