//! One cgroup (version 2) for each process that we launch: what it starts can leave its session and
//! its parent, and cannot leave this.
//!
//! A leaf needs no controller, so this works wherever we may make directories below our own cgroup:
//! as root, or where a service manager delegated it (`Delegate=yes`). Elsewhere `family` walks the
//! process table. Limits need controllers: where those cannot be had, a worker with limits is not
//! launched.
//!
//! | file | concept |
//! |---|---|
//! | `cgroup` | our directory and its leaves |
//! | `place` | where that is, and controllers |
//! | `delegation` | whether that place is ours to manage |
//! | `limits` | from the configuration to the kernel's files |
//! | `refusal` | why a limit cannot be enforced, and what to do |

mod delegation;
mod limits;
mod place;
mod refusal;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use supervision::LaunchStage;

use super::closer;
use super::family::house_of;
use super::launch::Plan;
use crate::config::settings::CgroupLimits;
use crate::process_table;
use crate::waiting::until;
use place::Place;
pub(super) use refusal::Refusal;

/// `SUPERVISORD_RS_CGROUPS=off` has process trees walked even where there are cgroups.
const SWITCH: &str = "SUPERVISORD_RS_CGROUPS";
/// Between the name of a leaf and the number of those before it that were killed.
const SERIAL: char = '~';
/// For a leaf of a predecessor to become empty, and between two looks.
const LAST_WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

/// Where our leaves are, or why there are none.
#[derive(Debug)]
pub(super) struct Cgroups {
    root: Result<Arc<Root>, Refusal>,
}

/// The directory that all leaves are in.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    place: Place,
}

impl Cgroups {
    /// Makes our directory below our own cgroup, named after the runtime directory: the successor
    /// of a supervisor that died finds it again, and ends what is left in it.
    pub(super) fn discover(runtime_dir: &Path) -> Self {
        let root = Root::discover(runtime_dir);
        if let Err(refusal) = &root {
            tracing::debug!(?refusal, "no cgroups: process trees are walked instead");
        }
        let cgroups = Self { root: root.map(Arc::new) };
        if cgroups.root.is_err() || cgroups.is_usable() {
            return cgroups;
        }
        tracing::debug!(
            "the supervisor has no cgroup of its own for workers: it walks process trees instead"
        );
        cgroups.remove();
        let why = "a process that is born there is killed; start the supervisor in a new cgroup";
        Self {
            root: cgroups.root.and_then(|root| Err(Refusal::not_usable(root.place.base(), why))),
        }
    }

    /// The leaf with this name, which is made when a process is to be born in it; `None` where there
    /// are no cgroups, and nothing is limited.
    pub(super) fn leaf(&self, name: &str, limits: &CgroupLimits) -> Result<Option<Leaf>, Refusal> {
        let root = match &self.root {
            Ok(root) => root,
            Err(_) if limits.is_empty() => return Ok(None),
            Err(refusal) => return Err(refusal.clone()),
        };
        let first = root.path.join(name);
        let planned = Present { state: State::Planned, ..Present::at(first.clone(), 0) };
        Ok(Some(Leaf::new(root, limits, first, planned)))
    }

    /// The leaf with this name that contains a process, with its limits in force again: systemd's
    /// hook may have lifted them to make room. `None`: the process is elsewhere.
    pub(super) fn leaf_of(&self, name: &str, pid: i32, limits: &CgroupLimits) -> Option<Leaf> {
        let root = self.root.as_ref().ok()?;
        let (_, place) = place::of(pid)?;
        // What it made below is its own.
        let found =
            place.strip_prefix(&root.path).ok()?.components().next()?.as_os_str().to_str()?;
        let serial = found
            .strip_prefix(name)?
            .strip_prefix(SERIAL)
            .map_or(Some(0), |serial| serial.parse().ok())?;
        let present = Present::at(root.path.join(found), serial);
        let leaf = Leaf::new(root, limits, root.path.join(name), present);
        if let Err(refusal) = leaf.enforce() {
            tracing::error!(
                name,
                pid,
                "{refusal}: the worker was adopted, and its limits do not hold"
            );
        }
        // What has struck before has not ended this one.
        let _ = leaf.take_oom_kill();
        Some(leaf)
    }

