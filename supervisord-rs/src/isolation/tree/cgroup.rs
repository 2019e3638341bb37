//! One cgroup (version 2) for each process that we launch: what it starts can leave its session and
//! its parent, and without the right to change cgroups it cannot leave this.
//!
//! A leaf needs no controller, so this works wherever we may make directories below our own cgroup:
//! as root, or where a service manager delegated it (`Delegate=yes`). Elsewhere `process_tree`
//! walks the process table. Limits need controllers: where those cannot be had, a worker with
//! limits is not launched.
//!
//! | file | concept |
//! |---|---|
//! | `cgroup` | our directory and its leaves |
//! | `leaf` | the cgroup of one process and all that it starts |
//! | `place` | where that is, and controllers |
//! | `delegation` | whether that place is ours to manage |
//! | `limits` | from the configuration to the kernel's files |
//! | `refusal` | why a limit cannot be enforced, and what to do |
//! | `events` | what the kernel tells of a cgroup: whether it is empty, and runs |
//! | `frozen` | cgroups whose processes do not run |
//! | `trial` | whether a process that is born in a leaf lives |
//! | `tree` | a leaf and all that was made below it |

mod delegation;
mod events;
mod frozen;
mod leaf;
mod limits;
mod place;
mod refusal;
mod tree;
mod trial;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::marks::instance_id_of;
use crate::config::settings::CgroupLimits;
use crate::isolation::exits::reaper;
use crate::kernel_file;
use crate::pool::Pool;
use crate::process_table;
use crate::waiting::until;
use events::Events;
use leaf::Present;
pub(in crate::isolation) use leaf::{Leaf, Members, Newcomer};
pub(crate) use limits::memory;
use place::Place;
pub(in crate::isolation) use refusal::Refusal;
pub(in crate::isolation) use tree::Extent;

/// `SUPERVISORD_RS_CGROUPS=off` has process trees walked even where there are cgroups.
const SWITCH: &str = "SUPERVISORD_RS_CGROUPS";
/// Between the name of a leaf and the number of those before it that were killed.
const SERIAL: char = '~';
/// For a leaf of a predecessor to become empty, and between two looks.
const LAST_WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

/// Changes of cgroups, for which the kernel has one lock, and which may be much. The second thread
/// is for one that the kernel does not end.
static CHANGES: Pool = Pool::new("cgroup", 2);

/// Where our leaves are, or why there are none.
#[derive(Debug)]
pub(in crate::isolation) struct Cgroups {
    root: Result<Arc<Root>, Refusal>,
}

/// The directory that all leaves are in.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    place: Place,
    /// Whether the leaves have controllers. Nothing else than we gives them any.
    passes_on: AtomicBool,
}

