//! A world in virtual time around the machine: it answers effects as drivers would, and checks
//! every invariant after every step with a model of its own.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

mod kinds;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use supervision::spec::{
    Backoff, Condition, Dependency, DomainSpec, Exit, GroupSpec, InjectionSpec, Limit, OnHang,
    Readiness, Restart, RestartPolicy, StartLimits, Stop, Strategy, WorkerSpec,
};
use supervision::{
    Cause, Checkpoint, Command, Culprit, DomainId, Effect, Ending, Event, Fate, FaultId,
    Generation, Incarnation, Incident, LaunchFailure, LaunchStage, Machine, Outcome, Phase,
    Recovered, RecoveredDeath, RecoveredWorker, RequestId, Spec, Status, Transition, WorkerId,
};

pub use kinds::{CELL, PROCESS, THREAD};

pub const MS: Duration = Duration::from_millis(1);

/// A specification of process workers with plain policies, to be changed by each test.
pub fn spec(names: &[&str]) -> Spec {
    let mut domains = vec![DomainSpec { name: "supervisor".into(), capabilities: &THREAD }];
    let workers = names
        .iter()
        .map(|name| {
            domains.push(DomainSpec { name: (*name).into(), capabilities: &PROCESS });
            worker(name, DomainId(domains.len() as u32 - 1))
        })
        .collect();
    Spec {
        workers,
        groups: Vec::new(),
        domains,
        shutdown_timeout: 1000 * MS,
        fault_injection: true,
        start: StartLimits::default(),
    }
}

pub fn worker(name: &str, domain: DomainId) -> WorkerSpec {
    WorkerSpec {
        name: name.into(),
        domain,
        autostart: true,
        restart: Restart {
            policy: RestartPolicy::OnFailure,
            backoff: Backoff {
                initial: 100 * MS,
                factor_permille: 2000,
                max: 1000 * MS,
                jitter_permille: 0,
            },
            limit: Limit { restarts: 3, within: 60_000 * MS },
            reset_after: 10_000 * MS,
            slow_retry: None,
            success: Vec::new(),
            never_on: Vec::new(),
        },
        readiness: Readiness::Notified { timeout: 500 * MS },
        depends_on: Vec::new(),
        stop: Stop { timeout: 200 * MS },
        heartbeat: None,
        on_hang: OnHang::Abandon,
        injections: Vec::new(),
        critical: false,
    }
}

pub const SEGFAULT: Ending =
    Ending { status: Status::Signaled { signal: 11, core_dumped: false }, cause: Cause::Segfault };
pub const ABANDONED: Ending = Ending { status: Status::Abandoned, cause: Cause::Hang };
pub const KILLED: Ending =
    Ending { status: Status::Signaled { signal: 9, core_dumped: false }, cause: Cause::Killed };
pub const TERMINATED: Ending =
    Ending { status: Status::Signaled { signal: 15, core_dumped: false }, cause: Cause::Signal };
pub const FINISHED: Ending = Ending { status: Status::Exited(0), cause: Cause::Finished };
pub const EXIT_1: Ending = Ending { status: Status::Exited(1), cause: Cause::Error };

/// What the world knows of an incarnation, from effects and its own answers alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    Launching,
    Alive,
    Gone,
}

