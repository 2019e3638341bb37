//! A worker's link to the supervisor: signs of life out, orders in. The same in every isolation.
//!
//! Every method is a *checkpoint*: it commits an injected fault; nothing else does. Those of a task
//! are none: its fault would end the task alone.

mod in_flight;
mod output;
mod own_threads;
mod resources;
mod shared;
mod sockets;
mod talk;
mod waiting;

use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

pub use in_flight::InFlight;
#[cfg(feature = "tokio")]
pub(crate) use in_flight::go_on_after_tasks;
pub(crate) use in_flight::lose_dropped_units;
pub use own_threads::{Entered, JoinError, OwnThread};
pub use resources::Attached;
pub(crate) use shared::{Parts, Shared, ring};
pub use waiting::Readiness;

use crate::fault::{Fault, Scene};
use crate::runtime::board::{BREADCRUMB_FAULT, Board, State, add, monotonic_ns};
use crate::runtime::seat::Seat;
use crate::runtime::{forked, handlers, member};

/// One incarnation's link to the supervisor. Cheap to clone, so that each of a worker's threads can
/// have one.
///
/// The supervisor watches each clone separately, from its first sign of life until it is dropped.
/// Where the worker has a `heartbeat:`, a thread with its own context must beat, wait inside the
/// SDK, or drop it.
#[derive(Debug)]
pub struct Context {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    /// Whether the seat is freed with it.
    is_owner: bool,
}

impl Clone for Context {
    fn clone(&self) -> Self {
        self.shared.is_shared.store(true, Ordering::Release);
        Self::new(Arc::clone(&self.shared))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // A child that was forked has a copy of it, whose place is that of the original.
        if !self.is_owner {
            self.shared.lent.fetch_sub(1, Ordering::AcqRel);
        } else if forked::is_original() {
            self.seat.leave(self.board());
        }
    }
}

