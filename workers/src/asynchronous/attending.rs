//! The part of a runtime that hears orders, and gives signs of life when the supervisor asks. It is
//! polled beside the worker's own future and by the same thread: a worker that blocks its runtime
//! blocks this.

use std::os::fd::{AsRawFd, RawFd};
use std::pin::pin;
use std::task::Poll;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::context::{Context, go_on_after_tasks};

/// The descriptor, for one registration.
struct Wake<'a>(&'a Context);

impl AsRawFd for Wake<'_> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.shared().wake.as_raw_fd()
    }
}

/// What the runtime has heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Whether there is an order to stop.
    pub(super) stop: bool,
    /// How many orders to reload there were.
    reloads: u32,
}

/// Polls `work` to its end, and attends to orders meanwhile, of which it tells by `heard`. A fault
/// that is ordered is committed here: a panic unwinds this future, and no task that would catch it.
pub(super) async fn attend<T>(
    context: &Context,
    heard: &watch::Sender<Heard>,
    work: impl Future<Output = T>,
) -> std::io::Result<T> {
    // SAFETY: needed because tokio has no safe form for a descriptor that something else owns. The
    // context that is borrowed here owns it, and outlives this registration; it always is the same.
    let wake = unsafe { AsyncFd::register_with_interest(Wake(context), Interest::READABLE) };
    let wake = wake.map_err(|error| error.into_parts().1)?;
    let hear = async {
        loop {
            // An answer to the supervisor: it does not tell what the worker makes of what it has
            // heard from its tasks.
            context.tick();
            let now = Heard { stop: context.stop_requested(), reloads: context.reloads_ordered() };
            heard.send_if_modified(|before| {
                let is_new = (now.stop, now.reloads) != (before.stop, before.reloads);
                *before = now;
                is_new
            });
            match wake.readable().await {
                // Others wait for the edges of the same descriptor: it is never read.
                Ok(mut edge) => edge.clear_ready(),
                Err(_) => std::future::pending().await,
            }
        }
    };
    let _waiting = context.always_waiting();
    let (mut hear, mut work) = (pin!(hear), pin!(work));
    std::future::poll_fn(|task| {
        let Poll::Pending = hear.as_mut().poll(task);
        work.as_mut().poll(task).map(Ok)
    })
    .await
}

/// Polls the worker's own future: it is polled when a task of it has ended, and what that has
/// dropped is not the worker's end where it still waits.
pub(super) async fn hearing_tasks<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    std::future::poll_fn(|task| {
        let polled = work.as_mut().poll(task);
        if polled.is_pending() {
            go_on_after_tasks();
        }
        polled
    })
    .await
}
