//! Workers that are added to a machine that runs, and taken away.

use crate::dependencies::{Index, ids};
use crate::event::Extension;
use crate::id::WorkerId;
use crate::incident::Outcome;
use crate::machine::Machine;
use crate::table::Signal;
use crate::worker::Worker;

impl Machine {
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
