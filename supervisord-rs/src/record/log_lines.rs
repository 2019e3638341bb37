//! The observer that writes what happens into the supervisor's own log, in words. Where the lines
//! go, to standard error (`own_log`) or to the journal (`journal`), is settled when the log begins.

use supervision::Phase;

use super::event::{Event, Observer, What, Who};
use super::words;
use crate::called::as_typed;
use crate::control::protocol::IncidentRecord;

/// Writes the lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogLines;

impl Observer for LogLines {
    fn observe(&mut self, event: &Event<'_>) {
        let worker = event.who.map(|who| who.name);
        match &event.what {
            What::Phase { from, to, fault_domain, has_succeeded, ending: _ } => {
                phase(event.who, *from, *to, fault_domain, *has_succeeded);
            }
            What::IncidentOpened { record: Some(record), .. } => incident(record),
            What::IncidentSettled { record, recovered: _ } => incident(record),
            // The record of the one and the order for the other have a line.
            What::IncidentOpened { record: None, .. } | What::Injected { .. } => {}
            What::IncidentAgain { id, count } => {
                // At level debug, since it says nothing new.
                let name = worker.unwrap_or_default();
                tracing::debug!(
                    incident = id.0,
                    worker,
                    count,
                    "{name} could not be started again"
                );
            }
            What::Adopted { pid, phase } => {
                tracing::info!(worker, pid, phase = words::phase(*phase), "adopted");
            }
            What::NotAdopted { pid, missing } => {
                tracing::warn!(worker, "process {pid} is not taken over: {missing}");
            }
            What::Remains { processes, why } => {
                tracing::error!(worker, ?processes, "killed, and still there: {why}");
            }
            What::Probe { good: Some(false), kind, is_unready: _ } => {
                tracing::warn!(worker, probe = ?kind, "its {} probe failed", kind.name());
            }
            What::Probe { good: Some(true) | None, .. } => {}
            What::HookFailed { command, why } => {
                tracing::warn!(hook = command, "a hook failed: {why}");
            }
            What::InVain { on: _, why } => {
                tracing::error!(worker, "{} cannot start: {why}", worker.unwrap_or_default());
            }
            What::StartsWithout { on, why } => {
                let name = worker.unwrap_or_default();
                tracing::warn!(worker, "{name} starts without {on} (soft dependency): {why}");
            }
            What::GivingUp { why, exit_status } => {
                tracing::error!(
                    "stopping everything, to end with exit status {exit_status}: {why}"
                );
            }
            What::RolledBack { binary, why, had_rested } => {
                let state = if *had_rested { "the old one goes on" } else { "nothing has changed" };
                tracing::error!(binary = %binary.display(), "it does not take over: {why}; {state}");
            }
            What::Command { verb, subject, uid, pid } => {
                tracing::info!(verb, subject, pid, uid, "order");
            }
            What::NotifyRefused { sender, why } => {
                tracing::warn!(
                    worker,
                    "a message of process {sender} on its notify socket is refused: {why}"
                );
            }
            What::Frozen { why } => {
                tracing::warn!(worker, "it cannot stop by itself, and is killed in time: {why}");
            }
            What::StopCommandFailed { error } => {
                tracing::warn!(
                    worker,
                    "its stop command: {error}; the stop signal is sent at once"
                );
            }
            What::LogTrouble { worker, target, error } => {
                let worker = worker.as_ref();
                tracing::warn!(
                    worker,
                    "the output of {worker} cannot be written to {target}: {error}; what is lost \
                     is counted"
                );
            }
            What::LogRecovered { worker, target, lost_bytes } => {
                let worker = worker.as_ref();
                tracing::warn!(
                    worker,
                    "the output of {worker} is written to {target} again; {lost_bytes} bytes of \
                     it were lost"
                );
            }
        }
    }
}

fn phase(who: Option<Who<'_>>, from: Phase, to: Phase, fault_domain: &str, has_succeeded: bool) {
    let Some(who) = who else { return };
    let (worker, generation) = (who.name, who.incarnation.generation.0);
    // As `status` shows it.
    let (verb, state) = match to {
        Phase::Finished if !has_succeeded => ("has", "failed for good"),
        Phase::Backoff => ("waits", "for its next attempt"),
        to => ("is", words::phase(to)),
    };
    let (from, is_quarantined) = (words::phase(from), to == Phase::Quarantined);
    let to = words::phase(to);
    if is_quarantined {
        tracing::error!(
            worker,
            generation,
            fault_domain,
            from,
            to,
            "{}",
            as_typed(&format!(
                "{worker} {verb} {state}; `supervisord-rs start {worker}` starts it again"
            ))
        );
    } else {
        tracing::info!(
            target: "phase", worker, generation, fault_domain, from, to, "{worker} {verb} {state}"
        );
    }
}

/// One line while it lasts: who, what, and when the next attempt is; and one when it is settled.
fn incident(record: &IncidentRecord) {
    let (worker, fault_domain) = (record.worker.as_deref(), record.domain.as_str());
    tracing::warn!(incident = record.id, worker, fault_domain, "{}", record.sentence);
}
