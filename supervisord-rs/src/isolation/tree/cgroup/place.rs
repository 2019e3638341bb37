//! Where our cgroups are, whether that place is ours to manage, and controllers in it.
//!
//! ```text
//! BASE                              our own cgroup when we were started: a unit with `Delegate=yes`, a container, ...
//!  ├─ supervisor                    we and our guardian, once a limit is to be enforced, or where systemd put us
//!  └─ supervisord-rs-HASH           ours; HASH is that of the runtime directory
//!      ├─ worker-NAME[~SERIAL]      one process and all that it starts
//!      └─ cell-NAME[~SERIAL]
//! ```
//!
//! A cgroup that passes controllers on may hold no process itself (cgroups(7), "no internal
//! processes"): so before the first limit the supervisor moves below. A supervisor that starts in
//! `supervisor`, or again in BASE, finds the same BASE.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::delegation;
use super::refusal::Refusal;
use crate::kernel_file;
use crate::process_table;
use crate::service_manager;

/// Where we live ourselves, below BASE; systemd (254 and later) puts us there with
/// `DelegateSubgroup=supervisor`.
const SUBGROUP: &str = "supervisor";
/// The supervisor's processes may fork while it moves them.
const ROUNDS: usize = 16;

/// The cgroup that we make ours in.
#[derive(Debug)]
pub(super) struct Place {
    base: PathBuf,
    mount: PathBuf,
}

impl Place {
    /// BASE; `None` where there is no cgroup v2.
    pub(super) fn find() -> Option<Self> {
        let (mount, own) = own()?;
        let parent = own.parent().filter(|_| own.file_name() == Some(OsStr::new(SUBGROUP)));
        let is_base = |parent: &&Path| {
            parent.starts_with(&mount)
                && !is_hierarchy_root(parent)
                && delegation::owner(parent, &mount).is_none()
                && nix::unistd::access(*parent, nix::unistd::AccessFlags::W_OK).is_ok()
        };
        let base = parent.filter(is_base).map_or_else(|| own.clone(), Path::to_path_buf);
        Some(Self { base, mount })
    }

    #[cfg(test)]
    pub(super) const fn at(base: PathBuf, mount: PathBuf) -> Self {
        Self { base, mount }
    }

    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    pub(super) fn mount(&self) -> &Path {
        &self.mount
    }

    /// Has the leaves below `root` get these controllers. Cheap when they have them already.
    pub(super) fn enable(&self, root: &Path, controllers: &[&str]) -> Result<(), Refusal> {
        let there = words(&self.base.join("cgroup.controllers"));
        if let Some(missing) =
            controllers.iter().find(|name| !there.iter().any(|there| there == *name))
        {
            return Err(Refusal::no_controller(missing, &self.base));
        }
        if !passes_on(&self.base, controllers) {
            if is_hierarchy_root(&self.base) {
                return Err(Refusal::hierarchy_root(&self.base, controllers));
            }
            if let Some(unit) = delegation::owner(&self.base, &self.mount) {
                return Err(Refusal::not_delegated(&unit));
            }
            self.move_below()?;
            pass_on(&self.base, controllers)?;
        }
        if !passes_on(root, controllers) {
            pass_on(root, controllers)?;
        }
        Ok(())
    }