    /// Ends everyone in leaves of a predecessor, but for those that are `kept`.
    pub(super) fn end_others(&self, kept: &[PathBuf]) {
        let Ok(root) = &self.root else { return };
        for leaf in directories(&root.path).into_iter().filter(|leaf| !kept.contains(leaf)) {
            let _ = fs::write(leaf.join("cgroup.kill"), "1");
            let _ = until(LAST_WAIT, PAUSE, || (!is_populated(&leaf)).then_some(()));
            remove_tree(&leaf);
        }
    }

    /// Whether a process can start in a leaf and live. Linux 6.12 and later kill a process that
    /// starts in a cgroup which was killed less or more often than its parent's own (the kernel
    /// compares `kill_seq` of the two): where that has happened to the supervisor's cgroup, leaves
    /// are useless.
    fn is_usable(&self) -> bool {
        let Ok(Some(leaf)) = self.leaf("probe", &CgroupLimits::default()) else { return false };
        let Ok(Some(birthplace)) = leaf.directory() else { return false };
        let nothing: [&str; 1] = ["nothing"];
        let plan = Plan::new(OsStr::new("/nonexistent/supervisord-rs"), &nothing, OsStr::new(""));
        match plan.and_then(|plan| plan.cgroup(Some(birthplace)).launch()) {
            // It lived until its exec failed.
            Err(failed) => failed.stage == LaunchStage::Exec,
            Ok(killed) => {
                super::reaper::discard(&killed.pidfd);
                false
            }
        }
    }

    /// Removes all cgroups of this supervisor; those that are not empty stay.
    pub(super) fn remove(&self) {
        if let Ok(root) = &self.root {
            remove_tree(&root.path);
            root.place.restore();
        }
    }
}

/// Removes what the supervisor of this runtime directory, which is gone with all its processes, has
/// left of its cgroups.
pub(crate) fn remove_leftovers(runtime_dir: &Path) {
    if let Some(place) = Place::find() {
        remove_tree(&Root::path(&place, runtime_dir));
    }
}

impl Root {
    fn path(place: &Place, runtime_dir: &Path) -> PathBuf {
        place.base().join(format!("supervisord-rs-{}", house_of(runtime_dir)))
    }

    fn discover(runtime_dir: &Path) -> Result<Self, Refusal> {
        if std::env::var_os(SWITCH).is_some_and(|value| value == "off") {
            return Err(Refusal::switched_off(SWITCH));
        }
        let place = Place::find().ok_or_else(Refusal::no_hierarchy)?;
        let path = Self::path(&place, runtime_dir);
        if let Err(error) = fs::create_dir(&path)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(Refusal::directory(&path, &error));
        }
        // A leaf that we could not end is worth nothing to us.
        let has_kill = fs::exists(path.join("cgroup.kill")).unwrap_or(false);
        if !has_kill {
            let _ = fs::remove_dir(&path);
            return Err(Refusal::not_usable(place.base(), "`cgroup.kill` came with Linux 5.14"));
        }
        Ok(Self { path, place })
    }

    /// Makes a leaf; also the workers' cgroup above it, where it has been removed.
    fn make(&self, leaf: &Path) -> io::Result<()> {
        match fs::create_dir(leaf) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(),
                    "the supervisor's cgroup was removed: it is made again");
                match fs::create_dir(&self.path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                    Ok(()) | Err(_) => fs::create_dir(leaf),
                }
            }
            made => made,
        }
    }
}

/// The cgroup of one process and all that it starts.
#[derive(Debug)]
pub(super) struct Leaf {
    root: Arc<Root>,
    limits: CgroupLimits,
    first: PathBuf,
    present: Mutex<Present>,
    /// Held while it is made: two processes may be born in it at once.
    making: Mutex<()>,
    /// Whether it could not be made for the first process, which was born elsewhere: then its
    /// family is found without it.
    is_missing: AtomicBool,
}

/// Where it is now.
#[derive(Debug)]
struct Present {
    path: PathBuf,
    serial: u32,
    state: State,
    /// The count of the OOM killer at the last question.
    oom_kills: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is not made yet. One that is there is a predecessor's, which was killed.
    Planned,
    Made,
    /// It was killed: no process can start in it any more (see [`Cgroups::is_usable`]).
    Spent,
}

