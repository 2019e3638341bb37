//! What follows an ending: an incident if it is a failure (`losses`); then another attempt,
//! quarantine, or rest.

use alloc::vec::Vec;
use core::time::Duration;

use crate::effect::GivingUp;
use crate::ending::{Cause, Ending, LaunchStage, Status};
use crate::event::Culprit;
use crate::id::{DomainId, Incarnation, WorkerId};
use crate::incident::Outcome;
use crate::losses::Failure;
use crate::machine::Machine;
use crate::restart::delay;
use crate::spec::{Exit, RestartPolicy};
use crate::timers::{Due, Timer};
use crate::worker::{Phase, Quarantine, StopReason};

/// What the machine is short of does not come back sooner: also one that needs no backoff after its
/// own failures waits as long for it.
const RESPITE: Duration = Duration::from_millis(100);

impl Machine {
    /// The present incarnation of a worker is over, alone.
    pub(crate) fn on_end(&mut self, worker: WorkerId, observed: Ending) {
        let ending = self.judge(worker, observed);
        let incarnation = self.incarnation(worker);
        if ending.status == Status::Abandoned {
            self.workers[worker.index()].abandoned += 1;
        }
        if ending.cause.is_failure() {
            self.record(incarnation, ending);
        }
        self.finalize(worker, ending);
        self.follow(worker, ending, true);
    }

    /// A fault domain died with every worker in it: one incident, however many were lost.
    pub(crate) fn on_domain_ended(
        &mut self,
        domain: DomainId,
        members: &[Incarnation],
        culprit: Culprit,
        observed: Ending,
    ) {
        let mut lost: Vec<Incarnation> = Vec::new();
        for &member in members {
            let is_live =
                self.is_present(member) && self.workers[member.worker.index()].phase.is_live();
            let is_there = is_live && self.spec.workers[member.worker.index()].domain == domain;
            if is_there && !lost.contains(&member) {
                lost.push(member);
            } else {
                self.stale += 1;
            }
        }
        if lost.is_empty() {
            return;
        }
        let blame = self.blame(culprit, &lost);
        let culprit = blame.lost(&lost);
        let doing =
            |member: Incarnation| self.workers[member.worker.index()].order.and_then(own_doing);
        // Where one that was silent had its domain killed, and another was the reason, the silence
        // is still why.
        let of_others = || lost.iter().find_map(|&member| doing(member));
        let recycled = culprit.and_then(doing).or_else(|| {
            culprit.filter(|_| observed.cause == Cause::Killed).and_then(|_| of_others())
        });
        let ending = Ending { cause: recycled.unwrap_or(observed.cause), ..observed };
        let injected = culprit.and_then(|culprit| self.workers[culprit.worker.index()].injected);
        let culprit = blame.run();
        let what = Failure { domain, supervisor_died: false, culprit, ending, injected };
        self.open_incident(what, &lost);
        for &member in &lost {
            let cause = if blame.spares(member) { Cause::DomainLost } else { ending.cause };
            self.finalize(member.worker, Ending { cause, ..ending });
        }
        for member in lost {
            let ending = self.workers[member.worker.index()].last_ending.unwrap_or(ending);
            self.follow(member.worker, ending, blame.counts_for(member.worker));
        }
    }

    /// What is believed of whose doing it was: a run that this machine has had.
    pub(crate) fn blame(&self, culprit: Culprit, lost: &[Incarnation]) -> Culprit {
        match culprit {
            Culprit::Run(run) if !lost.contains(&run) && !self.is_over(run) => Culprit::Unknown,
            Culprit::Run(_) | Culprit::Outsider | Culprit::Unknown => culprit,
        }
    }

    /// Whether a run of a worker has been, and is no more.
    fn is_over(&self, run: Incarnation) -> bool {
        let Some(state) = self.workers.get(run.worker.index()) else { return false };
        run.generation < state.generation
            || (run.generation == state.generation && !state.phase.is_live())
    }

    /// What an ending was, knowing what we ordered.
    fn judge(&self, worker: WorkerId, observed: Ending) -> Ending {
        let state = &self.workers[worker.index()];
        // An order that is void by now had the launch dropped.
        let was_dropped = observed.cause == Cause::Requested || has_waited(observed);
        if (state.order.is_some() || was_dropped) && was_not_started(observed) {
            return Ending { cause: Cause::Requested, ..observed };
        }
        // In any other phase an order still waits, and the end came by itself.
        let is_ending = matches!(state.phase, Phase::Stopping | Phase::Killing) && !state.exited;
        let Some(why) = state.order.filter(|_| is_ending) else {
            return self.as_configured(worker, observed);
        };
        let is_forced = state.phase == Phase::Killing;
        let cause = match own_doing(why) {
            Some(cause) => cause,
            // It crashed by itself while it was asked to stop. Its exit code and the signal that
            // asked it do not count.
            None if !is_forced && is_crash(observed.cause) => observed.cause,
            None if state.overdue && is_forced => Cause::StopTimeout,
            None if why == StopReason::Collateral => Cause::Collateral,
            None => Cause::Requested,
        };
        Ending { cause, ..observed }
    }

