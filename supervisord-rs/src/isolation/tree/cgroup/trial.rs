//! Whether a process that is born in a cgroup lives. Linux 6.12 and later kill a process that
//! starts in a cgroup which was killed less or more often than its parent's own (the kernel
//! compares `kill_seq` of the two): where that has happened to the supervisor's cgroup, leaves are
//! useless.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::isolation::exits::reaper;
use crate::isolation::launch::into_cgroup::IntoCgroup;
use crate::isolation::launch::{Attempt, Plan};
use crate::stages;
use crate::threads;

/// A birth takes a millisecond. In a cgroup that is frozen it takes until that is thawed.
const LIMIT: Duration = Duration::from_secs(2);
/// For a thread to come back when the child that it waits for was killed.
const TO_RETURN: Duration = Duration::from_secs(1);

/// Has a process born there, on a thread of its own. `None`: it was not known in time.
pub(super) fn lives(birthplace: OwnedFd) -> Option<bool> {
    let attempt = Arc::new(Attempt::default());
    let (sender, answer) = channel();
    let theirs = Arc::clone(&attempt);
    let thread = thread::Builder::new().name("trial".into());
    let work = move || sender.send(bear(birthplace, &theirs)).unwrap_or_default();
    threads::spawn(thread, work).ok()?;
    answer.recv_timeout(LIMIT).ok().or_else(|| {
        attempt.withdraw();
        // What it says then is that we have killed it.
        let _ = answer.recv_timeout(TO_RETURN);
        None
    })
}

fn bear(birthplace: OwnedFd, attempt: &Attempt) -> bool {
    let nothing: [&str; 1] = ["nothing"];
    let plan = Plan::new(OsStr::new("/nonexistent/supervisord-rs"), &nothing, OsStr::new(""));
    match plan.and_then(|plan| plan.born_in(IntoCgroup::only(Some(birthplace))).launch_as(attempt))
    {
        // It lived until its exec failed.
        Err(failed) => failed.stage == stages::EXEC,
        Ok(killed) => {
            reaper::discard(&killed.pidfd);
            false
        }
    }
}
