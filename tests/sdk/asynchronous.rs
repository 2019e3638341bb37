//! Workers whose work is a future, under a supervisor.

use std::time::Duration;

use workers::{AsyncContext, Registry, WorkerError};

use crate::harness::Bed;
use crate::{PLACES, Test, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    ("a_task_that_blocks_its_runtime_is_found", a_task_that_blocks_its_runtime_is_found),
    (
        "a_fault_strikes_the_worker_and_no_task_of_it_that_is_busy",
        a_fault_strikes_the_worker_and_no_task_of_it_that_is_busy,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry.async_function("futures", "waits, or blocks; args: blocks", run).async_function(
        "busy",
        "has a task that works without a pause; no args",
        busy,
    )
}

#[derive(serde::Deserialize)]
struct Args {
    blocks: bool,
}

async fn run(context: &AsyncContext, args: Args) -> Result<(), WorkerError> {
    context.ready();
    if args.blocks {
        tokio::task::spawn_local(async { std::thread::sleep(Duration::MAX) }).await?;
    }
    context.stopped().await;
    context.log_line("in order");
    Ok(())
}

async fn busy(context: &AsyncContext, (): ()) -> Result<(), WorkerError> {
    let tasks = context.clone();
    // Its runtime catches its panics, and the worker does not ask for them.
    tokio::task::spawn_local(async move {
        loop {
            tasks.progress(1);
            tokio::task::yield_now().await;
        }
    });
    context.stopped().await;
    Ok(())
}

fn a_fault_strikes_the_worker_and_no_task_of_it_that_is_busy() {
    for place in PLACES {
        let bed = Bed::new();
        let yaml = format!(
            "version: 1\nsupervisor: {{ fault_injection: allow }}\nworkers:\n  w: {{ worker: \
             busy, {place}, restart: never }}\n"
        );
        let supervisor = start(&bed, &yaml);
        supervisor.wait("it to be busy", |supervisor| {
            (supervisor.worker("w").progress? > 1000).then_some(())
        });
        supervisor.client.inject("w", "panic").expect("a fault");
        let incident = supervisor.wait_incident(0);
        assert_eq!(incident.ending.cause, "panic", "{place}: {}", incident.sentence);
        supervisor.stop();
    }
}

fn a_task_that_blocks_its_runtime_is_found() {
    for place in PLACES {
        let bed = Bed::new();
        let worker = |blocks: bool| {
            format!(
                "{{ worker: futures, args: {{ blocks: {blocks} }}, {place}, heartbeat: 3s, restart: \
                 {{ limit: {{ restarts: 1, within: 1m }}, backoff: {{ initial: 10ms }} }} }}"
            )
        };
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  waits: {}\n  blocks: {}\n",
                worker(false),
                worker(true)
            ),
        );
        let blocks = supervisor.wait_phase("blocks", "quarantined");
        assert_eq!(blocks.generation, 2, "{place}");
        for incident in supervisor.incidents() {
            assert_eq!(
                incident.worker.as_deref(),
                Some("blocks"),
                "{place}: {}",
                incident.sentence
            );
            assert_eq!(incident.ending.cause, "hang", "{place}");
        }
        let waits = supervisor.worker("waits");
        assert_eq!((waits.generation, waits.phase.as_str()), (1, "running"), "{place}");
        supervisor.stop();
        assert_eq!(bed.output("waits"), "in order\n", "{place}");
    }
}
