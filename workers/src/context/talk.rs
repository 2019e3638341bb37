//! What a worker tells its supervisor of itself, and what the supervisor tells it.

use std::time::{Duration, Instant};

use super::Context;
use crate::runtime::board::{STATUS_MAX, monotonic_ns};
use crate::runtime::briefing::PreviousEnding;

impl Context {
    /// Says what the worker is at, for `status`: as `STATUS=` of sd_notify(3). At most 256 bytes,
    /// in one line: control characters are left out. It stands until the next one, or the end of
    /// this incarnation. A sign of life. Does not block.
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// fn run(context: &Context, files: Vec<String>) -> Result<(), WorkerError> {
    ///     for (number, file) in files.iter().enumerate() {
    ///         context.status(format!("copies {} of {}", number + 1, files.len()));
    ///         std::fs::copy(file, format!("{file}.copy"))?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn status(&self, text: impl AsRef<str>) {
        let text: String = text.as_ref().chars().filter(|letter| !letter.is_control()).collect();
        let end = text.floor_char_boundary(STATUS_MAX);
        if self.shared.is_current() {
            self.board().write_status(self.shared.generation, &text.as_bytes()[..end]);
        }
        self.tick();
    }

    /// Asks for more time to become ready or to stop: until `by` from now, however long the
    /// supervisor would have waited; never shorter. As `EXTEND_TIMEOUT_USEC=` of sd_notify(3). It
    /// changes nothing while the worker is ready and has no order to stop. No sign of life, which
    /// would report that the worker is ready. Does not block.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use workers::{Context, WorkerError};
    /// # struct Cache;
    /// # impl Cache { fn flush_some(&mut self) -> bool { false } }
    /// fn run(context: &Context, mut cache: Cache) -> Result<(), WorkerError> {
    ///     context.wait_for_stop();
    ///     while cache.flush_some() {
    ///         context.extend_timeout(Duration::from_secs(5));
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn extend_timeout(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        if self.shared.is_current() {
            self.board().talk.extend(monotonic_ns().saturating_add(by));
            self.shared.poke();
        }
        self.checkpoint();
    }

    /// Whether the worker is to read its configuration again (`signal WORKER reload`): true once
    /// for each order, on one thread; several orders that were not taken are one. From then on
    /// `status` shows that it is reloading, until [`reloaded`](Self::reloaded).
    ///
    /// After the first call the waits of this context return early when there is an order:
    /// [`sleep`](Self::sleep) with true, [`wait_readable`](Self::wait_readable) with
    /// [`Reload`](super::Readiness::Reload). A worker that never calls this cannot be reloaded, and
    /// the order is refused: so ask before the first wait. Does not block.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use workers::{Context, WorkerError};
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     let mut limit = std::fs::read_to_string("limit")?;
    ///     while !context.stop_requested() {
    ///         if context.reload_requested() {
    ///             limit = std::fs::read_to_string("limit")?;
    ///             context.reloaded();
    ///         }
    ///         context.sleep(Duration::from_secs(60));
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn reload_requested(&self) -> bool {
        self.seat.heed_reloads(self.board().talk.reloads_ordered());
        self.shared.is_current() && self.board().talk.take_reload()
    }

    /// How many orders to reload there were, taken or not.
    #[cfg(feature = "tokio")]
    pub(crate) fn reloads_ordered(&self) -> u32 {
        if self.shared.is_current() { self.board().talk.reloads_ordered() } else { 0 }
    }

    /// Says that the worker is reloading, by its own decision; after
    /// [`reload_requested`](Self::reload_requested) that has been said. A sign of life. Does not
    /// block.
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     // By itself, without an order.
    ///     context.reloading();
    ///     let rules = std::fs::read_to_string("rules")?;
    ///     context.reloaded();
    ///     context.log_line(format!("{} rules", rules.lines().count()));
    ///     Ok(())
    /// }
    /// ```
    pub fn reloading(&self) {
        self.set_reloading(true);
    }

    /// Says that the worker has reloaded. A sign of life. Does not block.
    pub fn reloaded(&self) {
        self.set_reloading(false);
    }

    fn set_reloading(&self, is_reloading: bool) {
        if self.shared.is_current() {
            self.board().talk.set_reloading(is_reloading);
        }
        self.tick();
    }

    /// Within which time the supervisor wants a sign of life, again and again (`heartbeat:`).
    /// `None`: it wants none.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use workers::{Context, WorkerError};
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     let within = context.heartbeat_interval().unwrap_or(Duration::from_secs(3));
    ///     while context.sleep(within / 3) {}
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn heartbeat_interval(&self) -> Option<Duration> {
        self.board().talk.heartbeat().filter(|_| self.shared.is_current())
    }

    /// When the patience of the supervisor ends, after its order to stop: then it kills, or leaves
    /// a thread behind. `None`: there is no such order. [`extend_timeout`](Self::extend_timeout)
    /// moves it.
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// # use workers::{Context, WorkerError};
    /// # struct Queue;
    /// # impl Queue { fn drain_until(&self, _: Instant) {} }
    /// fn run(context: &Context, queue: Queue) -> Result<(), WorkerError> {
    ///     context.wait_for_stop();
    ///     if let Some(end) = context.stop_deadline() {
    ///         queue.drain_until(end - Duration::from_millis(500));
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn stop_deadline(&self) -> Option<Instant> {
        if !self.shared.is_current() {
            return None;
        }
        let (by, now) = (self.board().talk.stop_by()?, monotonic_ns());
        let left = Duration::from_nanos(by.saturating_sub(now));
        // A time that no clock reaches is none.
        Instant::now().checked_add(left)
    }

    /// How the incarnation before this one ended. `None`: this is the first, as far as the
    /// supervisor knows.
    ///
    /// ```
    /// # use workers::{Context, WorkerError};
    /// fn run(context: &Context) -> Result<(), WorkerError> {
    ///     if let Some(ending) = context.previous_ending() {
    ///         context.log_line(format!("the run before ended by {}", ending.cause));
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn previous_ending(&self) -> Option<&PreviousEnding> {
        self.shared.previous_ending.as_ref()
    }
}
