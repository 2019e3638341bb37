//! The cgroups that a supervisor leaves when it is killed together with its guardian: a successor
//! with the same runtime directory would remove them, and a test has none.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::skip::{Lack, skip};
use super::{hides_cgroups, until};
use supervisord_rs::process_table;

/// For the kernel to let go of processes that have just ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// Removes the cgroups of the supervisor that had this runtime directory. The kernel keeps those in
/// which a process lives.
pub(super) fn remove(runtime_dir: &Path) {
    for path in places(runtime_dir).into_iter().filter(|path| path.exists()) {
        let _ = until(PATIENCE, || remove_tree(&path).then_some(()));
    }
}

/// Where a supervisor that this process starts has its cgroups: below its own, or beside it where
/// that is the subgroup of a supervisor.
pub fn places(runtime_dir: &Path) -> Vec<PathBuf> {
    let Some(own) = own() else { return Vec::new() };
    let beside = own.parent().filter(|_| own.ends_with("supervisor"));
    let name = format!("supervisord-rs-{:016x}", hash(runtime_dir.as_os_str().as_bytes()));
    [beside, Some(&own)].into_iter().flatten().map(|base| base.join(&name)).collect()
}

/// FNV-1a, of which the supervisor makes the name.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Where version 2 is mounted.
pub fn mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("cgroup2 ").then(|| before.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// The cgroup (version 2) of a process.
pub fn of(pid: i32) -> Option<PathBuf> {
    Some(mount()?.join(process_table::cgroup(pid)?))
}

/// Reports that a test is skipped because there is no cgroup for it; says nothing where the whole
/// run has none.
#[track_caller]
pub fn skip_without() {
    if !hides_cgroups() {
        skip(Lack::Cgroup2, "no cgroup of version 2 that we may write to");
    }
}

/// That of this process.
fn own() -> Option<PathBuf> {
    of(std::process::id().cast_signed())
}

/// Whether it is gone.
fn remove_tree(path: &Path) -> bool {
    for below in fs::read_dir(path).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&below.path());
        }
    }
    let _ = fs::remove_dir(path);
    !path.exists()
}
