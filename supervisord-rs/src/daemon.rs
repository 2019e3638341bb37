//! The loop: the only clock. One input at a time → the machine → effects → drivers and records.
//!
//! One turn: wait for one input or the next deadline, tell the machine, carry out what it wants,
//! and again until nobody has anything more to say, or the turn's time is over. What is dead is
//! never promoted: the machine asks (`Confirm`) before it says that somebody runs.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;
use supervision::{Effect, Event, Incarnation, Machine, Phase, RequestId, Transition, WorkerId};
use tokio::sync::mpsc;
use tokio::time::Instant;
use workers::Registry;
use workers::board::monotonic_ns;

use crate::config::Settings;
use crate::control::request::Request;
use crate::hooks::Hooks;
use crate::isolation::Drivers;
use crate::isolation::drivers::Remark;
use crate::probing::Probing;
use crate::record::black_box::Count;
use crate::record::events::Events;
use crate::record::incidents::{Incidents, Names};
use crate::record::own_log;
use crate::record::words;
use crate::service_manager::{self, Heritage};

mod around;
mod beside;
mod failures;
mod fault_order;
mod giving_up;
pub mod hand_over;
pub mod hangup;
pub mod in_force;
mod lapse;
mod orders;
mod outcomes;
mod report;
mod scaling;
mod signal_order;
pub mod signals;
mod start;
mod succession;
mod turns;
mod upkeep;
mod waiters;

use start::Started;
use turns::{Turns, Work};
use waiters::Waiters;

/// Requests of clients that wait for their turn; a client beyond that waits for a place.
const REQUESTS: usize = 64;

/// For the events of one turn before other inputs get their chance.
const BUDGET: Duration = Duration::from_millis(4);

/// Looks at what has come before somebody is judged.
const LAST_LOOKS: usize = 8;

/// For the answers that are on their way when the supervisor ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// For the last lines of our own log.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Runs the supervisor until it has stopped everything, on this thread: it must be the main one,
/// since the life of every process worker hangs on the thread that launched it (`PR_SET_PDEATHSIG`,
/// prctl(2)).
///
/// `heritage` is what the service manager has passed on, which is taken over; `gate` is where a
/// predecessor waits.
///
/// Exit status: 0 after an orderly shutdown; that of the critical worker because of which it ended
/// (128 + n for a signal); 1 when a group escalated or the supervisor could not start; 78 is the
/// caller's, for an invalid configuration.
#[must_use]
pub fn run(
    settings: Settings,
    origin: in_force::Origin,
    registry: Registry,
    heritage: Heritage,
    gate: Option<hand_over::Gate>,
) -> ExitCode {
    let rested_at = gate.as_ref().and_then(hand_over::Gate::rested_at);
    let turns = Arc::new(Turns::default());
    let (sleeping, woken) = (Arc::clone(&turns), Arc::clone(&turns));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || sleeping.end(Work::Tasks))
        .on_thread_unpark(move || woken.begin())
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("supervisord-rs: cannot start the event loop: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        // Before anything that takes time: an order to end that comes meanwhile is carried out
        // then.
        let signals = signals::Signals::new().map_err(start::StartError::Signals)?;
        let started = start::start(settings, origin, registry, heritage, gate)?;
        turns.begin();
        Daemon::new(started, turns).run(signals, rested_at).await
    });
    // Tasks of clients are dropped, not waited for.
    runtime.shutdown_background();
    own_log::flush(LAST_LINES);
    match result {
        Ok(code) => ExitCode::from(code),
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
    around: around::Around,
    upkeep: upkeep::Upkeep,
    hand_over: hand_over::Progress,
    probing: Probing,
    hooks: Hooks,
    /// What goes on beside the loop, and what it has to say.
    beside: beside::Beside,
    /// Incidents that wait for the last lines of their culprit.
    unwritten: Vec<failures::Unwritten>,
    /// Whether a turn was broken off so that other inputs get their chance.
    has_more: bool,
    /// When the service manager last heard that the loop turns.
    said_alive: Duration,
    /// Whether the loop ran when it wanted to.
    lapse: lapse::Lapse,
    /// How long the loop was held.
    turns: Arc<Turns>,
    /// Whether the guardian's death is why everything is stopped, and no order to end has come
    /// since.
    ends_with_guardian: bool,
    /// Exit status; set by the last effect.
    exit: Option<u8>,
}

