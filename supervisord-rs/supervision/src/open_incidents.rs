//! The incidents that are open: each is opened once, and closed once when every loss in it is
//! settled. One that is closed is kept until it is on record: a successor closes it again.

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::ending::{Ending, Status};
use crate::id::{Incarnation, IncidentId, WorkerId};
use crate::incident::{Incident, Loss, Outcome};

/// Closed incidents that are kept at most: where nothing can be written, the oldest go.
const CLOSED_MAX: usize = 64;

/// The open incidents, those that are closed and not on record, and the number of the last.
#[derive(Debug, Default)]
pub(crate) struct OpenIncidents {
    open: BTreeMap<IncidentId, Incident>,
    closed: BTreeMap<IncidentId, Incident>,
    last: u64,
}

impl OpenIncidents {
    /// Goes on counting after this one.
    pub(crate) fn after(last: Option<IncidentId>) -> Self {
        Self { open: BTreeMap::new(), closed: BTreeMap::new(), last: last.map_or(0, |id| id.0) }
    }

    /// The number of the next incident.
    pub(crate) fn next_id(&mut self) -> IncidentId {
        self.last = self.last.saturating_add(1);
        IncidentId(self.last)
    }

    /// Keeps an incident until it is settled.
    pub(crate) fn open(&mut self, incident: Incident) {
        self.open.insert(incident.id, incident);
    }

    /// One that a predecessor had opened.
    pub(crate) fn reopen(&mut self, incident: Incident) {
        self.last = self.last.max(incident.id.0);
        self.open.insert(incident.id, incident);
    }

    /// An incident that is not on record.
    pub(crate) fn get(&self, id: IncidentId) -> Option<&Incident> {
        self.open.get(&id).or_else(|| self.closed.get(&id))
    }

    /// It is on record.
    pub(crate) fn forget(&mut self, id: IncidentId) -> Option<Incident> {
        self.closed.remove(&id)
    }

    /// All that are open, oldest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Incident> {
        self.open.values()
    }

    /// Adds one that the machine restarts because of an open incident; false when that is settled
    /// already.
    pub(crate) fn add_collateral(&mut self, id: IncidentId, incarnation: Incarnation) -> bool {
        let Some(incident) = self.open.get_mut(&id) else { return false };
        incident.lost.push(Loss { incarnation, collateral: true, outcome: Outcome::Pending });
        true
    }

    /// Counts a launch of this worker that failed as the one did that the open incident is about;
    /// `None` where it did not.
    pub(crate) fn count_again(
        &mut self,
        id: IncidentId,
        worker: WorkerId,
        ending: Ending,
    ) -> Option<(IncidentId, u64)> {
        let incident = self.open.get_mut(&id)?;
        let is_same = matches!(ending.status, Status::NotLaunched(_)) && incident.ending == ending;
        let is_of_it = incident.culprit.is_some_and(|culprit| culprit.worker == worker);
        if !is_same || !is_of_it {
            return None;
        }
        incident.count = incident.count.saturating_add(1);
        Some((id, incident.count))
    }

    /// Says what became of a worker; false when that settles nothing, as when the one that is
    /// running is the very one that is about to be stopped.
    pub(crate) fn settle(&mut self, id: IncidentId, worker: WorkerId, outcome: Outcome) -> bool {
        let Some(incident) = self.open.get_mut(&id) else { return true };
        let mut settled = true;
        for loss in incident.lost.iter_mut().filter(|loss| loss.incarnation.worker == worker) {
            if let Outcome::Recovered { incarnation, .. } = outcome
                && incarnation.generation <= loss.incarnation.generation
            {
                settled = false;
            } else if loss.outcome == Outcome::Pending {
                loss.outcome = outcome;
            }
        }
        settled
    }

    /// Closes the incident when nothing in it is pending any more.
    pub(crate) fn close(&mut self, id: IncidentId, now: Duration) -> Option<Incident> {
        let pending = self.open.get(&id)?.lost.iter().any(|loss| loss.outcome == Outcome::Pending);
        if pending {
            return None;
        }
        let mut incident = self.open.remove(&id)?;
        incident.closed = Some(now);
        self.closed.insert(id, incident.clone());
        if self.closed.len() > CLOSED_MAX {
            self.closed.pop_first();
        }
        Some(incident)
    }
}