pub struct World {
    pub machine: Machine,
    pub now: Duration,
    pub truth: BTreeMap<Incarnation, Truth>,
    pub confirmed: BTreeSet<Incarnation>,
    /// Whose main process is gone, and not what it started: and how it ended.
    pub exited_first: BTreeMap<Incarnation, Ending>,
    /// Whom no signal ends, and those of them that were named for it.
    pub unkillable: BTreeSet<Incarnation>,
    pub named: BTreeSet<Incarnation>,
    /// Whom a liveness probe has given up. Whether that is why they end is the machine's to judge.
    pub given_up: BTreeSet<Incarnation>,
    pub incidents_of_given_up: u64,
    /// Answered by the world itself, in this order.
    pub questions: VecDeque<Effect>,
    pub replies: BTreeMap<RequestId, bool>,
    pub asked: BTreeSet<RequestId>,
    pub opened: BTreeMap<u64, Incident>,
    pub closed: BTreeMap<u64, Incident>,
    /// Of them, those that are not on record yet: the next answers say that they are.
    pub unwritten: BTreeSet<u64>,
    pub transitions: Vec<Transition>,
    pub log: Vec<Effect>,
    /// What was remembered of each worker when it last changed.
    pub checkpoints: BTreeMap<WorkerId, Checkpoint>,
    /// Whether launches wait in line, and are dropped when their worker is to stop.
    pub drops: bool,
    /// Whose checkpoints were written since a test cleared this.
    pub remembered: BTreeSet<u32>,
    pub exited: Option<bool>,
    /// Failures that the world told of: each must be one incident.
    pub failures_told: u64,
    /// Launches that failed as the one before did: part of its incident.
    pub repeated: u64,
    /// The answers to the next launches.
    pub refusals: Vec<LaunchFailure>,
    /// Events that the machine has been told.
    pub events: u64,
    shutdown_ordered: bool,
    next_request: u64,
}

impl World {
    pub fn new(spec: Spec) -> Self {
        Self::inheriting(spec, Recovered::default())
    }

    pub fn inheriting(spec: Spec, inherited: Recovered) -> Self {
        let mut world = Self {
            machine: Machine::new(spec, inherited),
            now: Duration::ZERO,
            truth: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            exited_first: BTreeMap::new(),
            unkillable: BTreeSet::new(),
            named: BTreeSet::new(),
            given_up: BTreeSet::new(),
            incidents_of_given_up: 0,
            questions: VecDeque::new(),
            replies: BTreeMap::new(),
            asked: BTreeSet::new(),
            opened: BTreeMap::new(),
            closed: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            transitions: Vec::new(),
            log: Vec::new(),
            checkpoints: BTreeMap::new(),
            drops: false,
            remembered: BTreeSet::new(),
            exited: None,
            failures_told: 0,
            repeated: 0,
            refusals: Vec::new(),
            events: 0,
            shutdown_ordered: false,
            next_request: 0,
        };
        world.drain();
        world
    }

    /// Tells the machine something, takes its effects, and checks everything.
    pub fn tell(&mut self, event: Event) {
        self.events += 1;
        self.machine.handle(self.now, event);
        self.drain();
        let deadline = self.machine.next_deadline();
        assert!(
            deadline.is_none_or(|at| at > self.now),
            "the next deadline {deadline:?} is not after {:?}",
            self.now
        );
        self.check();
        // Each worker remembers three of its own: the writer is no further behind than that.
        if self.unwritten.len() > 2
            && let Some(&oldest) = self.unwritten.first()
        {
            self.write(supervision::IncidentId(oldest));
        }
    }

    pub fn command(&mut self, command: Command) -> RequestId {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        self.asked.insert(request);
        self.shutdown_ordered |= matches!(command, Command::Shutdown { .. });
        self.tell(Event::Command { request, command });
        assert!(self.replies.contains_key(&request), "a command is answered at once");
        request
    }

    fn drain(&mut self) {
        while let Some(worker) = self.machine.poll_changed() {
            self.checkpoints.insert(worker, self.machine.checkpoint(worker).expect("it exists"));
            self.remembered.insert(worker.0);
        }
        while let Some(effect) = self.machine.poll_effect() {
            assert!(
                self.exited.is_none() || matches!(effect, Effect::Reply { .. }),
                "after the last effect: {effect:?}"
            );
            self.take(effect);
        }
    }

