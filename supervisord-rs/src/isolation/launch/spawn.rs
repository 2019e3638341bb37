//! The birth of the child: in its cgroup where the kernel can do that, else plainly.
#![expect(unsafe_code, reason = "neither clone(2) nor clone3(2) has a safe form")]

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use supervision::LaunchFailure;

use super::child::{Orders, child};
use super::clone3::{Arguments, CLONE_CLEAR_SIGHAND, CLONE_INTO_CGROUP, Child, clone3};
use super::{Attempt, dispositions, failure};
use crate::stages;

/// Stack of the child until its `execve`; it makes some dozen system calls and calls nothing deep.
const STACK_SIZE: usize = 64 * 1024;
const FLAGS: c_int = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;

/// Whose table of descriptors the child begins with: ours, or a copy.
fn flags(own_end: RawFd) -> c_int {
    if own_end < 0 { FLAGS } else { FLAGS | libc::CLONE_FILES }
}

/// Makes the child and waits until it has executed or exited. It is born in `cgroup`, where the
/// kernel can do that; else it moves there itself.
pub(super) fn give(
    orders: &mut Orders<'_>,
    cgroup: Option<&OwnedFd>,
) -> Result<(i32, OwnedFd), LaunchFailure> {
    unsignalled(|| match cgroup {
        Some(cgroup) => in_cgroup(orders, cgroup),
        None => moving(orders),
    })
    .map_err(|errno| failure(stages::CLONE, errno))?
}

fn in_cgroup(orders: &mut Orders<'_>, cgroup: &OwnedFd) -> Result<(i32, OwnedFd), LaunchFailure> {
    match into_cgroup(orders, cgroup) {
        Ok(born) => Ok(born),
        // A sandbox that knows no clone3 (ENOSYS, EPERM), or an old kernel (E2BIG, EINVAL): it has
        // to move itself.
        Err(Errno::ENOSYS | Errno::EPERM | Errno::E2BIG | Errno::EINVAL) => {
            let procs = procs_of(cgroup).map_err(|errno| failure(stages::CGROUP, errno))?;
            orders.newborn.cgroup_procs = procs.as_raw_fd();
            // That is not among the few that it would have a copy of.
            orders.own_end = -1;
            orders.newborn.to_reset = dispositions::ALL;
            moving(orders)
        }
        // What clone3(2) says of the cgroup itself.
        Err(
            errno @ (Errno::EBUSY
            | Errno::EOPNOTSUPP
            | Errno::EACCES
            | Errno::ENODEV
            | Errno::EBADF),
        ) => Err(failure(stages::CGROUP, errno)),
        Err(errno) => Err(failure(stages::CLONE, errno)),
    }
}

/// A child that moves to its cgroup itself, if it is to be in one.
fn moving(orders: &mut Orders<'_>) -> Result<(i32, OwnedFd), LaunchFailure> {
    plain(child, ptr::from_mut(orders).cast(), orders.newborn.attempt, flags(orders.own_end))
        .map_err(|errno| failure(stages::CLONE, errno))
}

/// Makes a child that executes nothing, and waits until it has exited.
pub(super) fn borrowing(
    function: Child,
    argument: *mut c_void,
    attempt: &Attempt,
) -> nix::Result<(i32, OwnedFd)> {
    unsignalled(|| plain(function, argument, attempt, FLAGS))?
}

/// A handler of the supervisor that ran in the child would run in the supervisor's memory, on the
/// child's stack: so signals are blocked until exec.
fn unsignalled<T>(make: impl FnOnce() -> T) -> nix::Result<T> {
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    let made = make();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    Ok(made)
}

fn procs_of(cgroup: &OwnedFd) -> nix::Result<OwnedFd> {
    use nix::fcntl::{OFlag, openat};
    use nix::sys::stat::Mode;
    openat(cgroup, "cgroup.procs", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
}

/// 16-byte aligned, as the processors want it. Its content means nothing to the child.
fn stack() -> Vec<u128> {
    Vec::with_capacity(STACK_SIZE / size_of::<u128>())
}

/// With clone(2), which the C library wraps.
fn plain(
    function: Child,
    argument: *mut c_void,
    attempt: &Attempt,
    flags: c_int,
) -> nix::Result<(i32, OwnedFd)> {
    let mut stack = stack();
    // SAFETY: needed because only clone(2) gives a child that borrows memory, with a pidfd. Sound
    // because CLONE_VFORK suspends this thread until the child has executed or exited, so that
    // `stack`, `argument` and all that it points to outlive the child's use of them and are not
    // touched meanwhile; the stack is 16-byte aligned, grows down from its end, and is only the
    // child's; `function` is what `Child` says. Other threads go on: the child touches nothing of
    // theirs.
    let pid = unsafe {
        libc::clone(
            function,
            stack.spare_capacity_mut().as_mut_ptr_range().end.cast(),
            flags | libc::SIGCHLD,
            argument,
            attempt.pidfd(),
        )
    };
    let pid = Errno::result(pid)?;
    // SAFETY: clone succeeded, so the kernel stored a new descriptor there, which nothing else
    // owns.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(*attempt.pidfd()) }))
}

/// With clone3(2), which alone can name a cgroup.
fn into_cgroup(orders: &mut Orders<'_>, cgroup: &OwnedFd) -> nix::Result<(i32, OwnedFd)> {
    let mut stack = stack();
    // The kernel resets those that are handled.
    orders.newborn.to_reset = dispositions::ignored();
    let arguments = Arguments {
        flags: u64::from(flags(orders.own_end).unsigned_abs())
            | u64::from(libc::CLONE_PARENT_SETTID.unsigned_abs())
            | CLONE_INTO_CGROUP
            | CLONE_CLEAR_SIGHAND,
        pidfd: orders.newborn.attempt.pidfd() as u64,
        parent_tid: orders.newborn.attempt.number() as u64,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        stack: stack.as_mut_ptr() as u64,
        stack_size: STACK_SIZE as u64,
        cgroup: u64::from(cgroup.as_raw_fd().unsigned_abs()),
        ..Arguments::default()
    };
    // SAFETY: what `plain` says of memory holds here too: the flags have CLONE_VFORK, and `stack`
    // and `orders` outlive the call.
    let pid = unsafe { clone3(&arguments, child, ptr::from_mut(orders).cast()) }?;
    drop(stack);
    // SAFETY: clone3 succeeded, so the kernel stored a new descriptor there, which nothing else
    // owns.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(*orders.newborn.attempt.pidfd()) }))
}
