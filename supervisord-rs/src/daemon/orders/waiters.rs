//! Clients that wait until their order is carried out in every worker that it touches, has failed,
//! or is void because a later one says otherwise. Every wait ends: at the latest when its time is
//! over. What is then said of each worker: `outcomes`.

use std::collections::BTreeMap;
use std::time::Duration;

use supervision::{Generation, Incarnation, WorkerId};

use super::goal::{FirstFailure, Goal, Progress};
use crate::control::protocol::{
    AwaitRequest, Done, EndingReport, Failure, OutcomeReport, WAIT_DEFAULT, WorkerStatus,
};
use crate::control::request::Answer;
use crate::daemon::Daemon;
use crate::daemon::view::View;
use crate::record::logs::{TAIL_TIMEOUT, Tail};

/// What must hold before a client is answered.
#[derive(Debug)]
pub(in crate::daemon) struct Wait {
    pub(in crate::daemon) aims: Vec<(WorkerId, Goal)>,
    /// How long at most.
    pub(in crate::daemon) limit: Duration,
}

/// One client.
#[derive(Debug)]
pub(in crate::daemon) struct Waiter {
    wait: Wait,
    /// One of the aims that was still open at the last look: mostly it still is.
    open_at: usize,
    until: Duration,
    message: String,
    answer: Answer<Done>,
    /// The first failure of each worker since the order.
    failures: BTreeMap<WorkerId, FirstFailure>,
}

/// All of them. Bounded by the number of connections.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Waiters(Vec<Waiter>);

/// How long a client that says nothing waits at most.
pub(in crate::daemon) fn limit(timeout_ms: Option<u64>) -> Duration {
    timeout_ms.map_or(WAIT_DEFAULT, Duration::from_millis)
}

impl Waiter {
    /// Whether the end of this incarnation is a failure of what the client waits for.
    fn concerns(&self, incarnation: Incarnation) -> bool {
        self.wait.aims.iter().any(|(worker, goal)| match goal {
            Goal::Up { after } | Goal::Renewed { after } => {
                *worker == incarnation.worker && incarnation.generation.0 > *after
            }
            Goal::Dependent { generation, returns, .. } => {
                *returns && *worker == incarnation.worker && incarnation.generation.0 > *generation
            }
            Goal::Down { .. } => false,
        })
    }

    /// When it is to be looked at without anything having happened.
    fn due(&self) -> Duration {
        let tails = self.failures.values().filter_map(FirstFailure::due);
        tails.fold(self.until, Duration::min)
    }

    /// Whether an outcome is still to come. Dependents of what has failed are not waited for.
    fn is_open(&self, each: &[Progress]) -> bool {
        let has_failed = each.iter().any(|progress| matches!(progress, Progress::Failed(_)));
        let mut aims = self.wait.aims.iter().zip(each);
        aims.any(|((_, goal), progress)| {
            let is_dependent = matches!(goal, Goal::Dependent { .. });
            matches!(progress, Progress::OnTheWay(_)) && !(is_dependent && has_failed)
        })
    }

    /// Whether the last lines of all that failed are there, or are not waited for any longer.
    fn has_tails(&self, now: Duration) -> bool {
        self.failures.values().filter_map(FirstFailure::due).all(|due| due <= now)
    }
}

impl Waiters {
    pub(in crate::daemon) fn add(
        &mut self,
        wait: Wait,
        message: String,
        answer: Answer<Done>,
        now: Duration,
    ) {
        let until = now.saturating_add(wait.limit);
        let failures = BTreeMap::new();
        self.0.push(Waiter { wait, open_at: 0, until, message, answer, failures });
    }

    /// So much time counts for no client.
    pub(in crate::daemon) fn on_time_lost(&mut self, by: Duration) {
        for waiter in &mut self.0 {
            waiter.until = waiter.until.saturating_add(by);
            let failures = waiter.failures.values_mut();
            failures.for_each(|failure| failure.until = failure.until.saturating_add(by));
        }
    }

    /// When the first of them has to be looked at.
    pub(in crate::daemon) fn next_due(&self) -> Option<Duration> {
        self.0.iter().map(Waiter::due).min()
    }
}

impl Waiters {
    /// A run has failed: clients that wait for that worker learn of it, whatever happens later.
    pub(in crate::daemon) fn note_failure(
        &mut self,
        view: View<'_>,
        incarnation: Incarnation,
        ending: &EndingReport,
        now: Duration,
    ) {
        let is_concerned = |waiter: &Waiter| {
            waiter.concerns(incarnation) && !waiter.failures.contains_key(&incarnation.worker)
        };
        if !self.0.iter().any(is_concerned) {
            return;
        }
        let worker = view.machine.worker(incarnation.worker);
        let incident = worker.and_then(|worker| worker.last_incident).map(|id| id.0);
        let tail = view.drivers.tail(incarnation.worker).filter(|_| ending.has_run());
        // Nothing was captured: there is nothing to wait for.
        let tail = tail.unwrap_or_else(|| Tail::new(Vec::new().into()));
        let until = now.saturating_add(TAIL_TIMEOUT);
        for waiter in self.0.iter_mut().filter(|waiter| is_concerned(waiter)) {
            let (ending, tail) = (ending.clone(), Tail::clone(&tail));
            let failure = FirstFailure { ending, incident, tail, until };
            waiter.failures.insert(incarnation.worker, failure);
        }
    }

