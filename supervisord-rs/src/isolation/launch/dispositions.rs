//! The signals whose disposition a child has to reset: execve(2) leaves those ignored that were.
//!
//! To ask for each of them, or to reset each, costs more than the rest of the child's preparations
//! together. The supervisor's own code ignores signals while it starts, and never later; so they
//! are asked for once. Code of a thread worker may ignore any at any time.
#![expect(unsafe_code, reason = "the C library would refuse two signals")]

use std::ffi::c_void;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of signals.
const COUNT: u32 = 64;
/// All of them.
pub(super) const ALL: u64 = u64::MAX;

static IGNORED: OnceLock<u64> = OnceLock::new();
/// Whether code of a worker has run in this process.
static ARE_FOREIGN: AtomicBool = AtomicBool::new(false);

/// From now on code of a worker runs in this process.
pub(in crate::isolation) fn become_foreign() {
    ARE_FOREIGN.store(true, Ordering::SeqCst);
}

/// By bit, signal 1 first: those that are ignored now, or may be.
pub(super) fn ignored() -> u64 {
    if ARE_FOREIGN.load(Ordering::SeqCst) { ALL } else { *IGNORED.get_or_init(ask) }
}

fn ask() -> u64 {
    (1..=COUNT).filter(|signal| is_ignored(*signal)).map(|signal| 1 << (signal - 1)).sum()
}

fn is_ignored(signal: u32) -> bool {
    // The kernel's own structure: the handler comes first.
    let mut action = [0_u64; 4];
    let none: *const c_void = ptr::null();
    // SAFETY: a bare system call, which stores into `action` and changes nothing.
    let result = unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal, none, action.as_mut_ptr(), size_of::<u64>())
    };
    result == 0 && action[0] == libc::SIG_IGN as u64
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::process_table;

    #[test]
    fn they_are_what_the_kernel_says() {
        let status = Path::new("/proc/thread-self/status");
        assert_eq!(Some(ask()), process_table::mask(status, "SigIgn:"));
        // The runtime of Rust does that.
        assert!(is_ignored(libc::SIGPIPE.unsigned_abs()) && !is_ignored(9));
    }
}
