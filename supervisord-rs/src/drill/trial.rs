//! One trial: a real supervisor runs the configuration, a fault strikes one worker, and the view
//! from outside says who was lost.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bed::Bed;
use super::outcome::{self, Observed};
use super::scenario::{Isolation, Scenario, Setting};
use crate::control::client::ClientError;
use crate::control::protocol::{IncidentRecord, StatusReport, WorkerStatus};
use crate::record::words;

/// The deadline for a fault that nothing notices to be committed: a worker commits it at its next
/// checkpoint, and may be idle.
const COMMIT: Duration = Duration::from_secs(3);
/// Lines of a worker that does not start.
const LAST_LINES: usize = 5;

/// The result of a trial.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The fault.
    pub fault: String,
    /// The isolation of the worker that it struck.
    pub isolation: Isolation,
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
    /// The incident in one line.
    pub sentence: String,
}

/// Why a trial could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The surroundings failed.
    #[error("cannot set up the trial: {0}")]
    Setup(#[from] io::Error),
    /// An expected condition did not come.
    #[error("{what} did not happen within {} s; the supervisor's log:\n{log}", limit.as_secs())]
    Timeout {
        /// The condition.
        what: String,
        /// Its deadline.
        limit: Duration,
        /// The supervisor's own log.
        log: String,
    },
    /// The supervisor ended before the fault.
    #[error("the supervisor ended ({status}); its log:\n{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// Its own log.
        log: String,
    },
    /// A worker does not run, so that nothing can be said about it.
    #[error("{worker} does not run in the copy of the configuration: {why}{lines}")]
    NotUp {
        /// The worker.
        worker: String,
        /// Why.
        why: String,
        /// What it wrote last.
        lines: String,
    },
    /// The supervisor refused.
    #[error("the supervisor refused: {0}")]
    Refused(String),
}

impl TrialError {
    /// Whether every other trial of this worker would fail in the same way: a worker that is not
    /// moved does not start.
    #[must_use]
    pub fn is_of_every_trial(&self, victim: &str) -> bool {
        match self {
            Self::NotUp { worker, .. } => worker != victim,
            Self::Setup(_) | Self::Timeout { .. } | Self::Ended { .. } | Self::Refused(_) => false,
        }
    }
}

/// Runs one trial in an empty directory, and leaves nothing.
///
/// # Errors
/// When it could not be finished; then too, no process of it is left.
pub fn run(scenario: &Scenario, setting: Setting<'_>) -> Result<Trial, TrialError> {
    let mut bed = Bed::start(scenario, &setting)?;
    let before = all_up(&mut bed, scenario)?;
    let victim = before.workers.iter().find(|worker| worker.name == scenario.worker());
    let Some(victim) = victim.filter(|worker| worker.phase == "running") else {
        let worker = scenario.worker().to_owned();
        let why = victim.map_or_else(|| "it is unknown".to_owned(), state);
        return Err(TrialError::NotUp { worker, why, lines: String::new() });
    };
    let known = bed.client.incidents_and_open(1000).ok();
    let known = known.and_then(|known| known.iter().map(|one| one.id).max()).unwrap_or(0);
    let mut observed =
        Observed { before: &before, after: None, incidents: Vec::new(), ended: None };
    match strike(&mut bed, scenario, &setting, victim, known)
        .and_then(|()| all_settled(&mut bed, scenario, &before))
    {
        Ok(after) => observed.after = Some(after),
        Err(TrialError::Ended { status, .. }) => observed.ended = Some(outcome::code(status)),
        Err(error) => return Err(error),
    }
    let incidents = bed.client.incidents_and_open(1000);
    let incidents = incidents.unwrap_or_else(|_| bed.recorded_incidents());
    observed.incidents = incidents.into_iter().filter(|one| one.id > known).collect();
    let left = bed.stop()?;
    Ok(observed.conclude(scenario, &setting, left))
}

/// Waits until every worker runs that is to run, and no job is on its way.
fn all_up(bed: &mut Bed, scenario: &Scenario) -> Result<StatusReport, TrialError> {
    let mut is_ordered = false;
    bed.wait("the start of all workers", scenario.start_limit(), |bed| {
        let Ok(status) = bed.client.status() else { return Ok(None) };
        for worker in &status.workers {
            if is_struck_down(worker) {
                let lines = bed.last_lines(&worker.stdout, LAST_LINES);
                let lines = lines.iter().map(|line| format!("\n    | {line}")).collect();
                let (worker, why) = (worker.name.clone(), state(worker));
                return Err(TrialError::NotUp { worker, why, lines });
            }
            if worker.name == scenario.worker() && !worker.wanted && !is_ordered {
                // `autostart: false`
                is_ordered = true;
                bed.client
                    .start(std::slice::from_ref(&worker.name), false)
                    .map_err(|error| TrialError::Refused(error.to_string()))?;
                return Ok(None);
            }
        }
        let is_steady =
            |worker: &WorkerStatus| !scenario.is_steady() || worker.progress.unwrap_or(0) > 0;
        let is_up = |worker: &WorkerStatus| match worker.phase.as_str() {
            "running" => is_steady(worker),
            "idle" => !worker.wanted,
            // A job between two runs.
            "finished" | "backoff" => worker.ok,
            _ => false,
        };
        Ok(status.workers.iter().all(is_up).then_some(status))
    })
}

