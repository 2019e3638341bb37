//! What several workers have in common, and was not settled at the death: the failures of a group,
//! and incidents that are open. Each worker's checkpoint has its part.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use super::{Fate, RecoveredWorker};
use crate::checkpoint::OpenLoss;
use crate::ending::{Cause, Ending, Status};
use crate::id::{DomainId, GroupId, Incarnation, IncidentId, WorkerId};
use crate::incident::{Incident, Outcome};
use crate::machine::Machine;
use crate::restart::Window;
use crate::worker::Phase;

impl OpenLoss {
    /// The same, of the worker that both machines know by name and perhaps by different numbers.
    fn of(mut self, worker: WorkerId) -> Self {
        self.loss.incarnation.worker = worker;
        if let Outcome::Recovered { incarnation, .. } = &mut self.loss.outcome {
            incarnation.worker = worker;
        }
        self
    }
}

impl Machine {
    /// The group whose failures stand in this worker's checkpoint: the one that it is the first of.
    fn group_told_by(&self, worker: WorkerId) -> Option<GroupId> {
        let group = self.index.group(worker)?;
        (self.spec.groups[group.index()].workers.first() == Some(&worker)).then_some(group)
    }

    pub(crate) fn group_failures_of(&self, worker: WorkerId) -> Vec<Duration> {
        let Some(group) = self.group_told_by(worker) else { return Vec::new() };
        let limit = self.spec.groups[group.index()].limit;
        let failures = &self.group_failures[group.index()];
        limit.map(|limit| failures.recent(self.now, &limit)).unwrap_or_default()
    }

    pub(super) fn recall_group(&mut self, worker: WorkerId, failures: &[Duration]) {
        if let Some(group) = self.group_told_by(worker) {
            self.group_failures[group.index()] = Window::of(failures);
        }
    }

    /// Its parts in incidents that are not on record.
    pub(crate) fn losses_of(&self, worker: WorkerId) -> Vec<OpenLoss> {
        let incidents = &self.workers[worker.index()].losses;
        incidents.iter().filter_map(|incident| self.loss_in(*incident, worker)).collect()
    }

    fn loss_in(&self, incident: IncidentId, worker: WorkerId) -> Option<OpenLoss> {
        let incident = self.open_incidents.get(incident)?;
        let loss = *incident.lost.iter().rev().find(|loss| loss.incarnation.worker == worker)?;
        let is_culprit = incident.culprit.is_some_and(|culprit| culprit == loss.incarnation);
        let injected = incident.injected.filter(|_| is_culprit);
        Some(OpenLoss {
            incident: incident.id,
            opened: incident.opened,
            ending: incident.ending,
            count: incident.count,
            loss,
            is_culprit,
            supervisor_died: incident.supervisor_died,
            injected,
        })
    }

    /// Incidents that were open are open again, each of the parts that are known. Those that were
    /// not written yet are closed again at once.
    pub(super) fn reopen(&mut self, known: &[&RecoveredWorker]) {
        let mut parts: BTreeMap<IncidentId, Vec<(WorkerId, OpenLoss)>> = BTreeMap::new();
        for past in known.iter().filter(|past| past.fate != Fate::Closed) {
            for loss in &past.checkpoint.losses {
                parts.entry(loss.incident).or_default().push((past.worker, loss.of(past.worker)));
            }
        }
        for (id, parts) in parts {
            let mut incident = self.joined(id, &parts);
            let blamed = known.iter().find_map(|past| {
                let (_, generation) = past.blamed.filter(|(of, _)| *of == id)?;
                Some(Incarnation { worker: past.worker, generation })
            });
            incident.culprit = incident.culprit.or(blamed);
            for loss in &incident.lost {
                let state = &mut self.workers[loss.incarnation.worker.index()];
                let open = state.open_incident;
                state.note_loss(id);
                if loss.outcome != Outcome::Pending {
                    state.open_incident = open;
                }
            }
            self.open_incidents.reopen(incident);
            self.close_settled(alloc::vec![id]);
        }
    }

    fn joined(&self, id: IncidentId, parts: &[(WorkerId, OpenLoss)]) -> Incident {
        let of_culprit = parts.iter().find(|(_, part)| part.is_culprit);
        let culprit = of_culprit.map(|(_, part)| part.loss.incarnation);
        let supervisor_died = parts.iter().any(|(_, part)| part.supervisor_died);
        // Those that the machine restarted because of it may be of other domains.
        let of_fault = parts.iter().find(|(_, part)| !part.loss.collateral);
        let first = of_culprit.or(of_fault).or(parts.first());
        let domain = match first {
            Some((worker, _)) if !supervisor_died => self.spec.workers[worker.index()].domain,
            Some(_) | None => DomainId(0),
        };
        let unknown = Ending { status: Status::Unknown, cause: Cause::Unknown };
        let lost: BTreeSet<Incarnation> =
            parts.iter().map(|(_, part)| part.loss.incarnation).collect();
        let up = crate::dependencies::ids(self.workers.len())
            .filter(|worker| self.workers[worker.index()].phase == Phase::Running)
            .map(|worker| self.incarnation(worker));
        Incident {
            id,
            domain,
            supervisor_died,
            culprit,
            ending: first.map_or(unknown, |(_, part)| part.ending),
            count: parts.iter().map(|(_, part)| part.count).max().unwrap_or(1),
            injected: of_culprit.and_then(|(_, part)| part.injected),
            opened: parts.iter().map(|(_, part)| part.opened).min().unwrap_or(self.now),
            closed: None,
            running: up
                .filter(|up| !parts.iter().any(|(worker, _)| *worker == up.worker))
                .chain(lost)
                .collect(),
            lost: parts.iter().map(|(_, part)| part.loss).collect(),
        }
    }
}
