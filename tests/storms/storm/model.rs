//! The documentation's promises for a territory, whatever happens to its processes: the last order
//! counts, a start also starts dependencies, a stop also stops dependents until the dependency is
//! back, and no worker ends for good without a reason.

use supervisord_rs::control::protocol::StatusReport;

use super::configuration::Territory;

/// The model's knowledge of one worker.
#[derive(Clone, Debug)]
struct Expected {
    is_wanted: bool,
    /// Whether it may have ended for good: it was struck, and its policy is `never`.
    may_be_finished: bool,
}

/// A territory, and what its client has ordered.
pub struct Model {
    pub territory: Territory,
    workers: Vec<Expected>,
    pub instances: u32,
}

impl Model {
    pub fn new(territory: Territory) -> Self {
        let workers = territory.plans.iter();
        let workers =
            workers.map(|_| Expected { is_wanted: true, may_be_finished: false }).collect();
        Self { territory, workers, instances: 2 }
    }

    /// A `start` or a `restart` has been accepted.
    pub fn start(&mut self, worker: usize) {
        self.workers[worker].is_wanted = true;
        for on in self.territory.plans[worker].depends_on.clone() {
            self.start(on);
        }
    }

    /// A `stop` has been accepted.
    pub fn stop(&mut self, worker: usize) {
        self.workers[worker].is_wanted = false;
    }

    /// A fault has perhaps struck: workers that are never restarted may have ended.
    pub fn may_strike_any(&mut self) {
        for (worker, plan) in self.workers.iter_mut().zip(&self.territory.plans) {
            worker.may_be_finished |= plan.is_never;
        }
    }

    /// The broken promises at a quiet moment; empty when there are none.
    pub fn differences(&self, status: &StatusReport) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, plan) in self.territory.plans.iter().enumerate() {
            let Some(seen) = status.workers.iter().find(|worker| worker.name == plan.name) else {
                wrong.push(format!("{} is not there", plan.name));
                continue;
            };
            let can_run = self.is_possible(number);
            let is_right = match seen.phase.as_str() {
                "running" => can_run != Some(false) && !seen.paused,
                "finished" => self.workers[number].may_be_finished,
                // It may wait for an earlier member of its group, which waits for a dependency.
                "idle" => {
                    can_run != Some(true)
                        || plan.after.iter().any(|earlier| self.is_possible(*earlier) != Some(true))
                }
                _ => false,
            };
            if !is_right {
                wrong.push(format!(
                    "{} is {} (paused: {}), and it may run: {can_run:?}; waits for {:?}",
                    plan.name, seen.phase, seen.paused, seen.waits_for
                ));
            }
        }
        let many = status.workers.iter().filter(|worker| worker.base == self.territory.scaled);
        let running = many.clone().filter(|worker| worker.phase == "running").count();
        if (many.count(), running) != (self.instances as usize, self.instances as usize) {
            wrong.push(format!("{} are not {} running", self.territory.scaled, self.instances));
        }
        wrong
    }

    /// Whether it must run; `None`: perhaps.
    fn is_possible(&self, worker: usize) -> Option<bool> {
        let state = &self.workers[worker];
        if !state.is_wanted {
            return Some(false);
        }
        let needs = self.territory.plans[worker].depends_on.iter().map(|on| self.is_possible(*on));
        let own = if state.may_be_finished { None } else { Some(true) };
        needs.fold(own, |all, one| match (all, one) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (None, _) | (_, None) => None,
            (Some(true), Some(true)) => Some(true),
        })
    }
}
