//! Its session or process group, and its file mode creation mask.
#![expect(unsafe_code, reason = "bare system calls between clone and exec")]

use supervision::LaunchFailure;

use super::{About, Newborn, Step, Words, check};
use crate::config::settings::ExecutionEnvironment;
use crate::stages;

pub(super) const ABOUT: [About; 1] = [About {
    stage: stages::SESSION,
    words: |_, _| Words::plain("cannot create a session or process group (setsid, setpgid)"),
}];

/// See above.
#[derive(Debug)]
pub(in crate::isolation::launch) struct Session {
    is_own: bool,
    umask: Option<u32>,
}

impl Default for Session {
    fn default() -> Self {
        Self { is_own: true, umask: None }
    }
}

impl Session {
    pub(super) fn prepare(execution: &ExecutionEnvironment) -> Self {
        Self { is_own: execution.own_session, umask: execution.umask }
    }
}

impl Step for Session {
    fn execute(&self, _: &Newborn<'_>) -> Result<(), LaunchFailure> {
        // SAFETY: setsid and setpgid are listed in signal-safety(7).
        let led = unsafe { if self.is_own { libc::setsid() } else { libc::setpgid(0, 0) } };
        check(stages::SESSION, led)?;
        if let Some(mask) = self.umask {
            // SAFETY: umask is listed in signal-safety(7).
            unsafe { libc::umask(mask) };
        }
        Ok(())
    }
}
