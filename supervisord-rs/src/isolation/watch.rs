//! The one epoll set behind every process, board and captured stream.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What a descriptor in the set means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Token {
    /// A process has exited. First in the order: exits are seen before anything that would promote.
    Exit {
        /// The fault domain.
        domain: u32,
    },
    /// Launches were answered.
    Launched,
    /// A worker wants its boards looked at.
    Poke {
        /// The fault domain.
        domain: u32,
    },
    /// A worker has written on its readiness pipe, or closed it.
    Newline {
        /// The worker.
        worker: u32,
    },
    /// A message has come on a worker's notify socket, from it or from a stranger.
    Notify {
        /// The worker.
        worker: u32,
    },
    /// Datagrams were taken by threads.
    Taken,
    /// The process table was looked at.
    Census,
    /// The captured streams have something to tell.
    Logs,
}

const KIND_SHIFT: u32 = 32;

impl Token {
    fn encode(self) -> u64 {
        match self {
            Self::Exit { domain } => u64::from(domain),
            Self::Poke { domain } => 1 << KIND_SHIFT | u64::from(domain),
            Self::Newline { worker } => 2 << KIND_SHIFT | u64::from(worker),
            Self::Notify { worker } => 3 << KIND_SHIFT | u64::from(worker),
            Self::Logs => 4 << KIND_SHIFT,
            Self::Launched => 5 << KIND_SHIFT,
            Self::Taken => 6 << KIND_SHIFT,
            Self::Census => 7 << KIND_SHIFT,
        }
    }

    /// `None`: no token is encoded so.
    fn decode(data: u64) -> Option<Self> {
        let index = u32::try_from(data & u64::from(u32::MAX)).expect("masked to 32 bits");
        Some(match data >> KIND_SHIFT {
            0 => Self::Exit { domain: index },
            1 => Self::Poke { domain: index },
            2 => Self::Newline { worker: index },
            3 => Self::Notify { worker: index },
            4 => Self::Logs,
            5 => Self::Launched,
            6 => Self::Taken,
            7 => Self::Census,
            _ => return None,
        })
    }
}

/// The set. Its own descriptor becomes readable when anything in it is.
#[derive(Debug)]
pub(super) struct Watch {
    epoll: Rc<Epoll>,
}

/// How something in the set says that it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// As long as there is something to take.
    WhileReady,
    /// Once for each time that something comes: nothing has to be taken.
    Once,
}

/// Something whose descriptor is in the set. Dropping it takes it out first: closing our descriptor
/// does not do that as long as there is a copy, such as in the fd store or a child, and what has no
/// number any more would be ready for ever (epoll(7), question 6).
#[derive(Debug)]
pub(super) struct Watched<T: AsFd> {
    inner: T,
    epoll: Rc<Epoll>,
    event: EpollEvent,
    is_in: bool,
}

impl<T: AsFd> Watched<T> {
    /// Takes it out of the set: it is ready, and there is nothing to be had.
    pub(super) fn rest(&mut self) {
        if std::mem::take(&mut self.is_in) {
            let _ = self.epoll.delete(&self.inner);
        }
    }

    /// Puts it into the set again.
    pub(super) fn go_on(&mut self) {
        if !self.is_in {
            self.is_in = self.epoll.add(&self.inner, self.event).is_ok();
        }
    }
}

impl<T: AsFd> Deref for Watched<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: AsFd> Drop for Watched<T> {
    fn drop(&mut self) {
        self.rest();
    }
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: Rc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?) })
    }

    /// Watches something until it is dropped.
    ///
    /// # Errors
    /// What epoll_ctl(2) says, with what was to be watched.
    pub(super) fn add<T: AsFd>(
        &self,
        inner: T,
        token: Token,
        says: Says,
    ) -> Result<Watched<T>, (T, Errno)> {
        let flags = match says {
            Says::WhileReady => EpollFlags::EPOLLIN,
            Says::Once => EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
        };
        let event = EpollEvent::new(flags, token.encode());
        match self.epoll.add(&inner, event) {
            Ok(()) => Ok(Watched { inner, epoll: Rc::clone(&self.epoll), event, is_in: true }),
            Err(errno) => Err((inner, errno)),
        }
    }

    /// Watches something that lives as long as the set.
    pub(super) fn add_for_ever(&self, fd: BorrowedFd<'_>, token: Token) -> nix::Result<()> {
        self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token.encode()))
    }

    /// What is ready now, exits first. Does not block; empty when nothing is.
    pub(super) fn ready(&self) -> Vec<Token> {
        let mut events = [EpollEvent::empty(); 256];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let mut tokens: Vec<Token> =
            events.iter().take(count).filter_map(|event| Token::decode(event.data())).collect();
        tokens.sort_unstable();
        tokens
    }
}

/// Says when anything in the epoll set is ready, to the event loop.
#[derive(Debug)]
pub struct Wakeup {
    registered: AsyncFd<OwnedFd>,
    interest: Interest,
}

impl Wakeup {
    /// For the loop that runs now.
    ///
    /// # Errors
    /// EMFILE, or what epoll_ctl(2) says.
    pub(super) fn new(watch: &Watch) -> io::Result<Self> {
        Self::of(watch.epoll.0.try_clone()?)
    }

    /// The same for one descriptor that becomes readable.
    ///
    /// # Errors
    /// EMFILE, or what epoll_ctl(2) says.
    pub fn of(fd: OwnedFd) -> io::Result<Self> {
        Self::on(fd, Interest::READABLE)
    }

    /// The same for a descriptor that reports by priority data, as `/proc/self/mountinfo` does
    /// (proc(5)).
    ///
    /// # Errors
    /// The same.
    pub fn of_priority(fd: OwnedFd) -> io::Result<Self> {
        Self::on(fd, Interest::PRIORITY)
    }

    fn on(fd: OwnedFd, interest: Interest) -> io::Result<Self> {
        #[expect(unsafe_code, reason = "tokio leaves the lifetime of the descriptor to its caller")]
        // SAFETY: needed because the safe constructors are deprecated as unsound for types that
        // could change their descriptor. An OwnedFd keeps the same open descriptor until the
        // AsyncFd, which owns it, is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(fd, interest) };
        let registered = registered.map_err(io::Error::from)?;
        Ok(Self { registered, interest })
    }

    /// Waits until something is ready, then has it taken by `collect`, which says whether there may
    /// be more.
    ///
    /// # Errors
    /// When the event loop is gone.
    pub async fn wait(&self, collect: impl FnOnce() -> bool) -> io::Result<()> {
        let mut guard = self.registered.ready(self.interest).await?;
        if !collect() {
            guard.clear_ready();
        }
        Ok(())
    }
}
