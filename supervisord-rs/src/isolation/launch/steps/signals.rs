//! Every signal has its default action, and is blocked only where the child is a supervisor.
#![expect(unsafe_code, reason = "bare system calls between clone and exec")]

use std::ffi::c_void;
use std::ptr;

use nix::sys::signal::SigSet;
use supervision::LaunchFailure;

use super::{Newborn, Step};

/// Which are to be reset is known when the child is born: [`Newborn::to_reset`].
#[derive(Debug, Default)]
pub(in crate::isolation::launch) struct Dispositions;

/// The signals that it has blocked when it executes.
#[derive(Debug)]
pub(in crate::isolation::launch) struct Mask(pub(in crate::isolation::launch) SigSet);

impl Default for Mask {
    fn default() -> Self {
        Self(SigSet::empty())
    }
}

impl Step for Dispositions {
    fn execute(&self, newborn: &Newborn<'_>) -> Result<(), LaunchFailure> {
        // The kernel's own structure, all zero: the default action, no flags, no mask. The C
        // library would refuse the two signals that it reserves.
        let default = [0_u64; 4];
        for signal in (1..=64).filter(|signal| newborn.to_reset >> (signal - 1) & 1 == 1) {
            // Fails for KILL and STOP, which need nothing.
            let none: *mut c_void = ptr::null_mut();
            let (call, size) = (libc::SYS_rt_sigaction, size_of::<u64>());
            // SAFETY: a bare system call, which reads `default` and writes nothing.
            unsafe { libc::syscall(call, signal, default.as_ptr(), none, size) };
        }
        Ok(())
    }
}

impl Step for Mask {
    fn execute(&self, _: &Newborn<'_>) -> Result<(), LaunchFailure> {
        let mask: *const libc::sigset_t = self.0.as_ref();
        // SAFETY: sigprocmask is listed in signal-safety(7), and reads a mask that outlives the
        // call.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, mask, ptr::null_mut()) };
        Ok(())
    }
}
