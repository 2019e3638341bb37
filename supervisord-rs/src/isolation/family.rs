//! The main process of a worker and all that it started, wherever that has gone.
//!
//! Where the worker has a cgroup, that is the family. Else it is found in the process table:
//! whoever descends from the main process, shares its session or process group, or has become an
//! orphan and bears the mark of the family (we are a child subreaper, so that orphans come to us,
//! prctl(2)): in its environment, or, where that was wiped, as a resource limit. A process that
//! does away with all of these escapes the walk, not the cgroup.
//!
//! No number is signalled that could have a new owner: a pidfd is opened first, and then it is
//! looked at once more whether the number is still in the family (pidfd_open(2)).

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::cgroup::{Leaf, Refusal};
use super::launch::Child;
use super::reaper;
use super::snapshot::{LIMIT_MARK, Mark, Snapshots, speaks_for};
use crate::process_table::{self, stat};

/// The variable that marks a family: `HASH-OF-THE-RUNTIME-DIRECTORY:DOMAIN`, the same for one
/// supervisor after the other.
pub(super) const MARK: &str = "SUPERVISORD_RS_FAMILY";

/// What tells the families of this supervisor and its successors from those of any other: a number
/// for the runtime directory, which only one can have at a time (FNV-1a, the same in every
/// release).
pub(super) fn house_of(runtime_dir: &Path) -> String {
    format!("{:016x}", hash(runtime_dir.as_os_str().as_bytes()))
}

fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// A family.
#[derive(Debug)]
pub(super) struct Family {
    leaf: Option<Leaf>,
    /// As a variable, and as a resource limit, `RLIMIT_RTTIME`: environments are wiped (sudo, `env
    /// -i`), limits are inherited.
    mark: Mark,
    snapshots: Rc<Snapshots>,
}

/// One of a family: a number with its time of birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Relative {
    pid: i32,
    start_time: u64,
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
    pub(super) fn new(
        leaf: Option<Leaf>,
        house: &str,
        domain: &str,
        snapshots: &Rc<Snapshots>,
    ) -> Self {
        let variable = format!("{house}:{domain}");
        let limit = LIMIT_MARK | (hash(variable.as_bytes()) & (LIMIT_MARK - 1));
        Self { leaf, mark: Mark { variable, limit }, snapshots: Rc::clone(snapshots) }
    }

    /// The mark that it is born with, where it is told by that.
    pub(super) fn limit_mark(&self) -> Option<u64> {
        self.leaf.is_none().then_some(self.mark.limit)
    }

    /// The value of [`MARK`].
    pub(super) fn mark(&self) -> &str {
        &self.mark.variable
    }

    /// The cgroup to be born in, with its limits in force.
    pub(super) fn birthplace(&self) -> Result<Option<OwnedFd>, Refusal> {
        self.leaf.as_ref().map(Leaf::directory).transpose()
    }

    /// Whether the OOM killer has ended any of the family since this was last asked. Only a cgroup
    /// counts that.
    pub(super) fn take_oom_kill(&self) -> bool {
        self.leaf.as_ref().is_some_and(Leaf::take_oom_kill)
    }

    /// Bytes of memory that the family's cgroup uses, and at most has used, where the kernel counts
    /// that.
    pub(super) fn memory(&self) -> (Option<u64>, Option<u64>) {
        self.leaf.as_ref().map_or((None, None), Leaf::memory)
    }

    /// Where its cgroup is.
    pub(super) fn place(&self) -> Option<PathBuf> {
        self.leaf.as_ref().map(Leaf::path)
    }

    /// Everyone who lives but the main process, as seen by a look that was begun at `since` or
    /// later.
    pub(super) fn others(&self, main: &Child, since: u64) -> Vec<Relative> {
        let others: Vec<Relative> = match &self.leaf {
            // Cheap, and mostly so.
            Some(leaf) if leaf.is_empty() => Vec::new(),
            Some(leaf) => with_birth(leaf.pids()),
            None => relatives(self.snapshots.since(since).family(main, &self.mark)),
        };
        // The main process may count for a moment after its exit.
        others.into_iter().filter(|other| other.pid != main.pid).collect()
    }

    /// Whether a process may speak in its name. Whoever has exited and was waited for may not.
    pub(super) fn has_speaker(&self, main: &Child, pid: i32) -> bool {
        (pid == main.pid && !is_over(main))
            || match &self.leaf {
                Some(leaf) => leaf.contains(pid),
                None => speaks_for(main, &self.mark, pid),
            }
    }

    /// Sends a signal to everyone. The main process must not have been waited for, unless it is an
    /// adopted one: its number is its group's.
    pub(super) fn signal(&self, main: &Child, signal: i32) {
        let is_group = signal_main(main, signal);
        for other in self.present(main) {
            if !(is_group && group_of(other.pid) == Some(main.pid)) {
                self.signal_one(other, signal);
            }
        }
    }

    /// Kills everyone who is there now. Whoever forks meanwhile has children that the next look
    /// finds. What is stuck in the kernel dies when it comes out.
    pub(super) fn kill(&self, main: &Child) {
        signal_main(main, libc::SIGKILL);
        if let Some(leaf) = &self.leaf
            && leaf.kill().is_ok()
        {
            return;
        }
        self.kill_these(&self.present(main));
    }

    /// Kills those that a look has found.
    pub(super) fn kill_these(&self, others: &[Relative]) {
        others.iter().for_each(|other| self.signal_one(*other, libc::SIGKILL));
    }

    /// Everyone but the main process, by a look that many share.
    fn present(&self, main: &Child) -> Vec<Relative> {
        let found = match &self.leaf {
            Some(leaf) => with_birth(leaf.pids()),
            None => relatives(self.snapshots.recent().family(main, &self.mark)),
        };
        found.into_iter().filter(|other| other.pid != main.pid).collect()
    }

    /// Who is left, and in what state.
    pub(super) fn describe(&self, main: &Child) -> Vec<Member> {
        let pids = match &self.leaf {
            Some(leaf) => leaf.pids(),
            None => self
                .snapshots
                .recent()
                .family(main, &self.mark)
                .into_iter()
                .map(|(pid, _)| pid)
                .collect(),
        };
        let members = pids.into_iter();
        members
            .filter_map(|pid| {
                stat(pid).map(|stat| Member { pid, name: stat.name_lossy(), state: stat.state })
            })
            .collect()
    }

    /// The handle first, and then once more whether the number means the same process, in the same
    /// cgroup.
    fn signal_one(&self, other: Relative, signal: i32) {
        if let Ok(pidfd) = reaper::open(other.pid)
            && process_table::start_time(other.pid) == Some(other.start_time)
            && self.leaf.as_ref().is_none_or(|leaf| leaf.contains(other.pid))
        {
            let _ = reaper::signal_by(&pidfd, signal);
        }
    }
}

/// Those in a cgroup, with their time of birth: that was asked after they were seen there, so that
/// a number that has gone to somebody else meanwhile has to be in there too.
fn with_birth(pids: Vec<i32>) -> Vec<Relative> {
    let birth = |pid| Some(Relative { pid, start_time: process_table::start_time(pid)? });
    pids.into_iter().filter_map(birth).collect()
}

fn relatives(found: Vec<(i32, &process_table::Stat)>) -> Vec<Relative> {
    found.into_iter().map(|(pid, stat)| Relative { pid, start_time: stat.start_time }).collect()
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

fn group_of(pid: i32) -> Option<i32> {
    nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid))).ok().map(nix::unistd::Pid::as_raw)
}
