//! An executable in its own process. It has no board and speaks Unix: signals, exit status, output.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use supervision::LaunchFailure;

use super::host::null;
use super::launch::{Child, Plan};

/// Starts `argv`, looked up in the `PATH` of its own environment.
pub(super) fn launch(
    argv: &[String],
    environment: &BTreeMap<OsString, OsString>,
    directory: Option<&Path>,
    stdout: BorrowedFd<'_>,
    stderr: BorrowedFd<'_>,
) -> Result<Child, LaunchFailure> {
    // The search path of confstr(3) and of execvp(3) where PATH is not set.
    let path = environment.get(OsStr::new("PATH")).map_or(OsStr::new("/bin:/usr/bin"), OsString::as_os_str);
    let program = argv.first().map_or("", String::as_str);
    let mut plan = Plan::new(OsStr::new(program), argv, path)?
        .environment(environment.iter().map(|(name, value)| (&**name, &**value)))?
        .descriptor(null()?.as_fd())?
        .descriptor(stdout)?
        .descriptor(stderr)?;
    if let Some(directory) = directory {
        plan = plan.directory(directory)?;
    }
    plan.launch()
}
