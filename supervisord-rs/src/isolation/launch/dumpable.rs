//! Whether we dump core, which a child that changes its user in our memory takes from us.
//!
//! The flag belongs to the memory, which the child shares until its `execve` (`PR_SET_DUMPABLE`,
//! prctl(2)). It must stay off as long as such a child is there: its new user may look into any
//! process of its own that has the flag on, and that would be our memory. When the last one is gone
//! it is set as it was.
#![expect(unsafe_code, reason = "nix tells only whether it is not 0")]

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The flag of a process that dumps core as its user's own; the other values are the kernel's to
/// give.
const DUMPABLE: libc::c_int = 1;

/// How many such children there are, and what the flag was before the first.
static CHANGING: Mutex<(usize, libc::c_int)> = Mutex::new((0, 0));

/// As long as there is one of these, one of our children may change its user in our memory.
#[derive(Debug)]
pub(super) struct Changing;

impl Changing {
    pub(super) fn begin() -> Self {
        let mut changing = lock();
        if changing.0 == 0 {
            // SAFETY: the call has no memory effects.
            changing.1 = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
        }
        changing.0 += 1;
        Self
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        let mut changing = lock();
        changing.0 -= 1;
        if changing.0 == 0 && changing.1 == DUMPABLE {
            // SAFETY: the call has no memory effects.
            unsafe { libc::prctl(libc::PR_SET_DUMPABLE, DUMPABLE) };
        }
    }
}

fn lock() -> MutexGuard<'static, (usize, libc::c_int)> {
    CHANGING.lock().unwrap_or_else(PoisonError::into_inner)
}
