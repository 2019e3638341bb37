//! Waiting for orders, for a descriptor, for a time. An order wakes every thread that waits: no
//! thread takes it from the others, since each watches the descriptor for edges and never reads it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::runtime::member;

/// Without an epoll set, a thread looks for orders this often.
const SLICE: Duration = Duration::from_millis(50);

const WAKE: u64 = 0;
const READABLE: u64 = 1;

/// The things that a thread waits for.
pub(crate) struct Awaiting<'a> {
    /// `None`: the process has no descriptors left, or its worker has closed one that is not its
    /// own.
    set: Option<Epoll>,
    fd: Option<BorrowedFd<'a>>,
    /// Files and the like can always be read.
    is_always_readable: bool,
}

impl<'a> Awaiting<'a> {
    /// # Errors
    /// EBADF: `fd` is closed.
    pub(crate) fn new(wake: BorrowedFd<'_>, fd: Option<BorrowedFd<'a>>) -> io::Result<Self> {
        let mut is_always_readable = false;
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).and_then(|set| {
            set.add(wake, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, WAKE))?;
            match fd.map(|fd| set.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, READABLE))) {
                Some(Err(Errno::EPERM)) => is_always_readable = true,
                Some(added) => added?,
                None => {}
            }
            Ok(set)
        });
        let is_there = |fd| fcntl(fd, FcntlArg::F_GETFD);
        if set.is_err() {
            fd.map(is_there).transpose()?;
        }
        let set = set.ok();
        note(set.as_ref());
        Ok(Self { set, fd, is_always_readable })
    }

    /// Waits until the descriptor can be read (true), an order comes, or the time is up; may return
    /// early.
    ///
    /// # Errors
    /// EBADF: the descriptor is closed.
    pub(crate) fn wait(&mut self, left: Option<Duration>) -> io::Result<bool> {
        if self.is_always_readable {
            return Ok(true);
        }
        if let Some(set) = &self.set {
            let mut events = [EpollEvent::empty(); 2];
            let timeout = left.map_or(EpollTimeout::NONE, |left| {
                EpollTimeout::try_from(milliseconds(left)).unwrap_or(EpollTimeout::MAX)
            });
            match set.wait(&mut events, timeout) {
                Ok(count) => {
                    return Ok(events.iter().take(count).any(|event| event.data() == READABLE));
                }
                Err(Errno::EINTR) => return Ok(false),
                // Its number was closed by somebody else, and may be another file: it is not ours.
                Err(_) => {
                    note(None);
                    std::mem::forget(self.set.take());
                }
            }
        }
        self.wait_a_slice(left.map_or(SLICE, |left| left.min(SLICE)))
    }

    fn wait_a_slice(&self, slice: Duration) -> io::Result<bool> {
        let mut fds: Vec<PollFd<'_>> =
            self.fd.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(milliseconds(slice)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Not even that: an early return would come again at once.
            Err(_) => std::thread::sleep(slice),
        }
        let events = fds.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        if events.contains(PollFlags::POLLNVAL) {
            return Err(Errno::EBADF.into());
        }
        Ok(!events.is_empty())
    }
}

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        note(None);
    }
}

/// Notes by what this thread waits, in case it vanishes there.
fn note(set: Option<&Epoll>) {
    if let Some(member) = member::current() {
        member.waits_by(set.map_or(-1, |set| set.0.as_raw_fd()));
    }
}

/// Rounded up: waking early would spin through the last millisecond.
fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
}
