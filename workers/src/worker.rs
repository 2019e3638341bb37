//! The worker trait.

use crate::context::Context;
use crate::error::WorkerError;

/// What [`Worker::run`] has come to.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Outcome<'a> {
    /// It returned in order: by an order to stop, or because it was done.
    Returned,
    /// It gave up.
    Failed(&'a WorkerError),
}

/// A worker runs until it has an order to stop. The same code runs in every isolation.
///
/// ```
/// use std::time::Duration;
/// use workers::{Context, Worker, WorkerError};
///
/// struct Poller {
///     every: Duration,
/// }
///
/// impl Worker for Poller {
///     fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
///         while context.sleep(self.every) {
///             context.progress(1);
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Worker: Send {
    /// Does the work. Returns when it is done, or soon after [`Context::stop_requested`] has become
    /// true.
    ///
    /// # Errors
    /// The reason why it gives up: a failure, to which the restart policy applies.
    fn run(&mut self, context: &Context) -> Result<(), WorkerError>;

    /// Cleans up after [`run`](Self::run) has returned, on the same thread. Not after a panic, which
    /// leaves the worker in doubt, and not where the supervisor kills it. The worker ends when this
    /// returns. After an order to stop its time counts as that of the stop, whose timeout finds it if
    /// it hangs ([`Context::stop_deadline`]); without one it needs signs of life as before. By default
    /// it does nothing.
    ///
    /// # Errors
    /// Where `run` returned in order, this error is why the worker has failed. After an error of
    /// `run`, that stays the reason, and this one goes to the worker's output. A panic is the
    /// worker's panic.
    ///
    /// ```
    /// use workers::{Context, Outcome, Worker, WorkerError};
    ///
    /// struct Cache(Vec<String>);
    ///
    /// impl Worker for Cache {
    ///     fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
    ///         context.wait_for_stop();
    ///         Ok(())
    ///     }
    ///
    ///     fn terminate(&mut self, _: &Context, outcome: Outcome<'_>) -> Result<(), WorkerError> {
    ///         if let Outcome::Returned = outcome {
    ///             std::fs::write("cache", self.0.join("\n"))?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    fn terminate(&mut self, context: &Context, outcome: Outcome<'_>) -> Result<(), WorkerError> {
        let _ = (context, outcome);
        Ok(())
    }
}
