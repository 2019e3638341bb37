//! Group strategies: who else is restarted when a member fails, and when a group gives up.
//!
//! The members concerned are stopped, those later in the group first. All of them, the failed one
//! included, are held back until the last one has ended and the failed one's delay is over; then
//! they are launched in order, each when the one before it runs (see `order`).

use alloc::vec::Vec;

use crate::effect::{Effect, GivingUp};
use crate::id::{GroupId, WorkerId};
use crate::incident::Outcome;
use crate::machine::Machine;
use crate::spec::Strategy;
use crate::worker::{Phase, Quarantine, StopReason};

impl Machine {
    /// A member has failed and will be tried again: does to the others what the strategy says.
    /// False when the group gives up instead; the member is in quarantine then.
    pub(crate) fn restart_group(&mut self, worker: WorkerId) -> bool {
        let Some(group) = self.index.group(worker) else { return true };
        let spec = &self.spec.groups[group.index()];
        let (strategy, escalate) = (spec.strategy, spec.escalate);
        // Its checkpoint tells of the group's failures.
        if let Some(first) = spec.workers.first() {
            self.workers.touch(first.index());
        }
        if let Some(limit) = spec.limit
            && self.group_failures[group.index()].count(self.now, &limit)
        {
            self.give_up(group, worker, escalate);
            return false;
        }
        let concerned = self.concerned(group, worker, strategy);
        if concerned.is_empty() {
            return true;
        }
        let incident = self.workers[worker.index()].open_incident;
        self.workers[worker.index()].held = true;
        for other in concerned {
            let state = &mut self.workers[other.index()];
            state.held = true;
            if state.phase == Phase::Idle {
                self.wake_dependents(other);
                continue;
            }
            if state.phase == Phase::Backoff {
                // It comes back with the others, and not before them.
                self.lay_down(other);
                continue;
            }
            if state.phase.is_live() {
                if state.order.is_none() {
                    state.order = Some(StopReason::Collateral);
                }
                self.stops.insert(other);
                let was_running = self.workers[other.index()].phase == Phase::Running;
                if let Some(id) = incident.filter(|_| was_running) {
                    self.settle_loss(other, Outcome::FailedAgain);
                    let incarnation = self.incarnation(other);
                    if self.open_incidents.add_collateral(id, incarnation) {
                        self.workers[other.index()].note_loss(id);
                    }
                }
            }
        }
        true
    }

    /// The other members that a failure of `worker` concerns and that shall be up.
    fn concerned(&self, group: GroupId, worker: WorkerId, strategy: Strategy) -> Vec<WorkerId> {
        let members = &self.spec.groups[group.index()].workers;
        let position = members.iter().position(|member| *member == worker).unwrap_or(0);
        let is_concerned = |at: usize| match strategy {
            Strategy::OneForOne => false,
            Strategy::OneForAll => at != position,
            Strategy::RestForOne => at > position,
        };
        let chosen = members
            .iter()
            .enumerate()
            .filter(|(at, _)| is_concerned(*at))
            .map(|(_, member)| *member);
        chosen
            .filter(|member| self.workers.get(member.index()).is_some_and(|state| state.wanted))
            .collect()
    }

    /// Starts the held members of a group, once none is missing any more: none is still stopping,
    /// none waits for its delay.
    pub(crate) fn release_group(&mut self, worker: WorkerId) {
        let Some(group) = self.index.group(worker) else { return };
        let members = self.spec.groups[group.index()].workers.iter().copied();
        let is_held =
            |member: &WorkerId| self.workers.get(member.index()).is_some_and(|state| state.held);
        let held: Vec<WorkerId> = members.filter(is_held).collect();
        let is_missing = |member: &WorkerId| {
            let phase = self.workers[member.index()].phase;
            phase == Phase::Backoff || phase.is_live()
        };
        if held.iter().any(is_missing) {
            return;
        }
        for member in held {
            self.workers[member.index()].held = false;
            self.launches.insert(member);
            self.wake_dependents(member);
        }
    }

    /// Too many failures of a group: all of it is quarantined, or it takes the supervisor along.
    fn give_up(&mut self, group: GroupId, worker: WorkerId, escalate: bool) {
        let ending = self.workers[worker.index()].last_ending;
        self.quarantine(worker, ending, Quarantine::Group);
        if escalate {
            self.giving_up.get_or_insert(GivingUp::Group(group));
            return;
        }
        for member in self.spec.groups[group.index()].workers.clone() {
            let Some(state) = self.workers.get_mut(member.index()).filter(|_| member != worker)
            else {
                continue;
            };
            match state.phase {
                Phase::Launching | Phase::Starting | Phase::Running => {
                    state.order = Some(StopReason::GroupQuarantine);
                    self.stops.insert(member);
                    self.limit_launch(member);
                }
                Phase::Stopping | Phase::Killing => state.order = Some(StopReason::GroupQuarantine),
                Phase::Idle if state.wanted => {
                    self.quarantine(member, None, Quarantine::Group);
                }
                Phase::Backoff => self.quarantine(member, None, Quarantine::Group),
                Phase::Idle | Phase::Quarantined | Phase::Finished => {}
            }
        }
    }

    /// The last effect, once everything is down. What was killed, named, and does not die is not
    /// waited for: the end has a bound, and is not in order then.
    pub(crate) fn end_if_over(&mut self) {
        let Some(shutdown) = self.shutdown.filter(|shutdown| !shutdown.is_over) else { return };
        if self.workers.iter().any(|worker| worker.phase.is_live() && !worker.unkillable) {
            return;
        }
        for worker in 0..self.workers.len() {
            self.workers.touch(worker);
        }
        let left: Vec<WorkerId> = crate::dependencies::ids(self.workers.len())
            .filter(|worker| self.workers[worker.index()].phase.is_live())
            .collect();
        for &worker in &left {
            self.settle_loss(worker, Outcome::Down);
        }
        let orderly = shutdown.orderly && left.is_empty();
        self.timers.clear();
        self.shutdown = Some(crate::machine::Shutdown { is_over: true, ..shutdown });
        self.effects.push_back(Effect::Exit { orderly, critical: shutdown.critical });
    }
}
