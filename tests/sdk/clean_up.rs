//! `Worker::terminate`: what a worker does after it has run.

use serde::Deserialize;
use workers::{Context, Outcome, Registry, Worker, WorkerError};

use crate::harness::Bed;
use crate::{PLACES, Test, command, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    ("a_worker_cleans_up_after_it_was_stopped", a_worker_cleans_up_after_it_was_stopped),
    (
        "what_cleaning_up_comes_to_is_the_ending_unless_there_was_an_error_before",
        what_cleaning_up_comes_to_is_the_ending_unless_there_was_an_error_before,
    ),
    (
        "a_handler_of_exit_that_blocks_keeps_no_worker_from_its_end",
        a_handler_of_exit_that_blocks_keeps_no_worker_from_its_end,
    ),
    (
        "an_order_over_which_the_supervisor_dies_has_its_outcome_from_the_successor",
        an_order_over_which_the_supervisor_dies_has_its_outcome_from_the_successor,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry
        .with("tidy", "cleans up; args: run, terminate", Ok::<Tidy, WorkerError>)
        .function("lingerer", "fails, and its process does not end; no args", lingerer)
        .function("mortal", "ends its process when it first stops; no args", mortal)
}

extern "C" fn block() {
    std::thread::sleep(std::time::Duration::MAX);
}

fn lingerer(context: &Context, (): ()) -> Result<(), WorkerError> {
    context.ready();
    // SAFETY: the handler is a function that makes no assumption on when it is called.
    unsafe { nix::libc::atexit(block) };
    Err("nothing to do".into())
}

/// As a process: nothing else calls what is registered there, while the supervisor lives.
fn a_handler_of_exit_that_blocks_keeps_no_worker_from_its_end() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { worker: lingerer, isolation: process, restart: \
                never }\n";
    let supervisor = start(&bed, yaml);
    let incident = supervisor.wait_incident(0);
    assert_eq!(incident.ending.cause, "error", "{}", incident.sentence);
    assert_eq!(incident.ending.message.as_deref(), Some("nothing to do"), "{incident:?}");
    supervisor.stop();
}

#[derive(Deserialize)]
struct Tidy {
    run: How,
    terminate: How,
}

/// How a method ends.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    /// By an order to stop.
    Stop,
    Return,
    Error,
    Panic,
}

impl How {
    fn end(self, context: &Context, what: &str) -> Result<(), WorkerError> {
        match self {
            Self::Stop => context.wait_for_stop(),
            Self::Return => {}
            Self::Error => return Err(format!("cannot {what}").into()),
            Self::Panic => panic!("no {what}"),
        }
        Ok(())
    }
}

impl Worker for Tidy {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        let units = context.begin(3);
        self.run.end(context, "run")?;
        units.done();
        Ok(())
    }

    fn terminate(&mut self, context: &Context, outcome: Outcome<'_>) -> Result<(), WorkerError> {
        let has_deadline = context.stop_deadline().is_some();
        match outcome {
            Outcome::Returned => context.log_line(format!("returned, deadline: {has_deadline}")),
            Outcome::Failed(error) => context.log_line(format!("failed: {error}")),
            _ => context.log_line("something else"),
        }
        self.terminate.end(context, "save")
    }
}

fn yaml(place: &str, run: &str, terminate: &str) -> String {
    format!(
        "version: 1\nworkers:\n  a: {{ worker: tidy, args: {{ run: {run}, terminate: {terminate} }}, \
         {place}, on_panic: contain, restart: {{ limit: {{ restarts: 0 }} }} }}\n"
    )
}

fn a_worker_cleans_up_after_it_was_stopped() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(&bed, &yaml(place, "stop", "return"));
        supervisor.wait_phase("a", "running");
        supervisor.client.stop(&["a".into()], true).expect("it stops");
        supervisor.wait_output("a", "returned, deadline: true");
        let ending = supervisor.worker("a").ending.expect("it has ended");
        assert_eq!(ending.cause, "requested", "{place}");
        supervisor.stop();
    }
}

fn what_cleaning_up_comes_to_is_the_ending_unless_there_was_an_error_before() {
    for place in PLACES {
        for (run, terminate, cause, message, said) in [
            ("return", "error", "error", "cannot save", "returned, deadline: false"),
            ("error", "return", "error", "cannot run", "failed: cannot run"),
            ("error", "error", "error", "cannot run", "a: terminate: cannot save"),
            ("return", "panic", "panic", "no save", "returned, deadline: false"),
            ("panic", "error", "panic", "no run", "panicked at "),
        ] {
            let bed = Bed::new();
            let supervisor = start(&bed, &yaml(place, run, terminate));
            let incident = supervisor.wait_incident(0);
            let case = format!("{place}, {run}, {terminate}: {incident:?}");
            assert_eq!(incident.ending.cause, cause, "{case}");
            let found = incident.ending.message.as_deref().unwrap_or_default();
            assert!(found.ends_with(message), "{case}");
            let output = supervisor.wait_output("a", said);
            if run == "panic" {
                assert!(!output.contains("cannot save"), "a panic leaves it in doubt: {case}");
            }
            let lost = if run == "return" { 0 } else { 3 };
            assert_eq!(incident.work.in_flight_lost, Some(lost), "{case}");
            supervisor.stop();
        }
    }
}

thread_local! {
    static AT_END: AtEnd = const { AtEnd };
}

/// Ends the process of its thread.
struct AtEnd;

impl Drop for AtEnd {
    fn drop(&mut self) {
        std::process::abort();
    }
}

fn mortal(context: &Context, (): ()) -> Result<(), WorkerError> {
    if context.generation() == 1 {
        AT_END.with(|_| ());
    }
    context.wait_for_stop();
    Ok(())
}

fn an_order_over_which_the_supervisor_dies_has_its_outcome_from_the_successor() {
    for (verb, phase, answer) in
        [("stop", "idle", "stop a: "), ("restart", "running", "restart a: ")]
    {
        let bed = Bed::new();
        let supervisor =
            start(&bed, "version: 1\nworkers:\n  a: { worker: mortal, isolation: thread }\n");
        supervisor.wait_phase("a", "running");
        let before = supervisor.status().supervisor.pid;
        let output = command(&bed, &[verb, "a"]).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.starts_with(answer), "{verb}: {output:?}");
        let worker = supervisor.worker("a");
        assert_eq!(worker.phase, phase, "{verb}: {worker:?}");
        assert_ne!(supervisor.status().supervisor.pid, before, "{verb}: it is another one");
        supervisor.stop();
    }
}
