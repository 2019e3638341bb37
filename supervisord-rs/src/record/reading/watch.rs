//! Reports new output: nothing is read while no worker writes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::lines::Shown;

/// inotify(7), on the directories of some files.
#[derive(Debug)]
pub struct Watch(Inotify);

impl Watch {
    /// Watches the directories, since files in them come and go.
    pub(super) fn of(shown: &[Shown]) -> nix::Result<Self> {
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO;
        let mut directories: Vec<&Path> =
            shown.iter().filter_map(|shown| shown.file.path().parent()).collect();
        directories.sort_unstable();
        directories.dedup();
        for directory in directories {
            watch.add_watch(directory, flags)?;
        }
        Ok(Self(watch))
    }

    /// To be waited for in an event loop, that of this thread.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    #[expect(unsafe_code, reason = "tokio leaves the lifetime of the descriptor to its caller")]
    pub fn registered(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the inotify descriptor in it stays open and the same until the AsyncFd, which
        // owns it, is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) };
        registered.map_err(Into::into)
    }

    /// Takes what was reported. It does not wait.
    ///
    /// # Errors
    /// Those of inotify(7).
    pub fn clear(&self) -> io::Result<()> {
        loop {
            match self.0.read_events() {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
