//! What signals do in the supervisor's own process. One of a thread worker that ignores TERM makes
//! the supervisor deaf, one that ignores CHLD has the kernel forget how children ended, and one that
//! handles SEGV takes the last words of all.
#![expect(unsafe_code, reason = "the C library would refuse to copy a disposition as it is")]

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::ptr;

use libc::{
    SIGABRT, SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGPIPE, SIGSEGV, SIGSYS, SIGTRAP, SIGXCPU, SIGXFSZ,
};

use crate::held_signals::HELD;

/// Those that the supervisor depends on, besides the ones that it takes.
const OTHERS: [i32; 11] =
    [SIGCHLD, SIGPIPE, SIGXFSZ, SIGXCPU, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS];

/// The kernel's own structure, with whatever it has in it.
type Action = [u64; 4];

/// What is kept.
#[derive(Debug)]
pub(super) struct OwnSignals {
    actions: Vec<(i32, Action)>,
    /// All that were found changed.
    changed: BTreeSet<i32>,
}

impl OwnSignals {
    /// As they are now: before the first thread worker is launched.
    pub(super) fn take() -> Self {
        let all = HELD.into_iter().map(|signal| signal as i32).chain(OTHERS);
        let actions = all.filter_map(|signal| Some((signal, action(signal)?))).collect();
        Self { actions, changed: BTreeSet::new() }
    }

    /// All that were found changed since the supervisor began.
    pub(super) const fn changed(&self) -> &BTreeSet<i32> {
        &self.changed
    }

    /// Puts back what has changed: those signals.
    pub(super) fn keep(&mut self) -> Vec<i32> {
        let mut restored = Vec::new();
        for (signal, own) in &self.actions {
            if action(*signal).is_some_and(|present| present != *own) {
                set(*signal, own);
                restored.push(*signal);
            }
        }
        self.changed.extend(&restored);
        restored
    }
}

/// What a signal does now.
fn action(signal: i32) -> Option<Action> {
    let mut action = Action::default();
    let none: *const c_void = ptr::null();
    let (call, size) = (libc::SYS_rt_sigaction, size_of::<u64>());
    // SAFETY: a bare system call, which stores into `action` and changes nothing.
    let result = unsafe { libc::syscall(call, signal, none, action.as_mut_ptr(), size) };
    (result == 0).then_some(action)
}

/// The same that [`action`] has told of this process, so that its handler is there.
fn set(signal: i32, action: &Action) {
    let none: *mut c_void = ptr::null_mut();
    let (call, size) = (libc::SYS_rt_sigaction, size_of::<u64>());
    // SAFETY: a bare system call, which reads `action`: a disposition that this process had, with
    // the handler and the way back of its C library.
    unsafe { libc::syscall(call, signal, action.as_ptr(), none, size) };
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{SigHandler, Signal, signal};

    use super::*;

    #[test]
    fn what_has_changed_is_put_back_and_told_once() {
        let mut kept = OwnSignals::take();
        // SAFETY: no handler is installed; no other test of this program depends on it.
        unsafe { signal(Signal::SIGXCPU, SigHandler::SigIgn) }.expect("it can be ignored");
        assert_eq!(kept.keep(), [SIGXCPU]);
        assert!(kept.keep().is_empty(), "it is back");
        // SAFETY: the same; what it was is what it is now.
        let was = unsafe { signal(Signal::SIGXCPU, SigHandler::SigDfl) };
        assert!(matches!(was, Ok(SigHandler::SigDfl)), "{was:?}");
        assert_eq!(kept.changed().iter().copied().collect::<Vec<_>>(), [SIGXCPU]);
    }
}
