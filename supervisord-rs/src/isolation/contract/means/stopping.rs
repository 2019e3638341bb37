//! From killing what lives in a domain to nothing being left, and the same for all at the end.

use std::time::Duration;

use supervision::{DomainId, Incarnation};
use workers::board::monotonic_ns;

use super::{Live, Means, Resident};
use crate::isolation::exits::{orphans, reaper};
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
        if let Some(resident) = &mut self.registry[domain].resident {
            resident.recycled_for = Some(culprit);
            self.kill_all_of(domain);
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

    /// Asks those to stop that end with the supervisor.
    pub(in crate::isolation) fn stop_mortal(&mut self) {
        let mortal: Vec<Incarnation> = self.mortal().map(|live| live.incarnation).collect();
        for incarnation in mortal {
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
        self.store.forget_all(|_| true);
        self.cgroups.remove();
        let _ = self.logs.flush(LAST_WAIT);
        killed.left.is_empty()
    }
}
