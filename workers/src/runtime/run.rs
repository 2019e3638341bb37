//! One incarnation on a thread of this process: the common part of thread, cell and process
//! isolation.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Builder;

use serde_json::Value;

use crate::context::{Context, Parts, Shared, lose_dropped_units};
use crate::error::WorkerError;
use crate::registry::Registry;
use crate::runtime::board::State;
use crate::runtime::briefing::Briefing;
use crate::runtime::endowment::Endowment;
use crate::runtime::mapping::Mapping;
use crate::runtime::scheduling::{Refused, Scheduling};
use crate::runtime::threads::{Started, start};
use crate::runtime::{forked, global_default, member, panics, surroundings};
use crate::worker::{Outcome, Worker};

/// What a panic of a worker's thread ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnPanic {
    /// Its whole fault domain: a panic leaves shared state in doubt.
    #[default]
    Abort,
    /// Only this worker: the panic is caught; what it held is poisoned or recovered.
    Contain,
}

/// Everything that one incarnation needs. Its board has been begun by the supervisor.
#[derive(Debug)]
pub struct IncarnationPlan {
    /// The worker's name, also its thread's (cut to 15 bytes by the kernel, prctl(2)
    /// `PR_SET_NAME`).
    pub name: String,
    /// The name that it is registered by.
    pub kind: String,
    /// The generation.
    pub generation: u64,
    /// Its arguments.
    pub args: Value,
    /// What a panic ends.
    pub on_panic: OnPanic,
    /// What its thread sets before the worker runs.
    pub scheduling: Scheduling,
    /// The memory of its board.
    pub mapping: Arc<Mapping>,
    /// Which page of it.
    pub page: usize,
    /// An eventfd that makes the supervisor look at the boards of this fault domain.
    pub poke: Arc<OwnedFd>,
    /// The descriptor that is readable when there is an order.
    pub wake: OwnedFd,
    /// The target of its output.
    pub output: OwnedFd,
    /// What it is handed besides, for [`Context::claim`].
    pub endowment: Endowment,
    /// What only some workers need.
    pub briefing: Briefing,
    /// Called on its thread after everything else, with its final state: a worker's own process
    /// ends here.
    pub at_end: Option<fn(State)>,
}

/// What the thread of a worker reports when it has ended.
pub(crate) struct End {
    state: State,
    at_end: Option<fn(State)>,
}

/// Starts an incarnation on a new thread. When the thread has really ended, with the destructors of
/// its thread locals, it writes its final state to the board and wakes the supervisor.
///
/// # Errors
/// EAGAIN when no thread can be created.
pub fn spawn(plan: IncarnationPlan, registry: &Registry) -> io::Result<Started> {
    forked::mark();
    let registry = registry.clone();
    let (kind, args, scheduling, at_end) = (plan.kind, plan.args, plan.scheduling, plan.at_end);
    let builder = Builder::new().name(plan.name.replace('\0', ""));
    let builder = match plan.briefing.stack_size {
        Some(size) => builder.stack_size(size),
        None => builder,
    };
    let shared = Arc::new(Shared::new(Parts {
        name: plan.name,
        generation: plan.generation,
        on_panic: plan.on_panic,
        mapping: plan.mapping,
        page: plan.page,
        poke: plan.poke,
        wake: plan.wake,
        output: plan.output,
        endowment: plan.endowment,
        previous_ending: plan.briefing.previous_ending,
        ends_process: plan.at_end.is_some(),
        on_owner_death: plan.briefing.on_owner_death,
    }));
    let its = Arc::clone(&shared);
    start(&shared, builder, move |ticket| {
        let shared = its;
        member::begin(&shared, None, Some(ticket));
        let state = match scheduling.prepare().set() {
            Ok(()) => live(&shared, &kind, &args, &registry),
            Err(refused) => not_started(&shared, refused),
        };
        shared.end();
        if at_end.is_none() && forked::is_original() {
            end_offspring(&shared);
        }
        if let Some(member) = member::current() {
            member.will_report(End { state, at_end });
        }
        member::before_destructors();
    })
}

/// The worker has not begun: its launch has failed.
fn not_started(shared: &Shared, refused: Refused) -> State {
    shared.write_text(&refused.to_string());
    State::NotStarted
}

