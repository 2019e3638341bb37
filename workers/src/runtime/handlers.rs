//! The handlers of fatal signals stay ours where several workers share a process: one that installs
//! its own would take the last words of all. They are looked at now and then, and put back. A
//! process that one worker has for itself is its own affair, and the supervisor's own process looks
//! by itself.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::c_int;

use crate::runtime::board::monotonic_ns;
use crate::runtime::crash::{FATAL, handler, is_dying, our_action};
use crate::runtime::forked;

/// At most so often a thread that gives a sign of life looks, in nanoseconds.
const PAUSE: u64 = 1_000_000_000;

/// When the next look is due, in monotonic nanoseconds; the latest time there is: nothing is looked
/// at in this process.
static NEXT: AtomicU64 = AtomicU64::new(u64::MAX);

/// From now on threads of this process look, too.
pub(super) fn begin() {
    NEXT.store(monotonic_ns().saturating_add(PAUSE), Ordering::Relaxed);
}

/// Puts back what has changed, if it is time to look: those signals. One load where it never is.
pub(crate) fn keep_if_due() -> Option<Changed> {
    let next = NEXT.load(Ordering::Relaxed);
    if next == u64::MAX || !forked::is_original() {
        return None;
    }
    let now = monotonic_ns();
    let then = now.saturating_add(PAUSE);
    let order = Ordering::Relaxed;
    let is_due = now >= next && NEXT.compare_exchange(next, then, order, order).is_ok();
    is_due.then(keep)
}

/// Puts back what has changed: those signals.
pub(super) fn keep() -> Changed {
    let mut changed = Changed(0);
    // One that ends the process at this moment is handed on to the handler before ours.
    if is_dying() {
        return changed;
    }
    for signal in FATAL {
        if present(signal).is_some_and(|present| present != handler()) {
            let ours = our_action();
            // SAFETY: a valid action, with a handler that is there as long as the process.
            unsafe { libc::sigaction(signal, &raw const ours, ptr::null_mut()) };
            changed.0 |= 1 << (signal - 1);
        }
    }
    changed
}

/// The handler that a signal has now.
fn present(signal: c_int) -> Option<usize> {
    // SAFETY: a zeroed action is a valid one, and the call only stores into it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let result = libc::sigaction(signal, ptr::null(), &raw mut action);
        (result == 0).then_some(action.sa_sigaction)
    }
}

/// Signals, from 1 to 32, as bits from the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Changed(pub(crate) u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_of_a_worker_is_replaced_by_ours_once_it_is_time_to_look() {
        crate::runtime::crash::install().expect("handlers");
        // SAFETY: no handler is installed, and the signal is not sent meanwhile.
        let ignore = || unsafe { libc::signal(libc::SIGFPE, libc::SIG_IGN) };
        ignore();
        assert_eq!(keep_if_due(), None, "not in this process");
        begin();
        assert_eq!(keep_if_due(), None, "not yet");
        NEXT.store(1, Ordering::Relaxed);
        assert_eq!(keep_if_due(), Some(Changed(1 << (libc::SIGFPE - 1))));
        assert_eq!(present(libc::SIGFPE), Some(handler()));
        NEXT.store(1, Ordering::Relaxed);
        assert_eq!(keep_if_due(), Some(Changed(0)), "it is there");
        NEXT.store(u64::MAX, Ordering::Relaxed);
    }
}
