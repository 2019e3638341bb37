//! Waiting for orders, for a descriptor, for a time. An order wakes every thread that waits: no
//! thread takes it from the others, since each watches the descriptor for edges and never reads it.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Without an epoll set, a thread looks for orders this often.
const SLICE: Duration = Duration::from_millis(50);

const WAKE: u64 = 0;
const READABLE: u64 = 1;

/// The things that a thread waits for.
pub(crate) struct Awaiting<'a> {
    /// `None`: the process has no descriptors left.
    set: Option<Epoll>,
    fd: Option<BorrowedFd<'a>>,
    /// Files and the like can always be read.
    is_always_readable: bool,
}

impl<'a> Awaiting<'a> {
    pub(crate) fn new(wake: BorrowedFd<'_>, fd: Option<BorrowedFd<'a>>) -> Self {
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
        Self { set: set.ok(), fd, is_always_readable }
    }

    /// Waits until the descriptor can be read (true), an order comes, or the time is up; may return
    /// early.
    pub(crate) fn wait(&self, left: Option<Duration>) -> bool {
        if self.is_always_readable {
            return true;
        }
        match &self.set {
            Some(set) => {
                let mut events = [EpollEvent::empty(); 2];
                let timeout = left.map_or(EpollTimeout::NONE, |left| {
                    EpollTimeout::try_from(milliseconds(left)).unwrap_or(EpollTimeout::MAX)
                });
                let count = set.wait(&mut events, timeout).unwrap_or(0);
                events.iter().take(count).any(|event| event.data() == READABLE)
            }
            None => self.wait_a_slice(left.map_or(SLICE, |left| left.min(SLICE))),
        }
    }

    fn wait_a_slice(&self, slice: Duration) -> bool {
        let mut fds: Vec<PollFd<'_>> =
            self.fd.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(milliseconds(slice)).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut fds, timeout);
        fds.first().and_then(PollFd::any).unwrap_or(false)
    }
}

/// Rounded up: waking early would spin through the last millisecond.
fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
}