    /// Moves this supervisor, its guardian and their children out of BASE. If others are in it,
    /// which must not be moved, it moves nothing.
    fn move_below(&self) -> Result<(), Refusal> {
        let below = self.base.join(SUBGROUP);
        let mut has_moved = false;
        for _ in 0..ROUNDS {
            let pids = processes(&self.base);
            let (ours, others): (Vec<i32>, Vec<i32>) =
                pids.into_iter().partition(|pid| is_ours(*pid));
            if !others.is_empty() {
                return Err(Refusal::others(&self.base, &others));
            }
            if ours.is_empty() {
                return Ok(());
            }
            if !has_moved {
                // One that was killed once would have our children killed at birth: see
                // `trial`.
                let _ = fs::remove_dir(&below);
            }
            if let Err(error) = fs::create_dir(&below)
                && error.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(Refusal::write(&below, "directory", &error));
            }
            for pid in ours {
                put(pid, &below)?;
                has_moved = true;
            }
        }
        Err(Refusal::others(&self.base, &processes(&self.base)))
    }

    /// Undoes [`enable`](Self::enable), also a predecessor's, as far as others do not use it: for
    /// the end. Otherwise no process could start in BASE again.
    pub(super) fn restore(&self) {
        let below = self.base.join(SUBGROUP);
        let controllers = words(&self.base.join("cgroup.subtree_control"));
        if controllers.is_empty() || own().is_none_or(|(_, own)| own != below) {
            return;
        }
        let off: Vec<String> = controllers.iter().map(|name| format!("-{name}")).collect();
        if fs::write(self.base.join("cgroup.subtree_control"), off.join(" ")).is_ok() {
            for pid in processes(&below).into_iter().filter(|pid| is_ours(*pid)) {
                let _ = put(pid, &self.base);
            }
            let _ = fs::remove_dir(&below);
        }
    }
}

/// Whether a process lives in this cgroup, or below it. One small read. `None`: the kernel does not
/// tell its cgroup.
pub(super) fn is_below(mount: &Path, pid: i32, cgroup: &Path) -> Option<bool> {
    Some(mount.join(process_table::cgroup(pid)?).starts_with(cgroup))
}

/// Whether a process is us, our guardian, or was started by one of us.
fn is_ours(pid: i32) -> bool {
    let own = nix::unistd::getpid().as_raw();
    let guardian = service_manager::guardian_pid().unwrap_or(own);
    std::iter::successors(Some(pid), |&pid| {
        Some(process_table::parent(pid)).filter(|&parent| parent > 0)
    })
    .take(64)
    .any(|pid| pid == own || pid == guardian)
}

fn put(pid: i32, cgroup: &Path) -> Result<(), Refusal> {
    let procs = cgroup.join("cgroup.procs");
    match fs::write(&procs, pid.to_string()) {
        // It has exited meanwhile.
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(()),
        Err(error) => Err(Refusal::write(&procs, &pid.to_string(), &error)),
        Ok(()) => Ok(()),
    }
}

fn passes_on(cgroup: &Path, controllers: &[&str]) -> bool {
    let on = words(&cgroup.join("cgroup.subtree_control"));
    controllers.iter().all(|name| on.iter().any(|on| on == name))
}

fn pass_on(cgroup: &Path, controllers: &[&str]) -> Result<(), Refusal> {
    let file = cgroup.join("cgroup.subtree_control");
    let on: Vec<String> = controllers.iter().map(|name| format!("+{name}")).collect();
    fs::write(&file, on.join(" ")).map_err(|error| Refusal::write(&file, &on.join(" "), &error))
}

/// Only the root of the whole hierarchy has no type (cgroups(7)); the root of a cgroup namespace
/// has one.
fn is_hierarchy_root(cgroup: &Path) -> bool {
    !cgroup.join("cgroup.type").exists()
}

fn words(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

pub(super) fn processes(cgroup: &Path) -> Vec<i32> {
    let text = kernel_file::read_list(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The mount point of the hierarchy, and the directory of our own cgroup below it.
fn own() -> Option<(PathBuf, PathBuf)> {
    of(nix::unistd::getpid().as_raw())
}

/// The same for the cgroup of any process (cgroups(7), proc_pid_mountinfo(5)).
pub(super) fn of(pid: i32) -> Option<(PathBuf, PathBuf)> {
    let path = process_table::cgroup(pid)?;
    let mounts = fs::read("/proc/self/mountinfo").ok()?;
    let mount = lines(&mounts).find_map(|line| {
        let separator = line.windows(3).position(|window| window == b" - ")?;
        let mut fields = line[..separator].split(|&byte| byte == b' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        let is_it = line[separator + 3..].starts_with(b"cgroup2 ") && root == b"/";
        is_it.then(|| PathBuf::from(OsStr::from_bytes(point)))
    })?;
    // Without a slash at the end, which the root's own path would get.
    let own = if path.as_os_str().is_empty() { mount.clone() } else { mount.join(path) };
    Some((mount, own))
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}
