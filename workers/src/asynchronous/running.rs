//! A runtime for one incarnation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::attending::{Heard, attend, hearing_tasks};
use super::{AsyncContext, AsyncWorker};
use crate::context::Context;
use crate::error::WorkerError;
use crate::runtime::run::{ending_of, outcome_of};
use crate::worker::Worker;

/// The time for threads of the runtime that still do blocking work. They cannot be ended: what
/// stays after it is abandoned.
const LAST_WORK: Duration = Duration::from_secs(1);

/// An [`AsyncWorker`] as a [`Worker`], see [`AsyncWorker::into_worker`].
#[derive(Debug)]
pub struct IntoWorker<W>(W);

impl<W> IntoWorker<W> {
    pub(super) const fn new(worker: W) -> Self {
        Self(worker)
    }
}

impl<W: AsyncWorker> Worker for IntoWorker<W> {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        let runtime = OwnRuntime::new(self.0.runtime(), context)?;
        let (heard, hears) = watch::channel(Heard::default());
        let asynchronous = AsyncContext::new(context, hears);
        let tasks = LocalSet::new();
        let work = async {
            let run = hearing_tasks(self.0.run(&asynchronous)).await;
            // Here and not in `Worker::terminate`: the runtime is still there.
            let terminated = self.0.terminate(&asynchronous, outcome_of(context, &run)).await;
            ending_of(context, run, terminated)
        };
        tasks.block_on(runtime.get(), attend(context, &heard, work))?
    }
}

/// A runtime that ends with its worker, by a panic too: dropping one by itself waits for its
/// threads as long as it takes.
struct OwnRuntime<'a> {
    runtime: Option<Runtime>,
    threads: Arc<AtomicUsize>,
    context: &'a Context,
}

impl<'a> OwnRuntime<'a> {
    fn new(mut builder: tokio::runtime::Builder, context: &'a Context) -> std::io::Result<Self> {
        let threads = Arc::new(AtomicUsize::new(0));
        let (begun, ended) = (Arc::clone(&threads), Arc::clone(&threads));
        let whose = context.companion();
        let runtime = builder
            .enable_all()
            .on_thread_start(move || {
                begun.fetch_add(1, Ordering::AcqRel);
                whose.enter().until_thread_ends();
            })
            .on_thread_stop(move || {
                ended.fetch_sub(1, Ordering::AcqRel);
            })
            .build()?;
        Ok(Self { runtime: Some(runtime), threads, context })
    }

    fn get(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is taken when this is dropped")
    }
}

impl Drop for OwnRuntime<'_> {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        runtime.shutdown_timeout(LAST_WORK);
        let left = self.threads.load(Ordering::Acquire);
        if left > 0 {
            let shared = self.context.shared();
            let fate = if shared.has_own_process() { "end with it" } else { "are left behind" };
            shared.write_line(&format!(
                "{}: {left} of its threads still do blocking work, and {fate}",
                self.context.name()
            ));
        }
    }
}
