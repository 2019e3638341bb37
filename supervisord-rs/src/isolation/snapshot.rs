//! One look at the whole process table, for all families that need one at the moment: a walk costs
//! milliseconds, however few of those that are found are of interest.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use workers::board::monotonic_ns;

use super::family::MARK;
use super::launch::Child;
use crate::process_table::{self, Stat};
use crate::service_manager;

/// A snapshot that is younger than this is as good as a new one to whoever only asks who is there
/// to be signalled: those that were born meanwhile are found by the next look.
const RECENT: Duration = Duration::from_millis(5);
/// Walks again when the numbers of processes began from the start meanwhile: so that a child with a
/// lower number than the parent that it outlived is seen.
const WALKS: usize = 3;

/// The mark of a family: a variable, and a resource limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) variable: String,
    pub(super) limit: u64,
}

/// The last snapshot, and what is remembered from one to the next.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    latest: RefCell<Option<Rc<Snapshot>>>,
    /// The marks of processes that were seen with one, by number and time of birth: they do not
    /// lose them.
    marks: RefCell<HashMap<(i32, u64), Marks>>,
    cost: Cell<Duration>,
}

/// Everyone, as the kernel showed them one after the other.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// When the walk began, in monotonic nanoseconds: whoever was there then, and still is, is in
    /// it.
    begun: u64,
    processes: HashMap<i32, Stat>,
    by_parent: HashMap<i32, Vec<i32>>,
    by_session: HashMap<i32, Vec<i32>>,
    by_group: HashMap<i32, Vec<i32>>,
    /// Those whose parent is no more, with their marks.
    orphans: HashMap<i32, Marks>,
}

/// What a process bears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Marks {
    limits: Vec<u64>,
    variable: Option<Vec<u8>>,
}

impl Snapshots {
    /// One that was begun at this moment or later.
    pub(super) fn since(&self, at: u64) -> Rc<Snapshot> {
        if let Some(latest) = self.latest.borrow().as_ref().filter(|latest| latest.begun >= at) {
            return Rc::clone(latest);
        }
        let snapshot = Rc::new(self.take());
        self.cost.set(Duration::from_nanos(monotonic_ns().saturating_sub(snapshot.begun)));
        self.latest.replace(Some(Rc::clone(&snapshot)));
        snapshot
    }

