//! What came of an order in one worker: how far it is from what the client wants, and how that
//! reads.

use supervision::spec::{Readiness, RestartPolicy, WorkerSpec};
use supervision::{Cause, LaunchFailure, LaunchStage, Phase, Status, WorkerId, WorkerView};

use super::goal::{FirstFailure, Goal, Progress};
use crate::config::settings::default;
use crate::control::protocol::{OutcomeReport, WorkerStatus};
use crate::daemon::view::View;
use crate::record::words;

/// The answer to an order that was carried out: what went along, and what needed force.
pub(in crate::daemon) fn sentence(done: &str, outcomes: &[OutcomeReport]) -> String {
    let names = |chosen: &dyn Fn(&OutcomeReport) -> bool| {
        let those = outcomes.iter().filter(|report| chosen(report));
        those.map(|report| report.worker.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut text = done.to_owned();
    let stopped = names(&|report| report.dependent && report.outcome == "stopped");
    if !stopped.is_empty() {
        text.push_str(&format!("; also stopped, as dependents: {stopped}"));
    }
    let back = names(&|report| report.dependent && report.outcome != "stopped");
    if !back.is_empty() {
        let what = if done.starts_with("start ") { "started" } else { "restarted" };
        text.push_str(&format!("; also {what}, as dependents: {back}"));
    }
    let killed = names(&|report| report.killed);
    if !killed.is_empty() {
        text.push_str(&format!("; killed, because they did not stop in time: {killed}"));
    }
    let left = names(&|report| report.left_behind);
    if !left.is_empty() {
        text.push_str(&format!("; left behind, because they did not stop in time: {left}"));
    }
    let ended = names(&|report| report.outcome == "succeeded");
    if !ended.is_empty() {
        text.push_str(&format!("; ended with success: {ended}"));
    }
    text
}

impl View<'_> {
    /// `failure`: the worker's first since the order.
    pub(in crate::daemon) fn progress(
        &self,
        failure: Option<&FirstFailure>,
        worker: WorkerId,
        goal: Goal,
    ) -> Progress {
        let Some(view) = self.machine.worker(worker) else { return Progress::Reached };
        let how = failure.map(|failure| format!("failed: {}", words::how(&failure.ending)));
        let progress = match goal {
            Goal::Dependent { returns: false, .. } => return Progress::Reached,
            Goal::Dependent { generation, .. } => self.returned(worker, &view, generation),
            Goal::Down { .. } => return self.down(&view),
            Goal::Renewed { after } if view.generation.0 <= after => self.ending(worker, &view),
            Goal::Up { .. } | Goal::Renewed { .. } => self.up(worker, &view),
        };
        match (how, progress) {
            (Some(how), _) => Progress::Failed(how),
            // The machine knows of it before the daemon has carried out what follows: a turn may
            // end in between. How it ended is heard in the next one.
            (None, Progress::Failed(_)) if fails_now(&view, goal) => {
                Progress::OnTheWay(format!("is in {}", words::phase(view.phase)))
            }
            (None, progress) => progress,
        }
    }

    fn down(&self, view: &WorkerView) -> Progress {
        match view.phase {
            Phase::Idle | Phase::Quarantined | Phase::Finished if view.stopped => Progress::Reached,
            // The last command wins: it is to be up again.
            _ if !view.stopped => Progress::Superseded("start"),
            phase @ (Phase::Idle
            | Phase::Launching
            | Phase::Starting
            | Phase::Running
            | Phase::Stopping
            | Phase::Killing
            | Phase::Backoff
            | Phase::Quarantined
            | Phase::Finished) => Progress::OnTheWay(format!("is still {}", words::phase(phase))),
        }
    }

    /// On the way from the incarnation that is to end to the next one.
    fn ending(&self, worker: WorkerId, view: &WorkerView) -> Progress {
        let is_up = matches!(view.phase, Phase::Launching | Phase::Starting | Phase::Running);
        match view.phase {
            _ if self.machine.is_shutting_down() || view.stopped => Progress::Superseded("stop"),
            // Its order to end was withdrawn before it was carried out.
            _ if is_up && view.order.is_none() => Progress::Superseded("start"),
            Phase::Quarantined | Phase::Finished => Progress::Failed(self.why_down(worker, view)),
            Phase::Idle => self.waiting(worker, view),
            phase @ (Phase::Launching
            | Phase::Starting
            | Phase::Running
            | Phase::Stopping
            | Phase::Killing
            | Phase::Backoff) => Progress::OnTheWay(format!("is still {}", words::phase(phase))),
        }
    }

    /// Whether a dependent is back. One that is to stay down is as it should be.
    fn returned(&self, worker: WorkerId, view: &WorkerView, before: u64) -> Progress {
        match view.phase {
            _ if view.stopped || !view.wanted => Progress::Reached,
            // Its order to end was withdrawn before it was carried out.
            Phase::Running if view.order.is_none() => Progress::Reached,
            _ if view.generation.0 <= before => self.ending(worker, view),
            _ => self.up(worker, view),
        }
    }

    fn up(&self, worker: WorkerId, view: &WorkerView) -> Progress {
        match view.phase {
            _ if view.stopped => Progress::Superseded("stop"),
            Phase::Running => Progress::Reached,
            // A job that has done its work, and runs again later if its policy says so.
            Phase::Finished | Phase::Backoff if self.has_succeeded(worker) => Progress::Reached,
            Phase::Backoff | Phase::Quarantined | Phase::Finished => {
                Progress::Failed(self.why_down(worker, view))
            }
            _ if self.machine.is_shutting_down() => Progress::Superseded("stop"),
            Phase::Idle => self.waiting(worker, view),
            phase @ (Phase::Launching | Phase::Starting | Phase::Stopping | Phase::Killing) => {
                Progress::OnTheWay(format!("is still {}", words::phase(phase)))
            }
        }
    }

    /// It waits for its dependencies: in vain where one of them will not come by itself.
    fn waiting(&self, worker: WorkerId, view: &WorkerView) -> Progress {
        if let Some(on) = view.in_vain {
            return Progress::Failed(format!("cannot start: {}", self.why_in_vain(on)));
        }
        if let Some(on) = self.machine.barred_by(worker) {
            return Progress::Failed(format!("cannot start: {}", self.why_absent(on)));
        }
        let names: Vec<&str> = view.waits_for.iter().map(|&on| self.names.worker(on)).collect();
        Progress::OnTheWay(if names.is_empty() {
            "waits for its turn to start".to_owned()
        } else {
            format!("still waits for {}", names.join(", "))
        })
    }

    /// Whether it is down, and to stay down.
    fn is_off(&self, id: WorkerId) -> bool {
        self.machine.worker(id).is_some_and(|view| view.phase == Phase::Idle && !view.wanted)
    }

    /// Why one that depends on `on` cannot start.
    pub(in crate::daemon) fn why_in_vain(&self, on: WorkerId) -> String {
        let name = self.names.worker(on);
        let has_succeeded = self.has_succeeded(on);
        let how = match self.histories.ending(on).map(words::how) {
            Some(how) if has_succeeded => format!("has ended ({how})"),
            Some(how) => format!("has failed ({how})"),
            None => "has failed".to_owned(),
        };
        format!("it waits for {name}, which {how} and is not tried again (`start {name}` does)")
    }

    /// Why a dependency does not hold, as things stand.
    pub(in crate::daemon) fn why_absent(&self, on: WorkerId) -> String {
        let name = self.names.worker(on);
        let Some(view) = self.machine.worker(on) else { return format!("{name} does not exist") };
        match view.phase {
            Phase::Idle if view.stopped => format!("{name} is stopped (`start {name}`)"),
            Phase::Idle if !view.wanted => format!("{name} was never started (`start {name}`)"),
            Phase::Idle if view.in_vain.is_some() => {
                let missing = view.in_vain.map_or(name, |on| self.names.worker(on));
                format!("{name} cannot start: {missing} has failed for good")
            }
            Phase::Idle if view.waits_for.is_empty() => {
                format!("{name} waits for its turn to start")
            }
            Phase::Idle => {
                let names = view.waits_for.iter().map(|&on| self.names.worker(on));
                format!("{name} waits for {}", names.collect::<Vec<_>>().join(", "))
            }
            Phase::Running if !view.ready => format!("{name} is not ready by its probe"),
            Phase::Finished => self.why_down(on, &view).replacen("is in finished", name, 1),
            phase @ (Phase::Launching
            | Phase::Starting
            | Phase::Running
            | Phase::Stopping
            | Phase::Killing) => format!("{name} is {}", words::phase(phase)),
            Phase::Backoff | Phase::Quarantined => format!("{name} {}", self.why_down(on, &view)),
        }
    }

    /// Whether it waits for what does not come without another order.
    pub(in crate::daemon) fn is_blocked(&self, worker: WorkerId, view: &WorkerView) -> bool {
        view.in_vain.is_some() || self.machine.barred_by(worker).is_some()
    }

    /// What a worker in phase idle waits for, in words.
    pub(in crate::daemon) fn why_waiting(
        &self,
        worker: WorkerId,
        view: &WorkerView,
    ) -> Option<String> {
        if view.waits_for.is_empty() || view.in_vain.is_some() {
            return None;
        }
        let (mut off, awaited): (Vec<WorkerId>, Vec<WorkerId>) =
            view.waits_for.iter().partition(|&&on| self.is_off(on));
        if off.is_empty() {
            off.extend(self.machine.barred_by(worker));
        }
        let names: Vec<&str> = awaited.iter().map(|&on| self.names.worker(on)).collect();
        let awaited = (!names.is_empty()).then(|| format!("waits for {}", names.join(", ")));
        let off = off.into_iter().map(|on| self.why_absent(on));
        Some(awaited.into_iter().chain(off).collect::<Vec<_>>().join("; "))
    }

    /// Whether its last run did its work.
    pub(in crate::daemon) fn has_succeeded(&self, id: WorkerId) -> bool {
        let ending = self.machine.worker(id).and_then(|view| view.last_ending);
        ending.is_some_and(|ending| ending.cause == Cause::Finished)
            && !is_service(&self.machine.spec().workers[id.index()])
    }

    fn why_down(&self, id: WorkerId, view: &WorkerView) -> String {
        let phase = match view.phase {
            Phase::Quarantined => "is in quarantine".to_owned(),
            Phase::Backoff => "is in backoff".to_owned(),
            phase => format!("is {}", words::phase(phase)),
        };
        match self.histories.ending(id) {
            Some(ending) => format!("{phase}: {}", words::how(ending)),
            None => phase,
        }
    }

    pub(in crate::daemon) fn report(
        &self,
        failure: Option<&FirstFailure>,
        (worker, status): (WorkerId, &WorkerStatus),
        goal: Goal,
        progress: &Progress,
    ) -> OutcomeReport {
        let is_dependent = matches!(goal, Goal::Dependent { .. });
        let is_up = status.phase == "running";
        let outcome = match progress {
            Progress::Failed(_) => "failed",
            Progress::Superseded(_) => "superseded",
            Progress::OnTheWay(_) => "waiting",
            Progress::Reached if matches!(goal, Goal::Down { .. }) => "stopped",
            Progress::Reached if is_up => "running",
            Progress::Reached if is_dependent && status.pid.is_none() => "stopped",
            Progress::Reached if is_dependent => "waiting",
            Progress::Reached => "succeeded",
        };
        let force = self.force(worker, goal);
        let ending = match failure {
            Some(failure) => Some(failure.ending.clone()),
            None if outcome == "running" || outcome == "waiting" => None,
            None => status.ending.clone(),
        };
        let mut message = match progress {
            Progress::Failed(text) | Progress::OnTheWay(text) => text.clone(),
            Progress::Superseded(by) => format!("got a later order meanwhile: {by}"),
            Progress::Reached => match (outcome, status.pid) {
                ("running", pid) => {
                    let pid = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
                    format!("runs{pid}{}", without(&status.without))
                }
                ("succeeded", _) => "has ended with success".to_owned(),
                _ => match force {
                    Some(Force::Killed) => "was killed, because it did not stop in time",
                    Some(Force::LeftBehind) => "was left behind, because it did not stop in time",
                    None => "is stopped",
                }
                .to_owned(),
            },
        };
        let incident = failure.and_then(|failure| failure.incident);
        if let Some(retry) = status.retry_in_ms.filter(|_| outcome == "failed") {
            message.push_str(&format!("; next attempt in {}", words::span(retry)));
        }
        if let Some(id) = incident {
            message.push_str(&format!("; see `logs {}` and `incidents {id}`", status.name));
        }
        OutcomeReport {
            worker: status.name.clone(),
            outcome: outcome.to_owned(),
            phase: status.phase.clone(),
            pid: status.pid,
            dependent: is_dependent,
            killed: force == Some(Force::Killed),
            left_behind: force == Some(Force::LeftBehind),
            ending,
            retry_in_ms: status.retry_in_ms,
            incident,
            last_output: failure.and_then(|it| it.tail.get().cloned()).unwrap_or_default(),
            message,
        }
    }

    /// What the order to stop took, where the worker did not stop in time.
    fn force(&self, worker: WorkerId, goal: Goal) -> Option<Force> {
        let view = self.machine.worker(worker)?;
        let is_of_it = match goal {
            Goal::Up { .. } => false,
            Goal::Down { was_live } => was_live,
            Goal::Dependent { was_live: false, .. } => false,
            Goal::Renewed { after: generation } | Goal::Dependent { generation, .. } => {
                view.generation.0 == generation || view.generation.0 == generation + 1
            }
        };
        let ending = view.last_ending.filter(|_| is_of_it)?;
        let was_forced = match ending.status {
            // The command before it had not ended in time either.
            Status::NotLaunched(LaunchFailure { stage, errno, .. }) => {
                matches!(goal, Goal::Down { .. })
                    && stage == LaunchStage::START_BEFORE
                    && errno == libc::ETIMEDOUT
            }
            Status::Exited(_)
            | Status::Signaled { .. }
            | Status::Returned
            | Status::Failed
            | Status::Panicked
            | Status::Abandoned
            | Status::Unknown => ending.cause == Cause::StopTimeout,
        };
        was_forced.then_some(match ending.status {
            Status::Abandoned => Force::LeftBehind,
            _ => Force::Killed,
        })
    }
}

/// How a worker that does not stop in time is brought down.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Force {
    Killed,
    /// A thread: it cannot be killed.
    LeftBehind,
}

/// The soft dependencies that it runs without, as an end of a sentence.
fn without(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" without {}", names.join(", ")) }
}

/// Whether an incarnation that the goal is about has failed: `note_failure` tells how.
fn fails_now(view: &WorkerView, goal: Goal) -> bool {
    let after = match goal {
        Goal::Up { after } | Goal::Renewed { after } => after,
        Goal::Dependent { generation, returns: true, .. } => generation,
        Goal::Dependent { returns: false, .. } | Goal::Down { .. } => return false,
    };
    view.generation.0 > after
        && view.last_ending.is_some_and(|ending| ending.cause.is_failure())
        && matches!(view.phase, Phase::Backoff | Phase::Quarantined | Phase::Finished)
}

/// Whether it is there to stay up: it is always brought back, and others can tell when it is ready.
/// An end of it is no success, whatever its exit status.
fn is_service(spec: &WorkerSpec) -> bool {
    let says_when = match spec.readiness {
        Readiness::Notified { .. } => true,
        Readiness::After(time) => time > default::READY_AFTER,
    };
    spec.restart.policy == RestartPolicy::Always && says_when
}
