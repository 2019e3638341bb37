//! Its file mode creation mask (`umask:`): what files that it makes are closed to.
#![expect(unsafe_code, reason = "bare system calls between clone and exec")]

use supervision::LaunchFailure;

use super::{Newborn, Step};
use crate::config::execution::Umask;
use crate::config::settings::ExecutionEnvironment;
use crate::isolation::launch::failed;

/// `None`: ours.
#[derive(Debug, Default)]
pub(in crate::isolation::launch) struct Mask(Option<u32>);

impl Step for Mask {
    fn prepare(&mut self, execution: &ExecutionEnvironment) -> failed::Result<()> {
        self.0 = execution.for_steps.get().map(|&Umask(mask)| mask);
        Ok(())
    }

    /// Never fails (umask(2)).
    fn execute(&self, _: &Newborn<'_>) -> Result<(), LaunchFailure> {
        if let Some(mask) = self.0 {
            // SAFETY: umask is listed in signal-safety(7).
            unsafe { libc::umask(mask) };
        }
        Ok(())
    }
}