impl Context {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, seat: Arc::default(), is_owner: true }
    }

    /// That of the thread that runs the worker.
    pub(crate) fn first(shared: Arc<Shared>) -> Self {
        Self { shared, seat: Arc::new(Seat::first()), is_owner: true }
    }

    /// The same context for a part that outlives a borrow of it: its signs of life are those of
    /// this one, and none once this one is dropped.
    pub(crate) fn companion(&self) -> Self {
        self.shared.lent.fetch_add(1, Ordering::AcqRel);
        let (shared, seat) = (Arc::clone(&self.shared), Arc::clone(&self.seat));
        Self { shared, seat, is_owner: false }
    }

    /// The worker's name in the configuration.
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     // A directory for each worker of this kind.
    ///     std::fs::create_dir_all(format!("/var/cache/shop/{}", context.name()))?;
    ///     context.wait_for_stop();
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Which run of the worker this is, from 1.
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     if context.generation() > 1 {
    ///         context.log_line("goes on after another run");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation
    }

    /// Reports that the worker is ready. The first sign of life reports it too; call this when that
    /// would come late. Further calls change nothing. Does not block.
    ///
    /// ```
    /// # use std::{os::fd::AsFd, net::TcpListener};
    /// # use workers::{Context, WorkerError};
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     // Those that depend on this worker may start: clients find its socket.
    ///     context.ready();
    ///     context.wait_readable(listener.as_fd(), None)?;
    ///     Ok(())
    /// }
    /// ```
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
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     let mut sum = 0_u64;
    ///     for number in 0..1_000_000 {
    ///         sum = sum.wrapping_add(number);
    ///         if number % 1000 == 0 {
    ///             context.tick();
    ///         }
    ///     }
    ///     context.log_line(format!("{sum}"));
    ///     Ok(())
    /// }
    /// ```
    pub fn tick(&self) {
        self.note_thread();
        if self.is_alive() {
            self.board().beat();
            self.seat.sign(self.board(), self.shared.generation);
        }
        self.ready();
    }

    /// Whether it gives signs of life. One that goes on although a thread of it has failed is no
    /// longer alive.
    fn is_alive(&self) -> bool {
        self.shared.is_current() && !self.shared.has_failed()
    }

    /// A sign of life of one that goes on with its work: the units that it has dropped before have
    /// not ended it. A destructor that writes a line gives no such sign.
    pub(crate) fn go_on(&self) {
        in_flight::go_on();
        self.tick();
    }

    /// Counts units of work done, in whatever unit the worker works; the count goes on over its
    /// incarnations. A sign of life. Does not block.
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// # fn rows() -> Vec<String> { Vec::new() }
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     for row in rows() {
    ///         context.log_line(row);
    ///         context.progress(1);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn progress(&self, units: u64) {
        if self.shared.is_current() {
            add(&self.board().progress, units);
        }
        self.go_on();
    }

    /// Leaves a breadcrumb: the number of the next operation, which an incident shows even after
    /// SIGKILL. The highest bit is the SDK's own, so it keeps 31 bits. Does not block.
    ///
    /// ```
    /// # use workers::{Context, WorkerError, testing::Harness};
    /// fn run(context: &Context, (): ()) -> Result<(), WorkerError> {
    ///     for order in [17, 18, 19] {
    ///         context.breadcrumb(order);
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let registry = workers::Registry::default().function("shop", "takes orders; no args", run);
    /// let shop = Harness::new(&registry, "shop", serde_json::Value::Null).start();
    /// assert_eq!(shop.wait_for("last order", |state| state.ending.is_some()).breadcrumb, 19);
    /// ```
    pub fn breadcrumb(&self, operation: u32) {
        if self.shared.is_current() {
            self.board().breadcrumb.store(operation & !BREADCRUMB_FAULT, Ordering::Relaxed);
        }
    }

    /// A descriptor that the supervisor handed to this incarnation under this name, besides its
    /// board and its output: the first call has it. `None`: there is none, or it was claimed. Does
    /// not block.
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     let memory = context.claim("shared").ok_or("no memory was handed over")?;
    ///     let length = std::fs::File::from(memory).metadata()?.len();
    ///     context.log_line(format!("{length} bytes"));
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<OwnedFd> {
        self.shared.endowment.lock().unwrap_or_else(PoisonError::into_inner).claim(name)
    }

    /// Whether the worker should return soon, and each of its threads: it has an order to stop, a
    /// thread of it has panicked, it has returned itself, or another incarnation has taken its
    /// place. Does not block.
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     while !context.stop_requested() {
    ///         // A piece of work that takes less than `heartbeat:`.
    ///         context.progress(1);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn stop_requested(&self) -> bool {
        self.note_thread();
        if !self.shared.is_current() {
            return true;
        }
        let is_to_stop = self.shared.is_ending() || self.shared.hears_stop();
        if is_to_stop {
            self.shared.offspring.stop_is_heard();
        }
        is_to_stop
    }

    /// Notes it when a thread uses this context that is none of the worker's: it may borrow from
    /// one that is.
    fn note_thread(&self) {
        let is_known = |member: &member::Member| ptr::eq(&*member.shared, &*self.shared);
        if !self.shared.is_shared.load(Ordering::Relaxed)
            && !member::current().is_some_and(is_known)
        {
            self.shared.is_shared.store(true, Ordering::Release);
        }
    }

    fn board(&self) -> &Board {
        self.shared.board()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Commits the fault that is ordered, if any.
    ///
    /// It strikes the worker: a companion may be in a task, whose runtime would catch a panic.
    pub(crate) fn checkpoint(&self) {
        if let Some(changed) = handlers::keep_if_due()
            && self.board().note_changed_signals(changed)
        {
            self.shared.poke();
        }
        if !self.is_owner
            || self.board().fault.load(Ordering::Acquire) == 0
            || !self.shared.is_current()
        {
            return;
        }
        let Some((code, parameter)) = self.board().take_fault() else { return };
        let Some(fault) = Fault::from_code(code) else { return };
        self.note_fault(code);
        let scene = Scene { context: Some(self), output: self.shared.output.as_fd() };
        fault.commit_in(parameter, &scene);
        // It is over, and what ends the process from now on is not its doing, unless the worker has
        // failed by a thread.
        if self.shared.is_current() && !self.shared.has_failed() {
            self.board().fault_at.store(0, Ordering::Release);
        }
    }

    /// Commits what was ordered for the time when the worker stops. Called on its own thread, when
    /// its `run` has returned.
    pub(crate) fn checkpoint_at_stop(&self) {
        if self.shared.panics_now() {
            self.note_fault(Fault::PanicWhileStopping.code());
            panic!("injected panic while stopping");
        }
    }

    fn note_fault(&self, code: u32) {
        self.board().breadcrumb.store(BREADCRUMB_FAULT | code, Ordering::Relaxed);
        self.board().fault_at.store(monotonic_ns(), Ordering::Release);
    }
}
