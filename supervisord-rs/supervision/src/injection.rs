//! Faults on schedule: when one is due, and whether the dice, which are a hash, let it happen.

use crate::effect::Effect;
use crate::id::{FaultId, WorkerId};
use crate::machine::Machine;
use crate::restart::hash;
use crate::timers::{Due, Timer};

impl Machine {
    /// The worker has become running: its schedules count from now.
    pub(crate) fn schedule_injections(&mut self, worker: WorkerId) {
        if !self.spec.fault_injection {
            return;
        }
        for position in 0..self.spec.workers[worker.index()].injections.len() {
            let spec = self.spec.workers[worker.index()].injections[position];
            if !self.is_used_up(worker, position) {
                let at = self.now.saturating_add(spec.after);
                self.set_timer(Timer::Worker(worker, Due::Injection(position)), at);
            }
        }
    }

    pub(crate) fn throw_dice(&mut self, worker: WorkerId, position: usize) {
        let spec = self.spec.workers[worker.index()].injections[position];
        let is_paused = self.workers[worker.index()].paused;
        let committed = &mut self.workers[worker.index()].injections[position];
        let draw = hash(spec.seed, hash(u64::from(worker.0), committed.draws));
        // One that is suspended would be struck much later, when it goes on: this turn is left out.
        let happens = draw % 1000 < u64::from(spec.probability_permille) && !is_paused;
        committed.draws = committed.draws.saturating_add(1);
        if happens {
            committed.times = committed.times.saturating_add(1);
        }
        let every =
            spec.every.filter(|every| !every.is_zero() && !self.is_used_up(worker, position));
        if let Some(every) = every {
            // Missed turns are not made up for.
            self.set_timer(
                Timer::Worker(worker, Due::Injection(position)),
                self.now.saturating_add(every),
            );
        }
        if happens {
            self.commit(worker, spec.fault);
        }
    }

    fn is_used_up(&self, worker: WorkerId, position: usize) -> bool {
        let times = self.spec.workers[worker.index()].injections[position].times;
        times.is_some_and(|times| self.workers[worker.index()].injections[position].times >= times)
    }

    /// Orders a fault in the present incarnation, and remembers it for the incident that will come
    /// of it; one for the next launch waits for that, as long as this supervisor runs.
    pub(crate) fn commit(&mut self, worker: WorkerId, fault: FaultId) {
        if fault.at_launch {
            self.workers[worker.index()].at_launch = Some(fault);
            return;
        }
        self.workers[worker.index()].injected = Some(fault);
        let incarnation = self.incarnation(worker);
        self.effects.push_back(Effect::Inject { incarnation, fault });
    }
}
