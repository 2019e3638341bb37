//! What a launch hands to the fd store, so that a successor can take the process over.

use std::os::fd::AsFd;

use supervision::{Incarnation, WorkerId};

use super::adopting::stream_name;
use super::{Drivers, Process};
use crate::isolation::live::Sdk;

impl Drivers {
    /// Whether a worker's process will be left to a successor: everything is kept that ties it to us.
    pub(super) fn is_kept(&self, worker: WorkerId) -> bool {
        let launch = &self.launches[worker.index()];
        let index = worker.index();
        let is_notify_kept = self.notify[index].as_ref().is_none_or(|notify| {
            self.store.keep(&format!("worker-{}/notify", launch.name), &[notify.as_fd()])
        });
        let is_board_kept = self.pages[index].as_ref().is_none_or(|page| {
            self.store.keep(&format!("worker-{}/board", launch.name), &[page.mapping.fd()])
        });
        let domain = self.domain_of[index];
        let is_poke_kept = self.domains[domain.index()].poke.as_ref().is_none_or(|poke| {
            self.store.keep(&format!("{}/poke", self.family_name(domain)), &[poke.as_fd()])
        });
        let streams = self.streams[index].iter().flatten();
        let mut are_streams_kept = true;
        for ((stream, _), id) in launch.captured().zip(streams) {
            are_streams_kept &= self.logs.keep(*id, &stream_name(&launch.name, stream), &self.store);
        }
        self.store.is_there() && is_notify_kept && is_board_kept && is_poke_kept && are_streams_kept
    }

    pub(super) fn keep_wake(&self, incarnation: Incarnation, name: &str, sdk: &Sdk) -> bool {
        self.store.keep(&format!("worker-{name}/wake/{}", incarnation.generation.0), &[sdk.wake.as_fd()])
    }

    /// The last step of a launch: from now on a successor may take the process over.
    pub(super) fn commit(&mut self, incarnation: Incarnation, is_kept: bool) {
        let domain = self.domain_of[incarnation.worker.index()];
        let name = self.family_name(domain);
        let Some(resident) = self.resident(domain) else { return };
        let child = resident.process.child();
        let socket = match &*resident.process {
            Process::Command(_) => None,
            Process::Host(host) => Some(host.way()),
        };
        let is_kept = is_kept
            && socket.is_none_or(|socket| self.store.keep(&format!("{name}/host/{}", child.pid), &[socket]));
        if is_kept {
            // Not needed to find it again: it tells how it ended when nobody else can.
            self.store.keep(&format!("{name}/process/{}", child.pid), &[child.pidfd.as_fd()]);
            self.note_process(incarnation.worker);
        }
    }
}