    /// An ending that the configuration calls a success is none of the failures.
    fn as_configured(&self, worker: WorkerId, observed: Ending) -> Ending {
        let is_success = names(&self.spec.workers[worker.index()].restart.success, observed);
        if is_success && observed.cause.is_failure() {
            Ending { cause: Cause::Finished, ..observed }
        } else {
            observed
        }
    }

    /// The incarnation is no more: what was its own is forgotten, and why it was to end is kept for
    /// what follows.
    fn finalize(&mut self, worker: WorkerId, ending: Ending) {
        self.cancel_timers(worker);
        let stable = self.spec.workers[worker.index()].restart.reset_after;
        let state = &mut self.workers[worker.index()];
        if state.phase == Phase::Running && self.now.saturating_sub(state.since) >= stable {
            state.attempt = 0;
        }
        state.last_ending = Some(ending);
    }

    /// What comes after an ending. `counts`: whether it was the worker's own doing, and counts
    /// against its limit.
    pub(crate) fn follow(&mut self, worker: WorkerId, ending: Ending, counts: bool) {
        let order = self.workers[worker.index()].order;
        self.workers[worker.index()].forget_incarnation();
        let failed = ending.cause.is_failure();
        if order == Some(StopReason::GroupQuarantine) {
            self.quarantine(worker, Some(ending), Quarantine::Group);
        } else if !self.workers[worker.index()].wanted || self.shutdown.is_some() {
            self.rest(worker, Phase::Idle, ending);
        } else if matches!(order, Some(StopReason::Requested | StopReason::Collateral))
            || (ending.cause == Cause::Requested && was_not_started(ending))
        {
            // It was to end and to come back: at once, whatever its ending. The order that had its
            // launch dropped may be void by now.
            self.enter(worker, Phase::Idle, Some(ending));
            self.launches.insert(worker);
        } else {
            match (self.spec.workers[worker.index()].restart.policy, failed) {
                (RestartPolicy::Never, _) | (RestartPolicy::OnFailure, false) => {
                    self.workers[worker.index()].wanted = false;
                    self.rest(worker, Phase::Finished, ending);
                }
                (RestartPolicy::Always, _) | (RestartPolicy::OnFailure, true) if counts => {
                    self.try_again(worker, ending, failed);
                }
                (RestartPolicy::Always, _) | (RestartPolicy::OnFailure, true) => {
                    self.enter(worker, Phase::Idle, Some(ending));
                    self.launches.insert(worker);
                }
            }
        }
        self.release_group(worker);
    }

    fn rest(&mut self, worker: WorkerId, phase: Phase, ending: Ending) {
        self.enter(worker, phase, Some(ending));
        self.settle_loss(worker, Outcome::Down);
        if phase == Phase::Finished {
            self.end_if_critical(worker, Some(ending));
        }
    }

    /// A critical worker that is down for good takes the supervisor along.
    fn end_if_critical(&mut self, worker: WorkerId, ending: Option<Ending>) {
        if self.spec.workers[worker.index()].critical {
            self.giving_up.get_or_insert(GivingUp::Critical { worker, ending });
        }
    }

    /// Another attempt, after its delay; none when there were too many.
    fn try_again(&mut self, worker: WorkerId, ending: Ending, failed: bool) {
        let restart = &self.spec.workers[worker.index()].restart;
        let (limit, backoff) = (restart.limit, restart.backoff);
        let in_vain = match ending.cause {
            Cause::PermanentError => Some(Quarantine::PermanentError),
            _ => names(&restart.never_on, ending).then_some(Quarantine::NeverOn),
        };
        if let Some(why) = in_vain {
            self.set_aside(worker, Some(ending), None, why);
            return;
        }
        let state = &mut self.workers[worker.index()];
        // A machine short of memory or processes is not the worker's failure.
        if !is_transient(ending) && state.failures.count(self.now, &limit) {
            self.quarantine(worker, Some(ending), Quarantine::Limit);
            return;
        }
        let mut delay = delay(&backoff, worker, state.attempt);
        if is_transient(ending) {
            delay = delay.max(RESPITE);
        }
        state.attempt = state.attempt.saturating_add(1);
        if failed && !self.restart_group(worker) {
            // The group has given up, and this worker with it.
            return;
        }
        if delay.is_zero() {
            self.enter(worker, Phase::Idle, Some(ending));
            self.launches.insert(worker);
        } else {
            let at = self.now.saturating_add(delay);
            self.workers[worker.index()].retry_at = Some(at);
            self.enter(worker, Phase::Backoff, Some(ending));
            self.set_timer(Timer::Worker(worker, Due::Phase), at);
        }
    }

