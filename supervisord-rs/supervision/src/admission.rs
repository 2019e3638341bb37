//! How many start at once; workers that are added to a machine that runs, and taken away.

use crate::dependencies::{Index, ids};
use crate::event::Extension;
use crate::id::WorkerId;
use crate::incident::Outcome;
use crate::machine::Machine;
use crate::timers::Timer;
use crate::worker::{Phase, Signal, Worker};

impl Machine {
    /// Whether a worker may be launched at this moment. One that may not waits in the queue.
    pub(crate) fn is_admitted(&mut self, worker: WorkerId) -> bool {
        let limits = self.spec.start;
        let has_place = limits.concurrency.is_none_or(|places| self.coming_up < places.max(1));
        let next = self.last_launch.map(|last| last.saturating_add(limits.stagger));
        let is_soon = next.filter(|next| !limits.stagger.is_zero() && *next > self.now);
        if let Some(next) = is_soon {
            self.set_timer(Timer::Stagger, next);
        }
        if has_place && is_soon.is_none() {
            self.last_launch = Some(self.now);
            self.queue.remove(&worker);
            return true;
        }
        self.queue.insert(worker);
        false
    }

    /// Those that waited for a place are looked at again.
    pub(crate) fn admit_queue(&mut self) {
        self.launches.append(&mut self.queue);
    }

    /// Counts the workers that are starting; a free place goes to one that waits.
    pub(crate) fn count_coming_up(&mut self, from: Phase, to: Phase) {
        let is_coming_up = |phase: Phase| matches!(phase, Phase::Launching | Phase::Starting);
        match (is_coming_up(from), is_coming_up(to)) {
            (false, true) => self.coming_up += 1,
            (true, false) => {
                self.coming_up = self.coming_up.saturating_sub(1);
                self.admit_queue();
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Takes in more workers. References to nowhere are passed over.
    pub(crate) fn extend(&mut self, extension: Extension) {
        let first = self.workers.len();
        for spec in &extension.workers {
            let mut worker = Worker::new(spec.injections.len());
            worker.wanted = spec.autostart && self.shutdown.is_none();
            self.workers.push(worker);
        }
        self.spec.workers.extend(extension.workers);
        self.spec.domains.extend(extension.domains);
        for (group, worker) in extension.members {
            let is_free = self.spec.groups.iter().all(|group| !group.workers.contains(&worker));
            if let Some(group) = self.spec.groups.get_mut(group.index()).filter(|_| is_free) {
                group.workers.push(worker);
            }
        }
        for (worker, dependency) in extension.dependencies {
            if let Some(spec) = self.spec.workers.get_mut(worker.index()) {
                spec.depends_on.push(dependency);
            }
        }
        self.index = Index::new(&self.spec);
        if self.shutdown.is_none() {
            let new = ids(self.workers.len()).skip(first);
            self.launches.extend(new.filter(|worker| self.workers[worker.index()].wanted));
        }
    }

    /// Stops only these, and ends every wait for them.
    pub(crate) fn retire(&mut self, workers: &[WorkerId]) {
        for &worker in workers {
            let state = &mut self.workers[worker.index()];
            state.stopped = true;
            state.wanted = false;
            state.retired = true;
            self.react(worker, Signal::Stop);
            if !self.workers[worker.index()].phase.is_live() {
                self.settle_loss(worker, Outcome::Down);
            }
            self.wake_dependents(worker);
        }
    }
}
