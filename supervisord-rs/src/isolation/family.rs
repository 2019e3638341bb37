//! The main process of a worker and all that it started, wherever that has gone.
//!
//! Where the worker has a cgroup, that is the family. Else it is found in the process table: whoever descends from the
//! main process, shares its session or process group, or has become an orphan and bears the mark of the family
//! (we are a child subreaper, so that orphans come to us, prctl(2)): in its environment, or, where that was wiped, as a
//! resource limit. A process that does away with all of these escapes the walk, not the cgroup.
//!
//! No number is signalled that could have a new owner: a pidfd is opened first, and then it is looked at once more
//! whether the number is still in the family (pidfd_open(2)).

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::cgroup::{Leaf, Refusal};
use super::launch::Child;
use super::reaper;
use crate::process_table::{self, Stat, stat};

/// The variable that marks a family: `HASH-OF-THE-RUNTIME-DIRECTORY:DOMAIN`, the same for one supervisor after the other.
pub(super) const MARK: &str = "SUPERVISORD_RS_FAMILY";

/// What tells the families of this supervisor and its successors from those of any other: a number for the runtime
/// directory, which only one can have at a time (FNV-1a, the same in every release).
pub(super) fn house_of(runtime_dir: &Path) -> String {
    format!("{:016x}", hash(runtime_dir.as_os_str().as_bytes()))
}

fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
/// How the kernel calls it.
const LIMIT: &str = "Max realtime timeout";
/// The least limit of real-time processor time that is a mark: 146 thousand years, which limits nobody.
const LIMIT_MARK: u64 = 1 << 62;

/// A family.
#[derive(Debug)]
pub(super) struct Family {
    leaf: Option<Leaf>,
    mark: String,
    /// The same as a resource limit, `RLIMIT_RTTIME`: environments are wiped (sudo, `env -i`), limits are inherited.
    limit_mark: u64,
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

impl Family {
    /// `house` is what tells the families of one supervisor from those of another.
    pub(super) fn new(leaf: Option<Leaf>, house: &str, domain: &str) -> Self {
        let mark = format!("{house}:{domain}");
        let limit_mark = LIMIT_MARK | (hash(mark.as_bytes()) & (LIMIT_MARK - 1));
        Self { leaf, mark, limit_mark }
    }

    /// The mark that it is born with, where it is told by that.
    pub(super) fn limit_mark(&self) -> Option<u64> {
        self.leaf.is_none().then_some(self.limit_mark)
    }

    /// The value of [`MARK`].
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// The cgroup to be born in, with its limits in force.
    pub(super) fn birthplace(&self) -> Result<Option<OwnedFd>, Refusal> {
        self.leaf.as_ref().map(Leaf::directory).transpose()
    }

    /// Whether the OOM killer has ended any of the family since this was last asked. Only a cgroup counts that.
    pub(super) fn take_oom_kill(&self) -> bool {
        self.leaf.as_ref().is_some_and(Leaf::take_oom_kill)
    }

    /// Bytes of memory that the family's cgroup uses, and at most has used, where the kernel counts that.
    pub(super) fn memory(&self) -> (Option<u64>, Option<u64>) {
        self.leaf.as_ref().map_or((None, None), Leaf::memory)
    }

    /// Where its cgroup is.
    pub(super) fn place(&self) -> Option<PathBuf> {
        self.leaf.as_ref().map(Leaf::path)
    }

    /// Everyone who lives, the main process included.
    pub(super) fn members(&self, main: &Child) -> Vec<i32> {
        match &self.leaf {
            Some(leaf) => leaf.pids(),
            None => self.walk(main).into_keys().collect(),
        }
    }

    /// Whether anybody but the main process lives.
    pub(super) fn has_others(&self, main: &Child) -> bool {
        match &self.leaf {
            // The main process may count for a moment after its exit.
            Some(leaf) => !leaf.is_empty() && leaf.pids().iter().any(|pid| *pid != main.pid),
            None => self.walk(main).into_keys().any(|pid| pid != main.pid),
        }
    }

    /// Whether a process is one of the family. Whoever has exited and was waited for is not.
    pub(super) fn contains(&self, main: &Child, pid: i32) -> bool {
        (pid == main.pid && !is_over(main))
            || match &self.leaf {
                Some(leaf) => leaf.contains(pid),
                None => self.walk(main).contains_key(&pid),
            }
    }