    fn take(&mut self, effect: Effect) {
        self.log.push(effect.clone());
        match effect {
            Effect::Launch { incarnation } => {
                assert!(!self.shutdown_ordered, "launched after an order to shut down");
                let others = self.truth.iter().filter(|(other, truth)| {
                    other.worker == incarnation.worker && **truth != Truth::Gone
                });
                assert_eq!(others.count(), 0, "a second copy of {incarnation:?}");
                self.check_order_of_start(incarnation.worker);
                let before = self.truth.insert(incarnation, Truth::Launching);
                assert_eq!(before, None, "a generation twice: {incarnation:?}");
                self.questions.push_back(Effect::Launch { incarnation });
            }
            Effect::Withdraw { incarnation } => {
                assert_eq!(
                    self.truth.get(&incarnation),
                    Some(&Truth::Launching),
                    "withdrawn too late"
                );
                self.questions.push_back(effect);
            }
            // Before the launch comes through.
            Effect::StopLaunch { .. } if self.drops => self.questions.push_front(effect),
            Effect::StopLaunch { .. } => {}
            Effect::Confirm { .. }
            | Effect::Stop { .. }
            | Effect::Kill { .. }
            | Effect::ReadHeartbeat { .. }
            | Effect::Recycle { .. } => {
                self.questions.push_back(effect);
            }
            Effect::Abandon { incarnation } => {
                assert_eq!(
                    self.truth.get(&incarnation),
                    Some(&Truth::Alive),
                    "abandoned: {incarnation:?}"
                );
                self.questions.push_back(effect);
            }
            Effect::Inject { incarnation, fault } => {
                assert!(self.machine.spec().fault_injection, "injected though it is denied");
                // One for a launch comes before that.
                let expected = (!fault.at_launch).then_some(&Truth::Alive);
                assert_eq!(self.truth.get(&incarnation), expected, "injected into the dead");
            }
            Effect::ReportRemains { incarnation } => drop(self.named.insert(incarnation)),
            Effect::Signal { incarnation, .. }
            | Effect::Pause { incarnation }
            | Effect::Resume { incarnation } => {
                assert_eq!(self.truth.get(&incarnation), Some(&Truth::Alive), "signalled the dead");
            }
            Effect::Transition(transition) => {
                assert_ne!(transition.from, transition.to, "no change is no transition");
                if transition.to == Phase::Running {
                    let who = transition.incarnation;
                    assert!(
                        self.confirmed.contains(&who),
                        "running without having been confirmed: {who:?}"
                    );
                    assert_eq!(
                        self.truth.get(&who),
                        Some(&Truth::Alive),
                        "the dead are running: {who:?}"
                    );
                    assert!(
                        !self.exited_first.contains_key(&who),
                        "what has exited is running: {who:?}"
                    );
                }
                if transition.to == Phase::Stopping {
                    self.check_order_of_end(transition.incarnation.worker);
                }
                self.transitions.push(transition);
            }
            Effect::IncidentOpened(incident) => {
                let is_given_up =
                    incident.culprit.is_some_and(|culprit| self.given_up.contains(&culprit));
                self.incidents_of_given_up += u64::from(is_given_up);
                let before = self.opened.insert(incident.id.0, incident);
                assert_eq!(before, None, "an incident opened twice");
            }
            Effect::IncidentClosed(incident) => {
                assert!(self.opened.contains_key(&incident.id.0), "closed before it was opened");
                assert!(
                    incident.lost.iter().all(|loss| loss.outcome != Outcome::Pending),
                    "{incident:?}"
                );
                assert!(incident.closed >= Some(incident.opened), "{incident:?}");
                let id = incident.id.0;
                // An incident without lost workers is in no checkpoint: it is written at once.
                if !incident.lost.is_empty() {
                    self.unwritten.insert(id);
                }
                self.questions.push_back(Effect::IncidentClosed(incident.clone()));
                let before = self.closed.insert(id, incident);
                assert_eq!(before, None, "an incident closed twice");
            }
            Effect::IncidentAgain { incident, incarnation, count } => {
                let opened = &self.opened[&incident.0];
                assert!(!self.closed.contains_key(&incident.0), "counted after it was closed");
                assert!(matches!(opened.ending.status, Status::NotLaunched(_)), "{opened:?}");
                assert!(count > 1, "the first one opens it");
                self.repeated += u64::from(!self.given_up.contains(&incarnation));
            }
            Effect::InVain { worker, on } => {
                assert!(!self.phase(worker.0).is_live() && !self.phase(on.0).is_live());
            }
            Effect::GivesUp(_) | Effect::StartsWithout { .. } => {}
            Effect::Reply { request, result } => {
                assert!(self.asked.contains(&request), "an answer that no client waits for");
                assert_eq!(self.replies.insert(request, result.is_ok()), None, "two answers");
            }
            Effect::Exit { orderly, .. } => {
                let left: BTreeSet<Incarnation> = self
                    .truth
                    .iter()
                    .filter(|(_, truth)| **truth != Truth::Gone)
                    .map(|(who, _)| *who)
                    .collect();
                assert!(left.is_subset(&self.named), "the end, and something lives: {left:?}");
                assert!(left.is_empty() || !orderly, "an end in order leaves nothing");
                self.exited = Some(orderly);
            }
        }
    }

