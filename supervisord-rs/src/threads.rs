//! Threads of the supervisor's own, beside its main one. They take no signals: a signal comes to
//! the loop then, and wakes no other thread on its way. The kernel gives a signal of the process to
//! any thread that does not block it (signal(7)).

use std::io;
use std::thread::{Builder, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

/// Faults of the thread itself: blocked, they would end the process without a trace
/// (sigprocmask(2)).
const FAULTS: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGABRT,
    Signal::SIGTRAP,
    Signal::SIGSYS,
];

/// Starts one.
///
/// # Errors
/// EAGAIN when there can be none.
pub(crate) fn spawn<T: Send + 'static>(
    builder: Builder,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let mut blocked = SigSet::all();
    FAULTS.into_iter().for_each(|fault| blocked.remove(fault));
    let mut before = SigSet::empty();
    // A thread inherits the mask of the one that starts it (pthread_create(3)).
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&blocked), Some(&mut before))?;
    let spawned = builder.spawn(work);
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    spawned
}
