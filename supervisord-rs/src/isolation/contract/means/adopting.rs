//! Taking over what the predecessor's workers left: boards, captured streams, sockets, and the
//! processes themselves.
//!
//! The supervisor adopts a process when it is surely the one that the predecessor recorded (its PID
//! and its start time), and when every descriptor that ties the two is there. The sweep ends all
//! others, so that nothing ever runs twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use supervision::{DomainId, Fate, FaultDomain, Generation, Incarnation, Phase, WorkerId};
use workers::runtime::mapping::Mapping;

use super::Means;
use crate::isolation::contract::Adoption;
use crate::isolation::launch::Child;
use crate::isolation::live::Page;
use crate::isolation::notify::Notify;
use crate::isolation::resources::{Handed, KEPT};
use crate::isolation::tree::sweep;
use crate::isolation::watch::{Says, Token};
use crate::record::black_box::ProcessMark;
use crate::record::post_mortem::PastWorker;
use crate::service_manager::InheritedDescriptors;

/// For what the predecessor has left to die of SIGKILL.
const SWEEP_LIMIT: Duration = Duration::from_secs(10);

/// The predecessor's knowledge of a worker.
pub type Past<'a> = BTreeMap<WorkerId, &'a PastWorker>;

/// What became of the predecessor's workers.
#[derive(Debug, Default)]
pub struct Adopted {
    /// Of each.
    pub fates: BTreeMap<WorkerId, Fate>,
    /// Those whose launch was not answered any more, and had a process.
    pub born: BTreeSet<WorkerId>,
}

impl Means {
    /// Takes over what can be, and ends the rest. Says what became of each worker.
    pub(in crate::isolation) fn adopt(
        &mut self,
        inherited: &mut InheritedDescriptors,
        past: &Past<'_>,
    ) -> Adopted {
        self.sockets.adopt(inherited);
        let declared = self.declared.iter().map(|declared| &*declared.resource);
        self.shares.adopt(declared, inherited);
        self.adopt_memory(inherited);
        self.adopt_streams(inherited);
        let mut fates = BTreeMap::new();
        for domain in self.registry.domain_ids() {
            let members: Vec<WorkerId> = past
                .keys()
                .copied()
                .filter(|worker| self.registry[*worker].domain == domain)
                .collect();
            let known = members.iter().filter(|worker| past[worker].was_running()).copied();
            let known: Vec<WorkerId> = known.collect();
            let driver = self.driver(domain);
            let is_adopted =
                driver.adopt(self, Adoption { domain, members: &known, inherited, past });
            for worker in members {
                let has_no_incarnation = !past[&worker].was_running()
                    && past[&worker].checkpoint.phase != Phase::Launching;
                let fate =
                    if has_no_incarnation || is_adopted { Fate::Resumed } else { Fate::Lost };
                fates.insert(worker, fate);
            }
        }
        self.adopt_strays(inherited);
        // A launcher thread keeps what it has launched before the answer can be recorded.
        let kept = inherited.unclaimed().into_iter();
        let mut found: BTreeSet<String> =
            kept.filter_map(|name| Some(name.split_once("/process/")?.0.to_owned())).collect();
        found.append(&mut self.end_the_rest());
        let was_born = |(worker, fate): (&WorkerId, &Fate)| {
            let is_asked = *fate == Fate::Lost && past[worker].checkpoint.phase == Phase::Launching;
            let process_tree = || self.domain_name(self.registry[*worker].domain);
            (is_asked && found.contains(&process_tree())).then_some(*worker)
        };
        let born = fates.iter().filter_map(was_born).collect();
        Adopted { fates, born }
    }

    /// Completes the adoption: output is carried, and the store releases everything that no worker
    /// has claimed. Only when it is sure that no successor needs it any more.
    pub(in crate::isolation) fn begin(&mut self, inherited: &InheritedDescriptors) {
        self.logs.begin();
        for name in inherited.unclaimed() {
            if !is_name_of_ours(&name) {
                tracing::warn!(
                    name,
                    "closed an unknown descriptor from the service manager's store"
                );
            }
            self.store.forget(&name);
        }
        let sockets = self.registry.slots().flat_map(|slot| &slot.launch.sockets);
        self.sockets.forget_inherited(sockets);
        self.logs.forget_inherited();
        let mut current: BTreeSet<String> = BTreeSet::new();
        for live in self.registry.lives() {
            let (name, generation) = (
                &self.registry[live.incarnation.worker].launch.name,
                live.incarnation.generation.0,
            );
            current.extend(
                ["wake", "newline"].map(|what| format!("worker-{name}/{what}/{generation}")),
            );
            if let Some(child) = self.registry.child(live.domain) {
                let process_tree = self.domain_name(live.domain);
                current.extend(
                    ["process", "host"].map(|what| format!("{process_tree}/{what}/{}", child.pid)),
                );
            }
        }
        let names: BTreeSet<&str> =
            self.registry.slots().map(|slot| slot.launch.name.as_str()).collect();
        let is_stale = |name: &str| match name.split('/').collect::<Vec<_>>()[..] {
            [_, "wake" | "newline" | "process" | "host", _] => !current.contains(name),
            // What belongs to workers that are no more.
            [process_tree, "board" | "notify" | "stdout" | "stderr"] | [process_tree, KEPT, _] => {
                process_tree.strip_prefix("worker-").is_some_and(|worker| !names.contains(worker))
                    && !self.is_stray(name)
            }
            _ => false,
        };
        self.store.forget_all(is_stale);
    }

