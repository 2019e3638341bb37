//! One turn: the loop tells the machine what has come, and does what it wants. Bounded in time, so
//! that other inputs get their chance.

pub(super) mod lapse;
mod pace;
mod signs;
mod turns;

use std::time::Duration;

use supervision::Event;

pub(super) use pace::Pace;
pub(super) use signs::Signs;
pub(super) use turns::{Turns, Work};

use super::Daemon;
use crate::afterwards;

impl Daemon {
    /// Tells the machine what has happened, and does what it wants, until both have nothing more to
    /// say.
    pub(super) fn turn(&mut self, event: Option<Event>) {
        let _turn = afterwards::Turn::begin();
        self.count_lapse(self.now());
        let end = self.pace.begin(self.now());
        if let Some(event) = event {
            self.tell(event);
        }
        if self.pace.is_broken_off(self.now()) {
            self.remember();
            return;
        }
        while self.carry_out(end) {
            if let Some(event) = self.drivers.next_event() {
                self.tell(event);
            } else if !self.launch_next() {
                break;
            }
        }
        // However much comes, one is launched in each turn.
        if self.pace.has_more() {
            self.launch_next();
        }
        while let Some(remark) = self.drivers.next_remark() {
            self.emit(remark.incarnation, remark.what);
        }
        self.drivers.end_leftovers();
        self.drivers.keep_own_process(self.now(), false);
        self.go_on_in_background();
        self.write_settled(Some(end));
        self.answer_waiters();
    }

    /// What was lost until `now` is held against no worker.
    pub(super) fn count_lapse(&mut self, now: Duration) {
        if let Some(by) = self.lapse.until(now) {
            if lapse::is_real(by) {
                tracing::warn!(
                    "the supervisor did not run for {by:?}; that time counts against no worker"
                );
            }
            self.lose(by);
        }
    }

    /// The present moment; what was lost until then has moved the deadlines.
    pub(super) fn time_of_judgement(&mut self) -> Duration {
        let now = self.now();
        self.count_lapse(now);
        now
    }

    /// What has come is heard before a worker is judged for what has not.
    pub(super) fn tell(&mut self, event: Event) {
        let now = if event == Event::Deadline {
            self.time_of_judgement()
        } else {
            self.before_judgement()
        };
        let was_ending = self.machine.is_shutting_down();
        self.machine.handle(now, event);
        if !was_ending && self.machine.is_shutting_down() {
            // Hundreds may wait in line: none begins until each has been stopped.
            self.drivers.close_launches();
        }
    }

    /// Does what the machine wants; launches wait. False: the time is over, and the rest has to
    /// wait until others had their turn. Many may be launched at once, and some fail at once, again
    /// and again.
    pub(super) fn carry_out(&mut self, end: Duration) -> bool {
        self.remember();
        while let Some(effect) = self.machine.poll_effect() {
            self.pace.count_effect();
            self.apply(effect);
            if !self.pace.goes_on(self.now(), end) {
                return false;
            }
        }
        // Also after an event or a launch.
        self.pace.goes_on(self.now(), end)
    }

    /// Does what the machine has decided by now, so that a client sees no decision without its
    /// consequences: a worker that has ended has an ending. Launches wait. Bounded by what one turn
    /// can decide.
    pub(super) fn carry_out_all(&mut self) {
        let had_more = self.pace.has_more();
        self.carry_out(Duration::MAX);
        if had_more {
            self.pace.break_off();
        }
    }

    /// So much time is held against no worker, and ends no wait.
    pub(super) fn lose(&mut self, by: Duration) {
        self.machine.handle(self.before_judgement(), Event::TimeLost { by });
        self.probing.on_time_lost(by);
        self.waiters.on_time_lost(by);
        self.drafts.on_time_lost(by);
    }

    /// When something is due next: for the machine, for a probe, for those that are dying, for an
    /// incident.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let look = self.drivers.next_look().map(Duration::from_nanos);
        let at_once = self.pace.has_more().then_some(Duration::ZERO);
        [
            at_once,
            self.machine.next_deadline(),
            self.probing.next_due(),
            look,
            self.drivers.next_look_at_own_process(),
            self.drafts.next_due(),
            self.waiters.next_due(),
            self.signs.due(),
            self.upkeep.due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn on_deadline(&mut self) {
        // Here and nowhere else: a loop that does not come to this point does not turn.
        if self.signs.due().is_some_and(|at| self.now() >= at) {
            self.say_alive();
        }
        self.drivers.keep_own_process(self.now(), false);
        self.drivers.look_at_remains();
        self.keep_up();
        if !self.pace.is_settling() {
            let is_all = self.hear_all();
            let is_due = self.machine.next_deadline().is_some_and(|at| at <= self.now());
            if !self.pace.may_judge(is_due, is_all) {
                return;
            }
            self.pace.settle(self.machine.pending_effects());
        }
        if self.settle() {
            self.turn(Some(Event::Deadline));
        }
    }

    /// Tells the guardian and the service manager that the loop turns.
    pub(super) fn say_alive(&mut self) {
        self.drivers.keep_own_process(self.now(), true);
        self.signs.given(self.now());
        self.around.say_alive();
    }

    /// Takes what has come meanwhile, by whatever way: a deadline judges by what was not heard.
    /// False: there may be more, and others get their turn first.
    pub(super) fn hear_all(&mut self) -> bool {
        // The machine hears all of it, and one budget serves what follows from it: there may be
        // hundreds.
        self.pace.share(self.now());
        while let Some(said) = self.background.take() {
            self.on_task_outcome(said);
        }
        self.pace.share_no_more();
        let end = Pace::end(self.now());
        loop {
            let may_be_more = self.drivers.collect();
            self.turn(None);
            if !may_be_more && !self.pace.has_more() {
                return true;
            }
            if self.now() > end {
                return false;
            }
        }
    }

    /// Carries out what the machine wanted when the deadline was to be judged, but for launches:
    /// every look that was due then comes before the judgement. False: the turn's time is over, and
    /// others get their turn before the rest.
    pub(super) fn settle(&mut self) -> bool {
        let end = Pace::end(self.now());
        if self.pace.is_settling() && self.carry_out(end) {
            self.pace.settled();
        }
        !self.pace.is_settling()
    }

    /// The present moment, or the last one before the next judgement.
    pub(super) fn before_judgement(&self) -> Duration {
        let last =
            self.machine.next_judgement().map(|at| at.saturating_sub(Duration::from_nanos(1)));
        last.map_or(self.now(), |last| last.min(self.now()))
    }
}
