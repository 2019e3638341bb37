//! SDK code on a thread of the supervisor: it shares everything, and a fatal fault in it ends the
//! supervisor.

mod start;

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;
use supervision::{Capabilities, Cause, DomainId, Ending, Incarnation, Status, WorkerId};
use workers::runtime::board::monotonic_ns;

use super::contract::{Adoption, Description, Driver, Ended, Means, Order, Progress};
use super::launch::failed::Result;
use super::own_process::OwnProcess;
use crate::config::kinds;
use crate::record::own_log;

/// For the last lines of our own log before we abort.
const LAST_LINES: Duration = Duration::from_millis(200);

/// The driver of threads.
#[derive(Debug)]
pub(super) struct Thread;

impl Driver for Thread {
    fn capabilities(&self) -> &'static Capabilities {
        &kinds::THREAD.capabilities
    }

    fn launch(&self, means: &mut Means, incarnation: Incarnation) -> Result<Progress> {
        let worker = incarnation.worker;
        let launch = Arc::clone(&means.registry[worker].launch);
        let sdk = means.board_in_box(incarnation, &launch.name)?;
        let outputs = means.outputs(worker, &launch)?;
        let poke = means.poke(means.registry[worker].domain)?;
        let order = means.registry[worker].order(incarnation);
        let now = Duration::from_nanos(monotonic_ns());
        means.own_process.get_or_insert_with(OwnProcess::take).on_launch(now);
        start::launch(&sdk, &order, &means.code, &poke, outputs.stdout)?;
        means.settle(incarnation, sdk);
        Ok(Progress::Launched)
    }

    /// It waits for no process.
    fn begin(&self, _: &mut Means, _: Incarnation, _: bool) -> Result<()> {
        Ok(())
    }

    /// A signal strikes the supervisor, which is its process. Alone it cannot be suspended.
    fn order(&self, _: &mut Means, _: Incarnation, order: Order) {
        match order {
            Order::Signal(signal) => {
                if let Ok(signal) = Signal::try_from(signal) {
                    let _ = kill(getpid(), signal);
                }
            }
            Order::Pause | Order::Resume => {}
        }
    }

    fn stop(&self, means: &mut Means, incarnation: Incarnation) {
        let sdk = means.registry.live(incarnation).and_then(|live| live.sdk.as_ref());
        if let Some(sdk) = sdk {
            sdk.order_stop();
        }
    }

    /// Forgets it. Its board goes to its successor: the SDK fences off a thread whose generation is
    /// past.
    fn kill(&self, means: &mut Means, incarnation: Incarnation) {
        // Of one that is gone nothing is left behind.
        if means.end_if_gone(incarnation) {
            return;
        }
        means.end_offspring(incarnation);
        means.end(incarnation, Ending { status: Status::Abandoned, cause: Cause::Hang });
    }

    /// Does not return.
    fn recycle(&self, _: &mut Means, _: DomainId, _: Incarnation) {
        tracing::error!("a thread of the supervisor hangs and `on_hang: recycle` is set: aborting");
        own_log::flush(LAST_LINES);
        std::process::abort();
    }

    fn end(&self, means: &mut Means, ended: Ended) {
        means.end_domain(ended);
    }

    /// Threads end with their supervisor.
    fn adopt(&self, _: &mut Means, _: Adoption<'_>) -> bool {
        false
    }

    fn describe<'a>(&self, means: &'a Means, worker: WorkerId) -> Description<'a> {
        let pid = means.registry.present(worker).map(|_| getpid().as_raw());
        Description { pid, limits: None }
    }
}
