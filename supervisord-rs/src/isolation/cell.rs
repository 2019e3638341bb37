//! SDK code on a thread of a child process that many workers share: a fatal fault in one of them
//! ends them all, and the supervisor goes on.

mod launch;
mod output;

use std::time::Duration;

use supervision::{Capabilities, Cause, DomainId, Ending, Incarnation, Status, WorkerId};
use workers::runtime::board::{State, monotonic_ns};

use super::contract::{Adoption, Description, Driver, Ended, Means, Order, Progress};
use super::launch::failed::Result;
use crate::config::kinds;

/// For a thread of a cell to begin: the host takes its order and starts it.
const TO_BEGIN: Duration = Duration::from_secs(1);

/// The driver of threads in cells.
#[derive(Debug)]
pub(super) struct Cell;

impl Driver for Cell {
    fn capabilities(&self) -> &'static Capabilities {
        &kinds::CELL.capabilities
    }

    fn launch(&self, means: &mut Means, incarnation: Incarnation) -> Result<Progress> {
        launch::launch(means, incarnation)
    }

    fn begin(&self, means: &mut Means, incarnation: Incarnation, _: bool) -> Result<()> {
        launch::enter(means, incarnation)
    }

    /// A signal strikes the process of the cell. Alone a thread of it cannot be suspended.
    fn order(&self, means: &mut Means, incarnation: Incarnation, order: Order) {
        match order {
            Order::Signal(signal) => means.signal_main(incarnation, signal),
            Order::Pause | Order::Resume => {}
        }
    }

    fn stop(&self, means: &mut Means, incarnation: Incarnation) {
        means.note_frozen(incarnation);
        let sdk = means.registry.live(incarnation).and_then(|live| live.sdk.as_ref());
        if let Some(sdk) = sdk {
            sdk.order_stop();
        }
    }

    /// Forgets a thread, as the driver of threads does. A cell into which no successor could be
    /// launched ends whole: it is suspended, takes no orders, or is ending already.
    fn kill(&self, means: &mut Means, incarnation: Incarnation) {
        let domain = means.registry[incarnation.worker].domain;
        if means.ends_with_its_process(incarnation) {
            means.looks.soon(domain);
            return;
        }
        // Of one that is gone nothing is left behind.
        if means.end_if_gone(incarnation) {
            return;
        }
        let why = if means.is_suspended(domain) {
            "its process is suspended (SIGSTOP)"
        } else if takes_no_orders(means, incarnation) {
            "its process takes no orders: a thread that it was to start has not begun"
        } else {
            means.end_offspring(incarnation);
            means.end(incarnation, Ending { status: Status::Abandoned, cause: Cause::Hang });
            return;
        };
        tracing::warn!(cell = means.domain_name(domain), "{why}: the cell ends whole");
        means.recycle(domain, incarnation);
        means.looks.soon(domain);
    }

    fn recycle(&self, means: &mut Means, domain: DomainId, culprit: Incarnation) {
        means.end_for(domain, culprit);
    }

    fn end(&self, means: &mut Means, ended: Ended) {
        means.end_domain(ended);
    }

    fn adopt(&self, means: &mut Means, adoption: Adoption<'_>) -> bool {
        output::adopt(means, adoption.domain);
        means.adopt_process(adoption)
    }

    fn describe<'a>(&self, means: &'a Means, worker: WorkerId) -> Description<'a> {
        let slot = &means.registry[worker];
        let child = slot.live.as_ref().and_then(|live| means.registry.child(live.domain));
        let limits = means.registry[slot.domain].limits.as_ref().map(|limits| &limits.cgroup);
        Description { pid: child.map(|child| child.pid), limits }
    }
}

/// Whether an incarnation is one that should have begun by now, and has not.
fn takes_no_orders(means: &Means, incarnation: Incarnation) -> bool {
    let Some(live) = means.registry.live(incarnation) else { return false };
    let is_there = means.registry.child(live.domain).is_some();
    let reading = live.sdk.as_ref().and_then(|sdk| sdk.reading(incarnation));
    is_there
        && reading.is_some_and(|reading| {
            let ordered_at = reading.heartbeat_at.unwrap_or(0);
            reading.state == State::Empty
                && Duration::from_nanos(monotonic_ns().saturating_sub(ordered_at)) >= TO_BEGIN
        })
}
