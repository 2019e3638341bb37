//! Its working directory.
#![expect(unsafe_code, reason = "bare system calls between clone and exec")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use supervision::LaunchFailure;

use super::{About, Newborn, Step, Words, check};
use crate::config::execution::Cwd;
use crate::config::settings::ExecutionEnvironment;
use crate::isolation::launch::{failed, failure};
use crate::stages;

const ABOUT: [About; 1] = [About { stage: stages::DIRECTORY, words }];

/// `None`: ours.
#[derive(Debug, Default)]
pub(in crate::isolation::launch) struct Directory(Option<CString>);

impl Step for Directory {
    /// EINVAL when it has a NUL byte in it.
    fn prepare(&mut self, execution: &ExecutionEnvironment) -> failed::Result<()> {
        let directory =
            execution.for_steps.get().map(|Cwd(path)| CString::new(path.as_os_str().as_bytes()));
        self.0 = directory.transpose().map_err(|_| failure(stages::DIRECTORY, Errno::EINVAL))?;
        Ok(())
    }

    fn execute(&self, newborn: &Newborn<'_>) -> Result<(), LaunchFailure> {
        let Some(directory) = &self.0 else { return Ok(()) };
        newborn.attempt.enter(stages::DIRECTORY);
        // SAFETY: chdir is listed in signal-safety(7); the path is a C string.
        check(stages::DIRECTORY, unsafe { libc::chdir(directory.as_ptr()) })
    }

    fn about() -> &'static [About] {
        &ABOUT
    }
}

fn words(errno: Errno, _: &str) -> Words {
    let remedy = match errno {
        Errno::ENOENT => ": create it, or correct `cwd:`",
        Errno::EACCES => ": its user may not enter it",
        _ => "",
    };
    Words::Step("cannot enter its working directory".into(), remedy.into())
}
