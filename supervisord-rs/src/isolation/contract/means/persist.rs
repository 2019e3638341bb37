//! What a launch hands to the fd store, so that a successor can take the process over.

use std::os::fd::{AsFd, OwnedFd};

use supervision::{DomainId, Incarnation, WorkerId};

use super::adopting::stream_name;
use super::{Means, Process};
use crate::isolation::launch::Child;
use crate::isolation::live::Sdk;
use crate::service_manager::{Due, FdStore};

/// What a launcher thread sees to, since it may wait and the loop may not: whatever moment we are
/// killed at, a process that is not ended with us can be taken over.
pub(in crate::isolation) struct Pledge {
    store: FdStore,
    /// What was to be kept before the launch.
    due: Due,
    process_tree: String,
    /// Where orders for a host go down.
    way: Option<OwnedFd>,
}

impl Pledge {
    /// Before there is a process. False: nothing is promised, and it is to end with us.
    pub(in crate::isolation) fn is_sent(&self) -> bool {
        self.store.is_sent(&self.due)
    }

    /// Before any answer reports the worker: what a successor could not go on without.
    pub(in crate::isolation) fn keep(&self, child: &Child) {
        if let Some(way) = &self.way {
            self.store.keep_at_once(&host_name(&self.process_tree, child.pid), &[way.as_fd()]);
        }
    }
}

/// Lets go of what was kept of a process.
pub(in crate::isolation) fn forget(store: &FdStore, process_tree: &str, pid: i32) {
    store.forget(&process_name(process_tree, pid));
    store.forget(&host_name(process_tree, pid));
}

fn host_name(process_tree: &str, pid: i32) -> String {
    format!("{process_tree}/host/{pid}")
}

fn process_name(process_tree: &str, pid: i32) -> String {
    format!("{process_tree}/process/{pid}")
}

impl Means {
    /// For the launch of a process that is to outlive us.
    pub(in crate::isolation) fn pledge(&self, domain: DomainId, way: Option<&OwnedFd>) -> Pledge {
        let way = way.and_then(|way| way.try_clone().ok());
        let process_tree = self.domain_name(domain);
        // Only this worker's: a crowd that dies and comes back delays no other launch.
        let due = self.store.due(&format!("{process_tree}/"));
        Pledge { store: self.store.clone(), due, process_tree, way }
    }

    /// Whether a worker's process will be left to a successor: everything is kept that ties it to
    /// us.
    pub(in crate::isolation) fn is_kept(&self, worker: WorkerId) -> bool {
        let launch = &self.registry[worker].launch;
        let is_notify_kept = self.registry[worker].notify.as_ref().is_none_or(|notify| {
            self.store.keep(&format!("worker-{}/notify", launch.name), &[notify.as_fd()])
        });
        let is_board_kept = self.registry[worker].page.as_ref().is_none_or(|page| {
            self.store.keep(&format!("worker-{}/board", launch.name), &[page.mapping.fd()])
        });
        let domain = self.registry[worker].domain;
        let is_poke_kept = self.registry[domain].poke.as_ref().is_none_or(|poke| {
            self.store.keep(&format!("{}/poke", self.domain_name(domain)), &[poke.as_fd()])
        });
        let are_resources_kept = self.registry[worker].handed.keep(&launch.name, &self.store);
        let streams = self.registry[worker].streams();
        let mut are_streams_kept = true;
        for ((stream, _), id) in launch.captured().zip(streams) {
            are_streams_kept &=
                self.logs.keep(*id, &stream_name(&launch.name, stream), &self.store);
        }
        let is_there = self.store.is_there() && are_resources_kept && are_streams_kept;
        is_there && is_notify_kept && is_board_kept && is_poke_kept
    }

    pub(in crate::isolation) fn keep_wake(
        &self,
        incarnation: Incarnation,
        name: &str,
        sdk: &Sdk,
    ) -> bool {
        self.store
            .keep(&format!("worker-{name}/wake/{}", incarnation.generation.0), &[sdk.wake.as_fd()])
    }

    /// The last step of a launch: from now on a successor may take the process over.
    pub(in crate::isolation) fn commit(&mut self, incarnation: Incarnation, is_kept: bool) {
        let domain = self.registry[incarnation.worker].domain;
        let name = self.domain_name(domain);
        let Some(resident) = self.registry.resident(domain) else { return };
        let child = resident.process.child();
        let socket = match &*resident.process {
            Process::Command(_) => None,
            Process::Host(host) => Some(host.way()),
        };
        let is_kept = is_kept
            && socket.is_none_or(|socket| self.store.keep(&host_name(&name, child.pid), &[socket]));
        if is_kept {
            // Not needed to find it again: it shows how the process ended when nothing else can.
            let pidfd = child.pidfd.as_fd();
            self.store.keep_afterwards(&process_name(&name, child.pid), &[pidfd]);
            self.note_process(incarnation.worker);
        }
    }
}
