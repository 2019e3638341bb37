//! The reactions of the life-cycle table carried out.

use core::time::Duration;

use crate::effect::Effect;
use crate::id::WorkerId;
use crate::incident::Outcome;
use crate::machine::Machine;
use crate::spec::{OnHang, Readiness};
use crate::table::{Reaction, Signal, react};
use crate::timers::{Due, Timer};
use crate::worker::{Phase, StopReason};

/// For a launch of a worker whose readiness has no limit of its own. What takes longer hangs in the
/// kernel.
const LAUNCH_LIMIT: Duration = Duration::from_secs(60);
/// The least time for a launch that is no longer wanted: one that does not hang takes milliseconds.
const LAUNCH_LEAST: Duration = Duration::from_secs(1);
/// From a kill until what is left of the killed is named; SIGKILL takes microseconds, where the
/// kernel lets it.
const REMAINS_FIRST: Duration = Duration::from_secs(5);
/// And again, as long as it is there.
const REMAINS_AGAIN: Duration = Duration::from_secs(60);

impl Machine {
    /// Looks a signal up in the table, and does what stands there.
    pub(crate) fn react(&mut self, worker: WorkerId, signal: Signal) {
        match react(self.workers[worker.index()].phase, signal) {
            Reaction::Begin => self.begin(worker),
            Reaction::ClearAway => self.clear_away(worker),
            Reaction::End(ending) => self.on_end(worker, ending),
            Reaction::Withdraw => {
                let incarnation = self.incarnation(worker);
                self.effects.push_back(Effect::Withdraw { incarnation });
            }
            Reaction::RememberReady => self.workers[worker.index()].said_ready = true,
            Reaction::AskConfirm => self.on_ready(worker),
            Reaction::Promote => self.promote(worker),
            Reaction::JudgeHeartbeat { last_beat, is_suspended } => {
                self.judge_heartbeat(worker, last_beat, is_suspended);
            }
            Reaction::NoteReadiness { is_ready } => {
                self.workers[worker.index()].unready = !is_ready;
                self.wake_dependents(worker);
            }
            Reaction::Extend { until } => self.extend_phase(worker, until),
            Reaction::GiveUpOn => self.order_stop(worker, StopReason::Unhealthy),
            Reaction::ReportRemains => self.report_remains(worker),
            Reaction::EndStart => self.end_start(worker),
            Reaction::Escalate => {
                self.workers[worker.index()].overdue = true;
                self.force(worker);
            }
            Reaction::Retry => self.retry(worker),
            Reaction::AskHeartbeat => self.ask_heartbeat(worker),
            Reaction::Inject(position) => self.throw_dice(worker, position),
            Reaction::Launch => {
                self.launches.insert(worker);
                // It is to come now.
                self.review(alloc::vec![worker]);
                self.wake_dependents(worker);
            }
            Reaction::LayDown => self.lay_down(worker),
            Reaction::KeepUp => self.withdraw_order(worker),
            Reaction::OrderStop => {
                self.order_stop(worker, StopReason::Requested);
                self.limit_launch(worker);
            }
            Reaction::Stand | Reaction::Ignore => {}
            Reaction::Stale => self.stale += 1,
        }
    }

    /// It shall end, for an earlier reason if there is one, as soon as its dependents are gone.
    fn order_stop(&mut self, worker: WorkerId, why: StopReason) {
        self.workers[worker.index()].order.get_or_insert(why);
        self.stops.insert(worker);
    }

    /// Launches a worker that is wanted and idle, if its dependencies hold, its group lets it and
    /// it is its turn there.
    pub(crate) fn launch_if_possible(&mut self, worker: WorkerId) {
        let state = &self.workers[worker.index()];
        let may =
            state.wanted && !state.held && state.phase == Phase::Idle && self.shutdown.is_none();
        if may {
            self.review(alloc::vec![worker]);
            self.look_for_vain(worker);
        }
        let is_early = self.unmet(worker).chain(self.earlier_coming(worker)).next().is_some();
        if !may || is_early || !self.is_admitted(worker) {
            return;
        }
        let state = &mut self.workers[worker.index()];
        state.forget_incarnation();
        if state.generation > state.before {
            state.restarts += 1;
        }
        state.generation = state.generation.next();
        let incarnation = self.incarnation(worker);
        self.enter(worker, Phase::Launching, None);
        self.tell_what_is_missing(worker);
        if let Some(fault) = self.workers[worker.index()].at_launch.take() {
            self.workers[worker.index()].injected = Some(fault);
            // First: it has it when it begins.
            self.effects.push_back(Effect::Inject { incarnation, fault });
        }
        self.effects.push_back(Effect::Launch { incarnation });
        self.limit_launch(worker);
    }

