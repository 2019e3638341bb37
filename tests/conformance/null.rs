//! A driver that runs nothing and ends on order: all that a new kind of isolation has to be.

use supervision::{
    Capabilities, Cause, DomainId, Ending, FaultDomain, Incarnation, Status, WorkerId,
};
use supervisord_rs::isolation::contract::{
    Adoption, Description, Driver, Ended, Means, Order, Progress,
};
use supervisord_rs::isolation::launch::failed::Result;

pub(super) static CAPABILITIES: Capabilities = Capabilities {
    label: "null",
    place: "nothing",
    fault_domain: FaultDomain::Own,
    can_be_killed_alone: true,
    can_be_paused: false,
    has_own_memory: true,
    has_limits: false,
    has_own_process: false,
    outlives_supervisor: false,
};

#[derive(Debug)]
pub(super) struct Null;

impl Driver for Null {
    fn capabilities(&self) -> &'static Capabilities {
        &CAPABILITIES
    }

    fn launch(&self, means: &mut Means, incarnation: Incarnation) -> Result<Progress> {
        means.enter(incarnation);
        Ok(Progress::Launched)
    }

    fn begin(&self, _: &mut Means, _: Incarnation, _: bool) -> Result<()> {
        Ok(())
    }

    fn order(&self, _: &mut Means, _: Incarnation, _: Order) {}

    fn stop(&self, means: &mut Means, incarnation: Incarnation) {
        means.end(incarnation, Ending { status: Status::Returned, cause: Cause::Finished });
    }

    fn kill(&self, means: &mut Means, incarnation: Incarnation) {
        let status = Status::Signaled { signal: 9, core_dumped: false };
        means.end(incarnation, Ending { status, cause: Cause::Killed });
    }

    fn recycle(&self, means: &mut Means, _: DomainId, culprit: Incarnation) {
        self.kill(means, culprit);
    }

    /// It has no process.
    fn end(&self, _: &mut Means, _: Ended) {}

    fn adopt(&self, _: &mut Means, _: Adoption<'_>) -> bool {
        false
    }

    fn describe<'a>(&self, _: &'a Means, _: WorkerId) -> Description<'a> {
        Description::default()
    }
}