/// In a process that others share, what the threads of a worker have started ends with it; what a
/// process worker has started, with its process, by the supervisor.
fn end_offspring(shared: &Shared) {
    let count = shared.offspring.end();
    if count > 0 {
        shared
            .write_line(&format!("{}: killed what it had started and left: {count}", shared.name));
    }
}

/// Says how an incarnation has ended. The last step of its thread: after this the board may belong
/// to its successor.
pub(crate) fn report(shared: &Shared, end: End) {
    if !forked::is_original() {
        // A child that the worker forked, and in which it has come to its end: that is not its own.
        let code = i32::from(end.state != State::Returned);
        // SAFETY: it ends the process, without what is registered for the end of the parent.
        unsafe { libc::_exit(code) };
    }
    if shared.board().set_state(shared.generation, end.state) {
        shared.poke();
    }
    if let Some(at_end) = end.at_end {
        at_end(end.state);
    }
}

fn live(shared: &Arc<Shared>, kind: &str, args: &Value, registry: &Registry) -> State {
    surroundings::separate();
    let board = shared.board();
    board.pid.store(nix::unistd::getpid().as_raw(), Ordering::Relaxed);
    board.tid.store(nix::unistd::gettid().as_raw(), Ordering::Relaxed);
    board.set_state(shared.generation, State::Launched);
    let context = Context::first(Arc::clone(shared));
    // Unwind safety: nothing of the worker is used after a panic, it is dropped inside.
    let result = catch_unwind(AssertUnwindSafe(|| {
        context.checkpoint();
        match registry.create(kind, args) {
            Ok(mut worker) => work(&mut *worker, &context).map_err(|error| failed(&error)),
            Err(error) if error.is_permanent() => Err((State::FailedForGood, error.to_string())),
            Err(error) if registry.has(kind) => Err((State::NotStarted, error.to_string())),
            Err(error) => Err((State::Unregistered, error.to_string())),
        }
    }));
    if !matches!(result, Ok(Ok(()))) {
        lose_dropped_units(shared);
    }
    let (state, text) = match result {
        Ok(Ok(())) => (State::Returned, None),
        Ok(Err((state, text))) => {
            if shared.is_current() {
                context.log_line(format!("{}: {text}", shared.name));
            }
            (state, Some(text))
        }
        Err(payload) => match member::current() {
            Some(member) => {
                let fallen = panics::at_root(member, payload);
                (fallen.state, Some(fallen.text))
            }
            None => (State::Panicked, None),
        },
    };
    // What one of its threads has come to was the reason to stop.
    let (state, text) =
        shared.take_failure().map_or((state, text), |(state, text)| (state, Some(text)));
    if let Some(text) = text {
        shared.write_text(&text);
    }
    state
}

/// What a worker that returned an error has come to.
fn failed(error: &WorkerError) -> (State, String) {
    let text = error.to_string();
    match global_default::explained(&text) {
        Some(text) => (State::FailedForGood, text),
        None if error.is_permanent() => (State::FailedForGood, text),
        None => (State::Failed, text),
    }
}

/// Runs a worker, and has it clean up.
fn work(worker: &mut dyn Worker, context: &Context) -> Result<(), WorkerError> {
    let run = worker.run(context);
    context.checkpoint_at_stop();
    let terminated = worker.terminate(context, outcome_of(context, &run));
    ending_of(context, run, terminated)
}

/// What it cleans up after.
pub(crate) fn outcome_of<'a>(context: &Context, run: &'a Result<(), WorkerError>) -> Outcome<'a> {
    match run {
        Ok(()) => Outcome::Returned,
        Err(error) => {
            // What it does from now on does not mean that it goes on.
            lose_dropped_units(context.shared());
            Outcome::Failed(error)
        }
    }
}

/// What a worker that has cleaned up has come to.
pub(crate) fn ending_of(
    context: &Context,
    run: Result<(), WorkerError>,
    terminated: Result<(), WorkerError>,
) -> Result<(), WorkerError> {
    if let (Err(_), Err(second)) = (&run, &terminated) {
        context.log_line(format!("{}: terminate: {second}", context.name()));
    }
    run.and(terminated)
}
