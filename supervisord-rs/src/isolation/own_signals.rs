//! What signals do in the supervisor's own process: code of a thread worker may change it at any
//! time. One that ignores TERM makes the supervisor deaf, one that ignores CHLD has the kernel
//! forget how children ended, and one that handles SEGV takes the last words of all.
//!
//! Nothing keeps a thread from that, so the supervisor looks: after each launch, at each sign of
//! life of its loop, and now and then when it runs anyway. What it finds changed it puts back.
#![expect(unsafe_code, reason = "the C library would refuse to copy a disposition as it is")]

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::ptr;
use std::time::Duration;

use libc::{
    SIGABRT, SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGPIPE, SIGSEGV, SIGSYS, SIGTRAP, SIGXCPU, SIGXFSZ,
};

use crate::held_signals::HELD;

/// Those that the supervisor depends on, besides the ones that it takes.
const OTHERS: [i32; 11] =
    [SIGCHLD, SIGPIPE, SIGXFSZ, SIGXCPU, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS];
/// Least time between two looks that nothing calls for.
const PAUSE: Duration = Duration::from_millis(100);
/// After the launch of a thread worker it is looked twice, so long after it: most change signals
/// when they begin.
const AFTER_LAUNCH: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// The kernel's own structure, with whatever it has in it.
type Action = [u64; 4];

/// What is kept, and when to look next. Times are on the machine's clock.
#[derive(Debug)]
pub(in crate::isolation) struct OwnSignals {
    actions: Vec<(i32, Action)>,
    launched: Duration,
    looked: Duration,
    due: Option<Duration>,
    /// All that were found changed.
    changed: BTreeSet<i32>,
}

impl OwnSignals {
    /// As they are now: before the first thread worker is launched.
    pub(in crate::isolation) fn take() -> Self {
        let all = HELD.into_iter().map(|signal| signal as i32).chain(OTHERS);
        let actions = all.filter_map(|signal| Some((signal, action(signal)?))).collect();
        let (launched, looked) = (Duration::ZERO, Duration::ZERO);
        Self { actions, launched, looked, due: None, changed: BTreeSet::new() }
    }

    /// A thread worker begins.
    pub(in crate::isolation) fn on_launch(&mut self, now: Duration) {
        self.launched = now;
        self.due = AFTER_LAUNCH.first().map(|pause| now.saturating_add(*pause));
    }

    /// When to look, whatever else happens.
    pub(in crate::isolation) const fn due(&self) -> Option<Duration> {
        self.due
    }

    /// All that were found changed since the supervisor began.
    pub(in crate::isolation) const fn changed(&self) -> &BTreeSet<i32> {
        &self.changed
    }

    /// Looks, if it is time or `is_urgent`, and puts back what has changed: those signals.
    pub(in crate::isolation) fn keep(&mut self, now: Duration, is_urgent: bool) -> Vec<i32> {
        let is_due = self.due.is_some_and(|at| at <= now);
        if !is_due && !is_urgent && now < self.looked.saturating_add(PAUSE) {
            return Vec::new();
        }
        self.looked = now;
        let later = AFTER_LAUNCH.into_iter().map(|pause| self.launched.saturating_add(pause));
        self.due = later.into_iter().find(|at| *at > now).filter(|_| self.due.is_some());
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
        let at = Duration::from_millis;
        kept.on_launch(at(1000));
        assert_eq!(kept.due(), Some(at(1100)));
        // SAFETY: no handler is installed; no other test of this program depends on it.
        unsafe { signal(Signal::SIGXCPU, SigHandler::SigIgn) }.expect("it can be ignored");
        assert_eq!(kept.keep(at(1100), false), [SIGXCPU]);
        assert_eq!(kept.due(), Some(at(2000)));
        assert!(kept.keep(at(2000), false).is_empty(), "it is back");
        assert_eq!(kept.due(), None);
        // SAFETY: the same; what it was is what it is now.
        let was = unsafe { signal(Signal::SIGXCPU, SigHandler::SigDfl) };
        assert!(matches!(was, Ok(SigHandler::SigDfl)), "{was:?}");
        assert_eq!(kept.changed().iter().copied().collect::<Vec<_>>(), [SIGXCPU]);
    }
}
