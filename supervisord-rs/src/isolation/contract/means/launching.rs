//! What each launch begins with, whatever the driver; and the process of a domain, which a launcher
//! thread starts. `launched` goes on from there.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use nix::sys::signal::Signal;
use supervision::{DomainId, Incarnation, LaunchFailure, WorkerId};

use super::Means;
use crate::config::settings::Limits;
use crate::config::{Launch, Program};
use crate::isolation::contract::Progress;
use crate::isolation::domain::Expected;
use crate::isolation::launch::failed::Result;
use crate::isolation::launch::from_io;
use crate::isolation::launch::{self, LAUNCH_OPENS};
use crate::isolation::launcher::Queue;
use crate::isolation::outfit::{Birthplace, Outfit, Whose};
use crate::isolation::tree::cgroup::Newcomer;
use crate::isolation::tree::process_tree::ProcessTree;
use crate::stages;

/// As `workers::runtime::host` has them.
const HOST_ORDERS: i32 = 3;
const HOST_POKE: i32 = 4;

impl Means {
    /// Whether there are descriptors for one more process, which needs so many of its `own`:
    /// besides what is open, those count that launches under way and log files that nothing was
    /// written to yet will take.
    ///
    /// # Errors
    /// `Descriptors` with EMFILE.
    pub(in crate::isolation) fn has_room(
        &self,
        own: usize,
    ) -> std::result::Result<(), LaunchFailure> {
        launch::has_room(own, || self.underway.launchers.to_open() + self.logs.files_to_open())
    }

    /// How many descriptors its launch opens for its sockets, secrets and resources.
    fn to_open(&self, incarnation: Incarnation) -> usize {
        let slot = &self.registry[incarnation.worker];
        let launch = &slot.launch;
        self.sockets.to_open(&launch.sockets)
            + launch.execution.secrets.len()
            + slot.handed.missing(self.resources, launch)
            + self.shares.to_open(&launch.uses)
    }

    /// Makes what a worker is handed besides, where it has not got it yet.
    fn make_resources(&mut self, worker: WorkerId) -> Result<()> {
        let slot = &mut self.registry[worker];
        slot.handed.complete(self.resources, &slot.launch)?;
        // For threads too: their worker has them again from a successor.
        let _ = slot.handed.keep(&slot.launch.name, &self.store);
        Ok(())
    }

    /// Launches an incarnation, or has it wait for what is in its way.
    pub(in crate::isolation) fn try_launch(
        &mut self,
        incarnation: Incarnation,
    ) -> Result<Progress> {
        self.registry[incarnation.worker].live = None;
        self.has_room(self.to_open(incarnation))?;
        if self.hanging(incarnation.worker).is_some() || self.is_being_cleared(incarnation.worker) {
            self.underway.defer(incarnation);
            return Ok(Progress::OnItsWay);
        }
        if !self.pass_sockets(incarnation)? || !self.pass_shared(incarnation)? {
            return Ok(Progress::OnItsWay);
        }
        if let Some(progress) = self.begin_before(incarnation)? {
            return Ok(progress);
        }
        self.make_resources(incarnation.worker)?;
        self.driver_of(incarnation.worker).launch(self, incarnation)
    }

    /// With the execution environment of a worker, in its process tree, and without descriptors
    /// yet.
    pub(in crate::isolation) fn outfit(
        &self,
        program: std::ffi::OsString,
        argv: Vec<std::ffi::OsString>,
        launch: &Arc<Launch>,
        (domain, process_tree): (DomainId, &ProcessTree),
    ) -> Outfit {
        let execution_of = Whose::Worker(Arc::clone(launch));
        let birthplace = Birthplace::of(process_tree, self.newcomer(domain));
        Outfit::new(program, argv, execution_of, &self.environment, birthplace)
    }

    /// What a process that is launched now is for those of its domain.
    pub(in crate::isolation) fn newcomer(&self, domain: DomainId) -> Newcomer {
        let slot = &self.registry[domain];
        let has_somebody = slot.resident.is_some() || slot.expected.is_some();
        if has_somebody { Newcomer::Another } else { Newcomer::First }
    }

    /// Has a launcher thread start the process of a domain, and waits for it.
    pub(in crate::isolation) fn expect(
        &mut self,
        domain: DomainId,
        incarnation: Incarnation,
        outfit: Outfit,
        process_tree: Rc<ProcessTree>,
        way: Option<OwnedFd>,
    ) {
        let is_kept = outfit.parent_death_signal.is_none();
        let pledge = is_kept.then(|| self.pledge(domain, way.as_ref()));
        let is_again = self.registry[incarnation.worker].is_failing;
        let queue = match incarnation.generation.0 {
            _ if is_again => Queue::Again,
            0 | 1 => Queue::First,
            _ => Queue::Renewed,
        };
        let attempt =
            self.submit(domain, outfit, pledge, (queue, LAUNCH_OPENS + self.to_open(incarnation)));
        let members = vec![incarnation];
        let expected = Expected { attempt, process_tree, way, members, has_spoken: false };
        self.registry[domain].expected = Some(expected);
    }

    /// The process tree of a domain, made when it is first needed.
    pub(in crate::isolation) fn process_tree(
        &mut self,
        domain: DomainId,
        limits: &Limits,
    ) -> Result<Rc<ProcessTree>> {
        if let Some(process_tree) = &self.registry[domain].process_tree {
            return Ok(Rc::clone(process_tree));
        }
        let name = self.domain_name(domain);
        let leaf = self.cgroups.leaf(&name, &limits.cgroup)?;
        let process_tree = Rc::new(ProcessTree::new(leaf, &self.instance_id, &name, &self.census));
        self.registry[domain].process_tree = Some(Rc::clone(&process_tree));
        Ok(process_tree)
    }

    pub(in crate::isolation) fn program(&self, worker: WorkerId) -> String {
        match &self.registry[worker].launch.program {
            Program::Command(argv) => argv.first().cloned().unwrap_or_default(),
            Program::Worker { kind, .. } => format!("worker {kind}"),
        }
    }
}

impl Outfit {
    /// Where a host's orders come from, and what it pokes.
    pub(in crate::isolation) fn take_way(&mut self, way: OwnedFd, poke: &OwnedFd) -> Result<()> {
        let poke = poke.try_clone().map_err(|error| from_io(stages::DESCRIPTORS, &error))?;
        self.descriptors.extend([(way, HOST_ORDERS), (poke, HOST_POKE)]);
        Ok(())
    }
}

/// The signal that a process gets when the supervisor ends: none, if a successor can adopt it.
pub(in crate::isolation) fn death_signal(is_kept: bool) -> Option<Signal> {
    (!is_kept).then_some(Signal::SIGKILL)
}
