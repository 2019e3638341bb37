//! What can be seen.

use std::path::PathBuf;
use std::sync::Arc;

use supervision::{DomainId, Incarnation, WorkerId};
use workers::Registry;
use workers::runtime::board::{Reading, monotonic_ns};

use super::Drivers;
use crate::config::settings::{CgroupLimits, Declared, Resource};
use crate::config::{Launch, Program};
use crate::isolation::launch::Child;
use crate::isolation::notify::printable;
use crate::isolation::shares::{Ended, Looked};
use crate::isolation::tree::process_tree::Member;
use crate::record::culprit::Outsider;
use crate::record::evidence::Evidence;
use crate::record::incidents::Losses;
use crate::record::logs::Tail;

impl Drivers {
    /// What is known of a worker's incarnation that has ended; the last one's only.
    #[must_use]
    pub fn evidence(&self, incarnation: Incarnation) -> Option<&Evidence> {
        let slot = &self.means.registry[incarnation.worker];
        let own = slot.evidence.as_ref().filter(|(of, _)| *of == incarnation);
        own.map(|(_, evidence)| evidence)
    }

    /// Takes who ended this domain last, if that is none of those that lived in it. `culprit`: the
    /// run that the incident names.
    pub fn take_outsider(
        &mut self,
        domain: DomainId,
        culprit: Option<Incarnation>,
    ) -> Option<Outsider> {
        self.means.registry[domain].outsider.take_if(|outsider| outsider.run() == culprit)
    }

    /// Threads of workers that are not configured any more.
    #[must_use]
    pub fn stray_threads(&self) -> u32 {
        self.means.stray_threads()
    }

    /// The same; for one that has not ended, what can be seen of it now.
    #[must_use]
    pub fn evidence_or_now(&self, incarnation: Incarnation) -> Option<Evidence> {
        let mut found = self.evidence(incarnation).cloned().or_else(|| {
            let live = self.means.registry.live(incarnation)?;
            let reading = live.sdk.as_ref().and_then(|sdk| sdk.reading(incarnation));
            Some(Evidence::new(reading, monotonic_ns(), live.struck_at))
        })?;
        found.work = found.work.or_else(|| self.work_of(incarnation));
        Some(found)
    }

    /// Takes over what a predecessor's black box says of its incarnations. `outsider`: who
    /// has ended it, if none of those that lived in it.
    pub fn adopt_evidence(
        &mut self,
        evidence: Vec<(Incarnation, Evidence)>,
        outsider: Option<Outsider>,
    ) {
        self.means.registry[DomainId(0)].outsider = outsider;
        for (incarnation, mut evidence) in evidence {
            let worker = incarnation.worker;
            evidence.work = evidence.work.or_else(|| self.work_of(incarnation));
            self.means.registry[worker].evidence = Some((incarnation, evidence));
        }
    }

    /// What an incarnation has done, and begun and not done, as its board has it, which outlives
    /// it. A command counts no work.
    fn work_of(&self, incarnation: Incarnation) -> Option<(u64, u64)> {
        let worker = incarnation.worker;
        match self.means.registry[worker].launch.program {
            Program::Command(_) => Some((0, 0)),
            Program::Worker { .. } => {
                let reading = self.reading(worker)?;
                (reading.generation == incarnation.generation.0)
                    .then_some((reading.progress, reading.in_flight))
            }
        }
    }

    /// Gives back what these have had of what workers share, since they have ended; what that was,
    /// as soon as it is known. `None`: they share nothing. At once for `is_urgent`.
    #[must_use]
    pub fn release_shared(
        &self,
        ended: impl Iterator<Item = WorkerId>,
        is_urgent: bool,
    ) -> Option<Losses> {
        let ended: Vec<WorkerId> = ended.collect();
        let mut used: Vec<Arc<Resource>> = Vec::new();
        for resource in ended.iter().flat_map(|worker| &self.means.registry[*worker].launch.uses) {
            if !used.iter().any(|known| known.name == resource.name) {
                used.push(Arc::clone(resource));
            }
        }
        if used.is_empty() {
            return None;
        }
        let is_user = |worker: &WorkerId| {
            let uses = &self.means.registry[*worker].launch.uses;
            !ended.contains(worker)
                && uses.iter().any(|one| used.iter().any(|known| known.name == one.name))
        };
        let others = self.means.registry.workers().filter(is_user);
        let others = others.filter_map(|worker| self.own_thread(worker)).collect();
        let ended = Ended { used, others };
        let (shares, bell) = (&self.means.shares, &self.means.bell);
        Some(if is_urgent { shares.release_now(ended, bell) } else { shares.release(ended, bell) })
    }

    /// The thread on which a worker runs or ran last, as its board says; of a command its process.
    fn own_thread(&self, worker: WorkerId) -> Option<u32> {
        let number = match self.reading(worker) {
            Some(reading) => reading.tid,
            None => self.pid(worker)?,
        };
        u32::try_from(number).ok().filter(|number| *number > 0)
    }

