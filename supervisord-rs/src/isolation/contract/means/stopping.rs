//! From killing what lives in a domain to nothing being left, and the same for all at the end.

use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use supervision::{DomainId, Incarnation};
use workers::runtime::board::monotonic_ns;
use workers::runtime::offspring;

use super::{Live, Means, Process, Resident};
use crate::isolation::exits::{orphans, reaper};
use crate::isolation::live::Gone;
use crate::process_table;
use crate::record::event::What;
use crate::record::evidence;
use crate::waiting::until;

/// For what is left at the very end to die.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// Between two looks at what is ending.
const PAUSE: Duration = Duration::from_millis(1);

impl Means {
    /// Whether the process of a domain has been killed, or has exited and may have left something
    /// behind.
    pub(in crate::isolation) fn is_dying(&self, domain: DomainId) -> bool {
        let resident = self.registry[domain].resident.as_ref();
        resident.is_some_and(|resident| {
            resident.is_killed || resident.exited.is_some() || resident.gone.is_some()
        })
    }

    /// Whether one ends with its process, as is known, or as its thread is gone and the kernel says
    /// so: then it has not vanished, and does not hang.
    pub(in crate::isolation) fn ends_with_its_process(&self, incarnation: Incarnation) -> bool {
        let Some(live) = self.registry.live(incarnation) else { return false };
        if self.is_dying(live.domain) {
            return true;
        }
        let reading = live.sdk.as_ref().and_then(|sdk| sdk.reading(incarnation));
        let process = reading.and_then(|read| self.process_without(incarnation.worker, &read));
        process.is_some_and(process_table::is_ending)
    }

    /// Says of one that is to stop what keeps it from that: what is above its own cgroup stays
    /// frozen, since that holds others too.
    pub(in crate::isolation) fn note_frozen(&mut self, incarnation: Incarnation) {
        let domain = self.registry[incarnation.worker].domain;
        let process_tree = self.registry.resident(domain).map(|resident| &resident.process_tree);
        let Some(frozen) = process_tree.and_then(|process_tree| process_tree.frozen_above()) else {
            return;
        };
        self.remark(Some(incarnation), What::Frozen { why: frozen.into() });
    }

    /// Ends the process of a domain, with all that it has started, because of one that hangs.
    pub(in crate::isolation) fn end_for(&mut self, domain: DomainId, culprit: Incarnation) {
        let was_stopped = self.is_suspended(domain);
        if let Some(resident) = &mut self.registry[domain].resident {
            resident.recycled_for = Some(culprit);
            resident.was_stopped = was_stopped;
            self.kill_all_of(domain);
        }
    }

    /// Whether the process of a cell runs another program: that has closed the way for its orders.
    pub(super) fn runs_another_program(&self, domain: DomainId) -> bool {
        let Some(resident) = self.registry.resident(domain) else { return false };
        let Process::Host(host) = &*resident.process else { return false };
        let mut polled = [PollFd::new(host.way(), PollFlags::empty())];
        let is_closed = |events: PollFlags| events.contains(PollFlags::POLLHUP);
        poll(&mut polled, PollTimeout::ZERO).is_ok() && polled[0].revents().is_some_and(is_closed)
    }

    /// One of a cell has executed another program (execve(2)), which has ended the threads of all:
    /// none of them is there any more.
    pub(super) fn end_for_its_program(&mut self, domain: DomainId) {
        tracing::warn!(
            cell = self.registry[domain].name,
            "a worker of this cell has executed another program (exec), which ends all workers of the \
             cell: its process is ended. Use `std::process::Command::spawn`, or `isolation: process`"
        );
        self.kill_all_of(domain);
        self.looks.soon(domain);
    }

    /// Ends the own process of one that is not in it any more.
    pub(super) fn end_without(&mut self, incarnation: Incarnation, is_replaced: bool) {
        let Some(live) = self.registry.live_mut(incarnation) else { return };
        live.gone = Some(if is_replaced { Gone::Replaced } else { Gone::Vanished });
        let domain = live.domain;
        self.kill_all_of(domain);
        self.looks.soon(domain);
    }

    /// Ends what the thread of an incarnation has started, which is left behind itself.
    pub(in crate::isolation) fn end_offspring(&self, incarnation: Incarnation) {
        let sdk = self.registry.live(incarnation).and_then(|live| live.sdk.as_ref());
        let Some(reading) = sdk.and_then(|sdk| sdk.reading(incarnation)) else { return };
        let worker = incarnation.worker;
        if let Some(pid) = self.driver_of(worker).describe(self, worker).pid
            && reading.tid > 0
        {
            offspring::kill_of(pid, reading.tid);
        }
    }

