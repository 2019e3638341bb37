//! The API: events in, effects out.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use crate::admission::Admission;
use crate::dependencies::Index;
use crate::effect::{Effect, GivingUp, Transition};
use crate::ending::{Cause, Ending, LaunchFailure};
use crate::event::Event;
use crate::id::{Incarnation, WorkerId};
use crate::incident::Incident;
use crate::open_incidents::OpenIncidents;
use crate::resume::Recovered;
use crate::spec::Spec;
use crate::table::Signal;
use crate::timers::{Due, Timer, Timers};
use crate::worker::{Phase, Worker};
use crate::worker_table::WorkerTable;

/// The supervision machine.
#[derive(Debug)]
pub struct Machine {
    pub(crate) spec: Spec,
    pub(crate) index: Index,
    pub(crate) workers: WorkerTable,
    pub(crate) timers: Timers,
    pub(crate) open_incidents: OpenIncidents,
    /// Failures of each group within its window.
    pub(crate) group_failures: Vec<crate::restart::Window>,
    /// Workers that may be ready to be launched: looked at at the end of each turn.
    pub(crate) launches: BTreeSet<WorkerId>,
    /// Workers with an order to stop that may be carried out: looked at at the end of each turn.
    pub(crate) stops: BTreeSet<WorkerId>,
    pub(crate) admission: Admission,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) shutdown: Option<Shutdown>,
    /// Why the supervisor is to end, once the event that is being handled has had all its
    /// consequences.
    pub(crate) giving_up: Option<GivingUp>,
    pub(crate) stale: u64,
    pub(crate) lapses: crate::lapse::Lapses,
    /// The present moment: that of the last event.
    pub(crate) now: Duration,
}

/// An order to shut down that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shutdown {
    /// False when a group gave up, or a critical worker failed.
    pub(crate) orderly: bool,
    /// How the critical worker ended that is the reason.
    pub(crate) critical: Option<Ending>,
    /// Whether processes are killed and threads abandoned without being asked.
    pub(crate) forced: bool,
    /// Whether the last effect has been given.
    pub(crate) is_over: bool,
}

impl Machine {
    /// Creates it, goes on with what is inherited, and starts every other worker with `autostart`.
    /// Effects wait in [`poll_effect`](Self::poll_effect).
    #[must_use]
    pub fn new(spec: Spec, inherited: Recovered) -> Self {
        let workers =
            spec.workers.iter().map(|worker| Worker::new(worker.injections.len())).collect();
        let group_failures =
            spec.groups.iter().map(|_| crate::restart::Window::default()).collect();
        let mut machine = Self {
            index: Index::new(&spec),
            spec,
            workers,
            timers: Timers::default(),
            open_incidents: OpenIncidents::after(inherited.last_incident),
            group_failures,
            launches: BTreeSet::new(),
            stops: BTreeSet::new(),
            admission: Admission::default(),
            effects: VecDeque::new(),
            shutdown: None,
            giving_up: None,
            stale: inherited.stale_events,
            lapses: crate::lapse::Lapses::default(),
            now: Duration::ZERO,
        };
        machine.inherit(inherited);
        machine.settle();
        machine
    }

    /// Takes one event at the time `now`; never blocks, never panics on any sequence of events.
    ///
    /// Time does not run backwards here: an earlier `now` than before counts as the same moment.
    pub fn handle(&mut self, now: Duration, event: Event) {
        self.now = self.now.max(now);
        if self.shutdown.is_some_and(|shutdown| shutdown.is_over) {
            self.refuse_after_the_end(&event);
            return;
        }
        // The event first: an exit that came with a deadline is heard before the deadline promotes
        // anything.
        self.dispatch(event);
        self.settle();
        while let Some((_, timer)) = self.timers.take_due(self.now) {
            self.on_timer(timer);
            self.settle();
        }
    }

    /// A worker whose [`checkpoint`](Self::checkpoint) may be another than it was; call until
    /// `None` after each `handle`, and before the effects are carried out: what was ordered and not
    /// remembered would be forgotten.
    pub fn poll_changed(&mut self) -> Option<WorkerId> {
        self.workers.take_touched()
    }

    /// When [`Event::Deadline`] is due: never, or later than the `now` of the last call of
    /// `handle`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// The next thing to do; call until `None` after each `handle`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What it was told to keep running.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// How many effects it wants that it has not given out yet.
    #[must_use]
    pub fn pending_effects(&self) -> usize {
        self.effects.len()
    }

    /// The incidents that are not settled yet, oldest first.
    pub fn open_incidents(&self) -> impl Iterator<Item = &Incident> {
        self.open_incidents.all()
    }

    /// Events about other than present incarnations, dropped so far, by this machine and those
    /// before it.
    #[must_use]
    pub fn stale_events(&self) -> u64 {
        self.stale
    }

