//! By what a process tree is found, wherever the loop is, and how those who were found are
//! signalled.

use std::sync::Arc;

use super::cgroup::Members;
use super::marks::Mark;
use super::relative::Relative;
use super::snapshot::Snapshot;
use crate::process_table;

/// The process group of a process.
fn group(pid: i32) -> Option<i32> {
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::unistd::getpgid(Some(pid)).ok().map(nix::unistd::Pid::as_raw)
}

/// See above.
#[derive(Clone, Debug)]
pub(in crate::isolation) enum Kin {
    /// It is in a cgroup.
    Cgroup { main: i32, members: Members },
    /// It is in the process table.
    Table { main: Relative, mark: Mark },
}

impl Kin {
    /// The number of the main process.
    pub(in crate::isolation) const fn main(&self) -> i32 {
        match self {
            Self::Cgroup { main, .. } => *main,
            Self::Table { main, .. } => main.pid(),
        }
    }

    /// Everyone, by a look at the process table where that is needed.
    pub(in crate::isolation) fn found(
        &self,
        look: impl FnOnce() -> Arc<Snapshot>,
    ) -> Vec<Relative> {
        match self {
            Self::Cgroup { members, .. } => with_birth(members.pids()),
            Self::Table { main, mark } => look().process_tree(*main, mark),
        }
    }

    /// Kills everyone in the cgroup, and those that were found and still are of the process tree.
    pub(in crate::isolation) fn kill(&self, found: Vec<Relative>) {
        if let Self::Cgroup { members, .. } = self {
            // Those that a kernel without a usable file leaves are signalled one by one.
            let _ = members.kill();
        }
        self.signal(found, &[libc::SIGKILL], false);
    }

    /// Sends signals to those that were found and still are of the process tree, but for the main
    /// process and, where they have them already, its group.
    pub(in crate::isolation) fn signal(
        &self,
        found: Vec<Relative>,
        signals: &[i32],
        had_group: bool,
    ) {
        for other in found.into_iter().filter(|other| self.is_left(other.pid(), had_group)) {
            let is_there = match self {
                Self::Cgroup { members, .. } => members.contain(other.pid()),
                Self::Table { .. } => true,
            };
            if is_there {
                other.signal(signals);
            }
        }
    }

    /// Whether a process has not had the signals of the main process, and of its group.
    pub(super) fn is_left(&self, pid: i32, had_group: bool) -> bool {
        pid != self.main() && !(had_group && group(pid) == Some(self.main()))
    }
}

/// Those in a cgroup, with their time of birth: we ask for it after we saw them there, so that
/// another process that has got the number meanwhile has to be in there too.
pub(super) fn with_birth(pids: Vec<i32>) -> Vec<Relative> {
    let birth = |pid| Some(Relative::new(pid, process_table::start_time(pid)?));
    pids.into_iter().filter_map(birth).collect()
}
