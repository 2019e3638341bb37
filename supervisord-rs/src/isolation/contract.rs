//! The contract of a driver: how workers are launched in one kind of isolation, given orders,
//! stopped, killed, taken over and described. All that drivers share is lent to them for a call.
//!
//! A driver is a folder beside this one, and one line in the list of them (`drivers.rs`).

pub mod means;

use std::fmt;

use supervision::{Capabilities, DomainId, Incarnation, Status, WorkerId};

use crate::config::settings::CgroupLimits;
use crate::isolation::launch::failed::Result;
use crate::service_manager::InheritedDescriptors;
pub use means::Means;
use means::adopting::Past;

/// A kind of isolation.
pub trait Driver: fmt::Debug + Sync {
    /// What is true of its workers. Its label is the driver's name, and no other driver has it.
    fn capabilities(&self) -> &'static Capabilities;

    /// Launches an incarnation: nothing of its worker runs. Answered once, by what this gives back,
    /// or by [`begin`](Self::begin) where a launcher thread has the process.
    ///
    /// # Errors
    /// The step that failed, and what it was about. Nothing is left of the launch then.
    fn launch(&self, means: &mut Means, incarnation: Incarnation) -> Result<Progress>;

    /// The process that an incarnation waits for has come. `is_kept`: it may outlive the
    /// supervisor.
    ///
    /// # Errors
    /// As for [`launch`](Self::launch).
    fn begin(&self, means: &mut Means, incarnation: Incarnation, is_kept: bool) -> Result<()>;

    /// Carries out an order, where its capabilities allow it.
    fn order(&self, means: &mut Means, incarnation: Incarnation, order: Order);

    /// Asks one that lives to stop. Its end answers, or [`kill`](Self::kill) follows.
    fn stop(&self, means: &mut Means, incarnation: Incarnation);

    /// The stop command that [`stop`](Self::stop) has begun has ended, or could not be started:
    /// goes on with what follows it. A driver that begins none never gets this.
    fn stop_further(&self, _: &mut Means, _: Incarnation) {}

    /// Ends one that lives without asking: alone, where it can be killed alone; else it is left
    /// behind, or ends with its domain.
    fn kill(&self, means: &mut Means, incarnation: Incarnation);

    /// Ends all that lives in a domain, because of one that hangs.
    fn recycle(&self, means: &mut Means, domain: DomainId, culprit: Incarnation);

    /// Nothing is left of the process of a domain: says how each of its workers ended.
    fn end(&self, means: &mut Means, ended: Ended);

    /// Takes over what a predecessor has left in a domain. False: nothing runs there.
    fn adopt(&self, means: &mut Means, adoption: Adoption<'_>) -> bool;

    /// What can be seen of a worker, whether it runs or not.
    fn describe<'a>(&self, means: &'a Means, worker: WorkerId) -> Description<'a>;
}

/// How far a launch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It runs.
    Launched,
    /// A launcher thread has it.
    OnItsWay,
}

/// What an incarnation is to do, or has to bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// This signal.
    Signal(i32),
    /// To do nothing until it is to go on.
    Pause,
    /// To go on.
    Resume,
}

/// The process of a domain that has ended, with all that it had started.
#[derive(Debug)]
pub struct Ended {
    /// The domain.
    pub domain: DomainId,
    /// How its main process ended.
    pub status: Status,
    /// Whether its cgroup ran out of memory.
    pub was_oom_killed: bool,
    /// All that lived in it.
    pub members: Vec<Incarnation>,
    /// The one for which it was to end.
    pub recycled_for: Option<Incarnation>,
    /// Whether its process stood still then.
    pub was_stopped: bool,
}

/// What a predecessor has left in a domain.
#[derive(Debug)]
pub struct Adoption<'a> {
    /// The domain.
    pub domain: DomainId,
    /// Its workers that had an incarnation; there may be none.
    pub members: &'a [WorkerId],
    /// The descriptors that were kept.
    pub inherited: &'a mut InheritedDescriptors,
    /// What the predecessor knew of the workers.
    pub past: &'a Past<'a>,
}

/// What can be seen of a worker from outside.
#[derive(Clone, Copy, Debug, Default)]
pub struct Description<'a> {
    /// The process that it runs in now.
    pub pid: Option<i32>,
    /// What its cgroup, or that of its domain, may use.
    pub limits: Option<&'a CgroupLimits>,
}
