//! What a run has left behind: processes, cgroups, sockets, mounts, shared memory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::addresses::is_taken;
use crate::config::{Adaptation, PrivateAddress, settings::Address};
use crate::isolation::tree::cgroup;
use crate::isolation::{is_of_a_supervisor, names_left};
use crate::process_table::pids;

/// Where POSIX shared memory has its names (shm_overview(7)).
const SHARED_MEMORY: &str = "/dev/shm";
/// Directories and files that are looked through below a trial's directory.
const MOST: usize = 10_000;

/// The shared memory that was there before.
#[derive(Debug)]
pub(super) struct SharedMemory(BTreeSet<PathBuf>);

impl SharedMemory {
    pub(super) fn now() -> Self {
        Self(shared_memory())
    }

    /// What has come since, and no process uses.
    pub(super) fn left(&self) -> Vec<String> {
        let new = shared_memory().into_iter().filter(|file| !self.0.contains(file));
        let unused = new.filter(|file| !is_in_use(file));
        unused.map(|file| format!("the shared memory {}", file.display())).collect()
    }
}

/// What a run whose processes have been looked at has left otherwise.
pub(super) fn left(directory: &Path, addresses: &[PrivateAddress]) -> Vec<String> {
    let mut left = Vec::new();
    let runtime_dir = Adaptation::runtime_dir(directory);
    let names = names_left(&runtime_dir);
    left.extend(names.iter().map(|file| format!("the shared memory {}", file.display())));
    if let Some(cgroup) = cgroup::leftover(&runtime_dir) {
        left.push(format!("the cgroup {}", cgroup.display()));
    }
    let open = addresses.iter().filter(|address| {
        Address::parse(&address.private, true).is_some_and(|address| is_taken(&address))
    });
    left.extend(open.map(|address| format!("an open socket at {}", address.written)));
    left.extend(sockets(directory).iter().map(|socket| format!("the socket {}", socket.display())));
    left.extend(mounts(directory).iter().map(|mount| format!("the mount {mount}")));
    left
}

/// Names of shared memory of this user; for root, of all users. What supervisors name is known by
/// their directory, and others run beside this one.
fn shared_memory() -> BTreeSet<PathBuf> {
    let user = nix::unistd::geteuid();
    let files = fs::read_dir(SHARED_MEMORY).into_iter().flatten().flatten();
    let is_own = |path: &PathBuf| {
        fs::symlink_metadata(path)
            .is_ok_and(|found| found.is_file() && (user.is_root() || found.uid() == user.as_raw()))
    };
    let files = files.map(|entry| entry.path()).filter(|file| !is_of_a_supervisor(file));
    files.filter(is_own).collect()
}

/// Whether a process that lives has it mapped or open: then it is another program's, since those of
/// the run have ended.
fn is_in_use(file: &Path) -> bool {
    let name = file.display().to_string();
    pids().into_iter().any(|pid| {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        maps.contains(&name) || crate::process_table::has_open(pid, file)
    })
}

/// Sockets in the directory, in which the supervisor had its own and those of its workers.
fn sockets(directory: &Path) -> Vec<PathBuf> {
    let mut sockets = Vec::new();
    let mut next = vec![directory.to_path_buf()];
    let mut seen = 0;
    while let Some(directory) = next.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MOST {
                return sockets;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => next.push(entry.path()),
                Ok(kind) if kind.is_socket() => sockets.push(entry.path()),
                Ok(_) | Err(_) => {}
            }
        }
    }
    sockets
}

/// Mounts below the directory; at the directory itself is its disk.
fn mounts(directory: &Path) -> Vec<String> {
    let is_below = |point: &Path| point.starts_with(directory) && point != directory;
    mount_points().into_iter().filter(|point| is_below(Path::new(point))).collect()
}

/// Where something is mounted, as this process sees it (proc_pid_mountinfo(5)).
pub(super) fn mount_points() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
}
