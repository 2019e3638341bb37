//! Small processes of our own beside the workers: exec probes, stop commands, hooks. Each is bounded in time, and takes
//! all that it started along.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::time::Duration;

use supervision::Status;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::launch::Child;
use super::reaper;

/// Their numbers: whoever reaps orphans leaves these alone.
static HELPERS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

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
    child: Child,
    is_over: bool,
}

impl Helper {
    pub(super) fn new(child: Child) -> Self {
        numbers().insert(child.pid);
        Self { child, is_over: false }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.pid
    }

    /// How it ended; `None` when it had not within `limit`: it is killed then, with its process group.
    pub async fn wait(mut self, limit: Duration) -> Option<Status> {
        let status = tokio::time::timeout(limit, self.ended()).await.ok().flatten();
        self.finish();
        status
    }

    async fn ended(&self) -> Option<Status> {
        let handle: OwnedFd = self.child.pidfd.as_fd().try_clone_to_owned().ok()?;
        #[expect(unsafe_code, reason = "tokio leaves the lifetime of the descriptor to its caller")]
        // SAFETY: an OwnedFd keeps the same open descriptor until the AsyncFd, which owns it, is dropped.
        let watched = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }.ok()?;
        loop {
            if let Some(status) = reaper::peek(&self.child) {
                return Some(status);
            }
            watched.readable().await.ok()?.clear_ready();
        }
    }

    fn finish(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            reaper::signal_group(&self.child, libc::SIGKILL);
            reaper::discard(&self.child.pidfd);
            numbers().remove(&self.child.pid);
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.finish();
    }
}
