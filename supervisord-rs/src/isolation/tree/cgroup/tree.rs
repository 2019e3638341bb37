//! A cgroup and all that was made below it, however deep: a path may be too long for the kernel,
//! so each step is from one directory to the next. Bounded, since it is workers that make them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::events::Events;
use crate::kernel_file;

/// So many cgroups below one are looked at, for so long.
pub(super) const MOST: usize = 20_000;
const LIMIT: Duration = Duration::from_secs(2);
/// Links of a directory that has no other below it.
const LINKS: u64 = 2;

/// Removes it and all below it, deepest first. False: it is still there, since a process lives in
/// it, or because there is too much below it.
pub(super) fn remove(path: &Path) -> bool {
    remove_by(path, Instant::now() + LIMIT)
}

/// The same of several, which share the time.
pub(super) fn remove_all(paths: &[PathBuf]) {
    let end = Instant::now() + LIMIT;
    for path in paths {
        remove_by(path, end);
    }
}

fn remove_by(path: &Path, end: Instant) -> bool {
    match fs::remove_dir(path) {
        Ok(()) => return true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
        Err(_) => {}
    }
    let Ok(mut descent) = Descent::new(path, MOST, end) else { return false };
    while let Some(step) = descent.next() {
        match step {
            Step::Down(name) => {
                if !descent.remove(&name) {
                    descent.enter(name);
                }
            }
            Step::Up(name) => drop(descent.remove(&name)),
        }
    }
    fs::remove_dir(path).is_ok()
}

/// To be born in it (`CLONE_INTO_CGROUP`, clone(2)), and to look at what it has.
pub(super) fn birthplace(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, flags, Mode::empty())?)
}

/// Whose a directory is, and who may do what there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    mode: u32,
    user: u32,
    group: u32,
}

impl Access {
    pub(super) fn of(directory: &OwnedFd) -> Option<Self> {
        fstat(directory).ok().map(|found| Self::from(&found))
    }

    fn from(found: &FileStat) -> Self {
        Self { mode: found.st_mode, user: found.st_uid, group: found.st_gid }
    }
}

/// Whether an empty one that runs is as it was made: nothing is below it, and the processes that
/// were in it have changed neither how processes live there nor who may change that. `passes_on`:
/// whether it has controllers, which it could pass on.
pub(super) fn is_as_made(birthplace: &OwnedFd, access: Access, passes_on: bool) -> bool {
    let says = |file: &str, wanted: &[u8]| {
        // A kernel that does not have the file cannot have changed it.
        let content = kernel_file::read_at(birthplace, file);
        content.map_or(true, |content| content.trim_ascii() == wanted)
    };
    fstat(birthplace).is_ok_and(|found| found.st_nlink <= LINKS && Access::from(&found) == access)
        && says("cgroup.type", b"domain")
        && says("cgroup.max.descendants", b"max")
        && says("cgroup.max.depth", b"max")
        && (!passes_on || says("cgroup.subtree_control", b""))
}

/// Who lives in it, and below it, as far as `most` cgroups tell.
pub(super) fn processes(path: &Path, most: usize) -> (Vec<i32>, Extent) {
    let mut pids = super::place::processes(path);
    if fs::metadata(path).is_ok_and(|metadata| metadata.nlink() <= LINKS) {
        return (pids, Extent::All);
    }
    let Ok(mut descent) = Descent::new(path, most, Instant::now() + LIMIT) else {
        return (pids, Extent::Part);
    };
    while let Some(step) = descent.next() {
        if let Step::Down(name) = step
            && Events::of(&descent.here().join(&name)).populated
            && descent.enter(name)
        {
            pids.extend(super::place::processes(&descent.here()));
        }
    }
    let extent = if descent.is_cut { Extent::Part } else { Extent::All };
    (pids, extent)
}

/// How much of a tree was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::isolation) enum Extent {
    /// All of it.
    All,
    /// There was more than may be looked at now.
    Part,
}

/// What is directly below it.
pub(super) fn directories(path: &Path) -> Vec<PathBuf> {
    names(path, MOST).into_iter().map(|name| path.join(name)).collect()
}

/// From one directory to those below it, and back.
struct Descent {
    directory: OwnedFd,
    /// By level: what was not looked at yet.
    left: Vec<Vec<OsString>>,
    /// Where we are, below the first.
    within: Vec<OsString>,
    budget: usize,
    end: Instant,
    /// Whether something was left out.
    is_cut: bool,
}

enum Step {
    /// This one is below the present directory.
    Down(OsString),
    /// All that was below this one has been looked at; it is below the present directory.
    Up(OsString),
}

impl Descent {
    fn new(path: &Path, budget: usize, end: Instant) -> io::Result<Self> {
        let directory = OwnedFd::from(File::open(path)?);
        let left = vec![names(path, budget + 1)];
        Ok(Self { directory, left, within: Vec::new(), budget, end, is_cut: false })
    }

    /// `None`: all has been looked at, or as much as may be.
    fn next(&mut self) -> Option<Step> {
        if let Some(name) = self.left.last_mut()?.pop() {
            self.is_cut = self.budget == 0 || Instant::now() >= self.end;
            self.budget = self.budget.saturating_sub(1);
            return (!self.is_cut).then_some(Step::Down(name));
        }
        self.left.pop();
        let name = self.within.pop()?;
        let above = open(&self.directory, OsStr::new(".."));
        self.is_cut = above.is_none();
        self.directory = above?;
        Some(Step::Up(name))
    }

    /// False: it is not there any more.
    fn enter(&mut self, name: OsString) -> bool {
        let Some(below) = open(&self.directory, &name) else { return false };
        self.directory = below;
        self.within.push(name);
        // One more than may be looked at: then it is known that there are more.
        self.left.push(names(&self.here(), self.budget + 1));
        true
    }

    fn remove(&self, name: &OsStr) -> bool {
        unlinkat(&self.directory, name, UnlinkatFlags::RemoveDir).is_ok()
    }

    /// A path that is never too long.
    fn here(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.directory.as_raw_fd()).into()
    }
}

fn open(directory: &OwnedFd, name: &OsStr) -> Option<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(directory, name, flags, Mode::empty()).ok()
}

fn names(path: &Path, most: usize) -> Vec<OsString> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let directories = entries.flatten().filter(is_directory).map(|entry| entry.file_name());
    directories.take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_deep_for_a_path_is_removed_and_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let top = directory.path().join("top");
        fs::create_dir(&top).expect("made");
        let name = "n".repeat(200);
        let mut at = OwnedFd::from(File::open(&top).expect("opened"));
        for _ in 0..200 {
            let wide = format!("/proc/self/fd/{}", at.as_raw_fd());
            fs::create_dir(Path::new(&wide).join("beside")).expect("made");
            fs::create_dir(Path::new(&wide).join(&name)).expect("made");
            at = open(&at, OsStr::new(&name)).expect("opened");
        }
        drop(at);
        assert!(remove(&top), "all is empty");
        assert!(!top.exists());
    }
}
