//! One trial: a real supervisor runs the configuration, a fault strikes one worker, and the view
//! from outside says who was lost.

use super::bed::Bed;
use super::failure::TrialError;
use super::left_behind;
use super::limits::Patience;
use super::outcome::{self, Observed, Trial, state};
use super::progress::Progress;
use super::setting::Setting;
use super::strike::Strike;
use super::subject::Subject;
use super::up::{is_struck_down, is_up, not_up};
use crate::control::client::MANY_INCIDENTS;
use crate::control::protocol::{StatusReport, WorkerStatus};

/// Runs one trial in an empty directory, and leaves nothing.
///
/// # Errors
/// When it could not be finished; then too, no process of it is left.
pub fn run(
    subject: &Subject,
    setting: &Setting,
    progress: &dyn Progress,
) -> Result<Trial, TrialError> {
    let patience = Patience(subject.settings());
    let mut bed = Bed::start(patience.shutdown(), false, |path| subject.source(setting, path))?;
    let before = all_up(&mut bed, subject)?;
    let victim = before.workers.iter().find(|worker| worker.name == subject.worker());
    let Some(victim) = victim.filter(|worker| worker.phase == "running") else {
        let worker = subject.worker().to_owned();
        let why = victim.map_or_else(|| "it is unknown".to_owned(), state);
        return Err(TrialError::NotUp { worker, why, lines: String::new() });
    };
    let known = bed.client.incidents_and_open(MANY_INCIDENTS).ok();
    let known = known.and_then(|known| known.iter().map(|one| one.id).max()).unwrap_or(0);
    let mut observed =
        Observed { before: &before, after: None, incidents: Vec::new(), ended: None };
    let strike = Strike {
        patience,
        number: subject.victim(),
        victim,
        fault: &setting.fault,
        brings_on: true,
        known,
    };
    match strike
        .commit(&mut bed, |why| progress.takes_long(why))
        .and_then(|()| all_settled(&mut bed, subject, &before))
    {
        Ok(after) => observed.after = Some(after),
        Err(TrialError::Ended { status, .. }) => observed.ended = Some(outcome::code(status)),
        Err(error) => return Err(error),
    }
    let incidents = bed.client.incidents_and_open(MANY_INCIDENTS);
    let incidents = incidents.unwrap_or_else(|_| bed.recorded_incidents());
    observed.incidents = incidents.into_iter().filter(|one| one.id > known).collect();
    let left = left(&mut bed, observed.ended.is_none())?;
    let log = if left.is_empty() { Vec::new() } else { lines(&bed.log()) };
    Ok(Trial { log, ..observed.conclude(subject, setting, left) })
}

/// Ends everything in order. What is left behind; `is_up`: whether the supervisor has not ended by
/// itself, and so ends well.
fn left(bed: &mut Bed, is_up: bool) -> Result<Vec<String>, TrialError> {
    let mut left: Vec<String> = bed.stop()?.into_iter().collect();
    // Its sockets are private, in its directory.
    left.extend(left_behind::left(bed.path(), &[]));
    let status = bed.ended().map(outcome::code).filter(|status| *status != 0 && is_up);
    left.extend(status.map(|status| format!("what its exit status {status} stands for")));
    Ok(left)
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Waits until every worker runs that is to run, and no job is on its way.
fn all_up(bed: &mut Bed, subject: &Subject) -> Result<StatusReport, TrialError> {
    let mut is_ordered = false;
    bed.wait("the start of all workers", Patience(subject.settings()).start(), |bed| {
        let Ok(status) = bed.client.status() else { return Ok(None) };
        for worker in &status.workers {
            if is_struck_down(worker) {
                return Err(not_up(worker));
            }
            if worker.name == subject.worker() && !worker.wanted && !is_ordered {
                // `autostart: false`
                is_ordered = true;
                bed.client
                    .start(std::slice::from_ref(&worker.name), false)
                    .map_err(|error| TrialError::Refused(error.to_string()))?;
                return Ok(None);
            }
        }
        let is_steady =
            |worker: &WorkerStatus| !subject.is_steady() || worker.progress.unwrap_or(0) > 0;
        let is_it = |worker: &WorkerStatus| {
            is_up(worker) && (worker.phase != "running" || is_steady(worker))
        };
        Ok(status.workers.iter().all(is_it).then_some(status))
    })
}

/// Waits until all that ran before run again, or stay down.
fn all_settled(
    bed: &mut Bed,
    subject: &Subject,
    before: &StatusReport,
) -> Result<StatusReport, TrialError> {
    let went_on = |worker: &WorkerStatus| {
        let past = before.workers.iter().find(|past| past.name == worker.name);
        let is_same = past.is_some_and(|past| past.generation == worker.generation);
        let progress = past.and_then(|past| past.progress).unwrap_or(0);
        // Survivors have worked on, lost ones work again.
        !subject.is_steady() || !is_same || worker.progress.unwrap_or(0) > progress
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
    let settled = bed.wait(what, Patience(subject.settings()).recovery(subject.victim()), |bed| {
        let Ok(status) = bed.client.status() else { return Ok(None) };
        let is_all = status.workers.iter().all(is_settled);
        last = Some(status.clone());
        Ok(is_all.then_some(status))
    });
    match (settled, last) {
        // Who is not back yet is part of the result.
        (Err(TrialError::Timeout { .. }), Some(last)) if !subject.is_steady() => Ok(last),
        (settled, _) => settled,
    }
}
