//! A limit on the size of files (`ulimit -f`) is no reason for us to die: a write that goes beyond
//! it fails with EFBIG instead, and what is lost is counted like that of a full disk (setrlimit(2),
//! `RLIMIT_FSIZE`).

use nix::sys::signal::{SigHandler, Signal, signal};

/// Launched processes get the default back, as for every signal.
///
/// # Errors
/// None that sigaction(2) has for a signal that can be ignored.
pub fn outlive_limit() -> nix::Result<()> {
    #[expect(unsafe_code, reason = "signal dispositions have no safe form")]
    // SAFETY: needed because a limit that is passed kills by default. No handler is installed, so
    // that nothing runs in signal context, and no other code sets this disposition.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.map(drop)
}
