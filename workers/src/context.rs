//! A worker's link to the supervisor: signs of life out, orders in. The same in every isolation.
//!
//! Every method is a *checkpoint*: it commits an injected fault; nothing else does.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::awaiting::Awaiting;
use crate::board::{BREADCRUMB_FAULT, Board, State, monotonic_ns};
use crate::endowment::Endowment;
use crate::fault::Fault;
use crate::mapping::Mapping;
use crate::seat::Seat;

/// One incarnation's link to the supervisor. Cheap to clone, so that each of a worker's threads can
/// have one.
///
/// The supervisor watches each clone separately, from its first sign of life until it is dropped.
/// Where the worker has a `heartbeat:`, a thread with its own context must beat, wait inside the
/// SDK, or drop it.
#[derive(Debug)]
pub struct Context {
    shared: Arc<Shared>,
    seat: Seat,
}

impl Clone for Context {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.seat.leave(self.board());
    }
}

/// The parts that an incarnation shares with the supervisor.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) page: usize,
    /// Makes the supervisor look at the boards of this fault domain.
    pub(crate) poke: Arc<OwnedFd>,
    /// Readable when there is an order.
    pub(crate) wake: OwnedFd,
    /// The output, which the supervisor captures.
    pub(crate) output: OwnedFd,
    /// What it is handed besides.
    pub(crate) endowment: Mutex<Endowment>,
    /// Whether it has reported that it is ready.
    pub(crate) is_ready: AtomicBool,
}

impl Shared {
    pub(crate) fn board(&self) -> &Board {
        self.mapping.nth(self.page)
    }

    /// False for a thread that was abandoned: its board belongs to its successor now, and it must
    /// not touch it.
    pub(crate) fn is_current(&self) -> bool {
        self.board().generation() == self.generation
    }

    pub(crate) fn poke(&self) {
        ring(self.poke.as_fd());
    }
}

