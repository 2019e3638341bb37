//! `inject`: a fault is ordered, and its client learns whether anything can come of it.

use std::str::FromStr;

use supervision::{Command, FaultId, WorkerId};
use workers::fault::{Blast, Fault, Moment};

use super::unanswered::Pending;
use crate::config::{Program, id_of, missing_for};
use crate::control::protocol::{Done, Failure, InjectRequest};
use crate::control::request::{Answer, Peer};
use crate::daemon::Daemon;
use crate::daemon::view::View;
use crate::process_table;
use crate::record::words;

impl Daemon {
    pub(in crate::daemon) fn order_fault(
        &mut self,
        request: &InjectRequest,
        peer: Peer,
        answer: Answer<Done>,
    ) {
        match self.view().fault(request) {
            Err(failure) => drop(answer.send(Err(failure))),
            Ok((worker, fault)) => {
                self.log_order("inject", &format!("{} {}", request.worker, request.fault), peer);
                let is_unnoticed = self.view().is_unnoticed(worker, fault);
                let ends_nothing = Fault::from_code(fault.code).is_some_and(|fault| {
                    fault.entry().harm.is_some() || fault.moment() != Moment::Now
                });
                let ignored = self.view().ignores(worker, fault);
                let (name, fault_name) = (&request.worker, &request.fault);
                let message = match &ignored {
                    Some(signal) => format!("{name} ignores {signal}: no incident comes of it"),
                    None if is_unnoticed && !ends_nothing => format!(
                        "{fault_name} ordered in {name}; the supervisor does not notice it, and no \
                         incident comes of it: a `heartbeat:` or a liveness probe (`health:`) would \
                         show it"
                    ),
                    None if is_unnoticed => self.view().of_silent(worker, fault, request),
                    None => format!("{fault_name} ordered in {name}"),
                };
                let is_silent = is_unnoticed || ignored.is_some();
                let subject = request.worker.clone();
                let pending = Pending { is_silent, ..Pending::accepted(answer, message, subject) };
                self.order(Command::Inject { worker, fault }, pending);
            }
        }
    }
}

impl View<'_> {
    fn fault(&self, request: &InjectRequest) -> Result<(WorkerId, FaultId), Failure> {
        let worker = self.resolve_one(&request.worker)?;
        let invalid = |message: String| Failure::new("invalid", message);
        let refused = |message: String| Failure::new("refused", message);
        let fault = workers::fault::Injection::from_str(&request.fault)
            .map_err(|error| invalid(error.to_string()))?;
        let is_command = matches!(self.drivers.launch_of(worker).program, Program::Command(_));
        if is_command && fault.fault.signal().is_none() {
            return Err(refused(format!(
                "{} is a command: only faults from outside can be committed in it ({})",
                request.worker,
                Fault::all()
                    .filter(|fault| fault.signal().is_some())
                    .map(|fault| fault.name())
                    .collect::<Vec<_>>()
                    .join(", "),
            )));
        }
        let uses = &self.drivers.launch_of(worker).uses;
        if let Some(kind) = missing_for(fault.fault, uses) {
            let (worker, fault) = (&request.worker, fault.fault.name());
            return Err(refused(format!(
                "{fault} strikes a {kind}, and {worker} uses none: write one in its `uses:`"
            )));
        }
        let capabilities = self.machine.spec().capabilities(worker);
        if fault.fault.signal().is_some() && !capabilities.has_process() {
            let worker = &request.worker;
            return Err(refused(format!("{worker} has no process that a signal could strike")));
        }
        if fault.fault.is_order() && capabilities.is_of_supervisor() {
            let (worker, fault) = (&request.worker, fault.fault.name());
            return Err(refused(format!(
                "{worker} is {}, for which {fault} is an order to stop everything: \
                 `supervisord-rs shutdown` does that",
                capabilities.place
            )));
        }
        Ok((worker, id_of(fault)))
    }

    /// What there is to say of a fault of which no incident comes now.
    fn of_silent(&self, worker: WorkerId, fault: FaultId, request: &InjectRequest) -> String {
        let ordered = format!("{} ordered in {}", request.fault, request.worker);
        let Some(fault) = Fault::from_code(fault.code) else { return ordered };
        if fault.moment() == Moment::Now {
            let has_own = self.machine.spec().capabilities(worker).has_own_memory;
            let harm = fault.entry().harm.map(|harm| harm[usize::from(has_own)]);
            let harm = harm.map_or_else(String::new, |harm| format!(": {harm}"));
            return format!(
                "{ordered}; the supervisor does not notice it, and no incident comes of it{harm}"
            );
        }
        let when = if fault.moment() == Moment::Stop { "its next stop" } else { "its next launch" };
        format!(
            "{ordered}, to be committed at {when}: `supervisord-rs restart {}` brings it about",
            request.worker
        )
    }

    /// Whether the process of a worker ignores the signal that this fault consists of.
    fn ignores(&self, worker: WorkerId, fault: FaultId) -> Option<String> {
        let signal = Fault::from_code(fault.code)?.signal()?;
        let status = process_table::entry(self.drivers.pid(worker)?).join("status");
        let ignored = process_table::mask(&status, "SigIgn:")?;
        let bit = u32::try_from(signal - 1).ok()?;
        (ignored >> bit & 1 == 1).then(|| words::signal(signal))
    }

    /// Whether a fault does its harm without an ending and without anyone who could notice it. What
    /// only a probe or a memory limit may notice is not called unnoticed.
    fn is_unnoticed(&self, worker: WorkerId, fault: FaultId) -> bool {
        match Fault::from_code(fault.code) {
            Some(Fault::Leak) => {
                let limit = self.drivers.limits_of(worker).and_then(|limits| limits.memory);
                limit.is_none_or(|limit| fault.parameter < limit)
            }
            Some(Fault::SignalStop) => {
                let spec = self.machine.spec();
                let domain = spec.workers[worker.index()].domain;
                let mut all = (0..).map(WorkerId).zip(&spec.workers);
                // It stops the supervisor, which the guardian or the service manager sees.
                !spec.capabilities(worker).is_of_supervisor()
                    && !all.any(|(id, known)| known.domain == domain && self.is_watched(id))
            }
            Some(Fault::Hang | Fault::BusyLoop | Fault::Vanish) => !self.is_watched(worker),
            Some(fault) => fault.entry().process == Blast::Silent || fault.moment() != Moment::Now,
            None => false,
        }
    }

    /// Whether a worker that does nothing more is noticed: by its heartbeat or a liveness probe.
    fn is_watched(&self, worker: WorkerId) -> bool {
        let heartbeat = self.machine.spec().workers[worker.index()].heartbeat;
        heartbeat.is_some_and(|limit| !limit.is_zero())
            || self.drivers.launch_of(worker).health.liveness.is_some()
    }
}