    /// One that is not old: many families at once share it.
    pub(super) fn recent(&self) -> Rc<Snapshot> {
        let age = RECENT.max(self.cost.get() * 2);
        self.since(monotonic_ns().saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// What the last walk took.
    pub(super) fn cost(&self) -> Duration {
        self.cost.get()
    }

    fn take(&self) -> Snapshot {
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
        let mut snapshot = Snapshot {
            begun,
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
        snapshot.orphans = self.orphans(&snapshot);
        snapshot
    }

    fn orphans(&self, snapshot: &Snapshot) -> HashMap<i32, Marks> {
        let mut known = self.marks.borrow_mut();
        known.retain(|(pid, start), _| {
            snapshot.processes.get(pid).is_some_and(|stat| stat.start_time == *start)
        });
        let heirs = heirs();
        let children = heirs.iter().filter_map(|heir| snapshot.by_parent.get(heir)).flatten();
        let mut orphans = HashMap::new();
        for &pid in children {
            let Some(stat) = snapshot.processes.get(&pid).filter(|stat| !stat.is_dead()) else {
                continue;
            };
            let key = (pid, stat.start_time);
            let marks = known.get(&key).cloned().unwrap_or_else(|| Marks::of(pid));
            if marks != Marks::default() {
                known.insert(key, marks.clone());
                orphans.insert(pid, marks);
            }
        }
        orphans
    }
}

impl Snapshot {
    /// Everyone who lives of the family of `main`: who descends from it, is of its session or
    /// group, or is an orphan with its mark, and who descends from those.
    pub(super) fn family(&self, main: &Child, mark: &Mark) -> Vec<(i32, &Stat)> {
        // An adopted one is reaped by its new parent, and its number may be a stranger's then; so
        // may its session. A number that is in use as a session is given to nobody
        // (credentials(7)).
        let is_taken = self.processes.get(&main.pid).is_some_and(|stat| is_stranger(main, stat));
        let mut open: Vec<i32> = Vec::new();
        if !is_taken {
            open.push(main.pid);
            open.extend(self.by_session.get(&main.pid).into_iter().flatten());
            open.extend(self.by_group.get(&main.pid).into_iter().flatten());
        }
        let user = if is_taken { None } else { process_table::user(main.pid) };
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
        stats.filter(|(_, stat)| !stat.is_dead()).collect()
    }
}

impl Marks {
    /// Its limit first: that can be read whatever the process does to its memory.
    fn of(pid: i32) -> Self {
        let limits = process_table::limits(pid, LIMIT);
        let limits: Vec<u64> = limits.into_iter().filter(|limit| *limit >= LIMIT_MARK).collect();
        let variable = if limits.is_empty() { process_table::variable(pid, MARK) } else { None };
        Self { limits, variable }
    }

    fn bear(&self, mark: &Mark) -> bool {
        self.limits.contains(&mark.limit)
            || self.variable.as_deref().is_some_and(|variable| variable == mark.variable.as_bytes())
    }
}

/// How the kernel calls the limit that is a mark.
const LIMIT: &str = "Max realtime timeout";
/// The least limit of real-time processor time that is a mark: 146 thousand years, which limits
/// nobody.
pub(super) const LIMIT_MARK: u64 = 1 << 62;

/// Whether a process belongs to a family, told without a walk: by climbing from it. For whoever
/// speaks in its name: a mark is a word that anybody may use, so that an orphan also has to be of
/// the user of its main process.
pub(super) fn speaks_for(main: &Child, mark: &Mark, pid: i32) -> bool {
    let is_taken = process_table::stat(main.pid).is_some_and(|stat| is_stranger(main, &stat));
    let user = if is_taken { None } else { process_table::user(main.pid) };
    let mut next = pid;
    for _ in 0..GENERATIONS {
        let Some(stat) = process_table::stat(next) else { return false };
        let is_of_group = stat.session == main.pid || stat.group == main.pid;
        if !is_taken && (next == main.pid || is_of_group) {
            return true;
        }
        if heirs().contains(&stat.parent) {
            let speaker = process_table::user(pid);
            return Marks::of(next).bear(mark)
                && is_of_ours(next, stat.parent, user)
                && speaker.is_some_and(|speaker| speaker == 0 || user == Some(speaker));
        }
        next = stat.parent;
    }
    false
}

/// How far up a family is climbed.
const GENERATIONS: usize = 1024;

/// Who inherits the orphans of workers: we, our guardian, or who is above us where there is none.
fn heirs() -> Vec<i32> {
    let own = nix::unistd::getpid().as_raw();
    match service_manager::guardian_pid() {
        Some(guardian) => vec![own, guardian],
        None => vec![own, nix::unistd::getppid().as_raw(), 1],
    }
}

/// Whether an orphan with a mark has surely come from us: it is our child or our guardian's, which
/// nobody becomes who does not descend from us (prctl(2), `PR_SET_CHILD_SUBREAPER`). Where others
/// leave their orphans too it has to be of the family's own user at least.
fn is_of_ours(pid: i32, parent: i32, user: Option<u32>) -> bool {
    let is_sure =
        parent == nix::unistd::getpid().as_raw() || service_manager::guardian_pid() == Some(parent);
    is_sure || (user.is_some() && process_table::user(pid) == user)
}

/// Whether somebody else has the number.
pub(super) fn is_stranger(main: &Child, stat: &Stat) -> bool {
    main.start_time != 0 && stat.start_time != main.start_time
}
