//! The one owner of wait statuses: by pidfd, never `waitpid(-1)`, so that nobody's child loses its status to us.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use supervision::Status;

use super::launch::Child;

/// Takes the status of `child` if it has exited, and ends what is left of its process group.
///
/// The group is killed *before* the zombie is reaped: as long as the zombie holds the number, no stranger's group can
/// have it (a number is reused only when neither a process nor a group has it, credentials(7)).
/// Does not block. `None`: it lives.
#[must_use]
pub fn reap(child: &Child) -> Option<Status> {
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::PIDFd(child.pidfd.as_fd()), peek) {
        Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => return None,
        Ok(_) => {}
        // Someone else took it (a worker thread that calls waitpid(-1)): it is gone, and nobody knows how.
        Err(_) => return Some(Status::Unknown),
    }
    let _ = killpg(Pid::from_raw(child.pid), Signal::SIGKILL);
    Some(take(&child.pidfd))
}

/// Reaps a child that is known to have exited and whose status is of no interest.
pub fn discard(pidfd: &OwnedFd) {
    let _ = take(pidfd);
}

fn take(pidfd: &OwnedFd) -> Status {
    loop {
        return match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED) {
            Ok(WaitStatus::Exited(_, code)) => Status::Exited(code),
            Ok(WaitStatus::Signaled(_, signal, core_dumped)) => {
                Status::Signaled { signal: signal as i32, core_dumped }
            }
            Err(Errno::EINTR) => continue,
            // Real-time signals have no name in nix: it answers EINVAL, after the kernel has reaped.
            Ok(_) | Err(_) => Status::Unknown,
        };
    }
}

/// Sends a signal to the process behind a pidfd: never to a stranger that got its number. ESRCH when it has exited.
///
/// # Errors
/// What pidfd_send_signal(2) says.
#[expect(unsafe_code, reason = "nix has no pidfd_send_signal")]
pub fn signal(child: &Child, signal: i32) -> nix::Result<()> {
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: needed because nix lacks this call. The descriptor is open, and a null siginfo means "as kill(2)".
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, child.pidfd.as_raw_fd(), signal, none, 0) };
    Errno::result(result).map(drop)
}

/// Sends a signal to the child and all of its process group. The child must not have been reaped.
pub fn signal_group(child: &Child, number: i32) {
    // The number is still the child's: it is reaped by `reap` only, after which no `Child` is kept.
    #[expect(unsafe_code, reason = "nix's killpg takes no real-time signals")]
    // SAFETY: killpg has no memory effects.
    let result = Errno::result(unsafe { libc::killpg(child.pid, number) });
    if result.is_err() {
        let _ = signal(child, number);
    }
}
