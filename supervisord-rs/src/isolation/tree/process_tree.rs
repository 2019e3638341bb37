//! The main process of a worker and all that it started, wherever that has gone.
//!
//! Where the worker has a cgroup, that is the process tree. Else it is found in the process table:
//! a process that descends from the main one, shares its session or process group, or has become an
//! orphan and bears the mark of the process tree (we are a child subreaper, so that orphans come to
//! us, prctl(2)): in its environment, or, where that was wiped, as a resource limit. A process that
//! does away with all of these escapes the walk, not the cgroup.
//!
//! No number is signalled that could have a new owner: a pidfd is opened first, and then it is
//! looked at once more whether the number is still in the process tree (pidfd_open(2)).

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use workers::runtime::board::monotonic_ns;

use super::census::{Census, Errand};
use super::cgroup::{Extent, Leaf};
use super::kin::{Kin, with_birth};
use super::marks::Mark;
use super::relative::Relative;
use super::snapshot::Snapshot;
use super::standing::{Standing, speaks_for};
use crate::isolation::child::Child;
use crate::isolation::exits::reaper;
use crate::isolation::launch::failed::Failed;
use crate::process_table::stat;

/// So many are signalled at once; for more there is a thread.
const FEW: usize = 32;
/// A time of birth that was not looked up.
const UNKNOWN: u64 = 0;
/// So many are named to people.
const NAMED: usize = 64;

/// A process tree.
#[derive(Debug)]
pub(in crate::isolation) struct ProcessTree {
    leaf: Option<Arc<Leaf>>,
    /// As a variable, and as a resource limit, `RLIMIT_RTTIME`: environments are wiped (sudo, `env
    /// -i`), limits are inherited.
    mark: Mark,
    census: Rc<Census>,
}

/// A member that would not die, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub pid: i32,
    /// What it calls itself.
    pub name: String,
    /// Its state, as proc_pid_stat(5) has it: `D` is stuck in the kernel.
    pub state: char,
}

impl ProcessTree {
    /// `instance_id` tells the process trees of one supervisor from those of another.
    pub(in crate::isolation) fn new(
        leaf: Option<Leaf>,
        instance_id: &str,
        domain: &str,
        census: &Rc<Census>,
    ) -> Self {
        let mark = Mark::new(instance_id, domain);
        Self { leaf: leaf.map(Arc::new), mark, census: Rc::clone(census) }
    }

    /// What its processes bear.
    pub(in crate::isolation) const fn mark(&self) -> &Mark {
        &self.mark
    }

    /// The cgroup to be born in.
    pub(in crate::isolation) fn leaf(&self) -> Option<Arc<Leaf>> {
        self.in_leaf().map(Arc::clone)
    }

    fn in_leaf(&self) -> Option<&Arc<Leaf>> {
        self.leaf.as_ref().filter(|leaf| !leaf.is_missing())
    }

    /// Whether the OOM killer has ended any of the process tree since this was last asked. Only a
    /// cgroup counts that.
    pub(in crate::isolation) fn take_oom_kill(&self) -> bool {
        self.in_leaf().is_some_and(|leaf| leaf.take_oom_kill())
    }

    /// Where its cgroup is.
    pub(in crate::isolation) fn place(&self) -> Option<PathBuf> {
        self.in_leaf().map(|leaf| leaf.path())
    }

    /// That its cgroup is frozen, and what to do.
    pub(in crate::isolation) fn frozen(&self) -> Option<Failed> {
        self.in_leaf().and_then(|leaf| leaf.frozen()).map(Failed::from)
    }

    /// The same where it is a cgroup above its own.
    pub(in crate::isolation) fn frozen_above(&self) -> Option<String> {
        self.in_leaf().and_then(|leaf| leaf.frozen_above()).map(|refusal| refusal.to_string())
    }

    /// Lets its cgroup go on, where it is that which was frozen.
    pub(in crate::isolation) fn thaw(&self) {
        if let Some(leaf) = self.in_leaf() {
            leaf.thaw();
        }
    }

    /// Whether it is found by its cgroup, without a look at the process table.
    pub(in crate::isolation) fn has_cgroup(&self) -> bool {
        self.in_leaf().is_some()
    }

    /// Who lives in its cgroup but the main process; none where it has no cgroup. Where there are
    /// too many cgroups below it to look at now, somebody is found.
    pub(in crate::isolation) fn others_in_cgroup(&self, main: &Child) -> Vec<Relative> {
        let (mut pids, extent) = match self.in_leaf() {
            // Cheap, and mostly so.
            Some(leaf) if !leaf.is_empty() => leaf.some(),
            Some(_) | None => (Vec::new(), Extent::All),
        };
        // The main process may count for a moment after its exit.
        pids.retain(|pid| *pid != main.pid);
        if pids.is_empty() && extent == Extent::Part {
            pids.push(main.pid);
        }
        pids.into_iter().map(|pid| Relative::new(pid, UNKNOWN)).collect()
    }

