//! Whether everything is well before the first fault.

use super::{ANSWER, Run, Stop};
use crate::control::client::MANY_INCIDENTS;
use crate::control::protocol::{WorkerStatus, is_meant};
use crate::drill::up::{is_struck_down, is_up, not_up};
use crate::drill::verdict::Unmet;

impl Run<'_> {
    /// What is broken before the first fault is an error of the scenario.
    pub(super) fn check_steady(&mut self) -> Result<(), Stop> {
        let status = self.bed.wait("an answer", ANSWER, |bed| Ok(bed.client.status().ok()));
        let status = status.map_err(|error| self.failed(&error))?;
        let is_known = |worker: &&WorkerStatus| {
            self.scenario.already_broken.iter().any(|name| is_meant(*worker, name))
        };
        for worker in status.workers.iter().filter(|worker| !is_known(worker)) {
            if is_struck_down(worker) || !is_up(worker) {
                return Err(unsteady(not_up(worker).to_string()));
            }
            if worker.phase == "running" && !(worker.health.ready && worker.health.alive) {
                let why = format!("a probe of {} says that it is not well", worker.name);
                return Err(unsteady(why));
            }
        }
        if let Some(trouble) = status.supervisor.troubles.first() {
            return Err(unsteady(trouble.clone()));
        }
        let known = self.bed.client.incidents_and_open(MANY_INCIDENTS).unwrap_or_default();
        let is_of_known = |worker: &String| {
            self.scenario.already_broken.iter().any(|name| {
                status.workers.iter().any(|one| one.name == *worker && is_meant(one, name))
            })
        };
        let other = known.iter().find(|one| !one.worker.as_ref().is_some_and(is_of_known));
        other.map_or(Ok(()), |incident| Err(unsteady(incident.sentence.clone())))
    }
}

/// Something is broken that no step of the scenario has broken.
fn unsteady(seen: String) -> Stop {
    Stop::Unsteady(Unmet::new("everything well before the first fault", seen))
}