    /// Pairs of members of a group that are restarted together, the earlier one first, where the
    /// worker is one of them and no dependency says otherwise.
    fn fellows(&self, worker: WorkerId, is_later: bool) -> Vec<WorkerId> {
        let spec = self.machine.spec();
        let together = spec.groups.iter().filter(|group| group.strategy != Strategy::OneForOne);
        // A list against the order of the file may contradict dependencies: what it means then is a
        // scenario.
        let mut groups = together
            .filter(|group| group.workers.is_sorted() && group.workers.contains(&worker))
            .filter(|_| spec.groups.len() == 1);
        let members = groups.next().map(|group| group.workers.clone()).unwrap_or_default();
        members
            .into_iter()
            .filter(|other| if is_later { *other < worker } else { *other > worker })
            .collect()
    }

    /// A member is launched when no earlier one is on its way.
    fn check_order_of_start(&self, worker: WorkerId) {
        for other in self.fellows(worker, true) {
            let marks = self.machine.checkpoint(other).expect("it exists").marks;
            let view = self.view(other.0);
            // What has changed at this very moment may have done so after the launch.
            let is_new = view.since >= self.now;
            assert!(
                is_new || !marks.wanted || marks.retired || view.phase == Phase::Running,
                "{worker:?} is launched before {other:?}, which is earlier in their group: {view:?}"
            );
        }
    }

    /// A member is asked to stop when no later one is on its way out.
    fn check_order_of_end(&self, worker: WorkerId) {
        for other in self.fellows(worker, false) {
            let view = self.view(other.0);
            let is_ending =
                matches!(view.phase, Phase::Stopping | Phase::Killing) && view.since < self.now;
            assert!(
                !is_ending,
                "{worker:?} is asked to stop before {other:?}, which is later in their group: \
                    {view:?}"
            );
        }
    }

    /// Incidents that the world can predict.
    pub fn counted(&self) -> u64 {
        self.opened.len() as u64 + self.repeated - self.incidents_of_given_up
    }

    /// What can be seen agrees with what is true.
    fn check(&self) {
        for (worker, remembered) in &self.checkpoints {
            // Failures leave the window as time passes.
            let without = |checkpoint: Checkpoint| Checkpoint {
                failures: Vec::new(),
                group_failures: Vec::new(),
                ..checkpoint
            };
            let now = without(self.machine.checkpoint(*worker).expect("it exists"));
            let remembered = without(remembered.clone());
            assert_eq!(
                now, remembered,
                "{worker:?} has changed, and the machine did not report it"
            );
        }
        for index in 0..self.machine.spec().workers.len() {
            let worker = WorkerId(index as u32);
            let view = self.machine.worker(worker).expect("it exists");
            let present = Incarnation { worker, generation: view.generation };
            if self.exited.is_some() && self.named.contains(&present) {
                // It did not die in time, and the machine has ended: no event reports its death any
                // more.
                continue;
            }
            let truth = self.truth.get(&present).copied().unwrap_or(Truth::Gone);
            let is_right = match view.phase {
                Phase::Launching => truth == Truth::Launching,
                Phase::Starting | Phase::Running | Phase::Stopping | Phase::Killing => {
                    truth == Truth::Alive
                }
                Phase::Idle | Phase::Backoff | Phase::Quarantined | Phase::Finished => {
                    truth == Truth::Gone
                }
            };
            assert!(is_right, "{} is {:?} and in truth {truth:?}", index, view.phase);
        }
        assert_eq!(
            self.counted(),
            self.failures_told,
            "each failure is exactly one incident; last effects: {:#?}",
            &self.log[self.log.len().saturating_sub(12)..]
        );
    }

    pub fn view(&self, worker: u32) -> supervision::WorkerView {
        self.machine.worker(WorkerId(worker)).expect("it exists")
    }

