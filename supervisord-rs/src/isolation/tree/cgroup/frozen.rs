//! Cgroups whose processes do not run (cgroups(7), `cgroup.freeze`). One that is born there does
//! not run either, and what waits for its `execve` waits with it: so a launch looks first.

use crate::kernel_file;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The cgroup that keeps the processes of this one from running: it, or one above it.
pub(super) fn by(cgroup: &Path, mount: &Path) -> Option<PathBuf> {
    let mut above = cgroup.ancestors().take_while(|path| path.starts_with(mount));
    above.find(|path| is_frozen_itself(path)).map(Path::to_path_buf)
}

/// Whether it is this one that was frozen, and not only one above it.
pub(super) fn is_frozen_itself(cgroup: &Path) -> bool {
    kernel_file::read(file(cgroup)).is_ok_and(|content| content.starts_with(b"1"))
}

/// Lets its processes go on. May wait: the kernel has one lock for changes of all cgroups.
pub(super) fn thaw(cgroup: &Path) -> io::Result<()> {
    fs::write(file(cgroup), "0")
}

fn file(cgroup: &Path) -> PathBuf {
    cgroup.join("cgroup.freeze")
}
