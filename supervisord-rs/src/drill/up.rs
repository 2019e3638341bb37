//! Whether a worker has come as far as it is to come by itself.

use std::path::Path;

use super::bed::last_lines;
use super::failure::TrialError;
use super::outcome::state;
use crate::control::protocol::WorkerStatus;

/// Lines of a worker that does not start.
const LAST_LINES: usize = 5;

/// Whether it runs that is to run, or has ended well that is to end.
pub(super) fn is_up(worker: &WorkerStatus) -> bool {
    match worker.phase.as_str() {
        "running" => true,
        "idle" => !worker.wanted || worker.blocked,
        // A job between two runs.
        "finished" | "backoff" => worker.ok,
        _ => false,
    }
}

/// Whether it will not start by itself.
pub(super) fn is_struck_down(worker: &WorkerStatus) -> bool {
    worker.phase == "quarantined" || worker.succeeded == Some(false) || worker.in_vain.is_some()
}

/// That it does not run, with what it wrote last.
pub(super) fn not_up(worker: &WorkerStatus) -> TrialError {
    let lines = last_lines(Path::new(&worker.stdout), LAST_LINES);
    let lines = lines.iter().map(|line| format!("\n    | {line}")).collect();
    TrialError::NotUp { worker: worker.name.clone(), why: state(worker), lines }
}
