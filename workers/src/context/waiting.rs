//! Waiting, as a worker should: an order ends it, and who waits here is not hung.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::Context;
use crate::runtime::awaiting::Awaiting;
use crate::runtime::seat::Seat;

/// Why [`Context::wait_readable`] has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// The descriptor can be read, or its other end has hung up.
    Readable,
    /// The worker should return soon: see [`Context::stop_requested`].
    Stop,
    /// The time is up.
    TimedOut,
    /// There is an order to reload, see [`Context::reload_requested`]: only where the worker asks
    /// for such orders.
    Reload,
}

/// The descriptor that is readable when there is an order, for a loop of another kind: an event
/// library, an own epoll set. Watch it for edges (`EPOLLET`), never read it: other threads wait for
/// the same edges. After each, call [`Context::tick`] of the same context, which answers the
/// supervisor, and look at [`Context::stop_requested`].
///
/// From the first call on, a sign of life is due only when the supervisor asks for one, once in
/// each `heartbeat:`: such a loop may wait without end. One that hangs is found when it has not
/// answered for a `heartbeat:`.
impl AsFd for Context {
    fn as_fd(&self) -> BorrowedFd<'_> {
        if self.is_alive() {
            self.seat.has_loop(self.board(), self.shared.generation);
        }
        self.shared.wake.as_fd()
    }
}

impl Context {
    /// Sleeps, unless an order to stop comes. True: continue; false: return soon. An order to
    /// reload ends it early where the worker [asks](Self::reload_requested) for such orders.
    ///
    /// A worker that sleeps here is not hung, however long it sleeps: it answers when the
    /// supervisor asks, once in each `heartbeat:`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use workers::{Context, WorkerError};
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     while context.sleep(Duration::from_secs(1)) {
    ///         context.progress(1);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn sleep(&self, duration: Duration) -> bool {
        // Without a descriptor there is none that could be closed.
        let _ = self.wait(None, Some(duration));
        !self.stop_requested()
    }

    /// Waits for the order to stop, however long it takes, as [`sleep`](Self::sleep) does.
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     let watcher = context.spawn("watcher", |context| context.wait_for_stop())?;
    ///     context.wait_for_stop();
    ///     Ok(watcher.join()?)
    /// }
    /// ```
    pub fn wait_for_stop(&self) {
        while !self.stop_requested() {
            let _ = self.wait(None, None);
        }
    }

    /// Waits until `fd` can be read (or has hung up), at most `timeout` of monotonic time; without
    /// one as long as it takes. For workers that wait for sockets or pipes.
    ///
    /// # Errors
    /// EBADF: the descriptor is closed.
    ///
    /// ```
    /// # use std::{net::UdpSocket, os::fd::AsFd};
    /// # use workers::{Context, Readiness, WorkerError};
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     let socket = UdpSocket::bind("127.0.0.1:0")?;
    ///     let mut datagram = [0; 512];
    ///     while context.wait_readable(socket.as_fd(), None)? == Readiness::Readable {
    ///         let (length, from) = socket.recv_from(&mut datagram)?;
    ///         socket.send_to(&datagram[..length], from)?;
    ///         context.progress(1);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn wait_readable(
        &self,
        fd: BorrowedFd<'_>,
        timeout: Option<Duration>,
    ) -> io::Result<Readiness> {
        self.wait(Some(fd), timeout)
    }

    /// Waits elsewhere from now on, where it answers the supervisor, until that is dropped.
    #[cfg(feature = "tokio")]
    pub(crate) fn always_waiting(&self) -> impl Drop {
        struct Waiting<'a>(&'a Context);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.is_waiting(false);
            }
        }
        self.is_waiting(true);
        Waiting(self)
    }

    /// Waits for `fd`, the time, or orders, and commits a fault that is ordered meanwhile.
    fn wait(&self, fd: Option<BorrowedFd<'_>>, timeout: Option<Duration>) -> io::Result<Readiness> {
        // A time that no clock reaches is none.
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.go_on();
        let mut awaiting = Awaiting::new(self.shared.wake.as_fd(), fd)?;
        loop {
            if self.stop_requested() {
                return Ok(Readiness::Stop);
            }
            if self.seat.sees_reload(self.board().talk.reloads_ordered()) {
                return Ok(Readiness::Reload);
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            self.is_waiting(true);
            let is_readable = awaiting.wait(left);
            self.is_waiting(false);
            // This answers the supervisor's question for a sign of life.
            self.go_on();
            if self.stop_requested() {
                return Ok(Readiness::Stop);
            }
            if is_readable? {
                return Ok(Readiness::Readable);
            }
            if left == Some(Duration::ZERO) {
                return Ok(Readiness::TimedOut);
            }
        }
    }

    fn is_waiting(&self, is_waiting: bool) {
        if self.shared.is_current() {
            let change = if is_waiting { Seat::begin_to_wait } else { Seat::end_to_wait };
            change(&self.seat, self.board(), self.shared.generation);
        }
    }
}