    pub fn phase(&self, worker: u32) -> Phase {
        self.view(worker).phase
    }

    pub fn present(&self, worker: u32) -> Incarnation {
        Incarnation { worker: WorkerId(worker), generation: self.view(worker).generation }
    }

    pub fn is_alive(&self, incarnation: Incarnation) -> bool {
        self.truth.get(&incarnation) == Some(&Truth::Alive)
    }

    /// Whether telling this ending now is a failure: the world's own opinion.
    fn is_failure(&self, incarnation: Incarnation, ending: Ending) -> bool {
        let view = self.view(incarnation.worker.0);
        match view.phase {
            Phase::Starting | Phase::Running => {
                let spec = &self.machine.spec().workers[incarnation.worker.index()];
                let is_success =
                    spec.restart.success.iter().any(|exit| match (exit, ending.status) {
                        (Exit::Code(code), Status::Exited(exited)) => *code == exited,
                        (Exit::Signal(signal), Status::Signaled { signal: by, .. }) => {
                            *signal == by
                        }
                        _ => false,
                    });
                ending.cause != Cause::Finished && !is_success
            }
            // It was asked to: only a crash of its own counts.
            Phase::Stopping => matches!(ending.cause, Cause::Segfault | Cause::Panic),
            Phase::Idle
            | Phase::Launching
            | Phase::Killing
            | Phase::Backoff
            | Phase::Quarantined
            | Phase::Finished => false,
        }
    }

    /// An incarnation that lives ends.
    pub fn end(&mut self, incarnation: Incarnation, ending: Ending) {
        assert!(self.is_alive(incarnation), "the test ends the dead");
        if self.exited_first.contains_key(&incarnation) || self.given_up.contains(&incarnation) {
            return self.die_of(incarnation, ending);
        }
        self.truth.insert(incarnation, Truth::Gone);
        self.failures_told += u64::from(self.is_failure(incarnation, ending));
        self.tell(Event::Ended { incarnation, ending });
    }

    /// The main process of an incarnation exits, and something that it started is left.
    pub fn exit_first(&mut self, incarnation: Incarnation, ending: Ending) {
        assert!(self.is_alive(incarnation), "the test ends the dead");
        if !matches!(self.phase(incarnation.worker.0), Phase::Stopping | Phase::Killing) {
            self.exited_first.insert(incarnation, ending);
        }
        self.tell(Event::Exited { incarnation });
    }

    pub fn crash(&mut self, worker: u32) {
        self.end(self.present(worker), SEGFAULT);
    }

    /// The answer of a well-behaved world to one question; `None` when there is none.
    pub fn answer(&mut self) -> Option<()> {
        let question = self.questions.pop_front()?;
        match question {
            Effect::Launch { incarnation }
                if self.truth.get(&incarnation) == Some(&Truth::Launching)
                    && !self.refusals.is_empty() =>
            {
                let failure = self.refusals.remove(0);
                self.truth.insert(incarnation, Truth::Gone);
                self.failures_told += 1;
                self.tell(Event::LaunchFailed { incarnation, failure });
            }
            Effect::Launch { incarnation }
                if self.truth.get(&incarnation) == Some(&Truth::Launching) =>
            {
                self.truth.insert(incarnation, Truth::Alive);
                self.tell(Event::Launched { incarnation });
                self.say_ready(incarnation);
            }
            Effect::Withdraw { incarnation }
                if self.truth.get(&incarnation) == Some(&Truth::Launching) =>
            {
                self.truth.insert(incarnation, Truth::Gone);
                self.failures_told += 1;
                self.tell(Event::LaunchFailed { incarnation, failure: launch_failure() });
            }
            Effect::StopLaunch { incarnation }
                if self.truth.get(&incarnation) == Some(&Truth::Launching) =>
            {
                self.truth.insert(incarnation, Truth::Gone);
                self.tell(Event::NotBegun { incarnation });
            }
            Effect::Confirm { incarnation }
                if self.is_alive(incarnation) && !self.exited_first.contains_key(&incarnation) =>
            {
                self.confirmed.insert(incarnation);
                self.tell(Event::Confirmed { incarnation });
            }
            Effect::Stop { incarnation } | Effect::Kill { incarnation }
                if self.unkillable.contains(&incarnation) => {}
            Effect::Stop { incarnation } if self.is_alive(incarnation) => {
                self.end(incarnation, TERMINATED);
            }
            Effect::Kill { incarnation } => self.die(incarnation),
            Effect::Abandon { incarnation } => self.die_of(incarnation, ABANDONED),
            Effect::ReadHeartbeat { incarnation } if self.is_alive(incarnation) => {
                let last_beat = self.now;
                self.tell(Event::Heartbeat { incarnation, last_beat });
            }
            Effect::Recycle { domain, culprit } => self.end_domain(domain, Some(culprit), KILLED),
            Effect::IncidentClosed(incident) => self.write(incident.id),
            _ => {}
        }
        Some(())
    }