impl Daemon {
    fn new(started: Started, turns: Arc<Turns>) -> Self {
        let Started {
            settings,
            machine,
            drivers,
            names,
            events,
            incidents,
            requests,
            around,
            upkeep,
        } = started;
        let count = names.workers.len();
        let hooks = Hooks::new(around.black_box.counter(Count::DroppedHooks));
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
            upkeep,
            hand_over: hand_over::Progress::default(),
            probing: Probing::default(),
            hooks,
            beside: beside::Beside::new(),
            unwritten: Vec::new(),
            has_more: false,
            said_alive: Duration::ZERO,
            lapse: lapse::Lapse::new(Duration::from_nanos(monotonic_ns())),
            turns,
            ends_with_guardian: false,
            exit: None,
        }
    }

    /// The exit status.
    ///
    /// `rested_at`: since when nobody supervised, where a predecessor gave way.
    async fn run(
        mut self,
        mut signals: signals::Signals,
        rested_at: Option<Duration>,
    ) -> Result<u8, start::StartError> {
        let wakeup = self.drivers.wakeup()?;
        // Before the first thread worker runs: one that calls exit() at once is a death, not a
        // failure to start.
        if !self.around.announce_ready(self.names.workers.len()) {
            // Nothing of ours may be cleared away: all of it is still the predecessor's.
            std::process::exit(1);
        }
        self.open_inherited();
        self.resume_adopted();
        // What they said while nobody was there is heard before anybody is judged.
        self.drivers.collect();
        if let Some(by) = rested_at.map(|at| lapse::granted(self.now().saturating_sub(at))) {
            self.lose(by);
        }
        if service_manager::is_to_shut_down() {
            tracing::info!(
                "the predecessor did not come to the end of stopping everything: going on with that"
            );
            self.shut_down(false);
        }
        self.turn(None);
        self.apply_changes();
        while self.exit.is_none() {
            // What is due is done before another input is taken, so that no flood holds it up;
            // which of the others comes next is drawn by lot (`select!`), so that none of them
            // starves another.
            if self.next_deadline().is_some_and(|at| at <= self.now()) {
                self.on_deadline();
                self.turns.end(Work::Deadline);
                if self.exit.is_some() {
                    break;
                }
            }
            let (now, deadline) = (self.now(), self.next_deadline());
            let deadline = self.lapse.begin_to_wait(now, deadline, self.machine.next_judgement());
            let work = tokio::select! {
                ready = wakeup.wait(|| self.drivers.collect()) => {
                    ready?;
                    self.turn(None);
                    Work::Workers
                }
                signal = signals.next() => {
                    self.on_signal(signal).await;
                    Work::Signal
                }
                said = self.beside.next() => {
                    self.on_said(said);
                    Work::Beside
                }
                Some(request) = self.requests.recv() => {
                    self.on_request(request).await;
                    Work::Request
                }
                () = self.upkeep.loss() => {
                    self.on_loss();
                    Work::Beside
                }
                () = until(deadline) => {
                    self.on_deadline();
                    Work::Deadline
                }
            };
            self.turns.end(work);
            self.hand_over_if_prepared(&mut signals).await;
            // The tasks beside the loop, and the kernel's news, have their turn.
            tokio::task::yield_now().await;
        }
        let code = self.exit.unwrap_or(1);
        self.end().await;
        Ok(code)
    }

    /// Tells the machine what has happened, and does what it wants, until both have nothing more to
    /// say.
    fn turn(&mut self, event: Option<Event>) {
        self.count_lapse(self.now());
        let mut next = event;
        self.has_more = false;
        let end = self.now().saturating_add(BUDGET);
        loop {
            self.remember();
            while let Some(effect) = self.machine.poll_effect() {
                self.apply(effect);
            }
            if next.is_none() && self.now() > end {
                // Something goes round in circles, such as a launch that fails at once: others get
                // their turn.
                self.has_more = true;
                break;
            }
            let Some(event) = next.take().or_else(|| self.drivers.next_event()) else { break };
            // What has come is heard before anybody is judged for what has not.
            let now = if event == Event::Deadline {
                self.time_of_judgement()
            } else {
                self.before_judgement()
            };
            self.machine.handle(now, event);
        }
        while let Some(remark) = self.drivers.next_remark() {
            self.remark(remark);
        }
        self.go_on_beside();
        self.write_settled(false);
        self.answer_waiters();
    }

    /// What was lost until `now` is held against no worker.
    fn count_lapse(&mut self, now: Duration) {
        if let Some(by) = self.lapse.until(now) {
            if lapse::is_real(by) {
                tracing::warn!(
                    "the supervisor did not run for {by:?}: that is held against no worker"
                );
            }
            self.lose(by);
        }
    }

    /// The present moment; what was lost until then has moved the deadlines.
    fn time_of_judgement(&mut self) -> Duration {
        let now = self.now();
        self.count_lapse(now);
        now
    }

    /// So much time is held against no worker.
    fn lose(&mut self, by: Duration) {
        self.machine.handle(self.before_judgement(), Event::TimeLost { by });
        self.probing.on_time_lost(by);
    }

    /// When something is due next: for the machine, for a probe, for those that are dying, for an
    /// incident.
    fn next_deadline(&self) -> Option<Duration> {
        let look = self.drivers.next_look().map(Duration::from_nanos);
        let incident = self.next_unwritten().map(|at| {
            self.now().saturating_add(at.saturating_duration_since(std::time::Instant::now()))
        });
        let at_once = self.has_more.then_some(Duration::ZERO);
        let waiter = self.waiters.next_due().map(|at| {
            self.now().saturating_add(at.saturating_duration_since(std::time::Instant::now()))
        });
        let watchdog = self.around.watchdog.map(|every| self.said_alive.saturating_add(every));
        [
            at_once,
            self.machine.next_deadline(),
            self.probing.next_due(),
            look,
            incident,
            waiter,
            watchdog,
            self.upkeep.due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn on_deadline(&mut self) {
        // Here and nowhere else: a loop that does not come to this point does not turn.
        if self
            .around
            .watchdog
            .is_some_and(|every| self.now() >= self.said_alive.saturating_add(every))
        {
            self.said_alive = self.now();
            self.around.say_alive();
        }
        self.drivers.look_at_remains();
        self.keep_up();
        self.hear_all();
        self.turn(Some(Event::Deadline));
    }

    /// Takes what has come meanwhile, by whatever way: a deadline judges by what was not heard.
    fn hear_all(&mut self) {
        for _ in 0..LAST_LOOKS {
            let has_more = self.drivers.collect();
            self.turn(None);
            if !has_more {
                break;
            }
        }
        for _ in 0..LAST_LOOKS {
            let Some(said) = self.beside.take() else { break };
            self.on_said(said);
        }
    }

    /// The present moment, or the last one before the next judgement.
    fn before_judgement(&self) -> Duration {
        let last =
            self.machine.next_judgement().map(|at| at.saturating_sub(Duration::from_nanos(1)));
        last.map_or(self.now(), |last| last.min(self.now()))
    }

    fn remark(&mut self, remark: Remark) {
        if let Some(warning) = remark.warning {
            let incarnation = remark.incarnation.map(|who| self.names.worker(who.worker));
            let worker = incarnation.or_else(|| remark.detail.get("worker")?.as_str());
            tracing::warn!(worker, "{warning}");
        }
        self.publish(remark.kind, remark.incarnation, remark.detail);
    }

    /// The machine's clock is `CLOCK_MONOTONIC` itself, so that times hold for a successor too.
    fn now(&self) -> Duration {
        Duration::from_nanos(monotonic_ns())
    }

    fn apply(&mut self, effect: Effect) {
        let drivers = &mut self.drivers;
        match effect {
            Effect::Launch { incarnation } => {
                let note = self.around.black_box.note(incarnation.worker.index());
                note.begin_launch();
                note.set_plan(succession::plan(drivers.launch_of(incarnation.worker)));
                let view = self.machine.worker(incarnation.worker);
                drivers.launch(incarnation, view.is_some_and(|view| view.attempt > 0));
            }
            Effect::Withdraw { incarnation } => drivers.withdraw(incarnation),
            Effect::Confirm { incarnation } => drivers.confirm(incarnation),
            Effect::Stop { incarnation } => drivers.stop(incarnation),
            Effect::Kill { incarnation } => drivers.kill(incarnation),
            Effect::Abandon { incarnation } => drivers.abandon(incarnation),
            Effect::Recycle { domain, culprit } => drivers.recycle(domain, culprit),
            Effect::ReadHeartbeat { incarnation } => drivers.read_heartbeat(incarnation),
            Effect::Pause { incarnation } => drivers.pause(incarnation),
            Effect::Resume { incarnation } => drivers.resume(incarnation),
            Effect::ReportRemains { incarnation } => self.report_remains(incarnation),
            Effect::Inject { incarnation, fault } => {
                let note = self.around.black_box.note(incarnation.worker.index());
                note.set_fault_ordered(fault.code, fault.parameter, monotonic_ns());
                drivers.inject(incarnation, fault);
                let name = workers::fault::Fault::from_code(fault.code)
                    .map_or("unknown", |fault| fault.name());
                self.publish("injected", Some(incarnation), json!({ "fault": name }));
            }
            Effect::Signal { incarnation, signal } => drivers.signal(incarnation, signal),
            Effect::Transition(transition) => self.on_transition(&transition),
            Effect::IncidentOpened(incident) => self.on_incident_opened(&incident),
            Effect::IncidentClosed(incident) => self.on_incident_closed(&incident),
            Effect::IncidentAgain { incident, incarnation, count } => {
                self.on_incident_again(incident, incarnation, count);
            }
            Effect::InVain { worker, on } => self.on_in_vain(worker, on),
            Effect::GivesUp(why) => self.on_giving_up(why),
            Effect::Reply { request, result } => self.on_reply(request, result),
            Effect::Exit { orderly, critical } => self.exit = Some(exit_code(orderly, critical)),
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
            let report = words::ending(ending, reading, message);
            if ending.cause.is_failure() {
                self.note_failure(incarnation, &report);
            }
            self.endings[index] = Some(report);
        }
        let detail = json!({
            "from": words::phase(from),
            "to": words::phase(to),
            "ending": ending.map(|_| &self.endings[index]),
        });
        self.publish("phase", Some(incarnation), detail);
        let worker = self.names.worker(incarnation.worker);
        let (from, to) = (words::phase(from), words::phase(to));
        let fault_domain = self.fault_domain(incarnation.worker);
        let generation = incarnation.generation.0;
        if transition.to == Phase::Quarantined {
            tracing::error!(worker, generation, fault_domain, from, to, "{worker} is quarantined");
        } else {
            tracing::info!(target: "phase", worker, generation, fault_domain, from, to, "{worker} is {to}");
        }
        let launch = self.drivers.launch_of(incarnation.worker);
        let (ready, health) = (launch.ready.clone(), launch.health.clone());
        let now = self.now();
        self.probing.on_phase(incarnation, transition.to, &ready, &health, now);
        self.fire_transition(transition);
    }

    fn fault_domain(&self, worker: WorkerId) -> &str {
        &self.names.domains[self.machine.spec().workers[worker.index()].domain.index()]
    }

    /// What was killed is still there: who, and in what state.
    fn report_remains(&mut self, incarnation: Incarnation) {
        let members = self.drivers.family_of(incarnation.worker);
        let named: Vec<String> = members
            .iter()
            .map(|member| format!("{} {} {}", member.pid, member.name, member.state))
            .collect();
        let worker = self.names.worker(incarnation.worker).to_owned();
        tracing::error!(worker, processes = ?named, "killed, and still there: the kernel does not let them die (state D)");
        self.publish("remains", Some(incarnation), json!({ "processes": named }));
    }

    /// Writes to the black box what a successor needs to go on from here: before anything is done,
    /// so that what is being done when we die is known.
    fn remember(&mut self) {
        if self.machine.is_shutting_down() {
            self.around.black_box.set_stopping();
        }
        while let Some(worker) = self.machine.poll_changed() {
            if let Some(memo) = self.machine.memo(worker) {
                self.around.black_box.note(worker.index()).remember(&memo);
            }
        }
    }

    fn publish(&mut self, kind: &str, who: Option<Incarnation>, detail: serde_json::Value) {
        let who = who.map(|who| (self.names.worker(who.worker), who.generation.0));
        self.events.publish(kind, who, detail);
    }

    /// Nothing runs any more that we were told to run: leave nothing else behind either.
    async fn end(mut self) {
        self.end_beside().await;
        self.drivers.end_all();
        self.write_settled(true);
        // Streams of events end with their source; everyone else gets the answer that is on its
        // way.
        self.events = Events::default();
        self.requests.close();
        let listener = match self.around.server.take() {
            Some(server) => server.end(LAST_ANSWERS).await,
            None => None,
        };
        self.around.end(listener.as_ref());
        tracing::info!("stopped");
        self.around.scribe.flush(Duration::from_secs(5));
    }
}

/// Until `deadline`; for ever without one. No timer is armed then.
async fn until(deadline: Option<Duration>) {
    match deadline {
        None => std::future::pending().await,
        Some(deadline) => {
            let rest = deadline.saturating_sub(Duration::from_nanos(monotonic_ns()));
            if !rest.is_zero() {
                tokio::time::sleep_until(Instant::now() + rest).await;
            }
        }
    }
}

/// The exit status of a supervisor that ends because of a critical worker is that worker's, as a
/// shell has it.
fn exit_code(orderly: bool, critical: Option<supervision::Ending>) -> u8 {
    use supervision::Status;
    let code = match critical.map(|ending| ending.status) {
        None => i32::from(!orderly),
        Some(Status::Exited(code)) => code,
        Some(Status::Signaled { signal, .. }) => 128 + signal,
        Some(Status::Returned) => 0,
        Some(Status::NotLaunched(failure)) => crate::isolation::launch::exit_code(failure),
        Some(Status::Failed | Status::Panicked | Status::Abandoned | Status::Unknown) => 1,
    };
    u8::try_from(code).unwrap_or(1)
}