    /// Everyone who lives but the main process, as a look has found them.
    pub(in crate::isolation) fn others_in(
        &self,
        snapshot: &Snapshot,
        main: &Child,
    ) -> Vec<Relative> {
        let found = snapshot.process_tree(Relative::of(main), &self.mark).into_iter();
        found.filter(|other| other.pid() != main.pid).collect()
    }

    /// Whether a process may speak for it. One that has exited and was reaped may not.
    pub(in crate::isolation) fn standing(&self, main: &Child, pid: i32) -> Standing {
        if pid == main.pid && !is_over(main) {
            return Standing::Member;
        }
        match self.in_leaf() {
            Some(leaf) => leaf.contains(pid).into(),
            None => speaks_for(&self.census, main, &self.mark, pid),
        }
    }

    /// Sends signals to everyone, in their order: to the main process and its group at once, to
    /// others as soon as they are found. The main process must not have been waited for, unless it
    /// is an adopted one: its number is its group's. `is_over`: set when the process tree is gone.
    pub(in crate::isolation) fn signal(
        &self,
        main: &Child,
        signals: &[i32],
        is_over: &Arc<AtomicBool>,
    ) {
        let mut had_group = false;
        for signal in signals {
            had_group = signal_main(main, *signal);
        }
        self.signal_kin(self.kin(main), signals, had_group, is_over);
    }

    fn signal_kin(&self, kin: Kin, signals: &[i32], had_group: bool, is_over: &Arc<AtomicBool>) {
        if let Kin::Cgroup { members, .. } = &kin {
            let (mut pids, extent) = members.some();
            if pids.len() <= FEW && extent == Extent::All {
                // Mostly all: no other look at them is needed.
                pids.retain(|pid| kin.is_left(*pid, had_group));
                return kin.signal(with_birth(pids), signals, had_group);
            }
        }
        let (signals, is_over) = (signals.to_vec(), Arc::clone(is_over));
        self.census.signal(Errand { kin, signals, had_group, is_over, at: monotonic_ns() });
    }

    /// Kills the main process and its group at once, and has everyone in its cgroup killed. False:
    /// others have to be found. What is stuck in the kernel dies when it comes out.
    pub(in crate::isolation) fn kill(&self, main: &Child) -> bool {
        signal_main(main, libc::SIGKILL);
        let Some(leaf) = self.in_leaf() else { return false };
        leaf.spend();
        self.census.kill(self.kin(main), Vec::new());
        true
    }

    /// Kills those that a look has found, one by one: a process whose first thread has ended is
    /// passed over by its cgroup. The next look finds the children of those that fork meanwhile.
    pub(in crate::isolation) fn kill_these(
        &self,
        main: &Child,
        others: &[Relative],
        is_over: &Arc<AtomicBool>,
    ) {
        let kin = self.kin(main);
        if let Some(leaf) = self.in_leaf() {
            leaf.spend();
            self.census.kill(kin.clone(), Vec::new());
            self.signal_kin(kin, &[libc::SIGKILL], false, is_over);
        } else if others.len() <= FEW {
            kin.signal(others.to_vec(), &[libc::SIGKILL], false);
        } else {
            self.census.kill(kin, others.to_vec());
        }
    }

    /// Nothing is left of it.
    pub(in crate::isolation) fn vacate(&self) {
        if let Some(leaf) = self.in_leaf() {
            leaf.vacate();
        }
    }

    fn kin(&self, main: &Child) -> Kin {
        match self.in_leaf() {
            Some(leaf) => Kin::Cgroup { main: main.pid, members: leaf.members() },
            None => Kin::Table { main: Relative::of(main), mark: self.mark.clone() },
        }
    }

    /// Who is left, and in what state: those in its cgroup, or those that the last look has found.
    pub(in crate::isolation) fn describe(&self, main: &Child, others: &[Relative]) -> Vec<Member> {
        let pids = match self.in_leaf() {
            Some(leaf) => leaf.some().0,
            None => [main.pid].into_iter().chain(others.iter().map(|other| other.pid())).collect(),
        };
        let alive = pids.into_iter().filter_map(|pid| {
            let stat = stat(pid).filter(|stat| !stat.is_dead())?;
            Some(Member { pid, name: stat.name_lossy(), state: stat.state })
        });
        alive.take(NAMED).collect()
    }
}

/// Whether it has exited and may have been reaped.
fn is_over(main: &Child) -> bool {
    main.is_adopted && reaper::has_exited(&main.pidfd)
}

/// Sends a signal to the main process, and to its group where its number surely is the group's.
/// Whether it was.
fn signal_main(main: &Child, signal: i32) -> bool {
    if main.is_adopted {
        let _ = reaper::signal(main, signal);
        return false;
    }
    reaper::signal_group(main, signal);
    true
}
