//! Whoever ends up as our child without having been launched by us: we are a child subreaper (prctl(2)), or process 1 of
//! a container, and the orphans of workers come to us. They are reaped as they die, and at the very end killed.
//!
//! Used by the guardian and by the supervisor; both have children whose status belongs to somebody else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use crate::process_table::{children, stat};

/// For processes to die of SIGKILL. What takes longer is stuck in the kernel, and is named.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at processes that are dying.
const PAUSE: Duration = Duration::from_micros(500);

/// What is left after everything was killed.
#[derive(Debug)]
pub struct Killed {
    /// How many died.
    pub reaped: usize,
    /// Numbers of those that did not.
    pub left: Vec<i32>,
}

/// Reaps every dead child of which `is_ours` does not say that somebody waits for it, and says how it ended. Does not
/// block.
///
/// By number, after a look: `waitpid(-1)` would take the status from under its owner.
pub fn reap(is_ours: impl Fn(i32) -> bool, mut ended: impl FnMut(&WaitStatus)) {
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, peek) {
        match status.pid() {
            Some(pid) if !is_ours(pid.as_raw()) => {
                if let Ok(status) = waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                    ended(&status);
                }
            }
            // One of ours is first in line and hides those behind it: ask for each by its number.
            Some(_) => {
                for pid in children().into_iter().filter(|pid| !is_ours(*pid)) {
                    if let Ok(status) = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
                        ended(&status);
                    }
                }
                return;
            }
            None => return,
        }
    }
}

/// Kills and reaps every child until there is none; the children of a killed one become ours and follow. Blocks until
/// they are dead, at most ten seconds.
#[must_use]
pub fn kill_all() -> Killed {
    let end = Instant::now() + DEADLINE;
    let mut reaped = 0;
    loop {
        for pid in children() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) => reaped += 1,
                // ECHILD: there is nobody left.
                Err(_) => return Killed { reaped, left: Vec::new() },
            }
        }
        if Instant::now() >= end {
            return Killed { reaped, left: children() };
        }
        std::thread::sleep(PAUSE);
    }
}

/// Children that code on our own threads has started are not ours to reap, and cannot be told from orphans. They are
/// when nobody has waited for them for a while.
#[derive(Debug, Default)]
pub struct Patience {
    seen: BTreeMap<i32, Instant>,
}

impl Patience {
    /// How long a thread may take to wait for its own child.
    const LIMIT: Duration = Duration::from_secs(5);

    /// Reaps as [`reap`] does, but each stranger only after a while.
    pub fn reap(&mut self, is_ours: impl Fn(i32) -> bool) {
        let now = Instant::now();
        let dead: Vec<i32> = children()
            .into_iter()
            .filter(|pid| !is_ours(*pid) && stat(*pid).is_some_and(|stat| stat.is_dead()))
            .collect();
        self.seen.retain(|pid, _| dead.contains(pid));
        for pid in dead {
            if now.duration_since(*self.seen.entry(pid).or_insert(now)) >= Self::LIMIT {
                let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
                self.seen.remove(&pid);
            }
        }
    }
}
