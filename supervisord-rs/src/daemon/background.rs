//! What goes on in the background: probes that are asked, hooks and stop commands that run. Each is
//! a task for as long as it takes, bounded in time and number; what it has to say comes back
//! through one channel.

use std::time::Duration;

use supervision::{Event, Incarnation, IncidentId};
use tokio::sync::{mpsc, oneshot};

use super::Daemon;
use super::hand_over;
use super::upkeep::Found;
use crate::config::settings::Hook;
use crate::hooks;
use crate::isolation::drivers::BeforeEnded;
use crate::isolation::helper::{self, Helper, NotLaunched, Summons};
use crate::probing::{self, Kind, ask};
use crate::record::event::What;
use crate::record::words;
use crate::stages;
use crate::threads;
use crate::waiting::{Limit, within};

/// For a stop command: the machine ends it sooner.
const A_DAY: Duration = Duration::from_secs(24 * 3600);
/// For hooks that run when the supervisor ends.
const LAST_HOOKS: Duration = Duration::from_secs(5);

/// Something that went on in the background is over.
#[derive(Debug)]
pub(super) enum TaskOutcome {
    Answer {
        incarnation: Incarnation,
        kind: Kind,
        good: Option<bool>,
    },
    HandOver(Box<hand_over::News>),
    StopCommandEnded {
        incarnation: Incarnation,
        failure: Option<String>,
    },
    BeforeEnded(BeforeEnded),
    HookEnded {
        /// Its number, once there were means to start it.
        number: Option<usize>,
        helper: Option<Helper>,
        command: String,
        failure: Option<String>,
    },
    /// A look at what the supervisor stands on is over.
    Looked(Box<Found>),
    /// An incident is on record.
    Recorded(IncidentId),
}

impl From<hand_over::News> for TaskOutcome {
    fn from(news: hand_over::News) -> Self {
        Self::HandOver(Box::new(news))
    }
}

impl From<Box<Found>> for TaskOutcome {
    fn from(found: Box<Found>) -> Self {
        Self::Looked(found)
    }
}

/// The channel. It holds no more than what runs at once, which is bounded.
#[derive(Debug)]
pub(super) struct Background {
    sender: mpsc::UnboundedSender<TaskOutcome>,
    receiver: mpsc::UnboundedReceiver<TaskOutcome>,
}

impl Background {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver }
    }

    pub(super) async fn next(&mut self) -> TaskOutcome {
        match self.receiver.recv().await {
            Some(said) => said,
            // Never: we hold a sender ourselves.
            None => std::future::pending().await,
        }
    }

    /// For what may be held by a file system. One that hangs does not hold up our end.
    pub(super) fn spawn_thread<T: Into<TaskOutcome>>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<()> {
        let sender = self.sender.clone();
        let thread = std::thread::Builder::new().name(name.into());
        threads::spawn(thread, move || drop(sender.send(work().into()))).map(drop)
    }

    /// What to call, from any thread, when an incident is on record.
    pub(super) fn on_recorded(&self) -> impl Fn(IncidentId) + Send + Sync + 'static {
        let sender = self.sender.clone();
        move |incident| drop(sender.send(TaskOutcome::Recorded(incident)))
    }

    /// What has been said already.
    pub(super) fn take(&mut self) -> Option<TaskOutcome> {
        self.receiver.try_recv().ok()
    }

    pub(super) fn spawn<T: Into<TaskOutcome>>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let _ = sender.send(task.await.into());
        });
    }
}

impl Daemon {
    pub(super) fn on_task_outcome(&mut self, said: TaskOutcome) {
        match said {
            TaskOutcome::Answer { incarnation, kind, good } => {
                self.on_answer(incarnation, kind, good)
            }
            TaskOutcome::HandOver(news) => self.on_news(*news),
            TaskOutcome::StopCommandEnded { incarnation, failure } => {
                self.drivers.stop_command_ended(incarnation, failure.as_deref());
                self.turn(None);
            }
            TaskOutcome::BeforeEnded(ended) => self.on_before_ended(ended),
            TaskOutcome::Looked(found) => self.on_looked(*found),
            TaskOutcome::Recorded(incident) => self.turn(Some(Event::Recorded { incident })),
            TaskOutcome::HookEnded { number, helper, command, failure } => {
                self.observers.hooks.ended();
                if let Some(number) = number {
                    self.drivers.clear_hook(number, helper);
                }
                if let Some(why) = failure {
                    self.emit(None, What::HookFailed { command: &command, why: &why });
                }
                self.turn(None);
            }
        }
    }

    fn on_answer(&mut self, incarnation: Incarnation, kind: Kind, good: Option<bool>) {
        let now = self.now();
        // One that is suspended cannot answer, and that is no fault of its.
        let is_paused = self.machine.worker(incarnation.worker).is_some_and(|view| view.paused);
        let good = good.filter(|good| *good || !is_paused);
        let event = self.probing.answer(incarnation, kind, good, now);
        if let Some(event) = &event {
            let is_unready = matches!(event, Event::Readiness { ready: false, .. });
            self.emit(Some(incarnation), What::Probe { kind, good, is_unready });
        }
        self.turn(event);
    }

