//! A limit that is passed is no reason for us to die (setrlimit(2)).
//!
//! Beyond the limit on the size of files (`ulimit -f`) a write fails with EFBIG instead, and what
//! is lost is counted like that of a full disk. The limit on processor time (`ulimit -t`) is meant
//! for programs that run away: its hard value kills us all the same, and the guardian or service
//! manager starts the next supervisor.

use nix::sys::signal::{SigHandler, Signal, signal};

/// Launched processes get the defaults back, as for every signal.
///
/// # Errors
/// None that sigaction(2) has for a signal that can be ignored.
pub fn outlive_limits() -> nix::Result<()> {
    for limit in [Signal::SIGXFSZ, Signal::SIGXCPU] {
        #[expect(unsafe_code, reason = "signal dispositions have no safe form")]
        // SAFETY: needed because a limit that is passed kills by default. No handler is installed,
        // so that nothing runs in signal context, and no other code sets these dispositions.
        unsafe { signal(limit, SigHandler::SigIgn) }?;
    }
    Ok(())
}
