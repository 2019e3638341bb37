//! From a plan to a running process: `clone3` with `CLONE_VM | CLONE_VFORK`, some system calls,
//! `execve`.
//!
//! Why not `std::process::Command`: anything between fork and exec (`pre_exec`, a user) makes it
//! copy the page tables of the supervisor, which thread workers make large (25 ms instead of 0.5 ms
//! beside 512 MB). A child that borrows our memory until its `execve` costs the same however large
//! we are; a failed step is written straight into the plan, so that no pipe is needed to report it;
//! the pidfd comes with the process, so that its number can never be another's (clone(2),
//! `CLONE_PIDFD`, Linux 5.2); and it is born in its cgroup (`CLONE_INTO_CGROUP`, Linux 5.7): moving
//! a process later waits for all processors (milliseconds), and leaves a moment in which it is
//! elsewhere.
//!
//! | file | concept |
//! |---|---|
//! | `plan` | what to execute, and with what: all that allocates is made before the child exists |
//! | `room` | the descriptors that a launch needs, and those that it leaves free |
//! | `spawn` | how the child is made: in its cgroup, or moving there; sharing our descriptors, or not |
//! | `clone3` | the system call for that, by architecture |
//! | `into_cgroup` | the cgroup that it is born in, and another one if it is killed there |
//! | `spawn_time` | when the child was born, without a look at the process table |
//! | `dispositions` | the signals that a child has to reset |
//! | `environment` | the variables of a process to be |
//! | `child` | the child: it takes one step after the other; async-signal-safe |
//! | `steps` | those steps, a file for each: what they need, what they do, what to do if they fail |
//! | `attempt` | a launch while it is on its way, as others see it; how it is withdrawn |
//! | `own_limits` | the limits that we raise for ourselves alone |
//! | `dumpable` | whether we dump core, which a child that changes its user takes from us |
//! | `reading`, `binding` | a file read, a Unix socket named, by a child that can be abandoned |
//! | `given` | a descriptor for the child |
//! | `window` | the low end of our table of descriptors, which a child gets a copy of |
//! | `rights` | what a step needs a right for |
//! | `failed` | a launch that failed, with what the step was about |

mod attempt;
pub(super) mod binding;
mod child;
mod clone3;
mod dispositions;
mod dumpable;
mod environment;
pub mod failed;
mod given;
pub(super) mod into_cgroup;
mod own_limits;
mod plan;
pub(super) mod reading;
pub(super) mod rights;
mod room;
mod spawn;
mod spawn_time;
mod steps;
pub(super) mod window;

use std::ffi::{CString, OsStr};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use supervision::{LaunchFailure, LaunchStage};

use crate::config::settings::COMMAND_NUMBERS;
use crate::stages;

pub use super::child::Child;
pub use attempt::Attempt;
pub(super) use dispositions::become_foreign;
pub use environment::{BaseEnvironment, Environment};
pub use own_limits::{file_size_limit, raise_file_size, raise_limits, raise_stack, told};
pub use plan::Plan;
pub use room::short_of_open_files;
pub(super) use room::{LAUNCH_OPENS, has_room};
pub(super) use steps::Credentials;
pub use steps::advice;

/// Numbers of descriptors that a child can be given one by one lie below this.
const TARGETS: RawFd = COMMAND_NUMBERS;

/// A failed step. What the machine is short of now it may have later.
#[must_use]
pub const fn failure(stage: LaunchStage, errno: Errno) -> LaunchFailure {
    let transient = matches!(errno, Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE);
    LaunchFailure { stage, errno: errno as i32, transient, code: 0 }
}

/// An error of std as a failed stage.
pub(in crate::isolation) fn from_io(stage: LaunchStage, error: &std::io::Error) -> LaunchFailure {
    failure(stage, error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

fn copy_above(fd: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd, LaunchFailure> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(lowest)).map_err(|errno| {
        // There is no number as high as that within our limit (fcntl(2)).
        let errno = if errno == Errno::EINVAL { Errno::EMFILE } else { errno };
        failure(stages::DESCRIPTORS, errno)
    })?;
    #[expect(unsafe_code, reason = "nix returns a number")]
    // SAFETY: the kernel has just given us this descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn c_string(text: &OsStr) -> Result<CString, LaunchFailure> {
    CString::new(text.as_bytes()).map_err(|_| failure(stages::EXEC, Errno::EINVAL))
}