    /// Asks what is due, runs the hooks that have a place, and the stop commands that were ordered.
    pub(super) fn go_on_in_background(&mut self) {
        for question in self.probing.questions(self.now()) {
            let probing::Question { incarnation, kind, check, timeout, is_void } = question;
            let answer = move |good| TaskOutcome::Answer { incarnation, kind, good };
            match check.command() {
                // The last one that was asked was killed and is still there: this is no better
                // answer than its was.
                Some(_) if helper::stuck(Some(incarnation.worker)) > 0 => {
                    self.background.spawn(async move { answer(Some(false)) });
                }
                Some(command) => {
                    let worker = self.names.worker(incarnation.worker).to_owned();
                    let summons = self.drivers.launch_helper(incarnation.worker, command, &[]);
                    self.background.spawn(async move {
                        answer(unless_void(is_void, exec(summons, timeout, &worker)).await)
                    });
                }
                None => {
                    self.background.spawn(async move {
                        let asked = async { Some(ask::ask(&check, timeout).await) };
                        answer(unless_void(is_void, asked).await)
                    });
                }
            }
        }
        while let Some((incarnation, summons)) = self.drivers.next_stop_command() {
            self.wait_for_stop_command(incarnation, summons);
        }
        while let Some(before) = self.drivers.next_start_before() {
            self.background.spawn(async move { TaskOutcome::BeforeEnded(before.end().await) });
        }
        while let Some((hook, record)) = self.next_hook() {
            let command = hook.command.join(" ");
            let summoned = hooks::input(&record)
                .map_err(|error| error.to_string())
                .and_then(|input| self.drivers.launch_hook(&hook.command, input));
            self.background.spawn(async move {
                let (number, (helper, failure)) = match summoned {
                    Err(error) => (None, (None, Some(error))),
                    Ok((number, summons)) => (Some(number), run_hook(summons, hook.timeout).await),
                };
                TaskOutcome::HookEnded { number, helper, command, failure }
            });
        }
    }

    /// Those that do not die, and those whose descendants do not, have a place too.
    fn next_hook(&mut self) -> Option<(Hook, String)> {
        self.observers.hooks.next_to_run(helper::stuck(None) + self.drivers.hooks_being_cleared())
    }

    /// The launch goes on, unless the worker was asked to stop meanwhile.
    fn on_before_ended(&mut self, ended: BeforeEnded) {
        let incarnation = ended.incarnation();
        let view = self.machine.worker(incarnation.worker);
        let is_to_stop = view.is_some_and(|view| view.order.is_some());
        let is_for_nothing = is_to_stop || ended.was_asked();
        self.drivers.go_on_after(if is_for_nothing { ended.for_nothing() } else { ended });
        self.turn(None);
    }

    /// As long as it takes, once it runs: the machine kills the worker, and the command with it,
    /// when its time to stop is over.
    fn wait_for_stop_command(&mut self, incarnation: Incarnation, summons: Summons) {
        let limit = self.machine.spec().workers[incarnation.worker.index()].stop.timeout;
        self.background.spawn(async move {
            let failure = match summons.arrive(&mut Limit::new(limit)).await {
                Err(failed) => Some(failed.message),
                Ok(helper) => {
                    let _ = helper.wait(&mut Limit::new(A_DAY)).await;
                    None
                }
            };
            TaskOutcome::StopCommandEnded { incarnation, failure }
        });
    }

    /// At the very end: hooks that run have a little time.
    pub(super) async fn end_background(&mut self) {
        let end = tokio::time::Instant::now() + LAST_HOOKS;
        while !self.observers.hooks.are_over() {
            self.go_on_in_background();
            match tokio::time::timeout_at(end, self.background.next()).await {
                Ok(TaskOutcome::HookEnded { .. }) => self.observers.hooks.ended(),
                Ok(
                    TaskOutcome::Answer { .. }
                    | TaskOutcome::HandOver(_)
                    | TaskOutcome::StopCommandEnded { .. }
                    | TaskOutcome::BeforeEnded(_)
                    | TaskOutcome::Looked(_)
                    | TaskOutcome::Recorded(_),
                ) => {}
                Err(_) => return,
            }
        }
    }
}

/// What a question says; `None`: it has become void, and what asks is dropped. A command is killed.
async fn unless_void(
    is_void: oneshot::Receiver<()>,
    asked: impl Future<Output = Option<bool>>,
) -> Option<bool> {
    tokio::select! {
        biased;
        _ = is_void => None,
        good = asked => good,
    }
}

/// What an exec probe says; `None`: nothing about the worker.
async fn exec(
    summons: Result<Summons, NotLaunched>,
    limit: Duration,
    worker: &str,
) -> Option<bool> {
    let limit = &mut Limit::new(limit);
    let launched = match summons {
        Ok(summons) => summons.arrive(limit).await,
        Err(failed) => Err(failed),
    };
    match launched {
        Ok(helper) => Some(helper.wait(limit).await == Some(supervision::Status::Exited(0))),
        Err(failed) => {
            tracing::warn!(worker, "its probe: {}", failed.message);
            // What the machine is short of, and what happens to a cgroup, says nothing about the
            // worker; a missing program does.
            let is_program = failed.failure.stage == stages::EXEC && !failed.failure.transient;
            is_program.then_some(false)
        }
    }
}

/// The hook, to be killed with what it has left behind, and why it failed; `None`: it did not.
async fn run_hook(summons: Summons, limit: Duration) -> (Option<Helper>, Option<String>) {
    let limit = &mut Limit::new(limit);
    match summons.arrive(limit).await {
        Err(failed) => (None, Some(failed.message)),
        Ok(helper) => {
            let failure = match within(limit, helper.end()).await.flatten() {
                Some(supervision::Status::Exited(0)) => None,
                Some(status) => Some(format!("it ended with {}", words::status(status))),
                None => Some(format!("it was killed after {:?}", limit.whole())),
            };
            (Some(helper), failure)
        }
    }
}
