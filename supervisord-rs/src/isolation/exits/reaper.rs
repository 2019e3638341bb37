//! The one owner of wait statuses: by pidfd, never `waitpid(-1)`, so that no other code's child
//! loses its status to us.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use supervision::Status;

use super::wait::{self, Whom};
use crate::isolation::child::Child;
use crate::process_table;

/// How `child` ended, if it has. The zombie stays: as long as it holds its number, neither a
/// process nor a process group of strangers can have it (credentials(7)), so that its process tree
/// can still be signalled. [`discard`] it at last.
///
/// Does not block. `None`: it lives, or its tracer has not let go of it; [`has_exited`] tells
/// which.
#[must_use]
pub fn peek(child: &Child) -> Option<Status> {
    match wait::peek(Whom::Handle(child.pidfd.as_fd())) {
        Ok(exit) => exit.map(|exit| exit.status),
        // Not our child: a worker calls a grandchild its main process (`MAINPID=`), whose parent
        // lives.
        Err(_) if !has_exited(&child.pidfd) => None,
        // A worker thread that calls waitpid(-1) took it: it is gone, and how it ended is lost.
        Err(_) => Some(Status::Unknown),
    }
}

/// How it ended by the process table, for one that has exited and that the kernel keeps back for
/// its tracer.
#[must_use]
pub fn status_of_traced(child: &Child) -> Status {
    let stat = process_table::stat(child.pid).filter(|stat| stat.start_time == child.start_time);
    stat.and_then(|stat| stat.exit_status).map_or(Status::Unknown, from_raw)
}

/// A wait status as the kernel packs it (wait(2)).
pub(in crate::isolation) fn from_raw(raw: i32) -> Status {
    if libc::WIFEXITED(raw) {
        Status::Exited(libc::WEXITSTATUS(raw))
    } else if libc::WIFSIGNALED(raw) {
        Status::Signaled { signal: libc::WTERMSIG(raw), core_dumped: libc::WCOREDUMP(raw) }
    } else {
        Status::Unknown
    }
}

/// Takes the status of `child` if it has exited, and ends what is left of its process group first.
///
/// Does not block. `None`: it lives.
#[must_use]
pub fn reap(child: &Child) -> Option<Status> {
    let status = peek(child)?;
    let _ = killpg(Pid::from_raw(child.pid), Signal::SIGKILL);
    discard(&child.pidfd);
    Some(status)
}

/// Reaps a child whose status is of no interest. One that cannot be reaped yet, because it is still
/// dying or traced, is an orphan from then on. Does not block.
pub fn discard(pidfd: &OwnedFd) {
    let _ = wait::take(Whom::Handle(pidfd.as_fd()));
}

/// Lets go of a process that is known to have exited: reaps it, unless another process has to.
pub fn forget(child: &Child) {
    if !child.is_adopted {
        discard(&child.pidfd);
    }
}

/// A handle to a process by its number: whose it is has to be looked at after this.
///
/// # Errors
/// What pidfd_open(2) says; ESRCH when there is none.
#[expect(unsafe_code, reason = "nix has no pidfd_open")]
pub fn open(pid: i32) -> nix::Result<OwnedFd> {
    // SAFETY: the call has no memory effects; its result is a new descriptor that is ours alone.
    unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        Ok(OwnedFd::from_raw_fd(i32::try_from(fd).map_err(|_| Errno::EMFILE)?))
    }
}

/// Whether the process behind a pidfd has exited.
#[must_use]
pub fn has_exited(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Sends a signal to the process behind a pidfd: never to a stranger that got its number. ESRCH
/// when it has exited.
///
/// # Errors
/// What pidfd_send_signal(2) says.
pub fn signal(child: &Child, signal: i32) -> nix::Result<()> {
    signal_by(&child.pidfd, signal)
}

/// The same, by the handle alone.
///
/// # Errors
/// What pidfd_send_signal(2) says.
#[expect(unsafe_code, reason = "nix has no pidfd_send_signal")]
pub fn signal_by(pidfd: impl AsFd, signal: i32) -> nix::Result<()> {
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: needed because nix lacks this call. The descriptor is open, and a null siginfo means
    // "as kill(2)".
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, none, 0)
    };
    Errno::result(result).map(drop)
}

/// Sends a signal to the child and all of its process group. The child must not have been reaped.
pub fn signal_group(child: &Child, number: i32) {
    // The number is still the child's: no `Child` is kept after `reap`, `discard` or `forget`.
    #[expect(unsafe_code, reason = "nix's killpg takes no real-time signals")]
    // SAFETY: killpg has no memory effects.
    let result = Errno::result(unsafe { libc::killpg(child.pid, number) });
    if result.is_err() {
        let _ = signal(child, number);
    }
}
