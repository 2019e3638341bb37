//! One trial: a real supervisor runs the configuration, a fault strikes one worker, and the view
//! from outside says who was lost.

use std::path::Path;
use std::time::Duration;

use super::bed::{Bed, last_lines};
use super::failure::TrialError;
use super::outcome::{self, Observed, Trial, state};
use super::progress::Progress;
use super::scenario::Scenario;
use super::setting::Setting;
use crate::control::client::{ClientError, MANY_INCIDENTS};
use crate::control::protocol::{StatusReport, WorkerStatus};

/// The deadline for a fault that nothing notices to be committed: a worker commits it at its next
/// checkpoint, and may be idle.
const COMMIT: Duration = Duration::from_secs(3);
/// Lines of a worker that does not start.
const LAST_LINES: usize = 5;

/// Runs one trial in an empty directory, and leaves nothing.
///
/// # Errors
/// When it could not be finished; then too, no process of it is left.
pub fn run(
    scenario: &Scenario,
    setting: &Setting,
    progress: &dyn Progress,
) -> Result<Trial, TrialError> {
    let mut bed = Bed::start(scenario, setting)?;
    let before = all_up(&mut bed, scenario)?;
    let victim = before.workers.iter().find(|worker| worker.name == scenario.worker());
    let Some(victim) = victim.filter(|worker| worker.phase == "running") else {
        let worker = scenario.worker().to_owned();
        let why = victim.map_or_else(|| "it is unknown".to_owned(), state);
        return Err(TrialError::NotUp { worker, why, lines: String::new() });
    };
    let known = bed.client.incidents_and_open(MANY_INCIDENTS).ok();
    let known = known.and_then(|known| known.iter().map(|one| one.id).max()).unwrap_or(0);
    let mut observed =
        Observed { before: &before, after: None, incidents: Vec::new(), ended: None };
    match strike(&mut bed, scenario, setting, progress, victim, known)
        .and_then(|()| all_settled(&mut bed, scenario, &before))
    {
        Ok(after) => observed.after = Some(after),
        Err(TrialError::Ended { status, .. }) => observed.ended = Some(outcome::code(status)),
        Err(error) => return Err(error),
    }
    let incidents = bed.client.incidents_and_open(MANY_INCIDENTS);
    let incidents = incidents.unwrap_or_else(|_| bed.recorded_incidents());
    observed.incidents = incidents.into_iter().filter(|one| one.id > known).collect();
    let left = bed.stop()?;
    Ok(observed.conclude(scenario, setting, left))
}

/// Waits until every worker runs that is to run, and no job is on its way.
fn all_up(bed: &mut Bed, scenario: &Scenario) -> Result<StatusReport, TrialError> {
    let mut is_ordered = false;
    bed.wait("the start of all workers", scenario.start_limit(), |bed| {
        let Ok(status) = bed.client.status() else { return Ok(None) };
        for worker in &status.workers {
            if is_struck_down(worker) {
                let lines = last_lines(Path::new(&worker.stdout), LAST_LINES);
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
            "idle" => !worker.wanted || worker.blocked,
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

/// Orders the fault, and waits until its fate is clear.
fn strike(
    bed: &mut Bed,
    scenario: &Scenario,
    setting: &Setting,
    progress: &dyn Progress,
    victim: &WorkerStatus,
    known: u64,
) -> Result<(), TrialError> {
    let is_silent = match bed.client.inject(&victim.name, setting.fault.text()) {
        Ok(done) => done.is_silent,
        // A fault that stops the whole process stops it before it has answered.
        Err(ClientError::TimedOut(_)) => false,
        Err(error) => return Err(TrialError::Refused(error.to_string())),
    };
    if is_silent {
        progress.takes_long(&format!(
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
        let incidents = bed.client.incidents_and_open(MANY_INCIDENTS).unwrap_or_default();
        if let Some(incident) = incidents.iter().find(|one| one.is_of(&victim.name, known)) {
            is_open = incident.open;
            return Ok((!incident.open).then_some(()));
        }
        let Ok(status) = bed.client.status() else { return Ok(None) };
        let now = status.workers.iter().find(|worker| worker.name == victim.name);
        Ok(now.is_some_and(|now| now.has_ended_well_since(victim)).then_some(()))
    });
    match clear {
        // Who was lost is known; who does not come back is part of the result.
        Err(TrialError::Timeout { .. }) if is_open => Ok(()),
        clear => clear,
    }
}

/// No incident comes of the fault. A worker commits it at its next checkpoint: after two more units
/// it has. The trial waits [`COMMIT`] at most, since a worker may be idle.
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
        "idle" => !worker.wanted || worker.blocked,
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
