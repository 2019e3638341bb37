//! What a trial shows: the view from outside, and whether the incident agrees with it.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use serde::{Deserialize, Serialize};
use workers::fault::Fault;

use super::setting::Setting;
use super::subject::Subject;
use crate::config::Kind;
use crate::control::protocol::{IncidentRecord, StatusReport, WorkerStatus};
use crate::record::words;

/// The result of a trial.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The fault, as written.
    pub fault: String,
    /// Which one that is.
    #[serde(skip)]
    pub(super) kind: Option<Fault>,
    /// The isolation of the worker that it struck.
    pub isolation: &'static Kind,
    /// The cell, for isolation `cell` in a user's file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cell: Option<String>,
    /// `abort` or `contain`.
    pub on_panic: String,
    /// The workers that ran when the fault struck, but for those that ended well meanwhile.
    pub running: Vec<String>,
    /// Workers whose incarnation ended, seen from outside: another generation or another process
    /// than before.
    pub lost: Vec<String>,
    /// Of these, who was restarted because a group or a dependency demands it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub collateral: Vec<String>,
    /// Workers with the same generation and process as before; in the built-in configuration they
    /// made further progress too.
    pub survived: Vec<String>,
    /// Workers that ended well meanwhile, such as jobs, and count neither way.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ended_well: Vec<String>,
    /// Of the lost, who did not run again at the end of the trial, and why.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub not_back: Vec<String>,
    /// Whether the supervisor has another process than before.
    pub supervisor_died: bool,
    /// The exit status of the supervisor, where the fault made it stop everything and end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub supervisor_ended: Option<i32>,
    /// From the fault to its detection, in microseconds.
    pub seen_after_us: Option<u64>,
    /// From the fault until all lost were running again, in microseconds.
    pub back_after_us: Option<u64>,
    /// Units of work that were begun and not done; `None`: it is not known.
    pub work_lost: Option<u64>,
    /// Threads and processes left behind.
    pub leftovers: Vec<String>,
    /// Whether the incident agrees with the view from outside.
    pub incident_agrees: bool,
    /// Whether the incident names the fault that was ordered, and that it was ordered; `None`: there
    /// is no incident of the worker.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attributed: Option<bool>,
    /// The incident in one line.
    pub sentence: String,
    /// The other incidents since the fault.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub others: Vec<String>,
    /// The last lines of the supervisor's own log, where more than a thread was left behind.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub log: Vec<String>,
}

/// What was seen of a trial.
pub(super) struct Observed<'a> {
    pub(super) before: &'a StatusReport,
    /// `None`: the supervisor has ended.
    pub(super) after: Option<StatusReport>,
    /// Those since the fault, oldest first.
    pub(super) incidents: Vec<IncidentRecord>,
    /// How the supervisor ended, if it did for good.
    pub(super) ended: Option<i32>,
}

/// What became of a worker that ran before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Survived,
    Lost,
    EndedWell,
}

/// An exit status as a shell has it.
pub(super) fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Where it is, and how it came there.
pub(super) fn state(worker: &WorkerStatus) -> String {
    if let Some(on) = &worker.in_vain {
        return format!("it depends on {on}, which has failed for good");
    }
    let phase = match worker.phase.as_str() {
        "idle" => "stopped",
        phase => phase,
    };
    match &worker.ending {
        Some(ending) => format!("{phase}, {}", words::how(ending)),
        None => phase.to_owned(),
    }
}

