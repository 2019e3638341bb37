//! The loop: the only clock. One input at a time → the machine → effects → drivers and records.
//!
//! One turn: wait for one input or the next deadline, tell the machine, carry out what it wants, and again until nobody
//! has anything more to say. Exits are taken before anything else, so that what is dead is never promoted.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::json;
use supervision::{Effect, Event, Incarnation, Incident, Machine, Phase, RequestId, Transition};
use tokio::sync::mpsc;
use tokio::time::Instant;
use workers::Registry;
use workers::board::monotonic_ns;

use crate::config::Settings;
use crate::control::request::Request;
use crate::isolation::{Drivers, Evidence};
use crate::record::events::Events;
use crate::record::incidents::{Incidents, Names, Opened};
use crate::record::words;

mod orders;
mod report;
mod signals;
mod start;
mod waiters;

use start::Started;
use waiters::Waiters;

/// Requests of clients that wait for their turn; a client beyond that waits for a place.
const REQUESTS: usize = 64;

/// For the answers that are on their way when the supervisor ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Runs the supervisor until it has stopped everything, on this thread: it must be the main one, since the life of
/// every process worker hangs on the thread that launched it (`PR_SET_PDEATHSIG`, prctl(2)).
///
/// Exit status: 0 after an orderly shutdown; 1 when a group escalated or the supervisor could not start; 78 is the
/// caller's, for an invalid configuration.
#[must_use]
pub fn run(settings: Settings, registry: Registry) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("supervisord-rs: cannot start the event loop: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        let started = start::start(settings, registry)?;
        Daemon::new(started).run().await
    });
    // Tasks of clients are dropped, not waited for.
    runtime.shutdown_background();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("supervisord-rs: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The supervisor, running.
#[derive(Debug)]
struct Daemon {
    settings: Settings,
    machine: Machine,
    drivers: Drivers,
    names: Names,
    events: Events,
    incidents: Incidents,
    waiters: Waiters,
    pending: BTreeMap<RequestId, orders::Pending>,
    next_request: u64,
    /// When each worker entered its phase, by wall time, for people.
    since: Vec<SystemTime>,
    /// How each worker's last incarnation ended, with the words that the machine does not know.
    endings: Vec<Option<crate::control::protocol::EndingReport>>,
    requests: mpsc::Receiver<Request>,
    around: start::Surroundings,
    /// Set by the last effect.
    exit: Option<bool>,
}

impl Daemon {
    fn new(started: Started) -> Self {
        let Started { settings, machine, drivers, names, events, incidents, requests, around } = started;
        let count = names.workers.len();
        Self {
            settings,
            machine,
            drivers,
            names,
            events,
            incidents,
            waiters: Waiters::default(),
            pending: BTreeMap::new(),
            next_request: 0,
            since: vec![SystemTime::now(); count],
            endings: vec![None; count],
            requests,
            around,
            exit: None,
        }
    }

    /// True when everything ended in order.
    async fn run(mut self) -> Result<bool, start::StartError> {
        let mut signals = signals::Signals::new().map_err(start::StartError::Signals)?;
        let wakeup = self.drivers.wakeup()?;
        // Before the first thread worker runs: one that calls exit() at once is a death, not a failure to start.
        self.around.announce_ready(self.names.workers.len());
        self.open_inherited();
        self.turn(None);
        while self.exit.is_none() {
            let deadline = self.machine.next_deadline();
            tokio::select! {
                biased;
                ready = wakeup.wait(|| self.drivers.collect()) => match ready {
                    Ok(()) => self.turn(None),
                    Err(error) => return Err(error.into()),
                },
                signal = signals.next() => self.on_signal(signal),
                Some(request) = self.requests.recv() => self.on_request(request),
                () = until(self.around.base, deadline) => self.turn(Some(Event::Deadline)),
            }
        }
        let orderly = self.exit.unwrap_or(false);
        self.end().await;
        Ok(orderly)
    }

    /// Tells the machine what has happened, and does what it wants, until both have nothing more to say.
    fn turn(&mut self, event: Option<Event>) {
        let mut next = event;
        loop {
            while let Some(effect) = self.machine.poll_effect() {
                self.apply(effect);
            }
            let Some(event) = next.take().or_else(|| self.drivers.next_event()) else { break };
            self.machine.handle(self.now(), event);
        }
        self.answer_waiters();
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(monotonic_ns().saturating_sub(self.around.base))
    }

    fn apply(&mut self, effect: Effect) {
        let base = self.around.base;
        let drivers = &mut self.drivers;
        match effect {
            Effect::Launch { incarnation } => {
                self.around
                    .black_box
                    .note(incarnation.worker.index())
                    .set_generation(incarnation.generation.0);
                drivers.launch(incarnation);
                let pid = drivers.pid(incarnation.worker).unwrap_or(0);
                self.around.black_box.note(incarnation.worker.index()).set_pid(pid);
            }
            Effect::Confirm { incarnation } => drivers.confirm(incarnation),
            Effect::Stop { incarnation } => drivers.stop(incarnation),
            Effect::Kill { incarnation } => drivers.kill(incarnation),
            Effect::Abandon { incarnation } => drivers.abandon(incarnation),
            Effect::Recycle { domain, culprit } => drivers.recycle(domain, culprit),
            Effect::ReadHeartbeat { incarnation } => drivers.read_heartbeat(incarnation, base),
            Effect::Inject { incarnation, fault } => {
                let note = self.around.black_box.note(incarnation.worker.index());
                note.set_fault_ordered(fault.code, fault.parameter, monotonic_ns());
                drivers.inject(incarnation, fault);
                let name =
                    workers::fault::Fault::from_code(fault.code).map_or("unknown", |fault| fault.name());
                self.publish("injected", Some(incarnation), json!({ "fault": name }));
            }
            Effect::Signal { incarnation, signal } => drivers.signal(incarnation, signal),
            Effect::Transition(transition) => self.on_transition(&transition),
            Effect::IncidentOpened(incident) => self.on_incident_opened(&incident),
            Effect::IncidentClosed(incident) => self.on_incident_closed(&incident),
            Effect::Reply { request, result } => self.on_reply(request, result),
            Effect::Exit { orderly } => self.exit = Some(orderly),
        }
    }

    fn on_transition(&mut self, transition: &Transition) {
        let Transition { incarnation, from, to, ending, .. } = *transition;
        let index = incarnation.worker.index();
        self.since[index] = SystemTime::now();
        if let Some(ending) = ending {
            let evidence = self.drivers.evidence(incarnation);
            let reading = evidence.and_then(|evidence| evidence.reading.as_ref());
            let message = evidence.and_then(|evidence| evidence.message.as_deref());
            self.endings[index] = Some(words::ending(ending, reading, message));
        }
        self.note(incarnation, to);
        let detail = json!({
            "from": words::phase(from),
            "to": words::phase(to),
            "ending": ending.map(|_| &self.endings[index]),
        });
        self.publish("phase", Some(incarnation), detail);
        let worker = self.names.worker(incarnation.worker);
        let (from, to) = (words::phase(from), words::phase(to));
        tracing::debug!(worker, generation = incarnation.generation.0, from, to, "phase");
    }

    /// Writes to the black box what a successor needs.
    fn note(&self, incarnation: Incarnation, phase: Phase) {
        let Some(view) = self.machine.worker(incarnation.worker) else { return };
        let note = self.around.black_box.note(incarnation.worker.index());
        note.set_phase(phase);
        note.set_stopped(view.stopped);
        note.set_restarts(view.restarts);
        note.set_attempt(view.attempt);
        let base = self.around.base;
        note.set_failures(view.failures.iter().map(|at| base.saturating_add(nanos(*at))));
    }

    fn on_incident_opened(&mut self, incident: &Incident) {
        let now = monotonic_ns();
        let drivers = &mut self.drivers;
        let mut evidence: BTreeMap<Incarnation, Evidence> = BTreeMap::new();
        let concerned = incident.lost.iter().map(|loss| loss.incarnation).chain(incident.culprit);
        for incarnation in concerned {
            if let Some(found) = drivers.evidence_or_now(incarnation) {
                evidence.insert(incarnation, found);
            }
        }
        let mut opened = Opened::new(incident, &evidence, now);
        // The first of all is the predecessor's death, where there was one.
        if let Some(died_at) = self.around.inherited_death.take() {
            opened.supervisor_died = true;
            opened.struck_at = opened.struck_at.or(died_at.filter(|&at| at <= opened.seen_at));
        }
        self.around.black_box.set_last_incident(incident.id.0);
        let domain = &self.names.domains[incident.domain.index()];
        let detail = json!({
            "id": incident.id.0,
            "domain": domain,
            "cause": words::cause(incident.ending.cause),
            "ending": opened.ending,
            "lost": incident.lost.iter().map(|loss| self.names.worker(loss.incarnation.worker)).collect::<Vec<_>>(),
        });
        self.incidents.open(incident.id, opened);
        self.publish("incident-opened", incident.culprit, detail);
    }

    fn on_incident_closed(&mut self, incident: &Incident) {
        let drivers = &self.drivers;
        let now = self.now();
        let machine = &self.machine;
        let is_stalled = |incarnation: Incarnation| {
            let limit = machine.spec().workers[incarnation.worker.index()].heartbeat;
            let reading = drivers.reading(incarnation.worker);
            limit.zip(reading).is_some_and(|(limit, reading)| {
                let silent = monotonic_ns().saturating_sub(reading.heartbeat_at.unwrap_or(0));
                !reading.is_waiting && Duration::from_nanos(silent) > limit && now > limit
            })
        };
        let is_live = |incarnation| drivers.is_live(incarnation);
        let record = self.incidents.settle(incident, self.around.base, is_live, is_stalled);
        tracing::warn!(incident = record.id, "{}", record.sentence);
        let line = serde_json::to_string(&record).expect("a record of strings and numbers is valid JSON");
        let path = std::sync::Arc::clone(self.incidents.path());
        if !self.drivers.scribe().record(&path, line) {
            tracing::error!(
                incident = record.id,
                "incident not written: the disk is too slow; it is kept in memory"
            );
        }
        let detail = serde_json::to_value(&record).expect("as above");
        self.publish("incident", incident.culprit, detail);
    }

    /// The incident of the predecessor's death was seen by us, but what is known of it is in its black box.
    fn open_inherited(&mut self) {
        if let Some(evidence) = self.around.inherited_evidence.take() {
            self.drivers.adopt_evidence(evidence);
        }
    }

    fn publish(&mut self, kind: &str, who: Option<Incarnation>, detail: serde_json::Value) {
        let who = who.map(|who| (self.names.worker(who.worker), who.generation.0));
        self.events.publish(kind, who, detail);
    }

    /// Nothing runs any more that we were told to run: leave nothing else behind either.
    async fn end(mut self) {
        self.drivers.end_all();
        // Streams of events end with their source; everyone else gets the answer that is on its way.
        self.events = Events::default();
        self.requests.close();
        if let Some(server) = self.around.server.take() {
            server.end(LAST_ANSWERS).await;
        }
        self.around.end();
        tracing::info!("stopped");
        self.drivers.scribe().flush(Duration::from_secs(5));
    }
}

impl std::fmt::Debug for start::Surroundings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Surroundings").field("base", &self.base).finish_non_exhaustive()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Until `deadline` on the machine's clock; for ever without one. No timer is armed then.
async fn until(base: u64, deadline: Option<Duration>) {
    match deadline {
        None => std::future::pending().await,
        Some(deadline) => {
            let elapsed = Duration::from_nanos(monotonic_ns().saturating_sub(base));
            tokio::time::sleep_until(Instant::now() + deadline.saturating_sub(elapsed)).await;
        }
    }
}