/// Whether it will not start by itself.
fn is_struck_down(worker: &WorkerStatus) -> bool {
    worker.phase == "quarantined" || worker.succeeded == Some(false) || worker.in_vain.is_some()
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

/// Orders the fault, and waits until its fate is clear.
fn strike(
    bed: &mut Bed,
    scenario: &Scenario,
    setting: &Setting<'_>,
    victim: &WorkerStatus,
    known: u64,
) -> Result<(), TrialError> {
    let is_silent = match bed.client.inject(&victim.name, setting.fault) {
        Ok(done) => done.is_silent,
        // A fault that stops the whole process stops it before it has answered.
        Err(ClientError::TimedOut(_)) => false,
        Err(error) => return Err(TrialError::Refused(error.to_string())),
    };
    if is_silent {
        super::compare::note(&format!(
            "no incident comes of it; waiting at most {} s for it to be committed, and {} for the \
             end of {}",
            COMMIT.as_secs(),
            humantime::format_duration(scenario.stop_limit()),
            victim.name
        ));
        return await_commit(bed, &victim.name);
    }
    let limit = scenario.recovery_limit();
    let what = format!("an incident after {} in {}", setting.fault, victim.name);
    let mut is_open = false;
    let clear = bed.wait(&what, limit, |bed| {
        let incidents = bed.client.incidents_and_open(1000).unwrap_or_default();
        if let Some(incident) = incidents.iter().find(|one| is_of(one, &victim.name, known)) {
            is_open = incident.open;
            return Ok((!incident.open).then_some(()));
        }
        let Ok(status) = bed.client.status() else { return Ok(None) };
        let now = status.workers.iter().find(|worker| worker.name == victim.name);
        Ok(now.is_some_and(|now| has_ended_well(victim, now)).then_some(()))
    });
    match clear {
        // Who was lost is known; who does not come back is part of the result.
        Err(TrialError::Timeout { .. }) if is_open => Ok(()),
        clear => clear,
    }
}

/// Whether an incident is that of the fault, and not one that followed.
pub(super) fn is_of(incident: &IncidentRecord, victim: &str, known: u64) -> bool {
    let is_in = |names: &[String]| names.iter().any(|name| name == victim);
    incident.id > known && is_in(&incident.lost) && !is_in(&incident.collateral)
}

/// Whether it has ended since, and that was no failure.
fn has_ended_well(before: &WorkerStatus, now: &WorkerStatus) -> bool {
    let is_live =
        ["launching", "starting", "running", "stopping", "killing"].contains(&now.phase.as_str());
    (now.generation > before.generation || !is_live) && now.last_incident == before.last_incident
}

/// Of a fault that no incident comes of: a worker commits it at its next checkpoint, so it has when
/// it has done two more units. One that is idle, or can do nothing more, is not waited for long.
fn await_commit(bed: &mut Bed, victim: &str) -> Result<(), TrialError> {
    let progress = |bed: &Bed| {
        let status = bed.client.status().ok()?;
        status.workers.into_iter().find(|worker| worker.name == victim)?.progress
    };
    let Some(ordered) = progress(bed) else { return Ok(()) };
    let committed = bed.wait("the fault to be committed", COMMIT, |bed| {
        Ok(progress(bed).filter(|now| *now >= ordered + 2).map(drop))
    });
    match committed {
        Err(TrialError::Timeout { .. }) => Ok(()),
        committed => committed,
    }
}

/// Waits until all that ran before run again, or stay down.
fn all_settled(
    bed: &mut Bed,
    scenario: &Scenario,
    before: &StatusReport,
) -> Result<StatusReport, TrialError> {
    let went_on = |worker: &WorkerStatus| {
        let past = before.workers.iter().find(|past| past.name == worker.name);
        let is_same = past.is_some_and(|past| past.generation == worker.generation);
        let progress = past.and_then(|past| past.progress).unwrap_or(0);
        // Survivors have worked on, lost ones work again.
        !scenario.is_steady() || !is_same || worker.progress.unwrap_or(0) > progress
    };
    let is_settled = |worker: &WorkerStatus| match worker.phase.as_str() {
        "running" => went_on(worker),
        "idle" => !worker.wanted || worker.in_vain.is_some(),
        "backoff" => worker.ok,
        "finished" | "quarantined" => true,
        _ => false,
    };
    let mut last = None;
    let what = "progress of all workers after the fault";
    let settled = bed.wait(what, scenario.recovery_limit(), |bed| {
        let Ok(status) = bed.client.status() else { return Ok(None) };
        let is_all = status.workers.iter().all(is_settled);
        last = Some(status.clone());
        Ok(is_all.then_some(status))
    });
    match (settled, last) {
        // Who is not back yet is part of the result.
        (Err(TrialError::Timeout { .. }), Some(last)) if !scenario.is_steady() => Ok(last),
        (settled, _) => settled,
    }
}
