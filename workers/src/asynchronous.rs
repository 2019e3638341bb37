//! Workers whose work is a future. Each has a runtime of tokio of its own on its thread, by default
//! the one that stays on it, so that a worker in a cell or in the supervisor disturbs no other.
//!
//! | file | has |
//! |---|---|
//! | `context` | what a task has in place of [`Context`](crate::Context) |
//! | `attending` | the part of the runtime that hears orders, and gives signs of life |
//! | `resources` | how a task waits for what workers share |
//! | `same` | what it does exactly as any worker does |
//! | `running` | a runtime for one incarnation, until none of its threads is left |

mod attending;
mod context;
mod resources;
mod running;
mod same;

pub use context::AsyncContext;
pub use running::IntoWorker;

use crate::error::WorkerError;
use crate::worker::Outcome;

/// A worker whose work is a future. It runs in every isolation, as a [`Worker`](crate::Worker)
/// does, and is registered by [`Registry::with_async`](crate::Registry::with_async).
///
/// Its future, and those that it spawns by `tokio::task::spawn_local`, need not be `Send`: they
/// stay on the worker's thread. While they wait, the runtime answers the supervisor, so that a
/// worker with a `heartbeat:` needs no timer for it. A task that blocks the runtime blocks this
/// answer too, and the supervisor finds the worker hung.
///
/// ```
/// use std::time::Duration;
/// use workers::{AsyncContext, AsyncWorker, WorkerError};
///
/// struct Poller;
///
/// impl AsyncWorker for Poller {
///     async fn run(&mut self, context: &AsyncContext) -> Result<(), WorkerError> {
///         while context.sleep(Duration::from_secs(1)).await {
///             context.progress(1);
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait AsyncWorker: Send {
    /// Does the work. Returns when it is done, or soon after [`AsyncContext::stopped`] has
    /// returned. What is still spawned after [`terminate`](Self::terminate) is dropped.
    ///
    /// # Errors
    /// The reason why it gives up: a failure, to which the restart policy applies.
    fn run(&mut self, context: &AsyncContext) -> impl Future<Output = Result<(), WorkerError>>;

    /// Cleans up after [`run`](Self::run) has returned, on the same runtime, as
    /// [`Worker::terminate`](crate::Worker::terminate) does: not after a panic, and not where the
    /// supervisor kills it. By default it does nothing.
    ///
    /// # Errors
    /// As those of [`Worker::terminate`](crate::Worker::terminate).
    ///
    /// ```
    /// use workers::{AsyncContext, AsyncWorker, Outcome, WorkerError};
    ///
    /// struct Cache(Vec<String>);
    ///
    /// impl AsyncWorker for Cache {
    ///     async fn run(&mut self, context: &AsyncContext) -> Result<(), WorkerError> {
    ///         context.stopped().await;
    ///         Ok(())
    ///     }
    ///
    ///     async fn terminate(
    ///         &mut self,
    ///         _: &AsyncContext,
    ///         outcome: Outcome<'_>,
    ///     ) -> Result<(), WorkerError> {
    ///         if let Outcome::Returned = outcome {
    ///             tokio::task::yield_now().await;
    ///             std::fs::write("cache", self.0.join("\n"))?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    fn terminate(
        &mut self,
        context: &AsyncContext,
        outcome: Outcome<'_>,
    ) -> impl Future<Output = Result<(), WorkerError>> {
        let _ = (context, outcome);
        std::future::ready(Ok(()))
    }

    /// What its runtime is made of; the SDK enables input, output and time, and runs
    /// [`run`](Self::run) on the worker's own thread. Default: one that has no other threads.
    fn runtime(&self) -> tokio::runtime::Builder {
        tokio::runtime::Builder::new_current_thread()
    }

    /// The same worker for what takes a [`Worker`](crate::Worker).
    fn into_worker(self) -> IntoWorker<Self>
    where
        Self: Sized,
    {
        IntoWorker::new(self)
    }
}
