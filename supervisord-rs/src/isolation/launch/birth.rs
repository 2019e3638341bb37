//! The system call that makes the child, by architecture.
#![expect(unsafe_code, reason = "neither clone(2) nor clone3(2) has a safe form")]

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use supervision::{LaunchFailure, LaunchStage};

use super::child::{Orders, child};
use super::{Attempt, failure};

/// Stack of the child until its `execve`; it makes some dozen system calls and calls nothing deep.
const STACK_SIZE: usize = 64 * 1024;
const FLAGS: c_int = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;

/// What the child runs. It makes async-signal-safe calls only, allocates nothing, and never
/// returns.
type Child = extern "C" fn(*mut c_void) -> c_int;

/// Makes the child and waits until it has executed or exited. It is born in `cgroup`, where the
/// kernel can do that; else it moves there itself.
pub(super) fn give(
    orders: &mut Orders<'_>,
    cgroup: Option<&OwnedFd>,
) -> Result<(i32, OwnedFd), LaunchFailure> {
    let clone = |errno| failure(LaunchStage::Clone, errno);
    unsignalled(|| match cgroup.map(|cgroup| into_cgroup(orders, cgroup)) {
        Some(Ok(born)) => Ok(born),
        // A sandbox that knows no clone3 (ENOSYS, EPERM), or an old kernel (E2BIG, EINVAL): it has
        // to move itself.
        Some(Err(Errno::ENOSYS | Errno::EPERM | Errno::E2BIG | Errno::EINVAL)) => {
            match cgroup.map(procs_of).transpose() {
                Ok(procs) => {
                    orders.cgroup_procs = procs.as_ref().map_or(-1, AsRawFd::as_raw_fd);
                    plain(child, ptr::from_mut(orders).cast(), orders.attempt).map_err(clone)
                }
                Err(errno) => Err(failure(LaunchStage::Cgroup, errno)),
            }
        }
        // What clone3(2) says of the cgroup itself.
        Some(Err(
            errno @ (Errno::EBUSY
            | Errno::EOPNOTSUPP
            | Errno::EACCES
            | Errno::ENODEV
            | Errno::EBADF),
        )) => Err(failure(LaunchStage::Cgroup, errno)),
        Some(Err(errno)) => Err(clone(errno)),
        None => plain(child, ptr::from_mut(orders).cast(), orders.attempt).map_err(clone),
    })
    .map_err(clone)?
}

/// Makes a child that executes nothing, and waits until it has exited.
pub(super) fn borrowing(
    function: Child,
    argument: *mut c_void,
    attempt: &Attempt,
) -> nix::Result<(i32, OwnedFd)> {
    unsignalled(|| plain(function, argument, attempt))?
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

/// With clone(2), which the C library wraps.
fn plain(function: Child, argument: *mut c_void, attempt: &Attempt) -> nix::Result<(i32, OwnedFd)> {
    let mut stack = vec![0_u128; STACK_SIZE / size_of::<u128>()];
    // SAFETY: needed because only clone(2) gives a child that borrows memory, with a pidfd. Sound
    // because CLONE_VFORK suspends this thread until the child has executed or exited, so that
    // `stack`, `argument` and all that it points to outlive the child's use of them and are not
    // touched meanwhile; the stack is 16-byte aligned, grows down from its end, and is only the
    // child's; `function` is what `Child` says. Other threads go on: the child touches nothing of
    // theirs.
    let pid = unsafe {
        libc::clone(
            function,
            stack.as_mut_ptr_range().end.cast(),
            FLAGS | libc::SIGCHLD,
            argument,
            attempt.pidfd(),
        )
    };
    let pid = Errno::result(pid)?;
    // SAFETY: clone succeeded, so the kernel stored a new descriptor there, which nothing else
    // owns.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(*attempt.pidfd()) }))
}

/// With clone3(2), which the C library does not wrap, and which alone can name a cgroup.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn into_cgroup(orders: &mut Orders<'_>, cgroup: &OwnedFd) -> nix::Result<(i32, OwnedFd)> {
    /// `struct clone_args` of linux/sched.h, as of Linux 5.7.
    #[repr(C, align(8))]
    #[derive(Default)]
    struct Arguments {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

    let mut stack = vec![0_u128; STACK_SIZE / size_of::<u128>()];
    let arguments = Arguments {
        flags: u64::from(FLAGS.unsigned_abs()) | CLONE_INTO_CGROUP,
        pidfd: orders.attempt.pidfd() as u64,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        stack: stack.as_mut_ptr() as u64,
        stack_size: STACK_SIZE as u64,
        cgroup: u64::from(cgroup.as_raw_fd().unsigned_abs()),
        ..Arguments::default()
    };
    let result: isize;
    // SAFETY: needed because a child on a stack of its own cannot return from a function that was
    // called on ours: it calls `child` right here, which never returns. To the compiler this block
    // runs once, in the parent. What `plain` says of memory holds; registers that the
    // kernel changes are declared, those that carry the child's function and argument survive the
    // system call in the child as well.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") &raw const arguments,
            in("rsi") size_of::<Arguments>(),
            in("r12") ptr::from_mut(orders),
            in("r13") child as Child,
            lateout("rcx") _,
            lateout("r11") _,
        );
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            inlateout("x0") &raw const arguments as isize => result,
            in("x1") size_of::<Arguments>(),
            in("x8") libc::SYS_clone3,
            in("x20") ptr::from_mut(orders),
            in("x21") child as Child,
        );
    }
    if result < 0 {
        return Err(Errno::from_raw(i32::try_from(-result).unwrap_or(libc::EINVAL)));
    }
    drop(stack);
    // SAFETY: clone3 succeeded, so the kernel stored a new descriptor there, which nothing else
    // owns.
    Ok((i32::try_from(result).unwrap_or(-1), unsafe {
        OwnedFd::from_raw_fd(*orders.attempt.pidfd())
    }))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn into_cgroup(_orders: &mut Orders<'_>, _cgroup: &OwnedFd) -> nix::Result<(i32, OwnedFd)> {
    Err(Errno::ENOSYS)
}
