//! What is left of a process tree whose main process is gone.
//!
//! A worker has ended when nothing of its process tree is left. Its main process stays a zombie
//! until then, so that its number, which is its group's, cannot be another's. Where the process
//! tree has a cgroup, that tells at once. Else the list of our own children does, as a rule: a
//! process that outlives its parent in the process tree becomes our child, so that nothing is left
//! where none has. Else the census looks at the process table, and its answer is an event.

use std::collections::HashSet;

use supervision::{DomainId, Event, Incarnation, Status};
use workers::runtime::board::monotonic_ns;

use super::{Means, persist};
use crate::isolation::contract::Ended;
use crate::isolation::domain::Process;
use crate::isolation::exits::{reaper, wait};
use crate::isolation::tree::relative::Relative;
use crate::isolation::tree::snapshot::Snapshot;
use crate::process_table;

/// For what a look has found, before other inputs get their chance.
const BUDGET_NS: u64 = 1_000_000;

impl Means {
    /// Looks whether the main process of a domain has exited, and whether anything of its process
    /// tree is left.
    pub(in crate::isolation) fn reap(&mut self, domain: DomainId) {
        self.look_for_exit(domain);
        self.look_at_gone();
    }

    /// Looks whether the main process of a domain has exited; where the process tree has a cgroup,
    /// also whether anything of it is left. [`look_at_gone`](Self::look_at_gone) is to follow.
    pub(in crate::isolation) fn look_for_exit(&mut self, domain: DomainId) {
        let Some((status, is_news)) = self.exit_of(domain) else { return };
        let Some(resident) = &mut self.registry[domain].resident else { return };
        if resident.process_tree.has_cgroup() {
            let others = resident.process_tree.others_in_cgroup(resident.process.child());
            return self.settle_exit(domain, (status, is_news), others);
        }
        resident.gone = Some((status, is_news));
        // It would be ready until that is settled.
        resident.process.rest();
        self.looks.fresh.push(domain);
    }

    /// How the main process of a domain ended, if it has, and whether that is news.
    fn exit_of(&mut self, domain: DomainId) -> Option<(Status, bool)> {
        let resident = self.registry[domain].resident.as_ref()?;
        if resident.gone.is_some() {
            return None;
        }
        if let Some(status) = resident.exited {
            return Some((status, false));
        }
        let status = self.look_at_main(domain)?;
        (!self.follow_main_pid(domain)).then_some((status, true))
    }

    /// Of those whose main process was just found to be gone: those are over whose process tree no
    /// process can have outlived. For the others the census looks at the process table.
    pub(in crate::isolation) fn look_at_gone(&mut self) {
        let fresh = std::mem::take(&mut self.looks.fresh);
        if fresh.is_empty() {
            return;
        }
        let now = monotonic_ns();
        let has_orphans = self.has_orphans();
        for domain in fresh {
            let Some(resident) = &mut self.registry[domain].resident else { continue };
            // The orphans of one that was taken over came to another.
            if has_orphans || resident.process.child().is_adopted {
                self.await_look(domain, now);
            } else if let Some(exit) = resident.gone.take() {
                self.settle_exit(domain, exit, Vec::new());
            }
        }
    }

    /// Whether anybody has come to us who is no main process: an orphan of some worker, a helper.
    pub(in crate::isolation) fn has_orphans(&self) -> bool {
        let Some(children) = wait::undisturbed(process_table::listed_children) else {
            return true;
        };
        let residents = self.registry.domains().filter_map(|domain| domain.resident.as_ref());
        let mains: HashSet<i32> = residents.map(|resident| resident.process.child().pid).collect();
        let is_being_born = |pid: i32| {
            let expected = self.registry.domains().filter_map(|domain| domain.expected.as_ref());
            expected.into_iter().any(|expected| expected.attempt.is_child(pid))
        };
        children.into_iter().any(|pid| {
            let is_known = mains.contains(&pid) || is_being_born(pid);
            !is_known && process_table::is_alive(pid)
        })
    }

    /// Has the process table looked at, for a domain.
    fn await_look(&mut self, domain: DomainId, at: u64) {
        self.looks.awaited.insert(domain, at);
        self.census.ask(at);
    }

