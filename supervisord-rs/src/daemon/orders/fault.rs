//! `inject`: a fault is ordered, and its client learns whether anything can come of it.

use std::str::FromStr;

use supervision::{Command, FaultId, WorkerId};
use workers::fault::Fault;

use super::unanswered::Pending;
use crate::config::Program;
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
                let is_leak = Fault::from_code(fault.code) == Some(Fault::Leak);
                let ignored = self.view().ignores(worker, fault);
                let (name, fault_name) = (&request.worker, &request.fault);
                let message = match &ignored {
                    Some(signal) => format!("{name} ignores {signal}: no incident comes of it"),
                    None if is_unnoticed && !is_leak => format!(
                        "{fault_name} ordered in {name}; the supervisor does not notice it, and no \
                         incident comes of it: a `heartbeat:` or a liveness probe (`health:`) would \
                         show it"
                    ),
                    None if is_unnoticed => format!(
                        "{fault_name} ordered in {name}; the supervisor does not notice it, and no \
                         incident comes of it"
                    ),
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
        Ok((worker, FaultId { code: fault.fault.code(), parameter: fault.parameter }))
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
            Some(_) | None => false,
        }
    }

    /// Whether a worker that does nothing more is noticed: by its heartbeat or a liveness probe.
    fn is_watched(&self, worker: WorkerId) -> bool {
        let heartbeat = self.machine.spec().workers[worker.index()].heartbeat;
        heartbeat.is_some_and(|limit| !limit.is_zero())
            || self.drivers.launch_of(worker).health.liveness.is_some()
    }
}
