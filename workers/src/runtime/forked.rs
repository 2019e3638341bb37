//! Whether this is the process that was given its workers, or a child that one of them forked.
//!
//! A child has all memory of its parent, the boards among it, and would report the parent's workers
//! as its own. It must not: nothing of it reaches a board. A page that the kernel fills with zeros
//! in each child tells the two apart, however the child was made and without a system call
//! (`MADV_WIPEONFORK`, madvise(2), Linux 4.14).

use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

const LENGTH: usize = 4096;

/// 1 in the process that marked itself, 0 in its children. Null: not marked, or there is no such
/// page.
static PAGE: AtomicPtr<AtomicI32> = AtomicPtr::new(ptr::null_mut());
/// The process that marked itself.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// Marks this process as the one whose workers these are. Further calls do nothing.
pub(crate) fn mark() {
    static MARKED: Once = Once::new();
    MARKED.call_once(|| {
        // SAFETY: needed because std has no such memory. A fresh mapping at an address that the
        // kernel chooses, never unmapped; a zeroed page is a valid atomic.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let page = libc::mmap(ptr::null_mut(), LENGTH, access, flags, -1, 0);
            if page != libc::MAP_FAILED {
                if libc::madvise(page, LENGTH, libc::MADV_WIPEONFORK) == 0 {
                    (*page.cast::<AtomicI32>()).store(1, Ordering::Relaxed);
                    PAGE.store(page.cast(), Ordering::Release);
                } else {
                    libc::munmap(page, LENGTH);
                }
            }
        }
        OWNER.store(pid(), Ordering::Release);
    });
}

/// False in a child that a worker forked. Two loads, no system call; on a kernel without such pages
/// one. Async-signal-safe.
pub(crate) fn is_original() -> bool {
    // SAFETY: the page is never unmapped, and an atomic.
    match unsafe { PAGE.load(Ordering::Acquire).as_ref() } {
        Some(page) => page.load(Ordering::Relaxed) == 1,
        None => is_owner(),
    }
}

/// The same, and false in a child that shares this memory until it executes a program (vfork(2)).
/// One system call. Async-signal-safe.
pub(crate) fn is_owner() -> bool {
    let owner = OWNER.load(Ordering::Acquire);
    owner == 0 || owner == pid()
}

fn pid() -> i32 {
    // SAFETY: no arguments, no memory effects.
    unsafe { libc::getpid() }
}
