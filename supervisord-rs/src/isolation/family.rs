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
use std::fs;
use std::os::fd::OwnedFd;

use super::cgroup::Leaf;
use super::launch::Child;
use super::reaper;

/// The variable that marks a family: `SUPERVISOR-PID:DOMAIN`.
pub(super) const MARK: &str = "SUPERVISORD_RS_FAMILY";

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
    pub(super) fn new(leaf: Option<Leaf>, domain: &str) -> Self {
        use std::hash::{Hash, Hasher};
        let mark = format!("{}:{domain}", std::process::id());
        let mut hasher = std::hash::DefaultHasher::new();
        mark.hash(&mut hasher);
        let limit_mark = LIMIT_MARK | (hasher.finish() & (LIMIT_MARK - 1));
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

    /// The cgroup to be born in.
    pub(super) fn birthplace(&self) -> Option<OwnedFd> {
        self.leaf.as_ref()?.directory().ok()
    }

    /// Everyone who lives, the main process included.
    pub(super) fn members(&self, main: i32) -> Vec<i32> {
        match &self.leaf {
            Some(leaf) => leaf.pids(),
            None => self.walk(main).into_keys().collect(),
        }
    }

    /// Whether anybody but the main process lives.
    pub(super) fn has_others(&self, main: i32) -> bool {
        match &self.leaf {
            // The main process may count for a moment after its exit.
            Some(leaf) => !leaf.is_empty() && leaf.pids().iter().any(|pid| *pid != main),
            None => self.walk(main).into_keys().any(|pid| pid != main),
        }
    }

    /// Whether a process is one of the family. Whoever has exited and was waited for is not.
    pub(super) fn contains(&self, main: i32, pid: i32) -> bool {
        pid == main
            || match &self.leaf {
                Some(leaf) => leaf.contains(pid),
                None => self.walk(main).contains_key(&pid),
            }
    }

    /// Sends a signal to everyone. The main process must not have been waited for: its number is its group's.
    pub(super) fn signal(&self, main: &Child, signal: i32) {
        reaper::signal_group(main, signal);
        for pid in self.members(main.pid) {
            if pid != main.pid && group_of(pid) != Some(main.pid) {
                self.signal_one(main.pid, pid, signal);
            }
        }
    }

    /// Kills everyone. What is stuck in the kernel dies when it comes out.
    pub(super) fn kill(&self, main: &Child) {
        reaper::signal_group(main, libc::SIGKILL);
        if let Some(leaf) = &self.leaf
            && leaf.kill().is_ok()
        {
            return;
        }
        // Whoever forks while we walk has a child that the next round finds.
        let mut killed = BTreeSet::new();
        for _ in 0..64 {
            let new: Vec<i32> =
                self.members(main.pid).into_iter().filter(|pid| killed.insert(*pid)).collect();
            if new.is_empty() {
                return;
            }
            for pid in new {
                self.signal_one(main.pid, pid, libc::SIGKILL);
            }
        }
    }

    /// Who is left, and in what state.
    pub(super) fn describe(&self, main: i32) -> Vec<Member> {
        let members = self.members(main).into_iter();
        members
            .filter_map(|pid| stat(pid).map(|stat| Member { pid, name: stat.name, state: stat.state }))
            .collect()
    }

    fn signal_one(&self, main: i32, pid: i32, signal: i32) {
        if let Ok(pidfd) = reaper::open(pid)
            && self.contains(main, pid)
        {
            let _ = reaper::signal_by(&pidfd, signal);
        }
    }

    /// Whether an orphan bears our mark, in its environment or as a limit.
    fn has_mark(&self, pid: i32) -> bool {
        let wanted = format!("{MARK}={}", self.mark);
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environment.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes()) {
            return true;
        }
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        let ours = self.limit_mark.to_string();
        let mut words = limits.lines().filter(|line| line.starts_with("Max realtime timeout"));
        words.any(|line| line.split_whitespace().any(|word| word == ours))
    }

    /// The family by the process table.
    fn walk(&self, main: i32) -> BTreeMap<i32, Stat> {
        let processes = snapshot();
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let is_orphan = |stat: &Stat| stat.parent == own || stat.parent == 1 || stat.parent == parent_of(own);
        let mut found: BTreeSet<i32> = processes
            .iter()
            .filter(|(pid, stat)| {
                let is_of_group = stat.session == main || stat.group == main;
                **pid == main || is_of_group || (is_orphan(stat) && self.has_mark(**pid))
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
        processes
            .into_iter()
            .filter(|(pid, stat)| found.contains(pid) && !matches!(stat.state, 'Z' | 'X'))
            .collect()
    }
}

/// What proc_pid_stat(5) says of a process.
#[derive(Clone, Debug)]
struct Stat {
    name: String,
    state: char,
    parent: i32,
    group: i32,
    session: i32,
}

fn snapshot() -> BTreeMap<i32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, brackets too.
    let (before, after) = text.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let mut fields = after.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    Some(Stat { name, state, parent, group, session })
}

fn parent_of(pid: i32) -> i32 {
    stat(pid).map_or(0, |stat| stat.parent)
}

fn group_of(pid: i32) -> Option<i32> {
    nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid))).ok().map(nix::unistd::Pid::as_raw)
}