    /// No further attempt by itself, but perhaps a slow one.
    pub(crate) fn quarantine(&mut self, worker: WorkerId, ending: Option<Ending>, why: Quarantine) {
        let retry = self.spec.workers[worker.index()].restart.slow_retry;
        self.set_aside(worker, ending, retry, why);
    }

    /// `retry`: after which time it is tried again; `None`: only by hand.
    fn set_aside(
        &mut self,
        worker: WorkerId,
        ending: Option<Ending>,
        retry: Option<Duration>,
        why: Quarantine,
    ) {
        self.cancel_timers(worker);
        let at = retry.map(|retry| self.now.saturating_add(retry));
        let state = &mut self.workers[worker.index()];
        state.wanted = false;
        state.held = false;
        state.retry_at = at;
        state.quarantine = Some(why);
        self.enter(worker, Phase::Quarantined, ending);
        if let Some(at) = at {
            self.set_timer(Timer::Worker(worker, Due::Phase), at);
        }
        self.settle_loss(worker, Outcome::Down);
        if at.is_none() {
            let ending = ending.or(self.workers[worker.index()].last_ending);
            self.end_if_critical(worker, ending);
        }
    }
}

impl Culprit {
    /// The run that did it, if it is known.
    pub(crate) fn run(self) -> Option<Incarnation> {
        match self {
            Self::Run(run) => Some(run),
            Self::Unknown | Self::Outsider => None,
        }
    }

    /// The same, if it was lost by that.
    fn lost(self, lost: &[Incarnation]) -> Option<Incarnation> {
        self.run().filter(|run| lost.contains(run))
    }

    /// Whether this run was lost by what another did.
    pub(crate) fn spares(self, member: Incarnation) -> bool {
        match self {
            Self::Run(run) => run != member,
            Self::Outsider => true,
            Self::Unknown => false,
        }
    }

    /// Whether it is a failure of this worker.
    pub(crate) fn counts_for(self, worker: WorkerId) -> bool {
        match self {
            Self::Run(run) => run.worker == worker,
            Self::Outsider => false,
            Self::Unknown => true,
        }
    }
}

/// Whether the configuration names this ending. Only what the process did by itself has a name
/// there.
fn names(exits: &[Exit], ending: Ending) -> bool {
    let exit = match ending.status {
        Status::Exited(code) => Exit::Code(code),
        Status::Signaled { signal, .. } => Exit::Signal(signal),
        Status::Returned
        | Status::Failed
        | Status::Panicked
        | Status::Abandoned
        | Status::NotLaunched(_)
        | Status::Unknown => return false,
    };
    exits.contains(&exit)
}

/// Whether there was no process yet, since the worker was asked to stop while the command before
/// its start ran. That was not ended by force.
fn has_waited(ending: Ending) -> bool {
    let Status::NotLaunched(failure) = ending.status else { return false };
    failure.stage == LaunchStage::START_BEFORE && failure.code == 0
}

/// Whether there was no process yet. The command before its start ended well, and it was not
/// started all the same, or it waited in line for its launch: both are done for one that was asked
/// to stop meanwhile.
fn was_not_started(ending: Ending) -> bool {
    let Status::NotLaunched(failure) = ending.status else { return false };
    has_waited(ending) || failure.stage == LaunchStage::CLONE
}

fn is_transient(ending: Ending) -> bool {
    matches!(ending.status, Status::NotLaunched(failure) if failure.transient)
}

/// The cause when the ending was the machine's own doing for a reason that is a failure.
fn own_doing(why: StopReason) -> Option<Cause> {
    match why {
        StopReason::Hang => Some(Cause::Hang),
        StopReason::StartTimeout => Some(Cause::StartTimeout),
        StopReason::Unhealthy => Some(Cause::Unhealthy),
        StopReason::Requested | StopReason::Collateral | StopReason::GroupQuarantine => None,
    }
}

/// Whether a worker that was asked to stop went down by itself instead.
const fn is_crash(cause: Cause) -> bool {
    match cause {
        Cause::Panic
        | Cause::PanicNoUnwind
        | Cause::Segfault
        | Cause::StackOverflow
        | Cause::Abort
        | Cause::IllegalInstruction
        | Cause::FloatingPoint
        | Cause::Bus
        | Cause::OutOfMemory
        | Cause::Vanished => true,
        Cause::Finished
        | Cause::Requested
        | Cause::Error
        | Cause::PermanentError
        | Cause::Hang
        | Cause::StartTimeout
        | Cause::Unhealthy
        | Cause::StopTimeout
        | Cause::Killed
        | Cause::Signal
        | Cause::LaunchFailure
        | Cause::DomainLost
        | Cause::Collateral
        | Cause::Unknown => false,
    }
}
