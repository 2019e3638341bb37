//! The child, from birth to `execve`. It runs in our memory while we wait: system calls that
//! signal-safety(7) lists, or bare ones, and nothing else. Nothing is allocated, and nothing that
//! the C library keeps for all threads is touched: its `setuid` would change the user of *our*
//! threads, the bare system call changes the child alone.
#![expect(unsafe_code, reason = "between clone and exec only bare system calls are allowed")]

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;

use nix::errno::Errno;
use supervision::LaunchFailure;

use super::failure;
use super::steps::{Newborn, Step};
use crate::stages;

/// What the child reads and writes in our memory while we wait.
pub(super) struct Orders<'a> {
    pub(super) newborn: Newborn<'a>,
    /// The last of them executes the program.
    pub(super) steps: &'a [&'a dyn Step],
    /// It shares our table of descriptors, and takes a copy of those below this number; -1: it has
    /// a copy of the whole from the start.
    pub(super) own_end: RawFd,
    /// Whether its table of descriptors is its own.
    pub(super) has_own: bool,
    /// Since boot, when the child began to run.
    pub(super) ran_at: libc::timespec,
    pub(super) failed: Option<LaunchFailure>,
}

impl Orders<'_> {
    /// Whether the child was killed before its first step.
    pub(super) fn has_never_run(&self) -> bool {
        self.ran_at.tv_sec == 0 && self.ran_at.tv_nsec == 0
    }
}

/// Where the child begins, and ends if a step fails.
pub(super) extern "C" fn child(orders: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes a valid `Orders` that nothing else uses while the child runs.
    let orders = unsafe { &mut *orders.cast::<Orders<'_>>() };
    // SAFETY: getpid has no effects. clock_gettime is listed in signal-safety(7), and stores into
    // `orders`.
    unsafe {
        orders.newborn.attempt.begin(libc::getpid());
        libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut orders.ran_at);
    }
    // Whatever it opened or closed before would be opened or closed in us.
    let own = take_descriptors(orders.own_end);
    orders.has_own = own.is_ok();
    let (steps, newborn) = (orders.steps, &orders.newborn);
    let done = own.and_then(|()| steps.iter().try_for_each(|step| step.execute(newborn)));
    orders.failed = done.err();
    // SAFETY: _exit is async-signal-safe and runs nothing of the parent's.
    unsafe { libc::_exit(127) }
}

/// A table of descriptors of its own, where it shares ours.
fn take_descriptors(end: RawFd) -> Result<(), LaunchFailure> {
    if end < 0 {
        return Ok(());
    }
    // SAFETY: a bare system call, which changes this process alone (close_range(2)).
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, end, c_int::MAX, libc::CLOSE_RANGE_UNSHARE) };
    if result < 0 { Err(failure(stages::DESCRIPTORS, Errno::last())) } else { Ok(()) }
}
