//! Death at a random instruction: the process steps through its own code, and kills itself when
//! the steps are over.
//!
//! A process that is killed from outside mostly sleeps or waits for a processor. This way each
//! instruction is as likely as any other, also those of the C library within its locks.

use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};

static LEFT: AtomicU32 = AtomicU32::new(0);

/// Async-signal-safe: an atomic operation and raise(3).
extern "C" fn step(_signal: i32) {
    if LEFT.fetch_sub(1, Ordering::Relaxed) == 0 {
        let _ = raise(Signal::SIGKILL);
    }
}

/// From here on the process lives for so many instructions. Elsewhere than on x86_64 it lives on.
pub(crate) fn begin(instructions: u32) {
    LEFT.store(instructions, Ordering::Relaxed);
    let action = SigAction::new(SigHandler::Handler(step), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler is async-signal-safe.
    unsafe { sigaction(Signal::SIGTRAP, &action) }.expect("a handler");
    // SAFETY: sets the trap flag, which makes each instruction that follows end in SIGTRAP; the
    // stack is as before.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq");
    }
}
