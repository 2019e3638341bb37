//! Whose life it shares (`PR_SET_PDEATHSIG`, prctl(2)): until it executes it ends with us, whatever
//! comes after; then as it is wanted.
#![expect(unsafe_code, reason = "bare system calls between clone and exec")]

use std::ffi::c_int;

use nix::errno::Errno;
use supervision::LaunchFailure;

use super::{About, Newborn, Step, Words, check};
use crate::isolation::launch::failure;
use crate::stages;

const ABOUT: [About; 1] = [About {
    stage: stages::PARENT_DEATH_SIGNAL,
    words: |_, _| Words::plain("cannot tie its life to the supervisor's"),
}];

/// The tie until its `execve`.
#[derive(Debug)]
pub(in crate::isolation::launch) struct UntilExec {
    signal: c_int,
    /// Whether it is wanted also without its parent: its parent-death signal waits for it.
    outlives: bool,
}

/// The tie from then on.
#[derive(Debug)]
pub(in crate::isolation::launch) struct FromExec {
    signal: c_int,
    outlives: bool,
}

impl Default for UntilExec {
    fn default() -> Self {
        Self { signal: libc::SIGKILL, outlives: false }
    }
}

impl Default for FromExec {
    fn default() -> Self {
        Self { signal: libc::SIGKILL, outlives: false }
    }
}

/// Both ties. `signal`: what it gets when the thread that launches it ends; 0: it goes on.
/// `is_held`: it takes that signal when it can, and is launched also when its parent dies
/// meanwhile.
pub(in crate::isolation::launch) fn ties(signal: c_int, is_held: bool) -> (UntilExec, FromExec) {
    let first = if is_held { signal } else { libc::SIGKILL };
    (UntilExec { signal: first, outlives: is_held }, FromExec { signal, outlives: is_held })
}

impl Step for UntilExec {
    fn execute(&self, newborn: &Newborn<'_>) -> Result<(), LaunchFailure> {
        tie(self.signal)?;
        is_wanted(newborn, self.outlives)
    }

    fn about() -> &'static [About] {
        &ABOUT
    }
}

impl Step for FromExec {
    fn execute(&self, newborn: &Newborn<'_>) -> Result<(), LaunchFailure> {
        newborn.attempt.enter(stages::EXEC);
        tie(self.signal)?;
        is_wanted(newborn, self.outlives)
    }
}

fn tie(signal: c_int) -> Result<(), LaunchFailure> {
    // SAFETY: prctl is the system call alone, and takes a number.
    let tied = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) };
    check(stages::PARENT_DEATH_SIGNAL, tied)
}

/// Whether its launch was not withdrawn, and its parent is there: otherwise nothing would know of
/// it, or end it. A supervisor is needed also without its guardian: it ends what runs.
fn is_wanted(newborn: &Newborn<'_>, outlives: bool) -> Result<(), LaunchFailure> {
    // SAFETY: getppid has no effects.
    if !outlives && unsafe { libc::getppid() } != newborn.parent {
        return Err(failure(stages::PARENT_DEATH_SIGNAL, Errno::ESRCH));
    }
    if newborn.attempt.is_withdrawn() {
        return Err(failure(newborn.attempt.stage(), Errno::ETIMEDOUT));
    }
    Ok(())
}