    /// Takes what the census has found of process trees.
    pub(in crate::isolation) fn heed(&mut self, look: &Snapshot) {
        self.looks.note_cost(look.cost());
        let end = monotonic_ns() + BUDGET_NS;
        let due = self.looks.awaited.iter().filter(|(_, since)| **since <= look.begun());
        for domain in due.map(|(domain, _)| *domain).collect::<Vec<_>>() {
            if monotonic_ns() > end {
                return self.census.ring();
            }
            self.looks.awaited.remove(&domain);
            let Some(resident) = &mut self.registry[domain].resident else { continue };
            let others = resident.process_tree.others_in(look, resident.process.child());
            match resident.gone.take() {
                Some(exit) => self.settle_exit(domain, exit, others),
                // It lives, and is to be killed.
                None => self.note_others(domain, others),
            }
        }
    }

    fn settle_exit(
        &mut self,
        domain: DomainId,
        (status, is_news): (Status, bool),
        others: Vec<Relative>,
    ) {
        if others.is_empty() {
            self.finalize(domain, status);
            return;
        }
        self.note_others(domain, others);
        if is_news {
            self.leave_remains(domain, status);
        } else {
            self.looks.later(domain);
        }
    }

    fn note_others(&mut self, domain: DomainId, others: Vec<Relative>) {
        let Some(resident) = &mut self.registry[domain].resident else { return };
        if resident.is_killed && !others.is_empty() {
            let (main, is_over) = (resident.process.child(), &resident.is_over);
            resident.process_tree.kill_these(main, &others, is_over);
        }
        resident.others = others;
    }

    /// What the main process has left behind: killed by the machine's order, unless the worker was
    /// asked to stop and has time. What SDK code has left has none: nothing asks it to stop, and as
    /// a thread it would have ended with its worker.
    fn leave_remains(&mut self, domain: DomainId, status: Status) {
        let Some(resident) = &mut self.registry[domain].resident else { return };
        resident.exited = Some(status);
        // It would be ready for ever.
        resident.process.rest();
        let is_code = matches!(*resident.process, Process::Host(_));
        let members: Vec<Incarnation> = self.members(domain);
        for incarnation in members {
            self.say(incarnation.worker, Event::Exited { incarnation });
        }
        if is_code {
            self.kill_all_of(domain);
        }
        self.looks.soon(domain);
    }

    /// Nothing is left of a domain.
    fn finalize(&mut self, domain: DomainId, status: Status) {
        self.looks.awaited.remove(&domain);
        let slot = &mut self.registry[domain];
        let Some(resident) = slot.resident.take() else { return };
        resident.process_tree.vacate();
        let child = resident.process.child();
        reaper::forget(child);
        let name = self.domain_name(domain);
        persist::forget(&self.store, &name, child.pid);
        let was_oom_killed = resident.process_tree.take_oom_kill();
        let members = self.members(domain);
        let (recycled_for, was_stopped) = (resident.recycled_for, resident.was_stopped);
        let driver = self.driver(domain);
        let ended = Ended { domain, status, was_oom_killed, members, recycled_for, was_stopped };
        driver.end(self, ended);
        self.launch_deferred(domain);
    }

    /// Kills all that belongs to a domain.
    pub(in crate::isolation) fn kill_all_of(&mut self, domain: DomainId) {
        let Some(resident) = &mut self.registry[domain].resident else { return };
        if !resident.kill() {
            self.await_look(domain, monotonic_ns());
        }
    }

    /// When [`look_at_remains`](Self::look_at_remains) is due, in monotonic nanoseconds; `None` as
    /// a rule.
    pub(in crate::isolation) fn next_look(&self) -> Option<u64> {
        self.looks.next_look.into_iter().chain(self.underway.launchers.relief_due()).min()
    }

    /// Looks at those whose main process is gone, if it is time, and whether launches are held up.
    /// True: it was.
    pub(in crate::isolation) fn look_at_remains(&mut self) -> bool {
        self.underway.launchers.relieve();
        if !self.looks.begin() {
            return false;
        }
        let end = monotonic_ns() + BUDGET_NS;
        let mut due = std::mem::take(&mut self.looks.remains);
        while let Some(domain) = due.pop_first() {
            self.look_for_exit(domain);
            if !due.is_empty() && monotonic_ns() > end {
                self.looks.remains.append(&mut due);
                // The rest comes after others had their turn.
                self.looks.next_look = Some(monotonic_ns());
            }
        }
        self.look_at_gone();
        true
    }
}