impl Context {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, seat: Seat::default() }
    }

    /// The worker's name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Which run of the worker this is, from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation
    }

    /// Reports that the worker is ready. The first sign of life reports it too; call this when that
    /// would come late. Further calls change nothing. Does not block.
    pub fn ready(&self) {
        if self.shared.is_current()
            && !self.shared.is_ready.swap(true, Ordering::AcqRel)
            && self.board().set_state(self.shared.generation, State::Ready)
        {
            self.shared.poke();
        }
        self.checkpoint();
    }

    /// A sign of life: a few atomic stores, no system call. Call it at least twice within
    /// `heartbeat:`, on each thread that has a clone of this context. Does not block.
    pub fn tick(&self) {
        if self.shared.is_current() {
            self.board().beat();
            self.seat.sign(self.board(), self.shared.generation);
        }
        self.ready();
    }

    /// Counts units of work done, in whatever unit the worker works; the count goes on over its
    /// incarnations. A sign of life. Does not block.
    pub fn progress(&self, units: u64) {
        if self.shared.is_current() {
            self.board().progress.fetch_add(units, Ordering::Relaxed);
        }
        self.tick();
    }

    /// Counts units of work begun; they are done when the guard is dropped in order, and lost when
    /// the worker dies before. Dropping it by a panic leaves them lost.
    #[must_use]
    pub fn begin(&self, units: u64) -> InFlight<'_> {
        if self.shared.is_current() {
            self.board().in_flight.fetch_add(units, Ordering::Relaxed);
        }
        self.tick();
        InFlight { context: self, units }
    }

    /// Leaves a breadcrumb: the number of the next operation, which an incident shows even after
    /// SIGKILL. The highest bit is the SDK's own, so it keeps 31 bits. Does not block.
    pub fn breadcrumb(&self, operation: u32) {
        if self.shared.is_current() {
            self.board().breadcrumb.store(operation & !BREADCRUMB_FAULT, Ordering::Relaxed);
        }
    }

    /// A descriptor that the supervisor handed to this incarnation under this name, besides its
    /// board and its output: whoever claims it first has it. `None`: there is none, or it was
    /// claimed. Does not block.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<OwnedFd> {
        self.shared.endowment.lock().unwrap_or_else(PoisonError::into_inner).claim(name)
    }

    /// Whether the worker should return soon: it has an order to stop, or another incarnation has
    /// taken its place. Does not block.
    #[must_use]
    pub fn stop_requested(&self) -> bool {
        !self.shared.is_current() || self.board().stop_requested()
    }

    /// Sleeps, unless an order to stop comes. True: continue; false: return soon.
    ///
    /// A worker that sleeps here is not hung, however long it sleeps: it answers when the
    /// supervisor asks, once in each `heartbeat:`.
    #[must_use]
    pub fn sleep(&self, duration: Duration) -> bool {
        self.wait(None, Some(duration));
        !self.stop_requested()
    }

    /// Waits for the order to stop, however long it takes, as [`sleep`](Self::sleep) does.
    pub fn wait_for_stop(&self) {
        while !self.stop_requested() {
            self.wait(None, None);
        }
    }

    /// Waits until `fd` can be read (or has hung up), at most `timeout` of monotonic time; without
    /// one as long as it takes. True: it can; false: an order came or the time is up. For workers
    /// that wait for sockets or pipes.
    #[must_use]
    pub fn wait_readable(&self, fd: BorrowedFd<'_>, timeout: Option<Duration>) -> bool {
        self.wait(Some(fd), timeout) && !self.stop_requested()
    }

    /// Writes a line to the worker's captured output. A reader that has gone is not an error.
    /// Blocks while the pipe is full, as long as the supervisor has not read it.
    pub fn say(&self, line: impl AsRef<str>) {
        let mut text = line.as_ref().to_owned();
        text.push('\n');
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match nix::unistd::write(&self.shared.output, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        self.tick();
    }

    fn board(&self) -> &Board {
        self.shared.board()
    }

    /// Waits for `fd`, the time, or orders, and commits a fault that is ordered meanwhile. True
    /// when `fd` is readable.
    fn wait(&self, fd: Option<BorrowedFd<'_>>, timeout: Option<Duration>) -> bool {
        let end = timeout.map(|timeout| Instant::now() + timeout);
        self.tick();
        let awaiting = Awaiting::new(self.shared.wake.as_fd(), fd);
        loop {
            if self.stop_requested() {
                return false;
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            self.seat.begin_to_wait(self.board(), self.shared.generation);
            let is_readable = awaiting.wait(left);
            self.seat.end_to_wait(self.board(), self.shared.generation);
            // This answers the supervisor's question for a sign of life.
            self.tick();
            if is_readable {
                return true;
            }
            if left == Some(Duration::ZERO) {
                return false;
            }
        }
    }

    /// Commits the fault that is ordered, if any.
    fn checkpoint(&self) {
        if self.board().fault.load(Ordering::Acquire) == 0 || !self.shared.is_current() {
            return;
        }
        let Some((code, parameter)) = self.board().take_fault() else { return };
        let Some(fault) = Fault::from_code(code) else { return };
        self.board().breadcrumb.store(BREADCRUMB_FAULT | code, Ordering::Relaxed);
        self.board().fault_at.store(monotonic_ns(), Ordering::Release);
        fault.commit_and_beat(parameter, &|| self.tick());
        // It is over, and what ends the process from now on is not its doing.
        if self.shared.is_current() {
            self.board().fault_at.store(0, Ordering::Release);
        }
    }
}

/// Units of work begun, see [`Context::begin`].
#[derive(Debug)]
pub struct InFlight<'a> {
    context: &'a Context,
    units: u64,
}

impl InFlight<'_> {
    /// The units are done, and count as progress.
    pub fn done(self) {
        self.context.progress(self.units);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.context.shared.is_current() {
            self.context.board().end_units(self.units);
        }
    }
}

/// Makes an eventfd readable. Async-signal-safe: one write(2). A full counter is readable already.
pub(crate) fn ring(fd: BorrowedFd<'_>) {
    let _ = nix::unistd::write(fd, &1_u64.to_ne_bytes());
}