    fn write(&mut self, incident: supervision::IncidentId) {
        if self.unwritten.remove(&incident.0) {
            self.tell(Event::Recorded { incident });
        }
    }

    pub fn say_ready(&mut self, incarnation: Incarnation) {
        let readiness = self.machine.spec().workers[incarnation.worker.index()].readiness;
        if matches!(readiness, Readiness::Notified { .. }) && self.is_alive(incarnation) {
            self.tell(Event::Ready { incarnation });
        }
    }

    /// Killed by our order. A hang or a missed start is an incident, a stop is none.
    pub fn die(&mut self, incarnation: Incarnation) {
        self.die_of(incarnation, KILLED);
    }

    fn die_of(&mut self, incarnation: Incarnation, ending: Ending) {
        if !self.is_alive(incarnation) {
            return;
        }
        self.truth.insert(incarnation, Truth::Gone);
        if self.exited.is_some() && self.named.contains(&incarnation) {
            // No machine is left to get the event.
            return;
        }
        let before = self.counted();
        self.events += 1;
        let ending = self.exited_first.get(&incarnation).copied().unwrap_or(ending);
        self.machine.handle(self.now, Event::Ended { incarnation, ending });
        self.drain();
        let opened = self.counted() - before;
        assert!(opened <= 1, "one death, {opened} incidents");
        if let Some(ending) =
            self.exited_first.get(&incarnation).filter(|_| !self.given_up.contains(&incarnation))
        {
            assert_eq!(
                opened,
                u64::from(ending.cause != Cause::Finished),
                "how the main process ended counts"
            );
        }
        self.failures_told += opened;
        self.check();
    }

    /// A whole domain dies with everyone who lives in it.
    pub fn end_domain(&mut self, domain: DomainId, culprit: impl Into<Culprit>, ending: Ending) {
        let culprit = culprit.into();
        let spec = self.machine.spec();
        let members: Vec<Incarnation> = self
            .truth
            .iter()
            .filter(|(who, truth)| {
                **truth == Truth::Alive && spec.workers[who.worker.index()].domain == domain
            })
            .map(|(who, _)| *who)
            .collect();
        for member in &members {
            self.truth.insert(*member, Truth::Gone);
        }
        if self.exited.is_some() {
            // The machine has named those that are left, and no machine is left to get the event.
            return;
        }
        let is_given_up = matches!(culprit, Culprit::Run(culprit)
            if self.given_up.contains(&culprit));
        self.failures_told += u64::from(!members.is_empty() && !is_given_up);
        self.tell(Event::DomainEnded { domain, members, culprit, ending });
    }

    /// Answers every question, without letting time pass.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            if self.answer().is_none() {
                return;
            }
        }
        panic!("the machine never comes to rest");
    }

    /// Lets time pass, deadline by deadline, answering everything.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        let mut steps = 0;
        while let Some(deadline) = self.machine.next_deadline().filter(|at| *at <= end) {
            self.now = deadline;
            let before = self.counted();
            self.events += 1;
            self.machine.handle(self.now, Event::Deadline);
            self.drain();
            // A thread that hangs, or does not start, fails by the machine's own judgement.
            self.failures_told += self.counted() - before;
            self.check();
            self.settle();
            steps += 1;
            assert!(steps < 1_000_000, "time does not pass");
        }
        self.now = end;
    }
}

