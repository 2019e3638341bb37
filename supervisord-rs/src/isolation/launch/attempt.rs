//! The state of a launch in progress, for code that does not wait for it; and how to withdraw it.
//!
//! The child tells of itself here, in the memory that it borrows. A launch that was withdrawn comes
//! to nothing: a child that has not executed yet ends before it does, and one that the kernel holds
//! is killed when the kernel lets go of it.

use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use supervision::LaunchStage;

use crate::isolation::exits::reaper;
use crate::stages;

/// No descriptor.
const NONE: RawFd = -1;

/// The stages in which a launch may have to wait for a file system, in the order of the launch.
const STAGES: [LaunchStage; 6] = [
    stages::CLONE,
    stages::SOCKET,
    stages::ENV_FILE,
    stages::SECRET,
    stages::DIRECTORY,
    stages::EXEC,
];

/// A launch that is on its way.
#[derive(Debug)]
pub struct Attempt {
    /// The child's number, once there is one; 0 before.
    pid: AtomicI32,
    /// Its handle, from its birth until the launch is answered.
    pidfd: AtomicI32,
    /// Where in [`STAGES`] it is.
    stage: AtomicUsize,
    is_withdrawn: AtomicBool,
    /// Held while the handle is used, and when it is given to another owner.
    handle: Mutex<()>,
}

impl Default for Attempt {
    fn default() -> Self {
        Self {
            pid: AtomicI32::new(0),
            pidfd: AtomicI32::new(NONE),
            stage: AtomicUsize::new(0),
            is_withdrawn: AtomicBool::new(false),
            handle: Mutex::new(()),
        }
    }
}

impl Attempt {
    /// Lets go of it: nothing of it runs after this. A kernel that holds the child is not waited
    /// for.
    pub fn withdraw(&self) {
        // In this order: a child that has not seen the first is killed by the second, since its
        // handle was stored before it began to run.
        self.is_withdrawn.store(true, Ordering::SeqCst);
        let _guard = self.lock();
        let pidfd = self.pidfd.load(Ordering::SeqCst);
        if pidfd != NONE {
            #[expect(unsafe_code, reason = "the kernel stores a number")]
            // SAFETY: it is open as long as it stands there: its owner takes it away under the lock
            // that we hold.
            let pidfd = unsafe { BorrowedFd::borrow_raw(pidfd) };
            let _ = reaper::signal_by(pidfd, libc::SIGKILL);
        }
    }

    /// Whether it was withdrawn.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.is_withdrawn.load(Ordering::SeqCst)
    }

    /// Whether a process is its child: its wait status is this launch's.
    #[must_use]
    pub fn is_child(&self, pid: i32) -> bool {
        self.pid.load(Ordering::SeqCst) == pid
    }

    /// Where it is, or was when it was answered.
    #[must_use]
    pub fn stage(&self) -> LaunchStage {
        STAGES.get(self.stage.load(Ordering::SeqCst)).copied().unwrap_or(stages::CLONE)
    }

    /// Notes where it is. Async-signal-safe.
    pub(in crate::isolation) fn enter(&self, stage: LaunchStage) {
        if let Some(position) = STAGES.iter().position(|known| *known == stage) {
            self.stage.store(position, Ordering::SeqCst);
        }
    }

    /// Notes the child's number. Async-signal-safe.
    pub(super) fn begin(&self, pid: i32) {
        self.pid.store(pid, Ordering::SeqCst);
    }

    /// Where the kernel stores the child's number, before the child runs: one that is killed as it
    /// is born tells nothing of itself.
    pub(super) fn number(&self) -> *mut i32 {
        self.pid.as_ptr()
    }

    /// Where the kernel stores the handle.
    pub(super) fn pidfd(&self) -> *mut RawFd {
        self.pidfd.as_ptr()
    }

    /// The handle has an owner from now on, who may close it.
    pub(super) fn end(&self) {
        let _guard = self.lock();
        self.pidfd.store(NONE, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