    /// A launch may hang in the kernel (a file system that does not answer): it has the worker's
    /// time to start, and once it is not wanted any more, the worker's time to stop.
    pub(crate) fn limit_launch(&mut self, worker: WorkerId) {
        let state = &self.workers[worker.index()];
        if state.phase != Phase::Launching {
            return;
        }
        let spec = &self.spec.workers[worker.index()];
        let limit = match spec.readiness {
            Readiness::Notified { timeout } => timeout,
            Readiness::After(_) => LAUNCH_LIMIT,
        };
        let by_start = state.since.saturating_add(limit);
        let grace =
            if self.is_forced() { LAUNCH_LEAST } else { spec.stop.timeout.max(LAUNCH_LEAST) };
        let by_stop = state.order.map(|_| self.now.saturating_add(grace));
        let due = by_stop.map_or(by_start, |by_stop| by_stop.min(by_start));
        self.set_timer(Timer::Worker(worker, Due::Phase), due);
    }

    fn begin(&mut self, worker: WorkerId) {
        self.cancel_timers(worker);
        self.enter(worker, Phase::Starting, None);
        if self.is_forced() {
            self.workers[worker.index()].order = Some(StopReason::Requested);
            self.force(worker);
        } else if self.workers[worker.index()].order.is_some() {
            self.stops.insert(worker);
        }
        if self.workers[worker.index()].phase != Phase::Starting {
            return;
        }
        match self.spec.workers[worker.index()].readiness {
            Readiness::Notified { timeout } => {
                self.set_timer(Timer::Worker(worker, Due::Phase), self.now.saturating_add(timeout));
                if self.workers[worker.index()].said_ready {
                    self.confirm(worker);
                }
            }
            Readiness::After(Duration::ZERO) => self.confirm(worker),
            Readiness::After(time) => {
                self.set_timer(Timer::Worker(worker, Due::Phase), self.now.saturating_add(time));
            }
        }
    }

    /// It says that it is ready. One whose readiness is a matter of time says so in vain.
    fn on_ready(&mut self, worker: WorkerId) {
        match self.spec.workers[worker.index()].readiness {
            Readiness::Notified { .. } => self.confirm(worker),
            Readiness::After(_) => {}
        }
    }

    /// Nothing is promoted before every exit has been reaped: the driver says whether it still
    /// lives.
    pub(crate) fn confirm(&mut self, worker: WorkerId) {
        if !core::mem::replace(&mut self.workers[worker.index()].confirming, true) {
            let incarnation = self.incarnation(worker);
            self.effects.push_back(Effect::Confirm { incarnation });
        }
    }

    fn promote(&mut self, worker: WorkerId) {
        if !core::mem::replace(&mut self.workers[worker.index()].confirming, false) {
            self.stale += 1;
            return;
        }
        self.cancel_timers(worker);
        self.enter(worker, Phase::Running, None);
        let incarnation = self.incarnation(worker);
        self.settle_loss(worker, Outcome::Recovered { incarnation, at: self.now });
        if let Some(heartbeat) = self.heartbeat(worker) {
            self.set_timer(
                Timer::Worker(worker, Due::Heartbeat),
                self.now.saturating_add(heartbeat),
            );
        }
        self.schedule_injections(worker);
    }

    fn end_start(&mut self, worker: WorkerId) {
        match self.spec.workers[worker.index()].readiness {
            Readiness::After(_) => self.confirm(worker),
            Readiness::Notified { .. } => {
                self.workers[worker.index()].order = Some(StopReason::StartTimeout);
                self.force(worker);
            }
        }
    }

    /// Carries out an order to stop as soon as no dependent of the worker is up, nor a later member
    /// of its group that ends too. One that is being launched has nothing that could be stopped.
    pub(crate) fn stop_if_alone(&mut self, worker: WorkerId) {
        let state = &self.workers[worker.index()];
        if state.order.is_some() && state.phase == Phase::Launching {
            let incarnation = self.incarnation(worker);
            self.effects.push_back(Effect::StopLaunch { incarnation });
            return;
        }
        let may = state.order.is_some() && matches!(state.phase, Phase::Starting | Phase::Running);
        let has_dependents =
            || self.index.leaning(worker).any(|other| self.workers[other.index()].is_to_go());
        if !may || has_dependents() || self.has_later_ending(worker) {
            return;
        }
        let timeout = self.spec.workers[worker.index()].stop.timeout;
        if timeout.is_zero() || self.is_forced() {
            self.workers[worker.index()].overdue = !self.is_forced();
            self.force(worker);
            return;
        }
        self.cancel_timers(worker);
        let incarnation = self.incarnation(worker);
        self.enter(worker, Phase::Stopping, None);
        self.effects.push_back(Effect::Stop { incarnation });
        self.set_timer(Timer::Worker(worker, Due::Phase), self.now.saturating_add(timeout));
    }

