//! Taking over one process, with every worker in it.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use supervision::{DomainId, Event, Phase, Status, WorkerId};

use super::adopting::{Past, present};
use super::{Means, Process, Resident};
use crate::config::Program;
use crate::config::settings::Ready;
use crate::isolation::contract::{Adoption, Ended};
use crate::isolation::exits::reaper;
use crate::isolation::host::Host;
use crate::isolation::launch::Child;
use crate::isolation::live::{Live, Sdk};
use crate::isolation::tree::process_tree::ProcessTree;
use crate::isolation::watch::{Says, Token};
use crate::process_table;
use crate::record::black_box::ProcessMark;
use crate::record::event::What;
use crate::service_manager::InheritedDescriptors;

impl Means {
    /// One process and everyone in it. False: it is not ours to take over.
    pub(in crate::isolation) fn adopt_process(&mut self, adoption: Adoption<'_>) -> bool {
        let Adoption { domain, members, inherited, past } = adoption;
        let marks: Vec<_> = members.iter().map(|worker| past[worker].process).collect();
        let Some(Some((mark, main))) = marks.first().copied() else { return false };
        if marks.iter().any(|other| other.map(|(other, _)| other) != Some(mark)) {
            return false;
        }
        let prefix = self.domain_name(domain);
        let kept = inherited.claim(&format!("{prefix}/process/{}", mark.pid));
        let handle = self.handle_of(mark, kept.as_ref());
        let Some(pidfd) = handle else {
            return self.adopt_the_dead(domain, members, mark, kept.as_ref(), past);
        };
        let child = Child { pid: mark.pid, pidfd, start_time: mark.start_time, is_adopted: true };
        match self.tie(domain, members, child, inherited, past) {
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
            self.exit_records.status(mark.pid, mark.start_time, kept).unwrap_or(Status::Unknown);
        // Where its handle was not kept, guardian and supervisor both died, and it may have been
        // killed with them: that is not a failure of the worker. An exit code of its own is.
        if kept.is_none() && !matches!(status, Status::Exited(_)) {
            return false;
        }
        for &worker in members {
            let incarnation = present(worker, past);
            let sdk =
                self.registry[worker].page.clone().and_then(|page| Sdk::adopted(page, None).ok());
            let mut live = Live::new(incarnation, domain, sdk);
            live.take_strike(past[&worker]);
            self.registry[worker].live = Some(live);
        }
        let incarnations = members.iter().map(|worker| present(*worker, past)).collect();
        // What its cgroup has counted says nothing of this one alone: a predecessor may have told
        // of others.
        let driver = self.driver(domain);
        driver.end(
            self,
            Ended {
                domain,
                status,
                was_oom_killed: false,
                members: incarnations,
                recycled_for: None,
                was_stopped: false,
            },
        );
        true
    }

    /// Ties a living process to us.
    fn tie(
        &mut self,
        domain: DomainId,
        members: &[WorkerId],
        child: Child,
        inherited: &mut InheritedDescriptors,
        past: &Past<'_>,
    ) -> Result<(), String> {
        let prefix = self.domain_name(domain);
        let limits = members
            .first()
            .and_then(|worker| self.driver(domain).describe(self, *worker).limits)
            .cloned()
            .unwrap_or_default();
        let leaf = self.cgroups.leaf_of(&prefix, child.pid, &limits);
        let process_tree =
            Rc::new(ProcessTree::new(leaf, &self.instance_id, &prefix, &self.census));
        let mut lives = Vec::new();
        for &worker in members {
            lives.push(self.revive(domain, worker, inherited, past)?);
        }
        let is_sdk = lives.iter().any(|live| live.sdk.is_some());
        let process = if is_sdk {
            let socket = inherited.claim(&format!("{prefix}/host/{}", child.pid));
            let poke = inherited.claim(&format!("{prefix}/poke"));
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
        slot.process_tree = Some(Rc::clone(&process_tree));
        slot.resident = Some(Resident::new(process, process_tree));
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
        inherited: &mut InheritedDescriptors,
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
        let wake = inherited.claim(&format!("worker-{name}/wake/{generation}"));
        let sdk = match launch.program {
            Program::Command(_) => None,
            Program::Worker { .. } => Some(self.revive_sdk(worker, wake)?),
        };
        let mut live = Live::new(incarnation, domain, sdk);
        live.take_strike(known);
        let note = self.black_box.note(worker.index());
        note.set_fingerprint(known.fingerprint);
        if let Some((fault, at)) = known.fault_ordered().zip(known.fault_ordered_at()) {
            note.set_fault_ordered(fault.code, fault.parameter, at);
        }
        live.is_ready = known.said_ready || matches!(known.checkpoint.phase, Phase::Running);
        live.is_stopping = known.checkpoint.phase == Phase::Stopping;
        live.stop_was_ordered = known.stop_ordered;
        if matches!(launch.ready, Ready::Newline(_)) && !live.is_ready {
            let newline = inherited.claim(&format!("worker-{name}/newline/{generation}"));
            let token = Token::Newline { worker: worker.0 };
            live.newline =
                newline.and_then(|newline| self.watch.add(newline, token, Says::WhileReady).ok());
        }
        if known.said_ready && known.checkpoint.phase == Phase::Starting {
            self.say(worker, Event::Ready { incarnation });
        }
        Ok(live)
    }

    /// What we share with SDK code that runs already.
    fn revive_sdk(&self, worker: WorkerId, wake: Option<OwnedFd>) -> Result<Sdk, String> {
        let page = self.registry[worker].page.clone().ok_or("its board is not in the store")?;
        if !page.board().is_known() {
            return Err("its board is of another release".into());
        }
        if wake.is_none() {
            return Err("what wakes it is not in the store".into());
        }
        Sdk::adopted(page, wake).map_err(|failure| format!("{failure:?}"))
    }

    fn settle_adopted(&mut self, mut live: Live) {
        let (worker, domain) = (live.incarnation.worker, live.domain);
        live.is_launched = true;
        if let Some(sdk) = &live.sdk {
            sdk.board().talk.set_heartbeat(self.registry[worker].launch.watchdog);
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
            live.notify_state.main = Some(heir);
        }
    }
}
