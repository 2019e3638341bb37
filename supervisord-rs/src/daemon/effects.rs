//! What the machine wants, carried out by drivers, records and clients.

use std::time::SystemTime;

use supervision::{Effect, Incarnation, Phase, Transition};
use workers::runtime::board::monotonic_ns;
use workers::runtime::briefing::PreviousEnding;

use super::naming::{fault_domain, in_words};
use super::{Daemon, recovery};
use crate::control::protocol::EndingReport;
use crate::process_table;
use crate::record::event::What;
use crate::record::words;

impl Daemon {
    pub(super) fn apply(&mut self, effect: Effect) {
        if let Some(incarnation) = concerned(&effect)
            && self.launches.take(incarnation)
        {
            self.launch(incarnation);
        }
        let drivers = &mut self.drivers;
        match effect {
            Effect::Launch { incarnation } => self.queue_launch(incarnation),
            Effect::Withdraw { incarnation } => drivers.withdraw(incarnation),
            Effect::StopLaunch { incarnation } => self.stop_launch(incarnation),
            Effect::Confirm { incarnation } => drivers.confirm(incarnation),
            Effect::Stop { incarnation } => {
                let spec = &self.machine.spec().workers[incarnation.worker.index()];
                drivers.stop(incarnation, spec.stop.timeout);
            }
            Effect::Kill { incarnation } | Effect::Abandon { incarnation } => {
                drivers.kill(incarnation);
            }
            Effect::Recycle { domain, culprit } => drivers.recycle(domain, culprit),
            Effect::ReadHeartbeat { incarnation } => drivers.read_heartbeat(incarnation),
            Effect::Pause { incarnation } => drivers.pause(incarnation),
            Effect::Resume { incarnation } => drivers.resume(incarnation),
            Effect::ReportRemains { incarnation } => self.report_remains(incarnation),
            Effect::Inject { incarnation, fault } => {
                let note = self.black_box.note(incarnation.worker.index());
                note.set_fault_ordered(fault.code, fault.parameter, monotonic_ns());
                drivers.inject(incarnation, fault);
                let fault = workers::fault::Fault::from_code(fault.code)
                    .map_or("unknown", |fault| fault.name());
                self.emit(Some(incarnation), What::Injected { fault });
            }
            Effect::Signal { incarnation, signal } => drivers.signal(incarnation, signal),
            Effect::Transition(transition) => self.on_transition(&transition),
            Effect::IncidentOpened(incident) => self.on_incident_opened(&incident),
            Effect::IncidentClosed(incident) => self.on_incident_closed(&incident),
            Effect::IncidentAgain { incident, incarnation, count } => {
                self.emit(Some(incarnation), What::IncidentAgain { id: incident, count });
            }
            Effect::InVain { worker, on } => self.on_in_vain(worker, on),
            Effect::StartsWithout { worker, on } => self.on_start_without(worker, on),
            Effect::GivesUp(why) => self.on_giving_up(why),
            Effect::Reply { request, result } => self.on_reply(request, result),
            Effect::Exit { orderly, critical } => self.end.set(exit_code(orderly, critical)),
        }
    }

    /// A launch takes its time, and many may be wanted at once: what else is wanted goes first, and
    /// so does one that ran well and is down.
    fn queue_launch(&mut self, incarnation: Incarnation) {
        let is_urgent = incarnation.generation.0 > 1 && !self.is_again(incarnation);
        self.launches.add(incarnation, is_urgent);
    }

    /// Launches the next one. False: none waits.
    pub(super) fn launch_next(&mut self) -> bool {
        let next = self.launches.next();
        next.is_some_and(|incarnation| {
            self.launch(incarnation);
            true
        })
    }

    fn launch(&mut self, incarnation: Incarnation) {
        let note = self.black_box.note(incarnation.worker.index());
        note.begin_launch();
        if let Some(fault) = self.drivers.fault_at_launch(incarnation) {
            note.set_fault_ordered(fault.code, fault.parameter, monotonic_ns());
        }
        let take = || recovery::fingerprint(self.drivers.launch_of(incarnation.worker));
        note.set_fingerprint(self.launches.fingerprint(incarnation.worker, take));
        self.drivers.brief(incarnation.worker, self.previous_ending(incarnation));
        self.drivers.launch(incarnation, self.is_again(incarnation));
    }

    /// How the incarnation before this one ended.
    fn previous_ending(&self, incarnation: Incarnation) -> Option<PreviousEnding> {
        let EndingReport { cause, message, .. } =
            self.histories.ending(incarnation.worker)?.clone();
        let generation = incarnation.generation.0.checked_sub(1)?;
        Some(PreviousEnding::new(generation, cause, message))
    }

