//! Its working directory.
#![expect(unsafe_code, reason = "bare system calls between clone and exec")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use supervision::LaunchFailure;

use super::{About, Newborn, Step, Words, check};
use crate::config::settings::ExecutionEnvironment;
use crate::isolation::launch::failure;
use crate::stages;

pub(super) const ABOUT: [About; 1] = [About { stage: stages::DIRECTORY, words }];

/// `None`: ours.
#[derive(Debug, Default)]
pub(in crate::isolation::launch) struct Directory(Option<CString>);

impl Directory {
    /// # Errors
    /// EINVAL when it has a NUL byte in it.
    pub(super) fn prepare(execution: &ExecutionEnvironment) -> Result<Self, LaunchFailure> {
        let Some(directory) = &execution.cwd else { return Ok(Self(None)) };
        let text = CString::new(directory.as_os_str().as_bytes());
        Ok(Self(Some(text.map_err(|_| failure(stages::DIRECTORY, Errno::EINVAL))?)))
    }
}

impl Step for Directory {
    fn execute(&self, newborn: &Newborn<'_>) -> Result<(), LaunchFailure> {
        let Some(directory) = &self.0 else { return Ok(()) };
        newborn.attempt.enter(stages::DIRECTORY);
        // SAFETY: chdir is listed in signal-safety(7); the path is a C string.
        check(stages::DIRECTORY, unsafe { libc::chdir(directory.as_ptr()) })
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
