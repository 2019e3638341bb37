//! One blow of a storm.

use std::collections::BTreeSet;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use workers::fault::{Blast, Fault, Injection as Order};

use super::Storming;
use crate::config::scenario::radius::{self, Radius};
use crate::config::scenario::script::Phase;
use crate::config::scenario::storm::{Blow, Whom};
use crate::control::client::ClientError;
use crate::control::protocol::{StatusReport, WorkerStatus};
use crate::drill::judge::is_in;
use crate::drill::storm::sometimes::Reached;
use crate::drill::storm::strike::Strike;
use crate::process_table::is_alive;

impl Storming<'_, '_> {
    /// Strikes; what is not there is passed over.
    pub(super) fn strike(&mut self, blow: &Blow, status: Option<&StatusReport>) {
        let is_struck = match (blow, status) {
            (Blow::Kill(_), Some(status)) => self.kill(status),
            (Blow::Fault { worker, fault }, Some(status)) => {
                let victim = status.workers.iter().find(|one| one.name == *worker);
                let is_up = |one: &&WorkerStatus| {
                    (one.phase == "running" || one.phase == "starting") && !one.paused
                };
                victim.filter(is_up).is_some_and(|victim| self.inject(victim, fault))
            }
            (_, None) => false,
        };
        if is_struck {
            self.tally.struck += 1;
        } else {
            self.tally.passed_over += 1;
        }
    }

    fn kill(&mut self, status: &StatusReport) -> bool {
        let pid = status.supervisor.pid;
        // 0 and -1 are not one process (kill(2)), and 1 is no supervisor.
        // One that was killed a moment ago may still be there, and dies once.
        if pid <= 1 || !is_alive(pid) || self.killed == Some(pid) {
            return false;
        }
        self.killed = Some(pid);
        let blow = Blow::Kill(Whom::Supervisor);
        let strike = self.planned(blow, None, &radius::of_supervisor(self.settings));
        self.history.strike(strike);
        self.note_reached(Whom::Supervisor.word(), Some(status));
        kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok()
    }

    fn inject(&mut self, victim: &WorkerStatus, fault: &str) -> bool {
        let order: Order = fault.parse().expect("the reader has looked for it");
        let launches = &self.settings.launches;
        let at = launches.iter().position(|launch| launch.name == victim.name);
        let at = at.expect("the reader has looked for it");
        let blow = Blow::Fault { worker: victim.name.clone(), fault: fault.to_owned() };
        let radius = radius::of_fault(self.settings, at, order);
        let mut strike = self.planned(blow, Some(victim.generation), &radius);
        let entry = order.fault.entry();
        strike.is_silent = entry.process == Blast::Silent || entry.harm.is_some();
        strike.may_end_well = matches!(order.fault, Fault::Exit | Fault::SignalTerm);
        // Before the order: what comes of it may be seen before its answer.
        self.history.strike(strike);
        let answer = self.run.bed.client.inject(&victim.name, fault);
        let strike = self.history.strikes.last_mut().expect("it was put there");
        match answer {
            Ok(done) => {
                strike.is_silent |= done.is_silent;
                strike.is_sure = !done.message.ends_with("broke off");
            }
            Err(ClientError::Failed(_)) => {
                strike.is_sure = false;
                return false;
            }
            // It may have come as far as the order.
            Err(_) => strike.is_sure = false,
        }
        self.run.note(order.fault.name(), victim);
        true
    }

    fn planned(&self, blow: Blow, generation: Option<u64>, radius: &Radius) -> Strike {
        let names = radius.workers.iter().map(|at| self.settings.launches[*at].name.clone());
        Strike {
            blow,
            at: self.now(),
            from: generation,
            to: None,
            known: self.incidents.keys().max().copied().unwrap_or(self.known),
            reach: names.collect::<BTreeSet<String>>(),
            takes_supervisor: radius.supervisor,
            is_silent: false,
            may_end_well: false,
            is_sure: true,
        }
    }

    /// Notes for `sometimes:` how everyone was. `None`: as they were last seen.
    pub(super) fn note_reached(&mut self, fault: &str, status: Option<&StatusReport>) {
        let status = status.or(self.last.as_ref());
        let workers = status.into_iter().flat_map(|status| &status.workers);
        workers.for_each(|worker| self.run.note(fault, worker));
    }
}

/// How a worker was when something struck, in the words of a scenario.
pub(in crate::drill::run) fn reached(
    fault: &str,
    worker: &WorkerStatus,
) -> impl Iterator<Item = Reached> {
    let phases = Phase::WORDS.into_iter().filter(|(_, phase)| is_in(worker, *phase));
    phases.map(|(word, _)| Reached {
        fault: fault.to_owned(),
        worker: worker.name.clone(),
        isolation: worker.isolation.clone(),
        phase: word.to_owned(),
    })
}