    /// Ends a live incarnation without asking: a process is killed; a thread, which cannot be, is
    /// abandoned or takes its domain along.
    pub(crate) fn force(&mut self, worker: WorkerId) {
        if self.workers[worker.index()].phase == Phase::Killing {
            return;
        }
        self.end_by(worker, self.way_to_end(worker));
    }

    pub(crate) fn way_to_end(&self, worker: WorkerId) -> Effect {
        let incarnation = self.incarnation(worker);
        let spec = &self.spec.workers[worker.index()];
        if self.spec.capabilities(worker).can_be_killed_alone {
            return Effect::Kill { incarnation };
        }
        match spec.on_hang {
            OnHang::Recycle if self.shutdown.is_none() => {
                Effect::Recycle { domain: spec.domain, culprit: incarnation }
            }
            OnHang::Recycle | OnHang::Abandon => Effect::Abandon { incarnation },
        }
    }

    /// The driver answers when it is gone; what is still there after a while is named.
    fn end_by(&mut self, worker: WorkerId, effect: Effect) {
        self.cancel_timers(worker);
        self.enter(worker, Phase::Killing, None);
        self.effects.push_back(effect);
        self.set_timer(Timer::Worker(worker, Due::Phase), self.now.saturating_add(REMAINS_FIRST));
    }

    /// Its main process is gone: it is not running any more, and ends when what it left behind is
    /// gone too.
    fn clear_away(&mut self, worker: WorkerId) {
        self.workers[worker.index()].exited = true;
        self.end_by(worker, Effect::Kill { incarnation: self.incarnation(worker) });
    }

    fn report_remains(&mut self, worker: WorkerId) {
        self.workers[worker.index()].unkillable = true;
        self.wake_dependents(worker);
        let incarnation = self.incarnation(worker);
        self.effects.push_back(Effect::ReportRemains { incarnation });
        self.set_timer(Timer::Worker(worker, Due::Phase), self.now.saturating_add(REMAINS_AGAIN));
    }

    /// A phase that ends by itself ends later; never sooner than it would.
    fn extend_phase(&mut self, worker: WorkerId, until: Duration) {
        let timer = Timer::Worker(worker, Due::Phase);
        if self.timers.at(timer).is_some_and(|due| due < until) {
            self.set_timer(timer, until);
        }
    }

    /// Not while it is suspended: it cannot beat then.
    fn ask_heartbeat(&mut self, worker: WorkerId) {
        if self.workers[worker.index()].paused {
            return;
        }
        self.workers[worker.index()].listening = true;
        let incarnation = self.incarnation(worker);
        self.effects.push_back(Effect::ReadHeartbeat { incarnation });
    }

    fn judge_heartbeat(&mut self, worker: WorkerId, last_beat: Duration, is_suspended: bool) {
        let state = &mut self.workers[worker.index()];
        let was_asked = core::mem::replace(&mut state.listening, false) && !state.paused;
        let Some(limit) = self.heartbeat(worker).filter(|_| was_asked) else { return };
        // A beat from the future is no better than one now.
        let last_beat = last_beat.min(self.now);
        let due = last_beat.saturating_add(limit).saturating_add(self.lapses.since(last_beat));
        if due > self.now {
            return self.set_timer(Timer::Worker(worker, Due::Heartbeat), due);
        }
        self.workers[worker.index()].order = Some(StopReason::Hang);
        if is_suspended && self.spec.capabilities(worker).is_shared() {
            let domain = self.spec.workers[worker.index()].domain;
            let culprit = self.incarnation(worker);
            self.end_by(worker, Effect::Recycle { domain, culprit });
        } else {
            self.force(worker);
        }
    }

    pub(crate) fn heartbeat(&self, worker: WorkerId) -> Option<Duration> {
        self.spec.workers[worker.index()].heartbeat.filter(|limit| !limit.is_zero())
    }

    /// The next attempt of one in backoff or quarantine.
    fn retry(&mut self, worker: WorkerId) {
        self.cancel_timers(worker);
        self.workers[worker.index()].retry_at = None;
        self.workers[worker.index()].wanted = true;
        self.enter(worker, Phase::Idle, None);
        self.launches.insert(worker);
        self.release_group(worker);
    }

    /// Back to idle from a phase without an incarnation.
    pub(crate) fn lay_down(&mut self, worker: WorkerId) {
        self.cancel_timers(worker);
        self.workers[worker.index()].retry_at = None;
        self.enter(worker, Phase::Idle, None);
        if self.workers[worker.index()].wanted {
            self.launches.insert(worker);
        } else {
            self.settle_loss(worker, Outcome::Down);
        }
        self.release_group(worker);
    }

    /// An order to stop that was not carried out yet is void: the last command wins.
    fn withdraw_order(&mut self, worker: WorkerId) {
        let state = &mut self.workers[worker.index()];
        if state.order == Some(StopReason::Requested) && self.shutdown.is_none() {
            state.order = None;
            self.limit_launch(worker);
            self.wake_dependents(worker);
        }
    }
}