impl Observed<'_> {
    /// The result. `left`: what was left behind.
    pub(super) fn conclude(
        &self,
        subject: &Subject,
        setting: &Setting,
        left: Vec<String>,
    ) -> Trial {
        let running: Vec<&WorkerStatus> =
            self.before.workers.iter().filter(|worker| worker.phase == "running").collect();
        let named = |fate: Fate| -> Vec<String> {
            let those = running.iter().filter(|worker| self.fate(worker, subject) == fate);
            those.map(|worker| worker.name.clone()).collect()
        };
        let (lost, survived, ended_well) =
            (named(Fate::Lost), named(Fate::Survived), named(Fate::EndedWell));
        let supervisor_died = self
            .after
            .as_ref()
            .is_some_and(|after| after.supervisor.pid != self.before.supervisor.pid);
        let incident = self.incidents.iter().find(|one| one.is_of(subject.worker(), 0));
        let collateral = self.incidents.iter().flat_map(|one| &one.collateral);
        let collateral = lost.iter().filter(|name| collateral.clone().any(|one| one == *name));
        let is_contained = setting.contain || subject.contains_panics();
        let is_cell = setting.isolation.capabilities.is_shared() && subject.file().is_some();
        Trial {
            fault: setting.fault.to_string(),
            kind: Some(setting.fault.kind()),
            isolation: setting.isolation,
            cell: is_cell.then(|| subject.cell().to_owned()),
            on_panic: if is_contained { "contain" } else { "abort" }.to_owned(),
            running: running
                .iter()
                .map(|worker| worker.name.clone())
                .filter(|name| !ended_well.contains(name))
                .collect(),
            incident_agrees: self.agrees(&lost, &survived, supervisor_died, subject),
            collateral: collateral.cloned().collect(),
            not_back: self.not_back(&lost),
            lost,
            survived,
            ended_well,
            supervisor_died,
            supervisor_ended: self.ended,
            seen_after_us: incident.and_then(|incident| incident.detected_us),
            back_after_us: incident.and_then(|incident| incident.recovered_us),
            // Where nothing ended, nothing was lost.
            work_lost: incident.map_or(Some(0), |incident| incident.work.in_flight_lost),
            leftovers: self.threads().into_iter().chain(left).collect(),
            attributed: incident.map(|incident| {
                incident.fault.injected && incident.fault.kind == setting.fault.kind().name()
            }),
            others: self.others(incident),
            log: Vec::new(),
            sentence: incident
                .map_or_else(|| "no incident".to_owned(), |incident| incident.sentence.clone()),
        }
    }

    fn others(&self, first: Option<&IncidentRecord>) -> Vec<String> {
        let others =
            self.incidents.iter().filter(|one| first.is_none_or(|first| one.id != first.id));
        others.map(|one| one.sentence.clone()).collect()
    }

    fn fate(&self, past: &WorkerStatus, subject: &Subject) -> Fate {
        let Some(now) = self.now(&past.name) else { return Fate::Lost };
        if now.generation == past.generation && now.pid == past.pid {
            return Fate::Survived;
        }
        let is_failure = self.incidents.iter().any(|one| one.lost.contains(&past.name));
        let is_bystander = past.name != subject.worker();
        if is_bystander && !is_failure && now.ok { Fate::EndedWell } else { Fate::Lost }
    }

    fn now(&self, name: &str) -> Option<&WorkerStatus> {
        self.after.as_ref()?.workers.iter().find(|worker| worker.name == *name)
    }

    /// A bystander that died of the loss, such as a client of the victim, has an incident of its
    /// own, and counts as lost too.
    fn agrees(
        &self,
        lost: &[String],
        survived: &[String],
        supervisor_died: bool,
        subject: &Subject,
    ) -> bool {
        let Some(first) = self.incidents.iter().find(|one| one.is_of(subject.worker(), 0)) else {
            // Nothing was noticed, or the victim ended well.
            return self.ended.is_none()
                && !supervisor_died
                && lost.iter().all(|name| name == subject.worker());
        };
        if self.ended.is_some() {
            return true;
        }
        let is_told = |name: &String| self.incidents.iter().any(|one| one.lost.contains(name));
        let told = self.incidents.iter().flat_map(|one| &one.lost);
        lost.iter().all(is_told)
            && told.clone().all(|name| lost.contains(name))
            && survived.iter().all(|name| first.survived.contains(name))
            && self.incidents.iter().any(|one| one.supervisor_died) == supervisor_died
    }

    fn not_back(&self, lost: &[String]) -> Vec<String> {
        let down = lost.iter().filter_map(|name| self.now(name));
        let down = down.filter(|worker| worker.phase != "running");
        down.map(|worker| format!("{} ({})", worker.name, state(worker))).collect()
    }

    fn threads(&self) -> Option<String> {
        match self.after.as_ref()?.supervisor.abandoned_threads {
            0 => None,
            1 => Some("1 thread".to_owned()),
            count => Some(format!("{count} threads")),
        }
    }
}
