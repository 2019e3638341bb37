//! One look at the whole process table: who is of which process tree, as far as that can be told. A
//! walk costs milliseconds, however few of those that are found are of interest; `census` takes it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use workers::runtime::board::monotonic_ns;

use super::environs::{self, Held};
use super::heirs::{heirs, is_of_ours};
use super::marks::{LIMIT_MARK, MARK, Mark};
use super::relative::Relative;
use crate::process_table::{self, Stat};

/// Walks again when the numbers of processes began from the start meanwhile: so that a child with a
/// lower number than the parent that it outlived is seen.
const WALKS: usize = 3;

/// For a process to let its environment be read.
const PATIENCE: Duration = Duration::from_millis(500);

/// How the kernel calls the limit that is a mark (proc_pid_limits(5)).
const LIMIT: &str = "Max realtime timeout";

/// Everyone, as the kernel showed them one after the other.
#[derive(Debug)]
pub(in crate::isolation) struct Snapshot {
    /// When the walk began, in monotonic nanoseconds: every process that was there then, and still
    /// is, is in it.
    begun: u64,
    cost: Duration,
    processes: HashMap<i32, Stat>,
    by_parent: HashMap<i32, Vec<i32>>,
    by_session: HashMap<i32, Vec<i32>>,
    by_group: HashMap<i32, Vec<i32>>,
    /// Those whose parent is no more, with their marks.
    orphans: HashMap<i32, Marks>,
}

/// What a process bears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::isolation) struct Marks {
    limits: Vec<u64>,
    variable: Option<Vec<u8>>,
    /// Whether it does not let its environment be read: it is not asked again.
    is_held: bool,
}

/// Marks of processes, by number and time of birth.
type Known = HashMap<(i32, u64), Marks>;

impl Snapshot {
    /// Walks. `known`: marks that were seen before. They are given back, with what is new.
    pub(in crate::isolation) fn take(known: Known) -> (Self, Known) {
        let begun = monotonic_ns();
        let mut processes = HashMap::new();
        for _ in 0..WALKS {
            let before = process_table::last_pid();
            let pids = process_table::pids().into_iter();
            processes = pids.filter_map(|pid| Some((pid, process_table::stat(pid)?))).collect();
            if process_table::last_pid() >= before {
                break;
            }
        }
        let mut snapshot = Self {
            begun,
            cost: Duration::ZERO,
            processes,
            by_parent: HashMap::new(),
            by_session: HashMap::new(),
            by_group: HashMap::new(),
            orphans: HashMap::new(),
        };
        for (&pid, stat) in &snapshot.processes {
            snapshot.by_parent.entry(stat.parent).or_default().push(pid);
            snapshot.by_session.entry(stat.session).or_default().push(pid);
            snapshot.by_group.entry(stat.group).or_default().push(pid);
        }
        let known = snapshot.find_orphans(known);
        snapshot.cost = Duration::from_nanos(monotonic_ns().saturating_sub(begun));
        (snapshot, known)
    }

    fn find_orphans(&mut self, mut known: Known) -> Known {
        known.retain(|(pid, start), _| {
            self.processes.get(pid).is_some_and(|stat| stat.start_time == *start)
        });
        let heirs = heirs();
        let children = heirs.iter().filter_map(|heir| self.by_parent.get(heir)).flatten();
        for &pid in children {
            let Some(stat) = self.processes.get(&pid).filter(|stat| !stat.is_dead()) else {
                continue;
            };
            let key = (pid, stat.start_time);
            // One without a mark may be about to execute what gives it one.
            let seen = known.get(&key).filter(|marks| **marks != Marks::default()).cloned();
            let marks = seen.unwrap_or_else(|| Marks::of(pid));
            if marks != Marks::default() {
                known.insert(key, marks.clone());
                self.orphans.insert(pid, marks);
            }
        }
        known
    }

    /// When the walk began, in monotonic nanoseconds.
    pub(in crate::isolation) fn begun(&self) -> u64 {
        self.begun
    }

    /// What the walk took.
    pub(in crate::isolation) fn cost(&self) -> Duration {
        self.cost
    }

    /// Everyone who lives of the process tree of `main`: who descends from it, is of its session or
    /// group, or is an orphan with its mark, and who descends from those.
    pub(in crate::isolation) fn process_tree(&self, main: Relative, mark: &Mark) -> Vec<Relative> {
        // An adopted one is reaped by its new parent, and its number may be a stranger's then; so
        // may its session. The kernel gives no process a number that is in use as a
        // session (credentials(7)).
        let pid = main.pid();
        let is_taken = self.processes.get(&pid).is_some_and(|stat| main.is_stranger(stat));
        let mut open: Vec<i32> = Vec::new();
        if !is_taken {
            open.push(pid);
            open.extend(self.by_session.get(&pid).into_iter().flatten());
            open.extend(self.by_group.get(&pid).into_iter().flatten());
        }
        let user = if is_taken { None } else { process_table::user(pid) };
        open.extend(
            self.orphans.iter().filter(|(_, marks)| marks.bear(mark)).map(|(pid, _)| *pid).filter(
                |pid| {
                    self.processes.get(pid).is_some_and(|stat| is_of_ours(*pid, stat.parent, user))
                },
            ),
        );
        let mut found = BTreeSet::new();
        while let Some(pid) = open.pop() {
            if self.processes.contains_key(&pid) && found.insert(pid) {
                open.extend(self.by_parent.get(&pid).into_iter().flatten());
            }
        }
        let stats = found.into_iter().filter_map(|pid| Some((pid, self.processes.get(&pid)?)));
        let alive = stats.filter(|(_, stat)| !stat.is_dead());
        alive.map(|(pid, stat)| Relative::new(pid, stat.start_time)).collect()
    }
}

impl Marks {
    /// Its limit first: that can be read whatever the process does to its memory.
    pub(in crate::isolation) fn of(pid: i32) -> Self {
        let marks = Self::of_limits(pid);
        if marks != Self::default() {
            return marks;
        }
        match environs::variable(pid, MARK, PATIENCE) {
            Ok(variable) => Self { variable, ..marks },
            Err(Held) => {
                tracing::warn!(
                    pid,
                    "it does not let its environment be read: it is not known whose it is"
                );
                Self { is_held: true, ..marks }
            }
        }
    }

    /// What can be read without waiting for the process.
    pub(in crate::isolation) fn of_limits(pid: i32) -> Self {
        let limits = process_table::limits(pid, LIMIT);
        let limits = limits.into_iter().filter(|limit| *limit >= LIMIT_MARK).collect();
        Self { limits, ..Self::default() }
    }

    pub(in crate::isolation) fn bear(&self, mark: &Mark) -> bool {
        self.limits.iter().any(|limit| mark.has_limit(*limit))
            || self.variable.as_deref().is_some_and(|variable| mark.has_variable(variable))
    }

    /// Whether one of its limits is that of a helper of which this is true.
    pub(in crate::isolation) fn are_of_helper(
        &self,
        mark: &Mark,
        is: impl Fn(u32) -> bool,
    ) -> bool {
        self.limits.iter().filter_map(|limit| mark.helper(*limit)).any(is)
    }
}
