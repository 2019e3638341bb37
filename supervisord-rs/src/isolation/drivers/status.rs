//! What can be seen.

use std::path::PathBuf;

use supervision::{DomainId, Incarnation, WorkerId};
use workers::Registry;
use workers::board::{Reading, monotonic_ns};

use super::Drivers;
use crate::config::settings::CgroupLimits;
use crate::config::{Launch, Program};
use crate::isolation::launch::Child;
use crate::isolation::tree::process_tree::Member;
use crate::record::evidence::Evidence;
use crate::record::logs::Tail;

impl Drivers {
    /// What is known of a worker's incarnation that has ended; the last one's only.
    #[must_use]
    pub fn evidence(&self, incarnation: Incarnation) -> Option<&Evidence> {
        self.means.registry[incarnation.worker]
            .evidence
            .as_ref()
            .filter(|(of, _)| *of == incarnation)
            .map(|(_, evidence)| evidence)
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

    /// Takes over what a predecessor's black box says of its incarnations.
    pub fn adopt_evidence(&mut self, evidence: Vec<(Incarnation, Evidence)>) {
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

    /// What a worker says of itself (`STATUS=`), and whether it is reloading.
    #[must_use]
    pub fn said(&self, worker: WorkerId) -> (Option<String>, bool) {
        let said = self.means.registry[worker].live.as_ref().map(|live| &live.notify_state);
        said.map_or((None, false), |said| (said.status.clone(), said.is_reloading))
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

    /// Whether this incarnation is the present one and has not ended.
    #[must_use]
    pub fn is_live(&self, incarnation: Incarnation) -> bool {
        self.means.registry.live(incarnation).is_some()
    }

    /// Whether any output of a worker is captured.
    #[must_use]
    pub fn has_output(&self, worker: WorkerId) -> bool {
        self.means.registry[worker].streams.as_ref().is_some_and(|streams| !streams.is_empty())
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