    /// Sends a signal to everyone. The main process must not have been waited for, unless it is an adopted one: its
    /// number is its group's.
    pub(super) fn signal(&self, main: &Child, signal: i32) {
        let is_group = signal_main(main, signal);
        for pid in self.members(main) {
            if pid != main.pid && !(is_group && group_of(pid) == Some(main.pid)) {
                self.signal_one(main, pid, signal);
            }
        }
    }

    /// Kills everyone. What is stuck in the kernel dies when it comes out.
    pub(super) fn kill(&self, main: &Child) {
        signal_main(main, libc::SIGKILL);
        if let Some(leaf) = &self.leaf
            && leaf.kill().is_ok()
        {
            return;
        }
        // Whoever forks while we walk has a child that the next round finds.
        let mut killed = BTreeSet::new();
        for _ in 0..64 {
            let new: Vec<i32> = self.members(main).into_iter().filter(|pid| killed.insert(*pid)).collect();
            if new.is_empty() {
                return;
            }
            for pid in new {
                self.signal_one(main, pid, libc::SIGKILL);
            }
        }
    }

    /// Who is left, and in what state.
    pub(super) fn describe(&self, main: &Child) -> Vec<Member> {
        let members = self.members(main).into_iter();
        members
            .filter_map(|pid| {
                stat(pid).map(|stat| Member { pid, name: stat.name_lossy(), state: stat.state })
            })
            .collect()
    }

    fn signal_one(&self, main: &Child, pid: i32, signal: i32) {
        if let Ok(pidfd) = reaper::open(pid)
            && self.contains(main, pid)
        {
            let _ = reaper::signal_by(&pidfd, signal);
        }
    }

    /// Whether an orphan bears our mark, in its environment or as a limit.
    fn has_mark(&self, pid: i32) -> bool {
        process_table::has_limit(pid, LIMIT, self.limit_mark)
            || process_table::variable(pid, MARK).is_some_and(|found| found == self.mark.as_bytes())
    }

    /// The family by the process table.
    fn walk(&self, main: &Child) -> BTreeMap<i32, Stat> {
        let processes = snapshot();
        // An adopted one is reaped by its new parent, and its number may be a stranger's then; so may its session. A
        // number that is in use as a session is given to nobody (credentials(7)).
        let is_taken = processes.get(&main.pid).is_some_and(|stat| is_stranger(main, stat));
        let main = main.pid;
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let is_orphan =
            |stat: &Stat| stat.parent == own || stat.parent == 1 || stat.parent == process_table::parent(own);
        let mut found: BTreeSet<i32> = processes
            .iter()
            .filter(|(pid, stat)| {
                let is_of_group = stat.session == main || stat.group == main;
                (!is_taken && (**pid == main || is_of_group)) || (is_orphan(stat) && self.has_mark(**pid))
            })
            .map(|(pid, _)| *pid)
            .collect();
        loop {
            let more: Vec<i32> = processes
                .iter()
                .filter(|(pid, stat)| found.contains(&stat.parent) && !found.contains(pid))
                .map(|(pid, _)| *pid)
                .collect();
            if more.is_empty() {
                break;
            }
            found.extend(more);
        }
        processes.into_iter().filter(|(pid, stat)| found.contains(pid) && !stat.is_dead()).collect()
    }
}

/// Whether somebody else has the number.
fn is_stranger(main: &Child, stat: &Stat) -> bool {
    main.start_time != 0 && stat.start_time != main.start_time
}

/// Whether it has exited and may have been reaped.
fn is_over(main: &Child) -> bool {
    main.is_adopted && reaper::has_exited(&main.pidfd)
}

/// Sends a signal to the main process, and to its group where its number surely is the group's. Whether it was.
fn signal_main(main: &Child, signal: i32) -> bool {
    if main.is_adopted {
        let _ = reaper::signal(main, signal);
        return false;
    }
    reaper::signal_group(main, signal);
    true
}

fn snapshot() -> BTreeMap<i32, Stat> {
    process_table::pids().into_iter().filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

fn group_of(pid: i32) -> Option<i32> {
    nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid))).ok().map(nix::unistd::Pid::as_raw)
}