    /// Sends a signal to the main process of an incarnation.
    pub(in crate::isolation) fn signal_main(&self, incarnation: Incarnation, signal: i32) {
        let Some(live) = self.registry.live(incarnation) else { return };
        if let Some(child) = self.registry.child(live.domain) {
            let _ = reaper::signal(live.notify_state.main.as_ref().unwrap_or(child), signal);
        }
    }

    /// Whether it is a shared domain whose process is suspended, or stopped by a tracer.
    pub(in crate::isolation) fn is_suspended(&self, domain: DomainId) -> bool {
        let is_shared = self.registry[domain].capabilities.is_shared();
        let stat = self
            .registry
            .child(domain)
            .filter(|_| is_shared)
            .and_then(|host| process_table::stat(host.pid));
        stat.is_some_and(|stat| matches!(stat.state, 'T' | 't'))
    }

    /// The stop command of an incarnation has ended, or could not be started.
    pub(in crate::isolation) fn stop_command_ended(
        &mut self,
        incarnation: Incarnation,
        error: Option<&str>,
    ) {
        if let Some(error) = error {
            let error = error.to_owned().into();
            self.remark(Some(incarnation), What::StopCommandFailed { error });
        }
        let driver = self.driver_of(incarnation.worker);
        driver.stop_further(self, incarnation);
    }

    /// Asks those to stop that end with the supervisor, which have so long for it.
    pub(in crate::isolation) fn stop_mortal(&mut self, patience: Duration) {
        let mortal: Vec<Incarnation> = self.mortal().map(|live| live.incarnation).collect();
        for incarnation in mortal {
            if let Some(sdk) = self.registry.live(incarnation).and_then(|live| live.sdk.as_ref()) {
                sdk.give_time(patience);
            }
            self.driver_of(incarnation.worker).stop(self, incarnation);
        }
    }

    /// Whether one of those has not ended, as far as its board says.
    pub(in crate::isolation) fn has_mortal(&self) -> bool {
        let mut readings =
            self.mortal().filter_map(|live| live.sdk.as_ref()?.reading(live.incarnation));
        readings.any(|reading| evidence::of_thread(reading.state).is_none())
    }

    fn mortal(&self) -> impl Iterator<Item = &Live> {
        let outlives_us =
            |live: &&Live| self.registry[live.domain].capabilities.outlives_supervisor;
        self.registry.lives().filter(move |live| !outlives_us(live))
    }

    /// Ends what lives in domains, and waits for it. For the very end.
    pub(in crate::isolation) fn end_residents(&mut self) {
        self.withdraw_all();
        let mut left: Vec<Resident> =
            self.registry.domains_mut().filter_map(|domain| domain.resident.take()).collect();
        for resident in &mut left {
            resident.kill();
        }
        // One that is stuck in the kernel is named below, and not waited for. One look serves all
        // of them.
        let _ = until(LAST_WAIT, PAUSE, || {
            let needs_look = left.iter().any(|resident| !resident.process_tree.has_cgroup());
            let look =
                if needs_look { Some(self.census.wait(monotonic_ns(), LAST_WAIT)?) } else { None };
            left.retain(|resident| {
                let child = resident.process.child();
                let others = match &look {
                    Some(look) if !resident.process_tree.has_cgroup() => {
                        resident.process_tree.others_in(look, child)
                    }
                    Some(_) | None => resident.process_tree.others_in_cgroup(child),
                };
                if !others.is_empty() {
                    resident.process_tree.kill_these(child, &others, &resident.is_over);
                }
                let is_gone = others.is_empty() && reaper::has_exited(&child.pidfd);
                if is_gone {
                    reaper::forget(child);
                }
                !is_gone
            });
            left.is_empty().then_some(())
        });
        drop(left);
        self.registry.domains_mut().for_each(|domain| domain.process_tree = None);
    }

    /// Ends every process that is left then. False: some do not die.
    pub(in crate::isolation) fn end_orphans(&mut self) -> bool {
        let killed = orphans::kill_all();
        if !killed.left.is_empty() {
            tracing::error!(pids = ?killed.left, "these processes do not die of SIGKILL");
        }
        self.sockets.remove();
        self.shares.remove();
        self.store.forget_all(|_| true);
        self.cgroups.remove();
        let _ = self.logs.flush(LAST_WAIT);
        killed.left.is_empty()
    }
}
