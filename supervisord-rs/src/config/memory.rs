//! How much memory this process may still take: of the machine, and of the cgroups that it is in.
//! What takes more is ended by the kernel (OOM), and here that would be the supervisor.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Where cgroups are, and below that those of version 1.
const MOUNTS: [(&str, &str, Files); 2] = [
    ("", "0::", Files { limit: "memory.max", used: "memory.current" }),
    ("memory", ":memory:", Files { limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes" }),
];
const ROOT: &str = "/sys/fs/cgroup";

/// As the kernel calls them (cgroups(7)).
#[derive(Clone, Copy)]
struct Files {
    limit: &'static str,
    used: &'static str,
}

/// The narrowest of all bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) bytes: u64,
    /// `None`: the machine.
    cgroup: Option<PathBuf>,
}

impl fmt::Display for Bound {
    /// What has how much.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = shown(self.bytes >> 20 << 20);
        match &self.cgroup {
            Some(path) => write!(f, "the cgroup {} has {size}", path.display()),
            None => write!(f, "this machine has {size}"),
        }
    }
}

/// The most that this process can ever take.
pub(crate) fn limit() -> Option<Bound> {
    let machine = machine().map(|bytes| Bound { bytes, cgroup: None });
    machine.into_iter().chain(own_cgroups(false)).min_by_key(|bound| bound.bytes)
}

/// What it can take now.
pub(crate) fn room() -> Option<Bound> {
    let machine = available().map(|bytes| Bound { bytes, cgroup: None });
    machine.into_iter().chain(own_cgroups(true)).min_by_key(|bound| bound.bytes)
}

/// Bytes of memory that this machine has.
pub(crate) fn machine() -> Option<u64> {
    use nix::unistd::{SysconfVar, sysconf};
    let get = |variable| u64::try_from(sysconf(variable).ok()??).ok();
    get(SysconfVar::_PHYS_PAGES)?.checked_mul(get(SysconfVar::PAGE_SIZE)?)
}

/// Bytes that can be had without swapping (proc_meminfo(5)).
fn available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn own_cgroups(is_now: bool) -> Option<Bound> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    of_cgroups(Path::new(ROOT), &own, is_now)
}

/// `own`: the text of /proc/self/cgroup.
fn of_cgroups(root: &Path, own: &str, is_now: bool) -> Option<Bound> {
    let bounds = MOUNTS.iter().filter_map(|(below, mark, files)| {
        let path = own.lines().find_map(|line| Some(line.split_once(mark)?.1))?;
        // With `..`, it is above what this namespace shows.
        let path = path.trim_start_matches('/');
        let mount = root.join(below);
        narrowest(&mount, &mount.join(path), *files, is_now)
    });
    bounds.min_by_key(|bound| bound.bytes)
}

fn narrowest(mount: &Path, own: &Path, files: Files, is_now: bool) -> Option<Bound> {
    let above = own.ancestors().take_while(|path| path.starts_with(mount));
    let bounds = above.filter_map(|path| {
        let number = |file: &str| -> Option<u64> {
            fs::read_to_string(path.join(file)).ok()?.trim().parse().ok()
        };
        // `max` is no number: no limit.
        let limit = number(files.limit)?;
        let used = if is_now { number(files.used).unwrap_or(0) } else { 0 };
        Some(Bound { bytes: limit.saturating_sub(used), cgroup: Some(path.to_owned()) })
    });
    bounds.min_by_key(|bound| bound.bytes)
}

/// Bytes, in the largest unit without a rest.
pub(super) fn shown(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |(shift, _): &(u32, &str)| bytes >> shift > 0 && bytes.is_multiple_of(1 << shift);
    match units.into_iter().find(fits) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(path).expect("a directory");
        for (name, text) in files {
            fs::write(path.join(name), text).expect("written");
        }
    }

    #[test]
    fn the_narrowest_of_a_cgroup_and_its_parents_counts_less_what_is_taken() {
        let root = tempfile::tempdir().expect("a directory");
        let (above, own) = (root.path().join("a.slice"), root.path().join("a.slice/b.service"));
        write(&above, &[("memory.max", "1000\n"), ("memory.current", "900\n")]);
        write(&own, &[("memory.max", "max\n"), ("memory.current", "10\n")]);
        let text = "0::/a.slice/b.service\n";
        let bound = of_cgroups(root.path(), text, false).expect("a limit");
        assert_eq!((bound.bytes, bound.cgroup.as_ref()), (1000, Some(&above)));
        write(&own, &[("memory.max", "500\n")]);
        let bound = of_cgroups(root.path(), text, false).expect("a limit");
        assert_eq!((bound.bytes, bound.cgroup.as_ref()), (500, Some(&own)));
        let bound = of_cgroups(root.path(), text, true).expect("room");
        assert_eq!((bound.bytes, bound.cgroup.as_ref()), (100, Some(&above)));
        write(&above, &[("memory.current", "2000\n")]);
        assert_eq!(of_cgroups(root.path(), text, true).expect("room").bytes, 0);
    }

    #[test]
    fn cgroups_of_version_1_and_none_at_all() {
        let root = tempfile::tempdir().expect("a directory");
        let own = root.path().join("memory/box");
        write(&own, &[("memory.limit_in_bytes", "700\n"), ("memory.usage_in_bytes", "200\n")]);
        let text = "12:cpu:/\n4:memory:/box\n0::/\n";
        assert_eq!(of_cgroups(root.path(), text, true).expect("room").bytes, 500);
        assert_eq!(of_cgroups(root.path(), "0::/\n", true), None);
        assert!(room().is_some() && limit().is_some());
    }
}