impl Present {
    const fn at(path: PathBuf, serial: u32) -> Self {
        Self { path, serial, state: State::Made, oom_kills: 0 }
    }
}

impl Leaf {
    fn new(root: &Arc<Root>, limits: &CgroupLimits, first: PathBuf, present: Present) -> Self {
        Self {
            root: Arc::clone(root),
            limits: limits.clone(),
            first,
            present: Mutex::new(present),
            making: Mutex::default(),
            is_missing: AtomicBool::new(false),
        }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.present().path.clone()
    }

    /// It is killed, or about to be: the next process is born in another one.
    pub(super) fn spend(&self) {
        self.present().state = State::Spent;
    }

    /// Whether its family is found without it.
    pub(super) fn is_missing(&self) -> bool {
        self.is_missing.load(Ordering::SeqCst)
    }

    /// To be born in it, with its limits in force. One that was killed is empty by now, and another
    /// takes its place. `None`: it could not be made for the first process, and limits nothing. May
    /// wait: the kernel has one lock for changes of all cgroups.
    pub(super) fn directory(&self) -> Result<Option<OwnedFd>, Refusal> {
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_missing() {
            return Ok(None);
        }
        let path = match self.place() {
            Err(refusal) if self.limits.is_empty() && self.present().state == State::Planned => {
                tracing::debug!(%refusal, path = %self.first.display(), "no cgroup");
                self.is_missing.store(true, Ordering::SeqCst);
                return Ok(None);
            }
            placed => placed?,
        };
        drop(making);
        self.enforce()?;
        Ok(Some(File::open(&path).map_err(|error| Refusal::directory(&path, &error))?.into()))
    }

    /// Where the next process is born.
    fn place(&self) -> Result<PathBuf, Refusal> {
        let (path, serial, state) = {
            let present = self.present();
            (present.path.clone(), present.serial, present.state)
        };
        if state == State::Made && path.exists() {
            return Ok(path);
        }
        let made = match state {
            State::Spent => Err(io::ErrorKind::AlreadyExists.into()),
            // Another process with the right may have removed an empty one.
            State::Planned | State::Made => self.root.make(&path),
        };
        let (path, serial) = match made {
            Ok(()) => (path, serial),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                remove_tree(&path);
                self.make_next(serial)?
            }
            Err(error) => return Err(Refusal::directory(&path, &error)),
        };
        // Nothing waits for a change of cgroups to learn where the present one is.
        *self.present() = Present::at(path.clone(), serial);
        Ok(path)
    }

    fn make_next(&self, mut serial: u32) -> Result<(PathBuf, u32), Refusal> {
        loop {
            serial = serial.wrapping_add(1);
            let mut next = self.first.clone().into_os_string();
            next.push(format!("{SERIAL}{serial}"));
            let next = PathBuf::from(next);
            match self.root.make(&next) {
                Ok(()) => return Ok((next, serial)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Refusal::directory(&next, &error)),
            }
        }
    }

    fn enforce(&self) -> Result<(), Refusal> {
        if self.limits.is_empty() {
            return Ok(());
        }
        self.root.place.enable(&self.root.path, &limits::controllers(&self.limits))?;
        limits::apply(&self.limits, &self.path())
    }

    /// Whether the OOM killer has ended a process in it since the last question, or since it was
    /// made.
    pub(super) fn take_oom_kill(&self) -> bool {
        let now = limits::oom_kills(&self.path());
        now > std::mem::replace(&mut self.present().oom_kills, now)
    }

    /// Bytes of memory that it uses, and at most has used; none without limits, or without the
    /// controller.
    pub(super) fn memory(&self) -> (Option<u64>, Option<u64>) {
        if self.limits.is_empty() { (None, None) } else { limits::memory(&self.path()) }
    }

    /// Who is in it, those in cgroups below it included. The dead are not.
    pub(super) fn pids(&self) -> Vec<i32> {
        self.members().pids()
    }

    /// The same, to be found wherever the loop is.
    pub(super) fn members(&self) -> Members {
        Members { path: self.path(), mount: self.root.place.mount().to_path_buf() }
    }

    /// Whether it is empty. Cheap: mostly one small read.
    pub(super) fn is_empty(&self) -> bool {
        !is_populated(&self.path())
    }

    /// Whether a process is in it, or below it. One small read, however many are.
    pub(super) fn contains(&self, pid: i32) -> bool {
        self.members().contain(pid)
    }
}

