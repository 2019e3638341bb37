//! What the kernel reports of the supervisor's places: something in the runtime directory goes
//! away, or the lock in the state directory, or a directory or symbolic link on the way to either
//! (inotify(7)); a file system is mounted or unmounted, perhaps over one of them (proc(5),
//! `/proc/self/mountinfo`).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::config::SupervisorSettings;
use crate::isolation::Wakeup;

/// Links that are followed one after the other, as path_resolution(7) has it.
const LINKS_MAX: usize = 40;

/// What is watched, not yet by the loop.
#[derive(Debug)]
pub(super) struct Places {
    changes: Inotify,
    mounts: Option<File>,
}

impl Places {
    /// May block where a file system does.
    ///
    /// # Errors
    /// Those of inotify(7): the runtime directory is not there, or this user has too many watches.
    pub(super) fn new(
        supervisor: &SupervisorSettings,
        state_lock: Option<&File>,
    ) -> io::Result<Self> {
        let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        // One inode has one watch, and the last one counts: those that report most come last.
        for directory in [&supervisor.runtime_dir, &supervisor.state_dir] {
            watch_way(&changes, directory);
        }
        watch_state_lock(&changes, &supervisor.state_dir, state_lock);
        let gone = AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        changes.add_watch(&supervisor.runtime_dir, gone)?;
        // It reports a change of this process's mounts as priority data; readable it always is.
        Ok(Self { changes, mounts: File::open("/proc/self/mountinfo").ok() })
    }
}

/// Reports what goes away to the loop.
#[derive(Debug)]
pub(super) struct Watch {
    wakeup: Wakeup,
    reader: OwnedFd,
    mounts: Option<Wakeup>,
}

impl Watch {
    /// For the loop that runs now. Does not block.
    ///
    /// # Errors
    /// EMFILE, or what epoll_ctl(2) says.
    pub(super) fn new(places: Places) -> io::Result<Self> {
        let reader = places.changes.as_fd().try_clone_to_owned()?;
        let mounts = places.mounts.and_then(|mounts| Wakeup::of_priority(mounts.into()).ok());
        Ok(Self { wakeup: Wakeup::of(places.changes.into())?, reader, mounts })
    }

    /// Something went away. Which it was does not matter: all is looked at.
    pub(super) async fn loss(&self) {
        let take = || nix::unistd::read(&self.reader, &mut [0; 4096]).is_ok();
        let a_mount = async {
            match &self.mounts {
                Some(mounts) => mounts.wait(|| false).await,
                None => std::future::pending().await,
            }
        };
        let woken = tokio::select! {
            woken = self.wakeup.wait(take) => woken,
            woken = a_mount => woken,
        };
        if woken.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Watches the directories and symbolic links that lead to `path`. Of a link that is deleted or
/// replaced the count of its names changes, which is an attribute.
fn watch_way(watch: &Inotify, path: &Path) {
    let moved =
        AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DONT_FOLLOW;
    for place in way(path) {
        let flags = if place.is_symlink() { moved | AddWatchFlags::IN_ATTRIB } else { moved };
        let _ = watch.add_watch(&place, flags);
    }
}

/// Every place that leads to an absolute path, itself last, with what its links lead to.
fn way(path: &Path) -> Vec<PathBuf> {
    let names = |path: &Path| -> Vec<OsString> {
        let named = path.components().filter(|part| !matches!(part, Component::RootDir));
        named.map(|part| part.as_os_str().to_owned()).collect()
    };
    let mut rest: VecDeque<OsString> = names(path).into();
    let (mut at, mut links, mut places) = (PathBuf::from("/"), 0, Vec::new());
    while let Some(name) = rest.pop_front() {
        let place = at.join(&name);
        places.push(place.clone());
        match std::fs::read_link(&place) {
            Ok(target) if links < LINKS_MAX => {
                links += 1;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                for name in names(&target).into_iter().rev() {
                    rest.push_front(name);
                }
            }
            _ => at = place,
        }
    }
    places
}

/// Nothing else in the state directory is watched: much comes and goes there. To delete the file
/// changes the count of its names, which is an attribute.
fn watch_state_lock(watch: &Inotify, state_dir: &Path, lock: Option<&File>) {
    let moved = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
    let _ = watch.add_watch(state_dir, moved | AddWatchFlags::IN_ONLYDIR);
    if let Some(lock) = lock {
        // The file that we hold, whatever has its name.
        let file = format!("/proc/self/fd/{}", lock.as_fd().as_raw_fd());
        let _ = watch.add_watch(file.as_str(), moved | AddWatchFlags::IN_ATTRIB);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_names_its_directories_and_links_and_what_they_lead_to() {
        let bed = tempfile::tempdir().expect("a directory");
        let base = bed.path().canonicalize().expect("it is there");
        std::fs::create_dir_all(base.join("real/deep")).expect("made");
        std::os::unix::fs::symlink("real", base.join("link")).expect("made");
        let found = way(&base.join("link/deep"));
        let wanted = ["link", "real", "real/deep"].map(|name| base.join(name));
        assert_eq!(found[found.len() - 3..], wanted);
        std::os::unix::fs::symlink("loop", base.join("loop")).expect("made");
        assert!(way(&base.join("loop/x")).len() < 100);
    }
}
