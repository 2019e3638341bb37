//! Taking over what the predecessor's workers left: boards, captured streams, sockets, and the
//! processes themselves.
//!
//! The supervisor adopts a process when it is surely the one that the predecessor recorded (its PID
//! and its start time), and when every descriptor that ties the two is there. The sweep ends all
//! others, so that nothing ever runs twice.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use supervision::{
    DomainId, Event, Fate, FaultDomain, Generation, Incarnation, Phase, Status, WorkerId,
};
use workers::mapping::Mapping;

use super::{Means, Process, Resident};
use crate::config::probes::Ready;
use crate::config::{Isolation, Program};
use crate::isolation::exits::reaper;
use crate::isolation::host::Host;
use crate::isolation::launch::Child;
use crate::isolation::live::{Live, Page, Sdk};
use crate::isolation::notify::Notify;
use crate::isolation::tree::family::Family;
use crate::isolation::tree::sweep;
use crate::isolation::watch::{Says, Token};
use crate::process_table;
use crate::record::black_box::ProcessMark;
use crate::record::event::What;
use crate::record::evidence;
use crate::record::post_mortem::PastWorker;
use crate::service_manager::Heritage;

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
        heritage: &mut Heritage,
        past: &Past<'_>,
    ) -> Adopted {
        self.sockets.adopt(heritage);
        self.adopt_memory(heritage);
        self.adopt_streams(heritage);
        let mut fates = BTreeMap::new();
        for domain in self.registry.domain_ids() {
            let members: Vec<WorkerId> = past
                .keys()
                .copied()
                .filter(|worker| self.registry[*worker].domain == domain)
                .collect();
            let known = members.iter().filter(|worker| past[worker].was_running()).copied();
            let known: Vec<WorkerId> = known.collect();
            let is_adopted = !known.is_empty()
                && !self.registry[domain].capabilities.is_of_supervisor()
                && self.adopt_domain(domain, &known, heritage, past);
            for worker in members {
                let has_no_incarnation =
                    !past[&worker].was_running() && past[&worker].memo.phase != Phase::Launching;
                let fate =
                    if has_no_incarnation || is_adopted { Fate::Resumed } else { Fate::Lost };
                fates.insert(worker, fate);
            }
        }
        // A launcher thread keeps what it has launched before the answer can be recorded.
        let kept = heritage.unclaimed().into_iter();
        let mut found: BTreeSet<String> =
            kept.filter_map(|name| Some(name.split_once("/process/")?.0.to_owned())).collect();
        found.append(&mut self.end_the_rest());
        let was_born = |(worker, fate): (&WorkerId, &Fate)| {
            let is_asked = *fate == Fate::Lost && past[worker].memo.phase == Phase::Launching;
            let family = || self.family_name(self.registry[*worker].domain);
            (is_asked && found.contains(&family())).then_some(*worker)
        };
        let born = fates.iter().filter_map(was_born).collect();
        Adopted { fates, born }
    }

    /// Completes the adoption: output is carried, and the store releases everything that no worker
    /// has claimed. Only when it is sure that no successor needs it any more.
    pub(in crate::isolation) fn begin(&mut self, heritage: &Heritage) {
        self.logs.begin();
        for name in heritage.unclaimed() {
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
        self.logs.forget_heritage();
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
                let family = self.family_name(live.domain);
                current.extend(
                    ["process", "host"].map(|what| format!("{family}/{what}/{}", child.pid)),
                );
            }
        }
        let names: BTreeSet<&str> =
            self.registry.slots().map(|slot| slot.launch.name.as_str()).collect();
        let is_stale = |name: &str| match name.split('/').collect::<Vec<_>>()[..] {
            [_, "wake" | "newline" | "process" | "host", _] => !current.contains(name),
            // What belongs to workers that are no more.
            [family, "board" | "notify" | "stdout" | "stderr"] => {
                family.strip_prefix("worker-").is_some_and(|worker| !names.contains(worker))
            }
            _ => false,
        };
        self.store.forget_all(is_stale);
    }

    /// Boards and notify sockets belong to workers, not to incarnations.
    fn adopt_memory(&mut self, heritage: &mut Heritage) {
        for worker in self.registry.workers() {
            let name = self.registry[worker].launch.name.clone();
            let is_thread = self.registry.home(worker).capabilities.is_of_supervisor();
            if let Some(board) =
                heritage.claim(&format!("worker-{name}/board")).filter(|_| !is_thread)
                && let Ok(mapping) = Mapping::adopted(board)
            {
                self.registry[worker].page = Some(Page { mapping: Arc::new(mapping), number: 0 });
            }
            if let Some(socket) = heritage.claim(&format!("worker-{name}/notify"))
                && let Ok(notify) = Notify::adopted(socket)
                && let Ok(notify) =
                    self.watch.add(notify, Token::Notify { worker: worker.0 }, Says::WhileReady)
            {
                self.registry[worker].notify = Some(notify);
            }
        }
    }

    /// Pipes with what was written and not carried yet, also by those who are no more.
    fn adopt_streams(&mut self, heritage: &mut Heritage) {
        self.logs.adopt(heritage);
        for worker in self.registry.workers() {
            let launch = Arc::clone(&self.registry[worker].launch);
            let mut captures = launch.captured().map(|(name, _)| stream_name(&launch.name, name));
            // Those that were not passed on are opened when they are needed.
            if captures.any(|name| self.logs.has_heritage(&name)) {
                let _ = self.open_streams(worker, &launch);
            }
        }
        for domain in self.registry.domain_ids() {
            let name = self.registry[domain].name.clone();
            let is_cell = self.registry[domain].capabilities.is_shared();
            if is_cell && self.logs.has_heritage(&format!("cell-{name}/stdout")) {
                let _ = self.cell_output(domain, &name);
            }
        }
    }

    /// One process and everyone in it. False: it is not ours to take over.
    fn adopt_domain(
        &mut self,
        domain: DomainId,
        members: &[WorkerId],
        heritage: &mut Heritage,
        past: &Past<'_>,
    ) -> bool {
        let marks: Vec<_> = members.iter().map(|worker| past[worker].process).collect();
        let Some(Some((mark, main))) = marks.first().copied() else { return false };
        if marks.iter().any(|other| other.map(|(other, _)| other) != Some(mark)) {
            return false;
        }
        let prefix = self.family_name(domain);
        let kept = heritage.claim(&format!("{prefix}/process/{}", mark.pid));
        let handle = self.handle_of(mark, kept.as_ref());
        let Some(pidfd) = handle else {
            return self.adopt_the_dead(domain, members, mark, kept.as_ref(), past);
        };
        let child = Child { pid: mark.pid, pidfd, start_time: mark.start_time, is_adopted: true };
        match self.tie(domain, members, child, heritage, past) {
            Ok(()) => {
                self.adopt_main(domain, main);
                true
            }
            Err(missing) => {
                let who = members.first().map(|worker| present(*worker, past));
                self.remark(who, What::NotAdopted { pid: mark.pid, missing: missing.into() });
                false
            }
        }
    }

    /// A handle to the process, if it is still the same one and lives.
    fn handle_of(&self, mark: ProcessMark, kept: Option<&OwnedFd>) -> Option<OwnedFd> {
        if mark.start_time == 0 {
            return None;
        }
        // The handle first: what is looked up by the number after that is the handle's, or the
        // handle has exited.
        let opened = reaper::open(mark.pid).ok()?;
        let is_same = process_table::start_time(mark.pid) == Some(mark.start_time);
        let is_over = reaper::has_exited(&opened) || kept.is_some_and(reaper::has_exited);
        (is_same && !is_over).then_some(opened)
    }

    /// A worker whose process ended while there was no supervisor: the usual event reports how.
    fn adopt_the_dead(
        &mut self,
        domain: DomainId,
        members: &[WorkerId],
        mark: ProcessMark,
        kept: Option<&OwnedFd>,
        past: &Past<'_>,
    ) -> bool {
        // Registered code ends when its supervisor is gone for good, and claims success: without
        // its board it is unknown that it was done.
        let is_unseen = |worker: &WorkerId| {
            let launch = &self.registry[*worker].launch;
            matches!(launch.program, Program::Worker { .. })
                && self.registry[*worker].page.is_none()
        };
        if members.iter().any(is_unseen) {
            return false;
        }
        let status =
            self.obituaries.status(mark.pid, mark.start_time, kept).unwrap_or(Status::Unknown);
        // Where its handle was not kept, guardian and supervisor both died, and it may have been
        // killed with them: that is not a failure of the worker. An exit code of its own is.
        if kept.is_none() && !matches!(status, Status::Exited(_)) {
            return false;
        }
        for &worker in members {
            let incarnation = present(worker, past);
            let sdk =
                self.registry[worker].page.clone().and_then(|page| Sdk::adopted(page, None).ok());
            self.registry[worker].live = Some(Live::new(incarnation, domain, sdk));
        }
        let incarnations = members.iter().map(|worker| present(*worker, past)).collect();
        // What its cgroup has counted says nothing of this one alone: a predecessor may have told
        // of others.
        self.end_members(domain, (status, false), incarnations, None);
        true
    }

    /// Ties a living process to us.
    fn tie(
        &mut self,
        domain: DomainId,
        members: &[WorkerId],
        child: Child,
        heritage: &mut Heritage,
        past: &Past<'_>,
    ) -> Result<(), String> {
        let prefix = self.family_name(domain);
        let limits =
            members.first().and_then(|worker| self.limits_of(*worker)).cloned().unwrap_or_default();
        let leaf = self.cgroups.leaf_of(&prefix, child.pid, &limits);
        let family = Rc::new(Family::new(leaf, &self.house, &prefix, &self.census));
        let mut lives = Vec::new();
        for &worker in members {
            lives.push(self.revive(domain, worker, heritage, past)?);
        }
        let is_sdk = lives.iter().any(|live| live.sdk.is_some());
        let process = if is_sdk {
            let socket = heritage.claim(&format!("{prefix}/host/{}", child.pid));
            let poke = heritage.claim(&format!("{prefix}/poke"));
            let (Some(socket), Some(poke)) = (socket, poke) else {
                return Err("its sockets are not in the store".into());
            };
            let poke =
                self.watch_poke(Arc::new(poke), domain).map_err(|errno| errno.to_string())?;
            self.registry[domain].poke = Some(poke);
            Process::Host(Host::new(child, socket))
        } else {
            Process::Command(child)
        };
        let watched = self.watch.add(process, Token::Exit { domain: domain.0 }, Says::WhileReady);
        let process = watched.map_err(|(_, errno)| errno.to_string())?;
        let slot = &mut self.registry[domain];
        slot.family = Some(Rc::clone(&family));
        slot.resident = Some(Resident::new(process, family));
        for live in lives {
            self.settle_adopted(live);
        }
        Ok(())
    }

    /// What we hold of an incarnation, as the predecessor held it.
    fn revive(
        &mut self,
        domain: DomainId,
        worker: WorkerId,
        heritage: &mut Heritage,
        past: &Past<'_>,
    ) -> Result<Live, String> {
        let launch = Arc::clone(&self.registry[worker].launch);
        let (name, known) = (&launch.name, past[&worker]);
        let incarnation = present(worker, past);
        let captured = launch.captured().count();
        let open = self.registry[worker].streams.as_ref().map_or(0, Vec::len);
        if captured != open || self.logs.is_renewed(self.registry[worker].streams()) {
            return Err("the pipe of its output is not in the store".into());
        }
        let generation = incarnation.generation.0;
        let wake = heritage.claim(&format!("worker-{name}/wake/{generation}"));
        let sdk = match (&launch.program, &launch.isolation) {
            (Program::Command(_), _) => None,
            (Program::Worker { .. }, Isolation::Thread) => {
                return Err("it is to be a thread".into());
            }
            (Program::Worker { .. }, Isolation::Cell(_) | Isolation::Process) => {
                let page =
                    self.registry[worker].page.clone().ok_or("its board is not in the store")?;
                if !page.board().is_known() {
                    return Err("its board is of another release".into());
                }
                if wake.is_none() {
                    return Err("what wakes it is not in the store".into());
                }
                Some(Sdk::adopted(page, wake).map_err(|failure| format!("{failure:?}"))?)
            }
        };
        let mut live = Live::new(incarnation, domain, sdk);
        self.black_box.note(worker.index()).set_plan(known.plan);
        live.is_ready = known.said_ready || matches!(known.memo.phase, Phase::Running);
        live.is_stopping = known.memo.phase == Phase::Stopping;
        live.stop_was_ordered = known.stop_ordered;
        if matches!(launch.ready, Ready::Newline(_)) && !live.is_ready {
            let newline = heritage.claim(&format!("worker-{name}/newline/{generation}"));
            let token = Token::Newline { worker: worker.0 };
            live.newline =
                newline.and_then(|newline| self.watch.add(newline, token, Says::WhileReady).ok());
        }
        if known.said_ready && known.memo.phase == Phase::Starting {
            self.say(worker, Event::Ready { incarnation });
        }
        Ok(live)
    }

    fn settle_adopted(&mut self, live: Live) {
        let (worker, domain) = (live.incarnation.worker, live.domain);
        if let Some(sdk) = &live.sdk {
            self.black_box.mirror(worker.index(), Some(sdk.board()));
        }
        self.registry[worker].live = Some(live);
        self.note_process(worker);
        self.look_at_boards(domain);
    }

    /// The process that a worker had called its main one.
    fn adopt_main(&mut self, domain: DomainId, main: Option<ProcessMark>) {
        let Some(main) = main else { return };
        let Some(pidfd) = self.handle_of(main, None) else { return };
        let heir = Child { pid: main.pid, pidfd, start_time: main.start_time, is_adopted: true };
        if let Some(live) = self.registry.first_in(domain) {
            live.said.main = Some(heir);
        }
    }

    /// Ends all processes of the predecessor that have not been adopted. Their families.
    fn end_the_rest(&mut self) -> BTreeSet<String> {
        let adopted: Vec<String> = self
            .registry
            .domains()
            .filter(|domain| domain.resident.is_some())
            .filter_map(|domain| domain.family.as_ref().map(|family| family.mark().to_owned()))
            .collect();
        let kept = self.registry.domains().filter_map(|domain| domain.family.as_ref()?.place());
        let mut families = self.cgroups.end_others(&kept.collect::<Vec<_>>());
        let mut swept = sweep::end_strays(&self.house, &adopted, SWEEP_LIMIT);
        if !swept.left.is_empty() {
            tracing::error!(pids = ?swept.left,
                "these processes of the predecessor do not die of SIGKILL");
        }
        families.append(&mut swept.families);
        families
    }

    /// Writes down which process a worker's incarnation has.
    pub(in crate::isolation) fn note_process(&self, worker: WorkerId) {
        let Some(live) = &self.registry[worker].live else { return };
        let Some(child) = self.registry.child(live.domain) else { return };
        let mark = |child: &Child| ProcessMark { pid: child.pid, start_time: child.start_time };
        let main = live.said.main.as_ref().map(mark);
        let note = self.black_box.note(worker.index());
        note.set_process(live.incarnation.generation.0, mark(child), main);
    }

    /// The name of a domain's family.
    pub(in crate::isolation) fn family_name(&self, domain: DomainId) -> String {
        let slot = &self.registry[domain];
        match slot.capabilities.fault_domain {
            FaultDomain::Shared => format!("cell-{}", slot.name),
            FaultDomain::Supervisor | FaultDomain::Own => format!("worker-{}", slot.name),
        }
    }

    /// How every worker in a domain ended whose process has this status, and whether its cgroup ran
    /// out of memory.
    pub(in crate::isolation) fn end_members(
        &mut self,
        domain: DomainId,
        (status, was_oom_killed): (Status, bool),
        members: Vec<Incarnation>,
        recycled_for: Option<Incarnation>,
    ) {
        match self.registry[domain].capabilities.fault_domain {
            FaultDomain::Own => {
                for incarnation in members {
                    let sdk = self.registry.live(incarnation).and_then(|live| live.sdk.as_ref());
                    let ending = match sdk {
                        Some(sdk) => {
                            evidence::of_process(status, sdk.reading(incarnation).as_ref())
                        }
                        None => evidence::of_command(status),
                    };
                    let ending = evidence::with_memory(ending, was_oom_killed);
                    self.end(incarnation, ending);
                    self.explain(incarnation, ending);
                }
            }
            FaultDomain::Shared | FaultDomain::Supervisor => {
                self.end_domain(domain, (status, was_oom_killed), members, recycled_for);
            }
        }
    }
}

fn present(worker: WorkerId, past: &Past<'_>) -> Incarnation {
    let generation = past.get(&worker).map_or(Generation(0), |past| past.memo.generation);
    Incarnation { worker, generation }
}

/// Whether it is the name of something that a supervisor keeps.
fn is_name_of_ours(name: &str) -> bool {
    let kinds =
        ["board", "notify", "poke", "stdout", "stderr", "wake", "newline", "process", "host"];
    let is_family = name.starts_with("worker-") || name.starts_with("cell-");
    is_family && name.split('/').nth(1).is_some_and(|kind| kinds.contains(&kind))
}

/// The name of a captured stream in the store.
pub(in crate::isolation) fn stream_name(worker: &str, stream: &str) -> String {
    format!("worker-{worker}/{stream}")
}