    /// Drops a launch that waits here or with the drivers.
    fn stop_launch(&mut self, incarnation: Incarnation) {
        if self.launches.take(incarnation) {
            self.drivers.drop_launch(incarnation);
        } else {
            self.drivers.stop_launch(incarnation);
        }
    }

    /// Whether the worker has failed since it was last stable.
    fn is_again(&self, incarnation: Incarnation) -> bool {
        self.machine.worker(incarnation.worker).is_some_and(|view| view.attempt > 0)
    }

    pub(super) fn on_transition(&mut self, transition: &Transition) {
        let Transition { incarnation, from, to, ending, .. } = *transition;
        let index = incarnation.worker.index();
        self.histories.enter(incarnation.worker, SystemTime::now());
        if let Some(ending) = ending {
            let evidence = self.drivers.evidence(incarnation);
            let reading = evidence.and_then(|evidence| evidence.reading.as_ref());
            let message = evidence.and_then(|evidence| evidence.message.as_deref());
            let report = words::ending(ending, reading, message);
            if ending.cause.is_failure() {
                self.note_failure(incarnation, &report);
            }
            self.black_box.account(index).write(ending, &report);
            self.histories.end(incarnation.worker, Some(report));
        }
        let has_succeeded = to == Phase::Finished && self.view().has_succeeded(incarnation.worker);
        let what = What::Phase {
            from,
            to,
            ending: ending.and(self.histories.ending(incarnation.worker)),
            fault_domain: fault_domain(&self.names, &self.machine, incarnation.worker),
            has_succeeded,
        };
        self.observers.tell(&self.names, Some(incarnation), what);
        let launch = self.drivers.launch_of(incarnation.worker);
        let (ready, health) = (launch.ready.clone(), launch.health.clone());
        let now = self.now();
        self.probing.on_phase(incarnation, to, &ready, &health, now);
    }

    /// What was killed is still there: who, and in what state.
    pub(super) fn report_remains(&mut self, incarnation: Incarnation) {
        let members = self.drivers.tree_of(incarnation.worker);
        let named: Vec<String> = members.iter().map(in_words).collect();
        let tracer = members.iter().find_map(|member| process_table::tracer(member.pid));
        let why = match tracer {
            Some(tracer) => {
                format!("process {tracer} traces them: end it, or have it let go of them")
            }
            None => "the kernel does not let them die (state D)".to_owned(),
        };
        self.emit(Some(incarnation), What::Remains { processes: &named, why: &why });
    }

    /// Writes to the black box what a successor needs to go on from here: before anything is done,
    /// so that what is being done when we die is known.
    pub(super) fn remember(&mut self) {
        self.black_box.set_stale_events(self.machine.stale_events());
        if self.machine.is_shutting_down() {
            self.black_box.set_stopping();
        }
        while let Some(worker) = self.machine.poll_changed() {
            if let Some(checkpoint) = self.machine.checkpoint(worker) {
                self.black_box.note(worker.index()).remember(&checkpoint);
            }
        }
    }
}

/// The exit status of a supervisor that ends because of a critical worker is that worker's, as a
/// shell has it.
pub(super) fn exit_code(orderly: bool, critical: Option<supervision::Ending>) -> u8 {
    use supervision::Status;
    let code = match critical.map(|ending| ending.status) {
        None => i32::from(!orderly),
        Some(Status::Exited(code)) => code,
        Some(Status::Signaled { signal, .. }) => 128 + signal,
        Some(Status::Returned) => 0,
        Some(Status::NotLaunched(failure)) => words::exit_code(failure),
        Some(Status::Failed | Status::Panicked | Status::Abandoned | Status::Unknown) => 1,
    };
    u8::try_from(code).unwrap_or(1)
}

/// Whose launch must have been begun before this is done.
fn concerned(effect: &Effect) -> Option<Incarnation> {
    match effect {
        Effect::Withdraw { incarnation }
        | Effect::Confirm { incarnation }
        | Effect::Stop { incarnation }
        | Effect::Kill { incarnation }
        | Effect::Abandon { incarnation }
        | Effect::ReadHeartbeat { incarnation }
        | Effect::Pause { incarnation }
        | Effect::Resume { incarnation }
        | Effect::ReportRemains { incarnation }
        | Effect::Inject { incarnation, .. }
        | Effect::Signal { incarnation, .. }
        | Effect::Recycle { culprit: incarnation, .. } => Some(*incarnation),
        Effect::Launch { .. }
        | Effect::StopLaunch { .. }
        | Effect::Transition(_)
        | Effect::IncidentOpened(_)
        | Effect::IncidentClosed(_)
        | Effect::IncidentAgain { .. }
        | Effect::InVain { .. }
        | Effect::StartsWithout { .. }
        | Effect::GivesUp(_)
        | Effect::Reply { .. }
        | Effect::Exit { .. } => None,
    }
}
