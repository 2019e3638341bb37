//! One cgroup (version 2) for each process that we launch: what it starts can leave its session and its parent, and
//! cannot leave this.
//!
//! A leaf needs no controller, so this works wherever we may make directories below our own cgroup: as root, or where
//! a service manager delegated it (`Delegate=yes`). Elsewhere `family` walks the process table.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use supervision::LaunchStage;

use super::family::house_of;
use super::launch::Plan;

/// `SUPERVISORD_RS_CGROUPS=off` has process trees walked even where there are cgroups.
const SWITCH: &str = "SUPERVISORD_RS_CGROUPS";
/// Between the name of a leaf and the number of those before it that were killed.
const SERIAL: char = '~';
/// For a leaf of a predecessor to become empty, and between two looks.
const LAST_WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

/// Where our leaves are.
#[derive(Debug)]
pub(super) struct Cgroups {
    root: Option<PathBuf>,
}

impl Cgroups {
    /// Makes our directory below our own cgroup, named after the runtime directory: the successor of a supervisor that
    /// died finds it again, and ends what is left in it.
    pub(super) fn discover(runtime_dir: &Path) -> Self {
        if std::env::var_os(SWITCH).is_some_and(|value| value == "off") {
            return Self { root: None };
        }
        let root = own().map(|own| own.join(format!("supervisord-rs-{}", house_of(runtime_dir))));
        let Some(root) = root else { return Self { root: None } };
        if let Err(error) = fs::create_dir(&root)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            tracing::debug!(%error, root = %root.display(), "no cgroups: process trees are walked instead");
            return Self { root: None };
        }
        // `cgroup.kill` came with Linux 5.14; a leaf that we could not end is worth nothing to us.
        let has_kill = fs::exists(root.join("cgroup.kill")).unwrap_or(false);
        if !has_kill {
            let _ = fs::remove_dir(&root);
            return Self { root: None };
        }
        let cgroups = Self { root: Some(root) };
        if cgroups.is_usable() {
            return cgroups;
        }
        tracing::debug!("no process lives in a cgroup of ours: process trees are walked instead");
        cgroups.remove();
        Self { root: None }
    }

    /// The leaf with this name, made if it is not there; `None` where there are no cgroups.
    pub(super) fn leaf(&self, name: &str) -> Option<Leaf> {
        let first = self.root.as_ref()?.join(name);
        let leaf = Leaf {
            first: first.clone(),
            path: RefCell::new(first),
            serial: Cell::new(0),
            is_spent: Cell::new(false),
        };
        match fs::create_dir(leaf.path()) {
            Ok(()) => {}
            // A predecessor's, which was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => leaf.is_spent.set(true),
            Err(error) => {
                tracing::debug!(%error, path = %leaf.path().display(), "no cgroup");
                return None;
            }
        }
        Some(leaf)
    }

    /// The leaf with this name that a process lives in; `None`: it lives elsewhere.
    pub(super) fn leaf_of(&self, name: &str, pid: i32) -> Option<Leaf> {
        let root = self.root.as_ref()?;
        let place = place_of(&format!("/proc/{pid}/cgroup"))?;
        // What it made below is its own.
        let found = place.strip_prefix(root).ok()?.components().next()?.as_os_str().to_str()?;
        let serial =
            found.strip_prefix(name)?.strip_prefix(SERIAL).map_or(Some(0), |serial| serial.parse().ok())?;
        Some(Leaf {
            first: root.join(name),
            path: RefCell::new(root.join(found)),
            serial: Cell::new(serial),
            is_spent: Cell::new(false),
        })
    }

    /// Ends everyone in leaves of a predecessor, but for those that are `kept`.
    pub(super) fn end_others(&self, kept: &[PathBuf]) {
        let Some(root) = &self.root else { return };
        for leaf in directories(root).into_iter().filter(|leaf| !kept.contains(leaf)) {
            let _ = fs::write(leaf.join("cgroup.kill"), "1");
            let end = Instant::now() + LAST_WAIT;
            while is_populated(&leaf) && Instant::now() < end {
                std::thread::sleep(PAUSE);
            }
            remove_tree(&leaf);
        }
    }

    /// Whether a process can be born in a leaf and live. Linux 6.12 and later kill whoever is born in a cgroup that was
    /// killed less or more often than its parent's own (`kill_seq` is compared across the two): where that has happened
    /// to ours, leaves are of no use.
    fn is_usable(&self) -> bool {
        let Some(leaf) = self.leaf("probe") else { return false };
        let Ok(birthplace) = leaf.directory() else { return false };
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

    /// Removes everything of ours; what is not empty stays.
    pub(super) fn remove(&self) {
        if let Some(root) = &self.root {
            remove_tree(root);
        }
    }
}

/// The cgroup of one process and all that it starts.
#[derive(Debug)]
pub(super) struct Leaf {
    first: PathBuf,
    path: RefCell<PathBuf>,
    serial: Cell<u32>,
    /// Whether it was killed: nobody could be born in it any more (see [`Cgroups::is_usable`]).
    is_spent: Cell<bool>,
}

impl Leaf {
    pub(super) fn path(&self) -> PathBuf {
        self.path.borrow().clone()
    }

    /// To be born in it. One that was killed is empty by now, and another takes its place.
    pub(super) fn directory(&self) -> io::Result<OwnedFd> {
        while self.is_spent.get() {
            remove_tree(&self.path());
            self.serial.set(self.serial.get().wrapping_add(1));
            let mut next = self.first.clone().into_os_string();
            next.push(format!("{SERIAL}{}", self.serial.get()));
            match fs::create_dir(&next) {
                Ok(()) => self.is_spent.set(false),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            self.path.replace(next.into());
        }
        Ok(File::open(self.path())?.into())
    }

    /// Kills everyone in it, whatever they fork meanwhile.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.is_spent.set(true);
        fs::write(self.path().join("cgroup.kill"), "1")
    }

    /// Who is in it, those in cgroups below it included. The dead are not.
    pub(super) fn pids(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        collect(&self.path(), &mut pids);
        pids
    }

    /// Whether nobody is in it. Cheap: one small read, mostly.
    pub(super) fn is_empty(&self) -> bool {
        !is_populated(&self.path())
    }

    /// Whether a process is in it, or below it.
    pub(super) fn contains(&self, pid: i32) -> bool {
        self.pids().contains(&pid)
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        remove_tree(&self.path());
    }
}

fn collect(path: &Path, pids: &mut Vec<i32>) {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
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

/// The directory of our own cgroup.
fn own() -> Option<PathBuf> {
    place_of("/proc/self/cgroup")
}

/// The directory of the cgroup that stands there: the mount point, and the path below it (cgroups(7),
/// proc_pid_mountinfo(5)).
fn place_of(file: &str) -> Option<PathBuf> {
    let cgroup = fs::read_to_string(file).ok()?;
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?.trim_start_matches('/').to_owned();
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        (after.starts_with("cgroup2 ") && root == "/").then(|| point.to_owned())
    })?;
    Some(Path::new(&mount).join(path))
}