/// Those in a leaf.
#[derive(Clone, Debug)]
pub(super) struct Members {
    path: PathBuf,
    mount: PathBuf,
}

impl Members {
    /// See [`Leaf::pids`].
    pub(super) fn pids(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        collect(&self.path, &mut pids);
        pids
    }

    /// Kills everyone in it, whatever they fork meanwhile. May wait, as [`Leaf::directory`].
    pub(super) fn kill(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// See [`Leaf::contains`].
    pub(super) fn contain(&self, pid: i32) -> bool {
        place::is_below(&self.mount, pid, &self.path) && process_table::is_alive(pid)
    }
}

impl Drop for Leaf {
    /// Elsewhere: that may wait, as [`Leaf::directory`].
    fn drop(&mut self) {
        let path = self.path();
        closer::run(move || remove_tree(&path));
    }
}

fn collect(path: &Path, pids: &mut Vec<i32>) {
    pids.extend(place::processes(path));
    for below in directories(path) {
        collect(&below, pids);
    }
}

fn remove_tree(path: &Path) {
    for below in directories(path) {
        remove_tree(&below);
    }
    let _ = fs::remove_dir(path);
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flatten().filter(is_directory).map(|entry| entry.path()).collect()
}

fn is_populated(path: &Path) -> bool {
    let events = fs::read_to_string(path.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "populated 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(path: &Path) -> Arc<Root> {
        let (base, mount) = (path.to_path_buf(), path.to_path_buf());
        Arc::new(Root { path: path.join("ours"), place: Place::at(base, mount) })
    }

    #[test]
    fn a_leaf_is_made_where_a_process_is_born_and_not_where_it_is_planned() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = root(directory.path());
        fs::create_dir(&root.path).expect("made");
        let cgroups = Cgroups { root: Ok(Arc::clone(&root)) };
        let plan = |name: &str| {
            let planned = cgroups.leaf(name, &CgroupLimits::default());
            planned.expect("it is planned").expect("there are cgroups")
        };
        let leaf = plan("worker-a");
        assert!(!leaf.path().exists(), "the loop made it");
        assert!(leaf.is_empty() && leaf.pids().is_empty());
        assert!(leaf.directory().expect("it is made").is_some());
        assert_eq!(leaf.path(), root.path.join("worker-a"));
        assert!(leaf.path().exists());
        // A predecessor's, which was killed, and its own that was: another takes their place.
        fs::create_dir(root.path.join("worker-b")).expect("made");
        let leaf = plan("worker-b");
        for serial in 1..3 {
            assert!(leaf.directory().expect("it is made").is_some());
            assert_eq!(leaf.path(), root.path.join(format!("worker-b~{serial}")));
            assert!(leaf.path().exists() && !root.path.join("worker-b").exists());
            leaf.spend();
        }
    }

    #[test]
    fn without_its_leaf_a_worker_without_limits_is_born_elsewhere_and_found_without_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = root(directory.path());
        // No directory can be made below a file.
        fs::write(&root.path, "").expect("written");
        let cgroups = Cgroups { root: Ok(Arc::clone(&root)) };
        let leaf = cgroups.leaf("worker-a", &CgroupLimits::default()).expect("it is planned");
        let leaf = leaf.expect("there are cgroups");
        assert!(!leaf.is_missing());
        assert!(leaf.directory().expect("it goes without").is_none());
        assert!(leaf.is_missing());
        // It stays so: one that is born later is of the same family.
        fs::remove_file(&root.path).expect("removed");
        fs::create_dir(&root.path).expect("made");
        assert!(leaf.directory().expect("it goes without").is_none());
        let limits = CgroupLimits { pids: Some(1), ..CgroupLimits::default() };
        fs::remove_dir(&root.path).expect("removed");
        fs::write(&root.path, "").expect("written");
        let leaf = cgroups.leaf("worker-b", &limits).expect("it is planned").expect("a leaf");
        assert!(leaf.directory().is_err(), "a limit is never passed over");
    }
}