    /// Whether an order to shut down stands.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.shutdown.is_some()
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Launched { incarnation } => self.hear(incarnation, Signal::Launched),
            Event::LaunchFailed { incarnation, failure } => {
                let ending = Ending::not_launched(failure, Cause::LaunchFailure);
                self.hear(incarnation, Signal::LaunchFailed(ending));
            }
            Event::NotBegun { incarnation } => {
                let ending = Ending::not_launched(LaunchFailure::NOT_BEGUN, Cause::Requested);
                self.hear(incarnation, Signal::LaunchFailed(ending));
            }
            Event::Ready { incarnation } => self.hear(incarnation, Signal::Ready),
            Event::Confirmed { incarnation } => self.hear(incarnation, Signal::Confirmed),
            Event::Exited { incarnation } => self.hear(incarnation, Signal::Exited),
            Event::Ended { incarnation, ending } => self.hear(incarnation, Signal::Ended(ending)),
            Event::DomainEnded { domain, members, culprit, ending } => {
                self.on_domain_ended(domain, &members, culprit, ending);
            }
            Event::Heartbeat { incarnation, last_beat } => {
                self.hear(incarnation, Signal::Heartbeat { last_beat, is_suspended: false });
            }
            Event::Suspended { incarnation, last_beat } => {
                self.hear(incarnation, Signal::Heartbeat { last_beat, is_suspended: true });
            }
            Event::Readiness { incarnation, ready } => {
                self.hear(incarnation, Signal::Readiness { is_ready: ready });
            }
            Event::Unhealthy { incarnation } => self.hear(incarnation, Signal::Unhealthy),
            Event::Extended { incarnation, until } => {
                self.hear(incarnation, Signal::Extended { until });
            }
            Event::Recorded { incident } => self.on_recorded(incident),
            Event::Extend(extension) => self.extend(extension),
            Event::Command { request, command } => self.on_command(request, command),
            Event::TimeLost { by } => self.on_time_lost(by),
            Event::Deadline => {}
        }
    }

    /// What is heard of another than the present incarnation is dropped and counted.
    fn hear(&mut self, incarnation: Incarnation, signal: Signal) {
        if self.is_present(incarnation) {
            self.react(incarnation.worker, signal);
        } else {
            self.stale += 1;
        }
    }

    /// Whether this is the generation that the worker is at. Whether it lives is the table's
    /// question.
    pub(crate) fn is_present(&self, incarnation: Incarnation) -> bool {
        let worker = self.workers.get(incarnation.worker.index());
        worker.is_some_and(|worker| worker.generation == incarnation.generation)
    }

    fn on_timer(&mut self, timer: Timer) {
        if let Timer::Worker(worker, _) = timer {
            self.workers.touch(worker.index());
        }
        match timer {
            Timer::Worker(worker, Due::Phase) => self.react(worker, Signal::PhaseDue),
            Timer::Worker(worker, Due::Heartbeat) => self.react(worker, Signal::HeartbeatDue),
            Timer::Worker(worker, Due::Injection(position)) => {
                self.react(worker, Signal::InjectionDue(position));
            }
            Timer::Stagger => self.admit_waiting(),
            Timer::Shutdown => self.force_shutdown(),
        }
    }

    /// Sets a worker's timer; never for a moment that is not in the future, so that every deadline
    /// lies ahead.
    pub(crate) fn set_timer(&mut self, timer: Timer, at: Duration) {
        let soonest = self.now.saturating_add(Duration::from_nanos(1));
        if let Timer::Worker(worker, _) = timer {
            self.workers.touch(worker.index());
        }
        self.timers.set(timer, at.max(soonest));
    }

    pub(crate) fn cancel_timers(&mut self, worker: WorkerId) {
        self.workers.touch(worker.index());
        self.timers.cancel_worker(worker);
    }

    /// Carries out what has become possible: stops whose dependents are gone, launches whose
    /// dependencies hold.
    fn settle(&mut self) {
        loop {
            if let Some(why) = self.giving_up.take() {
                if self.shutdown.is_none() {
                    self.effects.push_back(Effect::GivesUp(why));
                }
                self.begin_shutdown(why.is_orderly(), why.ending());
            } else if let Some(worker) = self.stops.pop_last() {
                self.stop_if_alone(worker);
            } else if let Some(worker) = self.launches.pop_first() {
                self.launch_if_possible(worker);
            } else {
                break;
            }
        }
        self.end_if_over();
    }

    pub(crate) fn incarnation(&self, worker: WorkerId) -> Incarnation {
        Incarnation { worker, generation: self.workers[worker.index()].generation }
    }

    /// Changes the phase, for the record too, and wakes workers that waited for it.
    pub(crate) fn enter(&mut self, worker: WorkerId, to: Phase, ending: Option<Ending>) {
        let state = &mut self.workers[worker.index()];
        let from = core::mem::replace(&mut state.phase, to);
        state.since = self.now;
        self.count_coming_up(from, to);
        let state = &self.workers[worker.index()];
        let retry_at = state.retry_at;
        let incarnation = self.incarnation(worker);
        self.effects.push_back(Effect::Transition(Transition {
            incarnation,
            from,
            to,
            ending,
            retry_at,
        }));
        self.wake_dependents(worker);
        if !to.is_live() {
            // Its dependencies may have waited for its end before they stop.
            let waiting =
                self.spec.workers[worker.index()].depends_on.iter().map(|dependency| dependency.on);
            let known = waiting
                .filter(|on| self.workers.get(on.index()).is_some_and(|on| on.order.is_some()));
            self.stops.extend(known);
            self.wake_earlier(worker);
        }
    }
}
