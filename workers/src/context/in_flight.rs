//! Work begun and not done: what a death destroys, and what fails while the worker goes on.

mod dropped;

use super::{Context, Shared};
use crate::runtime::board::add;

impl Context {
    /// Counts units of work begun, in whatever unit the worker works. They are *in flight* until
    /// [`InFlight::done`] counts them as progress. Without that they are lost: with the worker, if
    /// it dies; otherwise they count as failed. A sign of life. Does not block.
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// # struct Order; struct Queue;
    /// # impl Queue { fn take(&self) -> Option<Order> { None } }
    /// # fn ship(order: &Order) -> Result<(), std::io::Error> { Ok(()) }
    /// fn work(context: &Context, queue: &Queue) -> Result<(), WorkerError> {
    ///     while let Some(order) = queue.take() {
    ///         let unit = context.begin(1);
    ///         // An error that ends the worker: the incident says "1 unit of work lost".
    ///         ship(&order)?;
    ///         unit.done();
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use = "dropped at once, the units count as lost"]
    pub fn begin(&self, units: u64) -> InFlight {
        if self.shared.is_current() {
            add(&self.board().in_flight, units);
        }
        self.go_on();
        InFlight { context: self.companion(), units }
    }
}

/// Units of work begun, see [`Context::begin`]. It may go to another thread or task, and outlive
/// the context that began it.
///
/// Dropped without [`done`](Self::done), [`fail`](Self::fail) or [`give_back`](Self::give_back), by
/// `?` or by a panic, the units are lost: an incident counts them if the worker ends with that, and
/// [`fail`](Self::fail) does if it goes on, as after a panic that a runtime catches.
///
/// On a thread of [`Context::spawn`] that returns after that, as with an error, they count as
/// dropped by the thread that [joins](super::OwnThread::join) it: with `thread.join()??` they are
/// lost with the worker. On any other thread they have failed, since nothing tells that the worker
/// ends by it.
#[derive(Debug)]
#[must_use = "dropped at once, the units count as lost"]
pub struct InFlight {
    context: Context,
    /// 0: it is known what became of them.
    units: u64,
}

impl InFlight {
    /// How many units.
    ///
    /// ```
    /// use workers::testing::{Ending, Harness};
    /// use workers::{Context, Registry};
    ///
    /// let ships = |context: &Context, (): ()| {
    ///     let (one, two, three) = (context.begin(1), context.begin(2), context.begin(4));
    ///     assert_eq!(three.units(), 4);
    ///     one.done();
    ///     two.fail();
    ///     three.give_back();
    ///     context.wait_for_stop();
    ///     Ok(())
    /// };
    /// let registry = Registry::default().function("ships", "", ships);
    /// let running = Harness::new(&registry, "ships", serde_json::Value::Null).start();
    /// let state = running.wait_for("the end of all units", |state| state.progress == 1);
    /// running.wait_for("nothing in flight", |state| state.in_flight == 0);
    /// assert!(matches!(running.stop(), Ending::Returned), "{state:?}");
    /// ```
    #[must_use]
    pub const fn units(&self) -> u64 {
        self.units
    }

    /// The units are done, and count as progress. A sign of life of the context that began them.
    pub fn done(mut self) {
        let units = self.end();
        self.context.progress(units);
    }

    /// The units have failed, and the worker goes on: `status --json` counts them as `failed`. A
    /// sign of life of the context that began them.
    pub fn fail(mut self) {
        let units = self.end();
        self.context.shared.count_failed(units);
        self.context.go_on();
    }

    /// The units are neither done nor lost: their source has them again, as a queue at the end of
    /// its reader. A sign of life of the context that began them.
    pub fn give_back(mut self) {
        self.end();
        self.context.go_on();
    }

    /// Takes them out of flight.
    fn end(&mut self) -> u64 {
        let units = std::mem::take(&mut self.units);
        if self.context.shared.is_current() {
            self.context.board().end_units(units);
        }
        units
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let units = self.end();
        if units > 0 {
            self.context.shared.count_failed(units);
            dropped::add(units);
        }
    }
}

impl Shared {
    fn count_failed(&self, units: u64) {
        if self.is_current() {
            add(&self.board().failed, units);
        }
    }
}

/// Work goes on on this thread: what was dropped before has not ended the worker. While it unwinds,
/// that is still open.
pub(super) fn go_on() {
    if std::thread::panicking() {
        return;
    }
    dropped::forget_own();
}

/// The worker has heard of all that its tasks have come to, and goes on.
#[cfg(feature = "tokio")]
pub(crate) fn go_on_after_tasks() {
    dropped::forget_tasks();
}

/// What was dropped on this thread, which has come to its end; another one that waits for its
/// result [takes it over](take_over_dropped).
pub(super) fn give_away_dropped() -> u64 {
    dropped::take()
}

/// What another thread has dropped counts as dropped here: its error may become that of the worker.
pub(super) fn take_over_dropped(units: u64) {
    dropped::add(units);
}

/// The worker ends by an error or a panic that has unwound this thread: what that dropped is in
/// flight at the end.
pub(crate) fn lose_dropped_units(shared: &Shared) {
    let units = dropped::take();
    if units > 0 && shared.is_current() {
        shared.board().lose_units(units);
    }
}