    /// Boards, notify sockets and resources belong to workers, not to incarnations.
    fn adopt_memory(&mut self, inherited: &mut InheritedDescriptors) {
        for worker in self.registry.workers() {
            let slot = &mut self.registry[worker];
            slot.handed = Handed::adopted(self.resources, &slot.launch, inherited);
            let name = slot.launch.name.clone();
            let outlives_us = self.registry.home(worker).capabilities.outlives_supervisor;
            if let Some(board) =
                inherited.claim(&format!("worker-{name}/board")).filter(|_| outlives_us)
                && let Ok(mapping) = Mapping::adopted(board)
            {
                self.registry[worker].page = Some(Page { mapping: Arc::new(mapping), number: 0 });
            }
            if let Some(socket) = inherited.claim(&format!("worker-{name}/notify"))
                && let Ok(notify) = Notify::adopted(socket)
                && let Ok(notify) =
                    self.watch.add(notify, Token::Notify { worker: worker.0 }, Says::WhileReady)
            {
                self.registry[worker].notify = Some(notify);
            }
        }
    }

    /// Pipes with what was written and not carried yet, also by those who are no more.
    fn adopt_streams(&mut self, inherited: &mut InheritedDescriptors) {
        self.logs.adopt(inherited);
        for worker in self.registry.workers() {
            let launch = Arc::clone(&self.registry[worker].launch);
            let mut captures = launch.captured().map(|(name, _)| stream_name(&launch.name, name));
            // Those that were not passed on are opened when they are needed.
            if captures.any(|name| self.logs.has_inherited(&name)) {
                let _ = self.open_streams(worker, &launch);
            }
        }
    }

    /// Ends all processes of the predecessor that have not been adopted. Their process trees.
    fn end_the_rest(&mut self) -> BTreeSet<String> {
        let adopted: Vec<String> = self
            .registry
            .domains()
            .filter(|domain| domain.resident.is_some())
            .filter_map(|domain| {
                domain
                    .process_tree
                    .as_ref()
                    .map(|process_tree| process_tree.mark().variable.clone())
            })
            .collect();
        let kept =
            self.registry.domains().filter_map(|domain| domain.process_tree.as_ref()?.place());
        let mut process_trees = self.cgroups.end_others(&kept.collect::<Vec<_>>());
        let mut swept = sweep::end_strays(&self.instance_id, &adopted, SWEEP_LIMIT);
        if !swept.left.is_empty() {
            tracing::error!(pids = ?swept.left,
                "these processes of the predecessor do not die of SIGKILL");
        }
        process_trees.append(&mut swept.process_trees);
        process_trees
    }

    /// Writes down which process a worker's incarnation has.
    pub(in crate::isolation) fn note_process(&self, worker: WorkerId) {
        let Some(live) = &self.registry[worker].live else { return };
        let Some(child) = self.registry.child(live.domain) else { return };
        let mark = |child: &Child| ProcessMark { pid: child.pid, start_time: child.start_time };
        let main = live.notify_state.main.as_ref().map(mark);
        let note = self.black_box.note(worker.index());
        note.set_process(live.incarnation.generation.0, mark(child), main);
    }

    /// The name of a domain's process tree.
    pub(in crate::isolation) fn domain_name(&self, domain: DomainId) -> String {
        let slot = &self.registry[domain];
        match slot.capabilities.fault_domain {
            FaultDomain::Shared => format!("cell-{}", slot.name),
            FaultDomain::Supervisor | FaultDomain::Own => format!("worker-{}", slot.name),
        }
    }
}

pub(super) fn present(worker: WorkerId, past: &Past<'_>) -> Incarnation {
    let generation = past.get(&worker).map_or(Generation(0), |past| past.checkpoint.generation);
    Incarnation { worker, generation }
}

/// Whether it is the name of something that a supervisor keeps.
fn is_name_of_ours(name: &str) -> bool {
    let kinds =
        ["board", "notify", "poke", "stdout", "stderr", "wake", "newline", "process", "host", KEPT];
    let is_tree = name.starts_with("worker-") || name.starts_with("cell-");
    is_tree && name.split('/').nth(1).is_some_and(|kind| kinds.contains(&kind))
}

/// The name of a captured stream in the store.
pub(in crate::isolation) fn stream_name(worker: &str, stream: &str) -> String {
    format!("worker-{worker}/{stream}")
}
