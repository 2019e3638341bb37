//! What there is to see of a trial now, beside what was so at a mark.

use std::collections::BTreeMap;

use super::bed::Bed;
use super::mark::Mark;
use super::outcome;
use crate::control::client::MANY_INCIDENTS;
use crate::control::protocol::{IncidentRecord, StatusReport, WorkerStatus};

/// What there is to see.
#[derive(Debug)]
pub(super) struct Look {
    /// `None`: the supervisor has ended.
    status: Option<StatusReport>,
    /// The incidents since the mark, oldest first.
    pub(super) incidents: Vec<IncidentRecord>,
    /// The exit status of a supervisor that has ended.
    pub(super) ended: Option<i32>,
}

/// Units of work done, by worker.
pub(super) type Progress = BTreeMap<String, u64>;

/// What became of a worker that ran at the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The same incarnation runs.
    Survived,
    /// It has ended.
    Lost,
    /// It came to its own end with success, as a job does.
    EndedWell,
}

impl Look {
    /// Has a look. `None`: there is no supervisor that answers now, and another one is to come.
    pub(super) fn take(bed: &mut Bed, known: u64) -> Option<Self> {
        let is_new = |one: &IncidentRecord| one.id > known;
        if let Some(status) = bed.ended() {
            let incidents = bed.recorded_incidents().into_iter().filter(is_new).collect();
            return Some(Self { status: None, incidents, ended: Some(outcome::code(status)) });
        }
        let status = bed.client.status().ok()?;
        let incidents = bed.client.incidents_and_open(MANY_INCIDENTS).ok()?;
        let incidents = incidents.into_iter().filter(is_new).collect();
        Some(Self { status: Some(status), incidents, ended: None })
    }

    /// The process of the supervisor.
    pub(super) fn supervisor(&self) -> Option<i32> {
        self.status.as_ref().map(|status| status.supervisor.pid)
    }

    /// Everything that the supervisor says.
    pub(super) fn status(&self) -> Option<&StatusReport> {
        self.status.as_ref()
    }

    /// The workers now.
    pub(super) fn workers(&self) -> &[WorkerStatus] {
        self.status.as_ref().map_or(&[], |status| &status.workers)
    }

    /// A worker now.
    pub(super) fn worker(&self, name: &str) -> Option<&WorkerStatus> {
        self.workers().iter().find(|worker| worker.name == name)
    }

    /// Who ran at the mark, with what became of it.
    pub(super) fn fates<'a>(&self, mark: &'a Mark) -> Vec<(&'a WorkerStatus, Fate)> {
        let ran = mark.status.workers.iter().filter(|worker| worker.phase == "running");
        ran.map(|worker| (worker, self.fate(worker))).collect()
    }

    fn fate(&self, past: &WorkerStatus) -> Fate {
        let Some(now) = self.worker(&past.name) else { return Fate::Lost };
        if now.generation == past.generation && now.pid == past.pid {
            return Fate::Survived;
        }
        let is_failure = self.incidents.iter().any(|one| one.lost.contains(&past.name));
        let by_itself = now.ending.as_ref().is_some_and(|ending| {
            let is_success = match ending.status.as_str() {
                "exited" => ending.exit_code == Some(0),
                "returned" => true,
                _ => false,
            };
            is_success && ending.cause != "requested" && ending.cause != "collateral"
        });
        if by_itself && !is_failure { Fate::EndedWell } else { Fate::Lost }
    }

    /// How much each worker has done.
    pub(super) fn progress(&self) -> Progress {
        let counts = |worker: &WorkerStatus| Some((worker.name.clone(), worker.progress?));
        self.workers().iter().filter_map(counts).collect()
    }

    /// Survivors that worked at the mark and have done nothing since an earlier look.
    pub(super) fn stalled<'a>(&self, mark: &'a Mark, earlier: &Progress) -> Vec<&'a str> {
        let fates = self.fates(mark).into_iter();
        let stands = |past: &WorkerStatus| {
            let now = self.worker(&past.name);
            now.is_some_and(|now| !now.paused && now.progress <= earlier.get(&past.name).copied())
        };
        fates
            .filter(|(past, fate)| {
                *fate == Fate::Survived && mark.moving.contains(&past.name) && stands(past)
            })
            .map(|(past, _)| past.name.as_str())
            .collect()
    }
}