    /// Answers those who have an outcome for each worker, and whose time is over; forgets those who
    /// went away.
    pub(in crate::daemon) fn answer(&mut self, view: View<'_>, now: Duration) {
        let mut waiting = Vec::new();
        for mut waiter in std::mem::take(&mut self.0) {
            if waiter.answer.is_closed() {
                continue;
            }
            if waiter.until > now && waiter.is_on_the_way(view, waiter.open_at) {
                waiting.push(waiter);
                continue;
            }
            let each: Vec<Progress> = waiter
                .wait
                .aims
                .iter()
                .map(|(worker, goal)| view.progress(waiter.failures.get(worker), *worker, *goal))
                .collect();
            if (waiter.is_open(&each) || !waiter.has_tails(now)) && waiter.until > now {
                let is_open = |progress: &Progress| matches!(progress, Progress::OnTheWay(_));
                waiter.open_at = each.iter().position(is_open).unwrap_or(0);
                waiting.push(waiter);
            } else {
                let answer = waiter.outcome(view, &each);
                let _ = waiter.answer.send(answer);
            }
        }
        self.0.append(&mut waiting);
    }
}

impl Waiter {
    /// Whether the answer waits for this aim, whatever has become of the others.
    fn is_on_the_way(&self, view: View<'_>, aim: usize) -> bool {
        self.wait.aims.get(aim).is_some_and(|&(worker, goal)| {
            !matches!(goal, Goal::Dependent { .. })
                && matches!(
                    view.progress(self.failures.get(&worker), worker, goal),
                    Progress::OnTheWay(_)
                )
        })
    }

    /// What has become of an order, worker by worker.
    fn outcome(&self, view: View<'_>, each: &[Progress]) -> Result<Done, Failure> {
        let aims = self.wait.aims.iter().zip(each);
        let (workers, outcomes): (Vec<WorkerStatus>, Vec<OutcomeReport>) = aims
            .map(|(&(worker, goal), progress)| {
                let status = view.worker_status(worker);
                let outcome =
                    view.report(self.failures.get(&worker), (worker, &status), goal, progress);
                (status, outcome)
            })
            .unzip();
        let said = |outcome: &str| {
            let those = outcomes.iter().filter(|report| report.outcome == outcome);
            those.map(|report| format!("{} {}", report.worker, report.message)).collect::<Vec<_>>()
        };
        let (failed, superseded, late) = (said("failed"), said("superseded"), said("waiting"));
        let (error, message) = if !failed.is_empty() {
            ("failed", failed.join("; "))
        } else if !superseded.is_empty() {
            ("superseded", superseded.join("; "))
        } else if !late.is_empty() {
            let limit = self.wait.limit;
            let late = late.join("; ");
            let order = "the order stands (see `status`)";
            let limit = humantime::format_duration(limit);
            ("timed-out", format!("no outcome within {limit}; {order}: {late}"))
        } else {
            let message = super::outcomes::sentence(&self.message, &outcomes);
            return Ok(Done { message, workers, outcomes, ..Done::default() });
        };
        Err(Failure { outcomes, ..Failure::new(error, message) })
    }
}

impl Daemon {
    /// A client waits for workers that were ordered to come up before it could ask, such as by a
    /// reload.
    pub(in crate::daemon) fn on_await(&mut self, request: &AwaitRequest, answer: Answer<Done>) {
        let aims: Result<Vec<(WorkerId, Goal)>, Failure> = request
            .after
            .iter()
            .map(|(name, &after)| Ok((self.view().resolve_one(name)?, Goal::Renewed { after })))
            .collect();
        let aims = match aims {
            Ok(aims) => aims,
            Err(failure) => return drop(answer.send(Err(failure))),
        };
        let workers: Vec<WorkerId> = aims.iter().map(|(worker, _)| *worker).collect();
        let wait = Wait { aims, limit: limit(request.timeout_ms) };
        let now = self.now();
        self.waiters.add(wait, "done".to_owned(), answer, now);
        for worker in workers {
            self.note_past_failure(worker);
        }
        self.turn(None);
    }

    /// The last run of a worker that has ended, if that was a failure.
    fn note_past_failure(&mut self, worker: WorkerId) {
        let Some(view) = self.machine.worker(worker) else { return };
        let generation = match view.generation.0 {
            present if view.phase.is_live() => present.saturating_sub(1),
            last => last,
        };
        let is_failure = view.last_ending.is_some_and(|ending| ending.cause.is_failure());
        if let Some(ending) = self.histories.ending(worker).cloned().filter(|_| is_failure) {
            self.note_failure(Incarnation { worker, generation: Generation(generation) }, &ending);
        }
    }

    /// A run has failed: clients that wait for that worker learn of it, whatever happens later.
    pub(in crate::daemon) fn note_failure(
        &mut self,
        incarnation: Incarnation,
        ending: &EndingReport,
    ) {
        let mut waiters = std::mem::take(&mut self.waiters);
        waiters.note_failure(self.view(), incarnation, ending, self.now());
        self.waiters = waiters;
    }

    /// Answers clients that have waited long enough.
    pub(in crate::daemon) fn answer_waiters(&mut self) {
        let mut waiters = std::mem::take(&mut self.waiters);
        waiters.answer(self.view(), self.now());
        self.waiters = waiters;
    }
}