/// Of a worker that was never launched.
pub fn checkpoint() -> Checkpoint {
    Machine::new(spec(&["a"]), Recovered::default()).checkpoint(WorkerId(0)).expect("it exists")
}

pub fn launch_failure() -> LaunchFailure {
    LaunchFailure { stage: LaunchStage(20), errno: 2, transient: false, code: 0 }
}

pub fn group(name: &str, strategy: Strategy, workers: &[u32]) -> GroupSpec {
    let workers = workers.iter().copied().map(WorkerId).collect();
    GroupSpec { name: name.into(), strategy, workers, limit: None, escalate: false }
}

pub fn depends(on: u32, condition: Condition) -> Dependency {
    Dependency { on: WorkerId(on), condition, soft: false }
}

pub fn injection(after: Duration) -> InjectionSpec {
    InjectionSpec {
        fault: FaultId { code: 10, parameter: 0, at_launch: false },
        after,
        every: None,
        times: None,
        probability_permille: 1000,
        seed: 0,
    }
}

pub fn generation(number: u64) -> Generation {
    Generation(number)
}

impl World {
    /// The supervisor dies at this moment, with all that it had not carried out. Another goes on
    /// from what was remembered: `survives` says whose process is still there and was taken over.
    pub fn succeed(&mut self, is_death: bool, survives: impl Fn(Incarnation) -> bool) {
        self.succeed_after(std::time::Duration::ZERO, is_death, survives);
    }

    /// The same, so much later.
    pub fn succeed_after(
        &mut self,
        unheard: std::time::Duration,
        is_death: bool,
        survives: impl Fn(Incarnation) -> bool,
    ) {
        self.now += unheard;
        let spec = self.machine.spec().clone();
        self.questions.clear();
        // Only the checkpoints tell of them.
        for unwritten in std::mem::take(&mut self.unwritten) {
            self.closed.remove(&unwritten);
        }
        let mut workers = Vec::new();
        let mut last_incident = self.opened.keys().next_back().copied();
        for (&worker, checkpoint) in &self.checkpoints {
            let present = Incarnation { worker, generation: checkpoint.generation };
            let truth = self.truth.get(&present).copied();
            let fate = match truth {
                Some(Truth::Alive) if survives(present) => Fate::Resumed,
                Some(Truth::Alive | Truth::Launching) => {
                    self.truth.insert(present, Truth::Gone);
                    Fate::Lost
                }
                Some(Truth::Gone) | None => Fate::Resumed,
            };
            workers.push(RecoveredWorker {
                worker,
                checkpoint: checkpoint.clone(),
                fate,
                blamed: None,
            });
        }
        let ending = KILLED;
        let death = is_death.then_some(RecoveredDeath {
            culprit: Culprit::Unknown,
            ending,
            injected: None,
        });
        if is_death {
            self.failures_told += 1;
            last_incident = last_incident.max(Some(0));
        }
        let last_incident = last_incident.map(supervision::IncidentId);
        self.checkpoints.clear();
        self.machine = Machine::new(
            spec,
            Recovered {
                now: self.now,
                unheard,
                workers,
                death,
                last_incident,
                stale_events: self.machine.stale_events(),
            },
        );
        self.drain();
        self.check();
    }

    /// After something that the machine judges by itself (a deadline, a forced end): what it opened
    /// counts.
    pub fn resync(&mut self, opened_before: u64) {
        self.drain();
        let told = self.counted();
        assert!(told >= opened_before);
        self.failures_told = told;
        self.check();
    }

    /// A command; one that ends threads by force may open incidents without lost workers.
    pub fn command_counted(&mut self, command: Command) {
        let before = self.opened.len();
        self.command(command);
        assert_eq!(self.opened.len(), before, "no command is a failure");
    }

    /// Lets the world be well-behaved until nothing more is due.
    pub fn quiesce(&mut self) {
        for _ in 0..10_000 {
            self.settle();
            let Some(deadline) = self.machine.next_deadline() else { return };
            self.now = deadline;
            let before = self.counted();
            self.events += 1;
            self.machine.handle(self.now, Event::Deadline);
            self.resync(before);
        }
        panic!("deadlines without end");
    }
}