    /// What workers share, with what can be seen of each now; `None`: it is not made.
    pub fn shared(&self) -> impl Iterator<Item = (&Declared, Option<Looked>)> {
        let all = self.means.declared.iter();
        all.map(|one| (one, self.means.shares.look(&one.resource)))
    }

    /// The present process of a worker's incarnation; the supervisor's own for a thread.
    #[must_use]
    pub fn pid(&self, worker: WorkerId) -> Option<i32> {
        self.means.driver_of(worker).describe(&self.means, worker).pid
    }

    /// The process that a worker calls its main one (`MAINPID=`), where that is another than ours.
    #[must_use]
    pub fn main_pid(&self, worker: WorkerId) -> Option<i32> {
        self.means.registry[worker]
            .live
            .as_ref()?
            .notify_state
            .main
            .as_ref()
            .map(|main: &Child| main.pid)
    }

    /// What a worker says of itself (`STATUS=`, or on its board), and whether it is reloading.
    #[must_use]
    pub fn said(&self, worker: WorkerId) -> (Option<String>, bool) {
        let Some(live) = &self.means.registry[worker].live else { return (None, false) };
        let Some(sdk) = &live.sdk else {
            return (live.notify_state.status.clone(), live.notify_state.is_reloading);
        };
        sdk.reading(live.incarnation).map_or((None, false), |reading| {
            let status = Some(printable(&reading.status)).filter(|status| !status.is_empty());
            (status, reading.is_reloading)
        })
    }

    /// Everyone who lives of a worker's process; none for a thread of the supervisor; as its
    /// cgroup has them, or the last look at the process table.
    #[must_use]
    pub fn tree_of(&self, worker: WorkerId) -> Vec<Member> {
        let domain = self.means.registry[worker].domain;
        self.means.registry.resident(domain).map_or_else(Vec::new, |resident| {
            resident.process_tree.describe(resident.process.child(), &resident.others)
        })
    }

    /// The limits of the cgroup that a worker runs in: its own, or its cell's. `None` for a thread
    /// of the supervisor.
    #[must_use]
    pub fn limits_of(&self, worker: WorkerId) -> Option<&CgroupLimits> {
        self.means.driver_of(worker).describe(&self.means, worker).limits
    }

    /// Where that cgroup is.
    #[must_use]
    pub fn cgroup_of(&self, worker: WorkerId) -> Option<PathBuf> {
        let domain = &self.means.registry.home(worker);
        domain.process_tree.as_ref()?.place()
    }

    /// What stands on a worker's board now; `None` for a command, for one that never ran, and for
    /// garbage.
    #[must_use]
    pub fn reading(&self, worker: WorkerId) -> Option<Reading> {
        self.means.registry[worker].page.as_ref()?.board().read()
    }

    /// Threads that a worker has left behind and that have not ended yet. `None`: it shares its
    /// process with none, and they end with it, or it never ran.
    #[must_use]
    pub fn left_behind(&self, worker: WorkerId) -> Option<u32> {
        let slot = &self.means.registry[worker];
        let page = slot.page.as_ref()?;
        let is_shared = !self.means.registry[slot.domain].capabilities.has_own_process;
        is_shared.then(|| page.board().left_behind(slot.live.is_none()))
    }

    /// Threads of the run that a worker has, as far as the SDK knows them.
    #[must_use]
    pub fn own_threads(&self, worker: WorkerId) -> u32 {
        let slot = &self.means.registry[worker];
        let page = slot.page.as_ref().filter(|_| slot.live.is_some());
        page.map_or(0, |page| page.board().threads())
    }

    /// Whether this incarnation is the present one and has not ended.
    #[must_use]
    pub fn is_live(&self, incarnation: Incarnation) -> bool {
        self.means.registry.live(incarnation).is_some()
    }

    /// The last lines of a worker, as soon as all that it wrote up to now has been taken.
    #[must_use]
    pub fn tail(&self, worker: WorkerId) -> Option<Tail> {
        let streams =
            self.means.registry[worker].streams.as_ref().filter(|streams| !streams.is_empty())?;
        Some(self.means.logs.tail(streams))
    }

    /// Bytes of a worker's output that were dropped.
    #[must_use]
    pub fn lost_output(&self, worker: WorkerId) -> u64 {
        self.means.registry[worker].streams().map(|stream| self.means.logs.lost(*stream)).sum()
    }

    /// Bytes of all output that were dropped.
    #[must_use]
    pub fn lost_output_total(&self) -> u64 {
        self.means.logs.lost_total()
    }

    /// Closes every log and opens it again under its name.
    pub fn reopen_logs(&self) {
        self.means.logs.reopen();
    }

    /// How a worker is launched.
    #[must_use]
    pub fn launch_of(&self, worker: WorkerId) -> &Launch {
        &self.means.registry[worker].launch
    }

    /// The code that is registered.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.means.code
    }

    /// How many domains there are: the number of the next one.
    #[must_use]
    pub fn domains(&self) -> u32 {
        self.means.registry.domain_count()
    }

    /// The domain of a worker.
    #[must_use]
    pub fn domain_of(&self, worker: WorkerId) -> DomainId {
        self.means.registry[worker].domain
    }
}