impl Cgroups {
    /// Makes our directory below our own cgroup, named after the runtime directory: the successor
    /// of a supervisor that died finds it again, and ends what is left in it.
    pub(in crate::isolation) fn discover(runtime_dir: &Path) -> Self {
        let root = Root::discover(runtime_dir);
        if let Err(refusal) = &root {
            tracing::debug!(?refusal, "no cgroups: process trees are walked instead");
        }
        let cgroups = Self { root: root.map(Arc::new) };
        if let Ok(root) = &cgroups.root {
            CHANGES.begin();
            root.thaw();
        }
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

    /// The leaf with this name, which is made when a process is to be born in it; `None` where
    /// there are no cgroups, and nothing is limited.
    pub(in crate::isolation) fn leaf(
        &self,
        name: &str,
        limits: &CgroupLimits,
    ) -> Result<Option<Leaf>, Refusal> {
        let root = match &self.root {
            Ok(root) => root,
            Err(_) if limits.is_empty() => return Ok(None),
            Err(refusal) => return Err(refusal.clone()),
        };
        let first = root.path.join(name);
        let planned = Present::planned(first.clone());
        Ok(Some(Leaf::new(root, limits, first, planned)))
    }

    /// The leaf with this name that contains a process, with its limits in force again: systemd's
    /// hook may have lifted them to make room. `None`: the process is elsewhere.
    pub(in crate::isolation) fn leaf_of(
        &self,
        name: &str,
        pid: i32,
        limits: &CgroupLimits,
    ) -> Option<Leaf> {
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

    /// Ends everyone in leaves of a predecessor, but for those that are `kept`. The process trees
    /// that had a process there.
    pub(in crate::isolation) fn end_others(&self, kept: &[PathBuf]) -> BTreeSet<String> {
        let Ok(root) = &self.root else { return BTreeSet::new() };
        let mut others = tree::directories(&root.path);
        others.retain(|leaf| !kept.contains(leaf));
        let process_tree = |leaf: &PathBuf| {
            let name = leaf.file_name()?.to_str()?;
            Some(name.split(SERIAL).next()?.to_owned())
        };
        let had = others
            .iter()
            .filter(|leaf| Events::of(leaf).populated)
            .filter_map(process_tree)
            .collect();
        for leaf in &others {
            let _ = fs::write(leaf.join("cgroup.kill"), "1");
        }
        let are_empty = || (!others.iter().any(|leaf| Events::of(leaf).populated)).then_some(());
        let _ = until(LAST_WAIT, PAUSE, are_empty);
        tree::remove_all(&others);
        had
    }

    /// Whether a process can start in a leaf and live. Where a cgroup is frozen that is not known,
    /// and each launch says so.
    fn is_usable(&self) -> bool {
        let Ok(root) = &self.root else { return false };
        let is_frozen = || frozen::by(&root.path, root.place.mount()).is_some();
        if is_frozen() {
            return true;
        }
        let Ok(Some(leaf)) = self.leaf("probe", &CgroupLimits::default()) else { return false };
        match leaf.directory(Newcomer::First) {
            Ok(Some(birthplace)) => trial::lives(birthplace).unwrap_or(true),
            Ok(None) => false,
            Err(_) => is_frozen(),
        }
    }

    /// Removes all cgroups of this supervisor; those that are not empty stay.
    pub(in crate::isolation) fn remove(&self) {
        if let Ok(root) = &self.root {
            tree::remove(&root.path);
            root.place.restore();
        }
    }
}

/// The cgroup that the supervisor of this runtime directory, which is gone, has left.
pub(crate) fn leftover(runtime_dir: &Path) -> Option<PathBuf> {
    Place::find().map(|place| Root::path(&place, runtime_dir)).filter(|path| path.exists())
}

/// Removes what the supervisor of this runtime directory, which is gone with all its processes, has
/// left of its cgroups.
pub(crate) fn remove_leftovers(runtime_dir: &Path) {
    if let Some(place) = Place::find() {
        tree::remove(&Root::path(&place, runtime_dir));
    }
}

/// Kills those in the cgroups of this supervisor that have a file of the supervisor's own open: one
/// that a predecessor was launching when it died, and that a frozen cgroup keeps from its `execve`,
/// has all of the predecessor's descriptors.
pub(crate) fn end_holders(runtime_dir: &Path, file: &Path) {
    let (Some(place), Ok(file)) = (Place::find(), fs::canonicalize(file)) else { return };
    let (pids, _) = tree::processes(&Root::path(&place, runtime_dir), tree::MOST);
    for pid in pids.into_iter().filter(|pid| process_table::has_open(*pid, &file)) {
        // The handle first, and then once more whether the number means the same.
        if let Ok(pidfd) = reaper::open(pid)
            && process_table::has_open(pid, &file)
        {
            let _ = reaper::signal_by(&pidfd, libc::SIGKILL);
        }
    }
}

impl Root {
    fn path(place: &Place, runtime_dir: &Path) -> PathBuf {
        place.base().join(format!("supervisord-rs-{}", instance_id_of(runtime_dir)))
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
        let passes_on = kernel_file::read(path.join("cgroup.subtree_control"))
            .is_ok_and(|controllers| !controllers.trim_ascii().is_empty());
        Ok(Self { path, place, passes_on: passes_on.into() })
    }

    /// Lets the processes of a predecessor go on, and those that are born go: the directory is
    /// ours. One above it is not, and is named by the launches that it holds up.
    fn thaw(&self) {
        if !frozen::is_frozen_itself(&self.path) {
            return;
        }
        let path = self.path.display();
        match frozen::thaw(&self.path) {
            Ok(()) => {
                tracing::warn!(%path, "the cgroup of all workers was frozen: the supervisor \
                    thawed it");
            }
            Err(error) => {
                let advice = Refusal::frozen(&self.path);
                tracing::error!(%error, "{advice}: until then no process can start in it");
            }
        }
    }

    /// Whether the leaves have controllers: memory is counted there, and could be limited below.
    fn passes_on(&self) -> bool {
        self.passes_on.load(Ordering::Relaxed)
    }

    fn begin_to_pass_on(&self) {
        self.passes_on.store(true, Ordering::Relaxed);
    }

    /// Makes a leaf; also the workers' cgroup above it, where it has been removed.
    fn make(&self, leaf: &Path) -> io::Result<()> {
        match fs::create_dir(leaf) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = self.path.display();
                tracing::warn!(%path, "the supervisor's cgroup was removed: it is made again");
                match fs::create_dir(&self.path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                    Ok(()) | Err(_) => fs::create_dir(leaf),
                }
            }
            made => made,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(path: &Path) -> Arc<Root> {
        let (base, mount) = (path.to_path_buf(), path.to_path_buf());
        let passes_on = false.into();
        Arc::new(Root { path: path.join("ours"), place: Place::at(base, mount), passes_on })
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
        assert!(leaf.is_empty() && leaf.members().pids().is_empty());
        assert!(leaf.directory(Newcomer::First).expect("it is made").is_some());
        assert_eq!(leaf.path(), root.path.join("worker-a"));
        assert!(leaf.path().exists());
        // A predecessor's, which was killed, and its own that was: another takes their place.
        fs::create_dir(root.path.join("worker-b")).expect("made");
        let leaf = plan("worker-b");
        for serial in 1..3 {
            assert!(leaf.directory(Newcomer::First).expect("it is made").is_some());
            assert_eq!(leaf.path(), root.path.join(format!("worker-b~{serial}")));
            assert!(leaf.path().exists() && !root.path.join("worker-b").exists());
            leaf.spend();
        }
    }

    #[test]
    fn a_helper_is_born_where_its_worker_lives_and_never_moves_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = root(directory.path());
        fs::create_dir(&root.path).expect("made");
        let cgroups = Cgroups { root: Ok(Arc::clone(&root)) };
        let leaf = cgroups.leaf("worker-a", &CgroupLimits::default()).expect("it is planned");
        let leaf = leaf.expect("there are cgroups");
        assert!(leaf.directory(Newcomer::First).expect("it is made").is_some());
        let place = leaf.path();
        // What lives below it keeps it from being as it was made.
        fs::create_dir(place.join("below")).expect("made");
        assert!(leaf.directory(Newcomer::Another).expect("it is there").is_some());
        assert!(leaf.path() == place && place.join("below").exists());
        leaf.spend();
        assert!(leaf.directory(Newcomer::Another).is_err(), "its worker is being killed");
        assert!(leaf.path() == place && place.exists(), "those that die in it are still found");
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
        assert!(leaf.directory(Newcomer::First).expect("it goes without").is_none());
        assert!(leaf.is_missing());
        // It stays so: one that is born later is of the same process tree.
        fs::remove_file(&root.path).expect("removed");
        fs::create_dir(&root.path).expect("made");
        assert!(leaf.directory(Newcomer::First).expect("it goes without").is_none());
        let limits = CgroupLimits { pids: Some(1), ..CgroupLimits::default() };
        fs::remove_dir(&root.path).expect("removed");
        fs::write(&root.path, "").expect("written");
        let leaf = cgroups.leaf("worker-b", &limits).expect("it is planned").expect("a leaf");
        assert!(leaf.directory(Newcomer::First).is_err(), "a limit is never passed over");
    }
}
