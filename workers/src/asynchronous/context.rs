//! A task's link to the supervisor.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;

use super::attending::Heard;
use crate::context::Context;

/// What an [`AsyncWorker`](super::AsyncWorker) has in place of a [`Context`]. Cheap to clone, so
/// that each task can have one; the supervisor watches all of them as one, the runtime.
#[derive(Clone, Debug)]
pub struct AsyncContext {
    context: Arc<Context>,
    heard: watch::Receiver<Heard>,
}

impl AsyncContext {
    pub(super) fn new(context: &Context, heard: watch::Receiver<Heard>) -> Self {
        Self { context: Arc::new(context.companion()), heard }
    }

    /// Waits for the order to stop. Any number of tasks may wait; all of them wake at once, not at
    /// a next poll. Cancel-safe: dropped and called again it loses nothing.
    ///
    /// ```no_run
    /// # use workers::{AsyncContext, WorkerError};
    /// # async fn run(context: &AsyncContext) -> Result<(), WorkerError> {
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    /// loop {
    ///     tokio::select! {
    ///         accepted = listener.accept() => drop(accepted?),
    ///         () = context.stopped() => return Ok(()),
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn stopped(&self) {
        // An error: the runtime ends, and this task with it.
        let _ = self.heard.clone().wait_for(|heard| heard.stop).await;
    }

    /// Waits for an order to reload (`signal WORKER reload`), and takes it, as
    /// [`Context::reload_requested`] does: several that were not taken are one, and one task has
    /// it. `status` shows that the worker is reloading until [`reloaded`](Self::reloaded). An order
    /// to stop does not end it. Cancel-safe.
    ///
    /// Orders are refused until this is first polled.
    ///
    /// ```no_run
    /// # use workers::{AsyncContext, WorkerError};
    /// # async fn run(context: &AsyncContext) -> Result<(), WorkerError> {
    /// let mut limit = std::fs::read_to_string("limit")?;
    /// loop {
    ///     tokio::select! {
    ///         () = context.reload_ordered() => {
    ///             limit = std::fs::read_to_string("limit")?;
    ///             context.reloaded();
    ///         }
    ///         () = context.stopped() => return Ok(()),
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn reload_ordered(&self) {
        let mut heard = self.heard.clone();
        loop {
            // In this order: one that comes after the second is a change.
            heard.mark_unchanged();
            if self.context.reload_requested() {
                return;
            }
            if heard.changed().await.is_err() {
                // The runtime ends, and this task with it.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Sleeps, unless an order to stop comes. True: go on; false: return soon. Cancel-safe.
    #[must_use]
    pub async fn sleep(&self, duration: Duration) -> bool {
        self.context.go_on();
        let (mut stopped, mut time) = (pin!(self.stopped()), pin!(tokio::time::sleep(duration)));
        poll_fn(|task| match stopped.as_mut().poll(task) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => time.as_mut().poll(task),
        })
        .await;
        self.context.go_on();
        !self.stop_requested()
    }

    /// What it is a link of: for all else that does not block, and to be cloned for a thread. Its
    /// waits block the runtime. Tasks clone the `AsyncContext` instead: the supervisor watches each
    /// clone of a [`Context`] on its own, and one that a task keeps and does not use counts as a
    /// thread that hangs.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }
}
