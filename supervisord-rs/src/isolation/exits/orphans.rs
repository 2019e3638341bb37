//! Processes that become our children without having been launched by us: we are a child subreaper
//! (prctl(2)), or process 1 of a container, and the orphans of workers come to us. They are reaped
//! as they die, and at the very end killed.
//!
//! Used by the guardian and by the supervisor; both have children whose status belongs to
//! another part of the program.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::reaper;
use super::wait::{self, Exit, Whom};
use crate::process_table::{children, stat};
use crate::waiting::Limit;

/// For processes to die of SIGKILL. What takes longer is stuck in the kernel, and is named.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at processes that are dying.
const PAUSE: Duration = Duration::from_micros(500);
/// Looks in a row that find dead children only, none of which can be reaped. One is not enough: the
/// children of a process come to us as it dies, which may be after the look at ours.
const LOOKS: u32 = 100;

/// What is left after everything was killed.
#[derive(Debug)]
pub struct Killed {
    /// How many died.
    pub reaped: usize,
    /// Numbers of those that did not.
    pub left: Vec<i32>,
}

/// Whether a child has exited and was not waited for. One call, however many children there are.
pub fn has_dead() -> bool {
    matches!(wait::peek(Whom::Anyone), Ok(Some(_)))
}

/// Whether there is a child, dead or alive. The kernel's list of them may miss one while others die;
/// this does not.
pub fn has_any() -> bool {
    !matches!(wait::peek(Whom::Anyone), Err(Errno::ECHILD))
}

/// Reaps every dead child that another part of the program does not wait for (`is_ours`), and
/// reports how it ended. Does not block, and stops at `end`, if there is one: true, when there may
/// be more.
///
/// By number, after a look: `waitpid(-1)` would take the status from under its owner.
pub fn reap(
    is_ours: impl Fn(i32) -> bool,
    mut ended: impl FnMut(&Exit),
    end: Option<Instant>,
) -> bool {
    let is_late = || end.is_some_and(|end| Instant::now() > end);
    while let Ok(Some(exit)) = wait::peek(Whom::Anyone) {
        if is_late() {
            return true;
        }
        if is_ours(exit.pid) {
            // It is first in line and hides those behind it: ask for each by its number.
            for pid in children().into_iter().filter(|pid| !is_ours(*pid)) {
                if let Ok(Some(exit)) = wait::take(Whom::Pid(pid)) {
                    ended(&exit);
                }
                if is_late() {
                    return true;
                }
            }
            return false;
        }
        match wait::take(Whom::Pid(exit.pid)) {
            Ok(Some(exit)) => ended(&exit),
            // Another thread was faster, and it does not come back; if it does, the next time takes
            // it.
            Ok(None) => return false,
            Err(_) => {}
        }
    }
    false
}

/// Kills and reaps every child until there is none; the children of a killed one become ours and
/// follow. Blocks until they are dead, at most ten seconds.
#[must_use]
pub fn kill_all() -> Killed {
    let mut limit = Limit::new(DEADLINE);
    let mut reaped = 0;
    let mut looks = 0;
    loop {
        let Some(left) = limit.look(|| kill_and_reap(&mut reaped)) else {
            return Killed { reaped, left: Vec::new() };
        };
        looks = if left.is_empty() { looks + 1 } else { 0 };
        if looks >= LOOKS || limit.is_over() {
            return Killed { reaped, left };
        }
        limit.sleep(PAUSE);
    }
}

/// One round. Those that are left; `None`: there are no children.
fn kill_and_reap(reaped: &mut usize) -> Option<Vec<i32>> {
    for pid in children() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    loop {
        match wait::take(Whom::Anyone) {
            Ok(Some(_)) => *reaped += 1,
            Err(Errno::ECHILD) => return None,
            Ok(None) | Err(_) => break,
        }
    }
    // A debugger traces what is dead and cannot be reaped; it goes when the debugger lets go of it.
    Some(children().into_iter().filter(|pid| !is_dead(*pid)).collect())
}

/// Whether all of a process has exited, waited for or not.
fn is_dead(pid: i32) -> bool {
    reaper::open(pid).is_ok_and(|handle| reaper::has_exited(&handle))
}

/// Children that code on our own threads has started are not ours to reap, and cannot be told from
/// orphans. They are when no thread has waited for them for a while.
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
                let _ = wait::take(Whom::Pid(pid));
                self.seen.remove(&pid);
            }
        }
    }
}
