//! clone3(2), which the C library does not wrap: the bare system call, by architecture.
#![expect(unsafe_code, reason = "clone3(2) has no safe form, and no wrapper at all")]

use std::ffi::{c_int, c_void};

use nix::errno::Errno;

/// What the child runs. It makes async-signal-safe calls only, allocates nothing, and never
/// returns.
pub(super) type Child = extern "C" fn(*mut c_void) -> c_int;

/// Of linux/sched.h: `cgroup` names where the child is born.
pub(super) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Of linux/sched.h, Linux 5.5: signals that are handled get their default action in the child.
pub(super) const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// `struct clone_args` of linux/sched.h, as of Linux 5.7.
#[repr(C, align(8))]
#[derive(Default)]
pub(super) struct Arguments {
    pub(super) flags: u64,
    pub(super) pidfd: u64,
    pub(super) child_tid: u64,
    pub(super) parent_tid: u64,
    pub(super) exit_signal: u64,
    pub(super) stack: u64,
    pub(super) stack_size: u64,
    pub(super) tls: u64,
    pub(super) set_tid: u64,
    pub(super) set_tid_size: u64,
    pub(super) cgroup: u64,
}

/// Makes a child that calls `function(argument)` on the stack that `arguments` names. Its number.
///
/// # Errors
/// Those of clone3(2); ENOSYS on an architecture that is not written down here.
///
/// # Safety
/// `arguments` suspends the caller until the child has executed or exited (`CLONE_VFORK`); the
/// stack and what `argument` points to live until then, and are the child's alone.
pub(super) unsafe fn clone3(
    arguments: &Arguments,
    function: Child,
    argument: *mut c_void,
) -> nix::Result<i32> {
    // SAFETY: the caller promises what the system call needs.
    let result = unsafe { system_call(arguments, function, argument) };
    if result < 0 {
        return Err(Errno::from_raw(i32::try_from(-result).unwrap_or(libc::EINVAL)));
    }
    Ok(i32::try_from(result).unwrap_or(-1))
}

/// What the kernel answers to the parent.
///
/// # Safety
/// See [`clone3`].
#[cfg(target_arch = "x86_64")]
unsafe fn system_call(arguments: &Arguments, function: Child, argument: *mut c_void) -> isize {
    let result: isize;
    // SAFETY: needed because a child on a stack of its own cannot return from a function that was
    // called on ours: it calls `function` right here, which never returns. To the compiler this
    // block runs once, in the parent. Registers that the kernel changes are declared; those that
    // carry the child's function and argument survive the system call in the child as well.
    unsafe {
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
            in("rdi") std::ptr::from_ref(arguments),
            in("rsi") size_of::<Arguments>(),
            in("r12") argument,
            in("r13") function,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// What the kernel answers to the parent.
///
/// # Safety
/// See [`clone3`].
#[cfg(target_arch = "aarch64")]
unsafe fn system_call(arguments: &Arguments, function: Child, argument: *mut c_void) -> isize {
    let result: isize;
    // SAFETY: see the other architecture.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            inlateout("x0") std::ptr::from_ref(arguments) as isize => result,
            in("x1") size_of::<Arguments>(),
            in("x8") libc::SYS_clone3,
            in("x20") argument,
            in("x21") function,
        );
    }
    result
}

/// No architecture that we know: as an old kernel.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn system_call(_arguments: &Arguments, _function: Child, _argument: *mut c_void) -> isize {
    -(Errno::ENOSYS as isize)
}
