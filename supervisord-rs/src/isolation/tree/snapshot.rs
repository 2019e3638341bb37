//! One look at the whole process table: who is of which process tree, as far as that can be told. A
//! walk costs milliseconds, however few of those that are found are of interest; `census` takes it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use workers::board::monotonic_ns;

use super::census::Census;
use super::environs::{self, Held};
use super::process_tree::{MARK, Relative};
use crate::isolation::launch::Child;
use crate::process_table::{self, Stat};
use crate::service_manager;

/// Walks again when the numbers of processes began from the start meanwhile: so that a child with a
/// lower number than the parent that it outlived is seen.
const WALKS: usize = 3;

/// For a process to let its environment be read.
const PATIENCE: Duration = Duration::from_millis(500);

/// The mark of a process tree: a variable, and a resource limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::isolation) struct Mark {
    pub(in crate::isolation) variable: String,
    pub(in crate::isolation) limit: u64,
}

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
        let is_taken = self.processes.get(&pid).is_some_and(|stat| is_stranger(main, stat));
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

    fn bear(&self, mark: &Mark) -> bool {
        self.limits.contains(&mark.limit)
            || self.variable.as_deref().is_some_and(|variable| variable == mark.variable.as_bytes())
    }
}

/// How the kernel calls the limit that is a mark.
const LIMIT: &str = "Max realtime timeout";
/// The least limit of real-time processor time that is a mark: 146 thousand years, which limits
/// no process.
pub(in crate::isolation) const LIMIT_MARK: u64 = 1 << 62;

/// Whether a process may speak in the name of a process tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::isolation) enum Standing {
    /// It may.
    Member,
    /// It may not.
    Stranger,
    /// It is being found out; the census rings then.
    NotKnownYet,
}

impl From<bool> for Standing {
    fn from(is_member: bool) -> Self {
        if is_member { Self::Member } else { Self::Stranger }
    }
}

/// Whether a process belongs to a process tree, told without a walk: by climbing from it. For one
/// that speaks in its name: any process may bear a mark, so an orphan also has to have the user of
/// its main process.
pub(in crate::isolation) fn speaks_for(
    census: &Census,
    main: &Child,
    mark: &Mark,
    pid: i32,
) -> Standing {
    let relative = Relative::of(main);
    let is_taken = process_table::stat(main.pid).is_some_and(|stat| is_stranger(relative, &stat));
    let user = if is_taken { None } else { process_table::user(main.pid) };
    let mut next = pid;
    for _ in 0..GENERATIONS {
        let Some(stat) = process_table::stat(next) else { return Standing::Stranger };
        let is_of_group = stat.session == main.pid || stat.group == main.pid;
        if !is_taken && (next == main.pid || is_of_group) {
            return Standing::Member;
        }
        if heirs().contains(&stat.parent) {
            let speaker = process_table::user(pid);
            let is_like_us = is_of_ours(next, stat.parent, user)
                && speaker.is_some_and(|speaker| speaker == 0 || user == Some(speaker));
            if !is_like_us {
                return Standing::Stranger;
            }
            let marks = census.marks(next, stat.start_time);
            return marks.map_or(Standing::NotKnownYet, |marks| marks.bear(mark).into());
        }
        next = stat.parent;
    }
    Standing::Stranger
}

/// How far up a process tree is climbed.
const GENERATIONS: usize = 1024;

/// Who inherits the orphans of workers: we, our guardian, or who is above us where there is none.
fn heirs() -> Vec<i32> {
    let own = nix::unistd::getpid().as_raw();
    match service_manager::living_guardian_pid() {
        Some(guardian) => vec![own, guardian],
        None => vec![own, nix::unistd::getppid().as_raw(), 1],
    }
}

/// Whether an orphan with a mark has surely come from us: it is our child or our guardian's, which
/// no process becomes that does not descend from us (prctl(2), `PR_SET_CHILD_SUBREAPER`). Where
/// others leave their orphans too it has to be of the process tree's own user at least.
fn is_of_ours(pid: i32, parent: i32, user: Option<u32>) -> bool {
    let is_sure = parent == nix::unistd::getpid().as_raw()
        || service_manager::living_guardian_pid() == Some(parent);
    is_sure || (user.is_some() && process_table::user(pid) == user)
}

/// Whether another process has the number.
fn is_stranger(main: Relative, stat: &Stat) -> bool {
    main.start_time() != 0 && stat.start_time != main.start_time()
}
