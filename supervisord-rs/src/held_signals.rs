//! The signals that a supervisor holds back before it can take them, and that a guardian or a
//! predecessor has held for it when it begins.

use nix::sys::signal::Signal;

/// Signals that a guardian passes on, and that people send. They are blocked already when a
/// supervisor executes that another of our processes starts: one that comes then waits.
pub(crate) const HELD: [Signal; 12] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR2,
    GUARDIAN_GONE,
    // These mean nothing. Their default action ends the process: signal(7).
    Signal::SIGUSR1,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGSTKFLT,
];

/// Comes when the guardian dies (`PR_SET_PDEATHSIG`, prctl(2)). It is sent once for each of the
/// guardian's threads that we are a child of in turn, so it must not be one of those that mean more
/// when they come twice.
pub(crate) const GUARDIAN_GONE: Signal = Signal::SIGPWR;
