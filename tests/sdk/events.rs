//! What workers emit by `tracing`.

use workers::{AsyncContext, Context, Registry, WorkerError};

use crate::harness::Bed;
use crate::{PLACES, Test, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    ("events_of_a_worker_are_in_its_own_output", events_of_a_worker_are_in_its_own_output),
    ("events_of_its_threads_are_there_too", events_of_its_threads_are_there_too),
    (
        "one_that_installs_a_subscriber_is_told_so_once",
        one_that_installs_a_subscriber_is_told_so_once,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry
        .function("shop", "emits events; no args", shop)
        .async_function("threads", "emits events on its threads; no args", threads)
        .function("installer", "installs a subscriber; no args", |_: &Context, (): ()| {
            tracing_subscriber::fmt().init();
            Ok(())
        })
}

fn shop(context: &Context, (): ()) -> Result<(), WorkerError> {
    tracing::info!(target: "shop::till", items = 3, name = context.name(), "sold");
    tracing::debug!(target: "shop::till", "too much to read");
    tracing::info_span!("order", number = 7).in_scope(|| tracing::warn!(target: "shop", "late"));
    if tracing_subscriber::fmt().try_init().is_ok() {
        context.log_line("another subscriber");
    }
    context.ready();
    context.wait_for_stop();
    Ok(())
}

fn events_of_a_worker_are_in_its_own_output() {
    for place in PLACES {
        let bed = Bed::new();
        let worker = |name: &str| format!("  {name}: {{ worker: shop, {place} }}\n");
        let yaml = format!("version: 1\nworkers:\n{}{}", worker("east"), worker("west"));
        let supervisor = start(&bed, &yaml);
        supervisor.wait_running();
        supervisor.stop();
        for name in ["east", "west"] {
            let told = format!(
                " INFO shop::till: sold items=3 name=\"{name}\"\n WARN order{{number=7}}: shop: late\n"
            );
            assert_eq!(bed.output(name), told, "{place}");
        }
        let own = std::fs::read_to_string(bed.path("supervisor.log")).expect("its log");
        assert!(!own.contains("sold") && own.contains("east"), "{place}: {own}");
    }
}

async fn threads(context: &AsyncContext, (): ()) -> Result<(), WorkerError> {
    let own = context.context().spawn("counter", |_| tracing::info!(target: "own", "counted"))?;
    tokio::task::spawn_blocking(move || own.join()).await??;
    tokio::task::spawn_blocking(|| tracing::info!(target: "blocking", "looked up")).await?;
    context.stopped().await;
    Ok(())
}

fn events_of_its_threads_are_there_too() {
    for place in PLACES {
        let bed = Bed::new();
        let yaml = format!("version: 1\nworkers:\n  a: {{ worker: threads, {place} }}\n");
        let supervisor = start(&bed, &yaml);
        supervisor.wait_output("a", "looked up");
        supervisor.stop();
        let told = " INFO own: counted\n INFO blocking: looked up\n";
        assert_eq!(bed.output("a"), told, "{place}");
    }
}

fn one_that_installs_a_subscriber_is_told_so_once() {
    for place in PLACES {
        let bed = Bed::new();
        let yaml = format!("version: 1\nworkers:\n  a: {{ worker: installer, {place} }}\n");
        let supervisor = start(&bed, &yaml);
        let worker = supervisor.wait_phase("a", "quarantined");
        assert_eq!(worker.generation, 1, "{place}: no other attempt");
        let incident = supervisor.wait_incident(0);
        assert_eq!(incident.ending.cause, "permanent-error", "{place}");
        let why = "the events of each worker go to its own output";
        assert!(incident.sentence.contains(why), "{place}: {}", incident.sentence);
        supervisor.stop();
    }
}
