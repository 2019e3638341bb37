//! Its session or process group.
#![expect(unsafe_code, reason = "bare system calls between clone and exec")]

use supervision::LaunchFailure;

use super::{About, Newborn, Step, Words, check};
use crate::config::settings::ExecutionEnvironment;
use crate::isolation::launch::failed;
use crate::stages;

const ABOUT: [About; 1] = [About {
    stage: stages::SESSION,
    words: |_, _| Words::plain("cannot create a session or process group (setsid, setpgid)"),
}];

/// See above.
#[derive(Debug)]
pub(in crate::isolation::launch) struct Session {
    is_own: bool,
}

impl Default for Session {
    fn default() -> Self {
        Self { is_own: true }
    }
}

impl Step for Session {
    fn prepare(&mut self, execution: &ExecutionEnvironment) -> failed::Result<()> {
        self.is_own = execution.own_session;
        Ok(())
    }

    fn execute(&self, _: &Newborn<'_>) -> Result<(), LaunchFailure> {
        // SAFETY: setsid and setpgid are listed in signal-safety(7).
        let led = unsafe { if self.is_own { libc::setsid() } else { libc::setpgid(0, 0) } };
        check(stages::SESSION, led)
    }

    fn about() -> &'static [About] {
        &ABOUT
    }
}
