//! A supervisor that has been killed and cannot die: a thread of it waits in the kernel for a file
//! system that does not answer (state D), and SIGKILL waits with it. Its descriptors and locks are
//! held as long, so no other can take its place. The guardian says what it waits for; on an order
//! to end it stops the workers itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::ending::PAUSE;
use super::{Guardian, say};
use crate::isolation::launch::Child;
use crate::process_table::{cannot_die, children_of, is_alive};
use crate::waiting::Limit;

/// Between two looks at one that should end. There are none while all should go on.
const LOOK: Duration = Duration::from_millis(500);
/// For a process to die that has been killed: a disk may be slow.
const TO_DIE: Duration = Duration::from_secs(1);

/// Which supervisors cannot die.
#[derive(Debug, Default)]
pub(super) struct Unkillable {
    /// Since when each looks so.
    since: BTreeMap<i32, Duration>,
    known: BTreeSet<i32>,
    looked: Duration,
    /// Whether one should end, or looks as if it could not.
    is_near: bool,
}

impl Unkillable {
    /// When to look again.
    pub(super) fn due(&self) -> Option<Duration> {
        self.is_near.then_some(self.looked + LOOK)
    }

    /// Looks at these if it is time, and says once of each that it cannot die. `is_near`: one of
    /// them should end.
    pub(super) fn look(&mut self, pids: impl Iterator<Item = i32>, now: Duration, is_near: bool) {
        self.is_near = is_near || !self.since.is_empty();
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        self.looked = now;
        let such: BTreeSet<i32> = pids.filter(|pid| cannot_die(*pid)).collect();
        self.since.retain(|pid, _| such.contains(pid));
        self.known.retain(|pid| such.contains(pid));
        self.is_near = is_near || !such.is_empty();
        for pid in such {
            let since = *self.since.entry(pid).or_insert(now);
            if now.saturating_sub(since) >= TO_DIE && self.known.insert(pid) {
                say(&format!(
                    "supervisor (pid {pid}) has ended or been killed, and cannot die: a thread of \
                     it waits for a file system (state D), likely that of a log or state \
                     directory; its workers go on; make the file system answer, or order the end"
                ));
            }
        }
    }

    pub(super) fn is_known(&self, pid: i32) -> bool {
        self.known.contains(&pid)
    }
}

impl Guardian {
    /// The end where the supervisor cannot die: its children are asked, have their time, and are
    /// killed. Its exit status: 1, since that one is left.
    pub(super) fn end_around(&mut self, supervisor: Child) -> u8 {
        let pid = supervisor.pid;
        // Nothing reaps them, so no other process can have their numbers.
        let left = || -> Vec<i32> {
            let all = children_of(pid).into_iter().chain(crate::process_table::children());
            all.filter(|child| *child != pid && is_alive(*child)).collect()
        };
        let asked = self.ask_all(|_| left());
        let mut limit = Limit::new(TO_DIE);
        loop {
            let left = left();
            if left.is_empty() || limit.is_over() {
                break;
            }
            for child in left {
                let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
            }
            limit.sleep(PAUSE);
        }
        let also: Vec<i32> = left().into_iter().chain([pid]).collect();
        say(&format!("{asked} processes were asked to end; these do not die of SIGKILL: {also:?}"));
        1
    }
}
