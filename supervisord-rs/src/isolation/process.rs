//! A process of a worker's own: what it breaks is its own, and it can be killed alone.

mod command;
mod sdk;
mod stop;

use std::sync::Arc;

use supervision::{Capabilities, Cause, DomainId, Ending, Incarnation, WorkerId};
use workers::runtime::board::monotonic_ns;

use super::contract::{Adoption, Description, Driver, Ended, Means, Order, Progress};
use super::launch::failed::Result;
use crate::config::{Program, kinds};
use crate::record::evidence;

/// The driver of processes.
#[derive(Debug)]
pub(super) struct Process;

impl Driver for Process {
    fn capabilities(&self) -> &'static Capabilities {
        &kinds::PROCESS.capabilities
    }

    fn launch(&self, means: &mut Means, incarnation: Incarnation) -> Result<Progress> {
        let launch = Arc::clone(&means.registry[incarnation.worker].launch);
        match &launch.program {
            Program::Command(argv) => command::launch(means, incarnation, &launch, argv),
            Program::Worker { .. } => sdk::launch(means, incarnation, &launch),
        }
    }

    fn begin(&self, means: &mut Means, incarnation: Incarnation, is_kept: bool) -> Result<()> {
        if let Some(live) = means.registry.live_mut(incarnation) {
            let now = monotonic_ns();
            (live.begun_at, live.notify_state.alive_at) = (Some(now), now);
        }
        means.commit(incarnation, is_kept);
        Ok(())
    }

    fn order(&self, means: &mut Means, incarnation: Incarnation, order: Order) {
        let domain = means.registry[incarnation.worker].domain;
        match order {
            Order::Signal(signal) => means.signal_main(incarnation, signal),
            Order::Pause => means.signal_tree(domain, &[libc::SIGSTOP]),
            Order::Resume => means.signal_tree(domain, &[libc::SIGCONT]),
        }
    }

    fn stop(&self, means: &mut Means, incarnation: Incarnation) {
        stop::stop(means, incarnation);
    }

    fn stop_further(&self, means: &mut Means, incarnation: Incarnation) {
        stop::signal_stop(means, incarnation);
    }

    /// With all that it has started.
    fn kill(&self, means: &mut Means, incarnation: Incarnation) {
        let domain = means.registry[incarnation.worker].domain;
        means.kill_all_of(domain);
        if means.registry.resident(domain).is_some() {
            means.looks.soon(domain);
        }
    }

    fn recycle(&self, means: &mut Means, domain: DomainId, culprit: Incarnation) {
        means.end_for(domain, culprit);
    }

    fn end(&self, means: &mut Means, ended: Ended) {
        for incarnation in ended.members {
            let sdk = means.registry.live(incarnation).and_then(|live| live.sdk.as_ref());
            let ending = match sdk {
                Some(sdk) => evidence::of_process(ended.status, sdk.reading(incarnation).as_ref()),
                None => evidence::of_command(ended.status),
            };
            let ending = evidence::with_memory(ending, ended.was_oom_killed);
            let gone = means.registry.live(incarnation).and_then(|live| live.gone);
            let ending = match gone {
                Some(_) if ending.cause == Cause::Killed => {
                    Ending { cause: Cause::Vanished, ..ending }
                }
                Some(_) | None => ending,
            };
            let is_young = means.is_young(incarnation);
            means.end(incarnation, ending);
            means.explain(incarnation, ending);
            means.explain_gone(incarnation, gone);
            means.blame_limit(incarnation, ended.status, is_young);
        }
    }

    fn adopt(&self, means: &mut Means, adoption: Adoption<'_>) -> bool {
        means.adopt_process(adoption)
    }

    fn describe<'a>(&self, means: &'a Means, worker: WorkerId) -> Description<'a> {
        let slot = &means.registry[worker];
        let child = slot.live.as_ref().and_then(|live| means.registry.child(live.domain));
        let limits = Some(&slot.launch.execution.limits.cgroup);
        Description { pid: child.map(|child| child.pid), limits }
    }
}
