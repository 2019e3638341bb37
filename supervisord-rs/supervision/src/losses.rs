//! Incidents: opened by a failure, and closed when it is settled what became of each worker that
//! was lost.

use alloc::vec;
use alloc::vec::Vec;

use crate::dependencies::ids;
use crate::effect::Effect;
use crate::ending::Ending;
use crate::id::{DomainId, FaultId, Incarnation, IncidentId, WorkerId};
use crate::incident::{Incident, Loss, Outcome};
use crate::machine::Machine;
use crate::worker::Phase;

/// What failed, and how: an incident without the workers that were lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub domain: DomainId,
    pub supervisor_died: bool,
    pub culprit: Option<Incarnation>,
    pub ending: Ending,
    pub injected: Option<FaultId>,
}

impl Machine {
    /// One incident for each failure, but one for all launches in a row that fail in the same way:
    /// trying it again says nothing new of what only an administrator can mend.
    pub(crate) fn record(&mut self, incarnation: Incarnation, ending: Ending) {
        let worker = incarnation.worker;
        let open = self.workers[worker.index()].open_incident;
        if let Some((id, count)) =
            open.and_then(|id| self.open_incidents.count_again(id, worker, ending))
        {
            // Each checkpoint with a part of the incident has the count.
            let parts = self.open_incidents.get(id).into_iter().flat_map(|incident| &incident.lost);
            let parts: Vec<usize> = parts.map(|loss| loss.incarnation.worker.index()).collect();
            parts.into_iter().for_each(|worker| self.workers.touch(worker));
            self.effects.push_back(Effect::IncidentAgain { incident: id, incarnation, count });
            return;
        }
        let domain = self.spec.workers[worker.index()].domain;
        let injected = self.workers[worker.index()].injected;
        let culprit = Some(incarnation);
        let what = Failure { domain, supervisor_died: false, culprit, ending, injected };
        self.open_incident(what, &[incarnation]);
    }

    pub(crate) fn open_incident(&mut self, what: Failure, lost: &[Incarnation]) {
        let Failure { domain, supervisor_died, culprit, ending, injected } = what;
        let is_up = |worker: &WorkerId| self.workers[worker.index()].phase == Phase::Running;
        let up = ids(self.workers.len()).filter(is_up).map(|worker| self.incarnation(worker));
        let mut running: Vec<Incarnation> = up.chain(lost.iter().copied()).collect();
        running.sort_unstable();
        running.dedup();
        let id = self.open_incidents.next_id();
        for lost in lost {
            self.settle_loss(lost.worker, Outcome::FailedAgain);
            let state = &mut self.workers[lost.worker.index()];
            state.note_loss(id);
            state.last_incident = Some(id);
        }
        let loss = |lost: &Incarnation| Loss {
            incarnation: *lost,
            collateral: false,
            outcome: Outcome::Pending,
        };
        let lost = lost.iter().map(loss).collect();
        let incident = Incident {
            id,
            domain,
            supervisor_died,
            culprit,
            ending,
            injected,
            count: 1,
            opened: self.now,
            closed: None,
            running,
            lost,
        };
        self.effects.push_back(Effect::IncidentOpened(incident.clone()));
        self.open_incidents.open(incident);
        // A death without lost workers is settled as soon as it is opened.
        self.close_settled(vec![id]);
    }

    /// Says what became of a worker that was lost.
    pub(crate) fn settle_loss(&mut self, worker: WorkerId, outcome: Outcome) {
        let Some(id) = self.workers[worker.index()].open_incident else { return };
        if self.open_incidents.settle(id, worker, outcome) {
            self.workers[worker.index()].open_incident = None;
            self.close_settled(vec![id]);
        }
    }

    /// Those whose part in it was remembered need not remember it any more.
    pub(crate) fn on_recorded(&mut self, incident: IncidentId) {
        for loss in self.open_incidents.forget(incident).iter().flat_map(|incident| &incident.lost)
        {
            self.workers.touch(loss.incarnation.worker.index());
        }
    }

    pub(crate) fn close_settled(&mut self, ids: Vec<IncidentId>) {
        for id in ids {
            if let Some(incident) = self.open_incidents.close(id, self.now) {
                for loss in &incident.lost {
                    self.workers.touch(loss.incarnation.worker.index());
                }
                self.effects.push_back(Effect::IncidentClosed(incident));
            }
        }
    }
}
