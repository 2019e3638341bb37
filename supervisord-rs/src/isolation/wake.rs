//! What wakes SDK code for an order. The worker holds the same open description, so that it may do
//! to it what it likes: an eventfd whose `O_NONBLOCK` it has cleared and whose counter it has
//! filled holds every writer. Setting a timer never waits (timerfd_create(2)): it goes off at
//! once, becomes readable, and a thread that waits for its edges hears of each.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use supervision::LaunchFailure;

use super::launch::failure;
use crate::stages;

/// The shortest time that there is: none would disarm it.
const AT_ONCE: Duration = Duration::from_nanos(1);

/// A timer, shared with a worker.
#[derive(Debug)]
pub(super) struct Wake(TimerFd);

impl Wake {
    pub(super) fn new() -> Result<Self, LaunchFailure> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)
            .map(Self)
            .map_err(|errno| failure(stages::BOARD, errno))
    }

    /// One that a predecessor had made.
    #[expect(unsafe_code, reason = "nix wants it to be said that this is a timer")]
    pub(super) fn adopted(timer: OwnedFd) -> Self {
        // SAFETY: on anything but a timer the calls fail, and that is all they do.
        Self(unsafe { TimerFd::from_owned_fd(timer) })
    }

    /// Wakes everyone who waits for it.
    pub(super) fn ring(&self) {
        let _ = self.0.set(Expiration::OneShot(AT_ONCE.into()), TimerSetTimeFlags::empty());
    }

    /// A copy for a worker.
    pub(super) fn copy(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
