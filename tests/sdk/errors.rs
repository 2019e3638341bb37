//! What a worker returns.

use workers::{Context, Registry, Worker, WorkerError};

use crate::harness::Bed;
use crate::{PLACES, Test, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    (
        "an_error_is_shown_with_its_sources_and_a_permanent_one_ends_the_attempts",
        an_error_is_shown_with_its_sources_and_a_permanent_one_ends_the_attempts,
    ),
    (
        "a_text_of_any_length_is_whole_in_the_output_and_cut_elsewhere",
        a_text_of_any_length_is_whole_in_the_output_and_cut_elsewhere,
    ),
    (
        "a_thread_that_ends_without_a_word_is_told_so_in_every_isolation",
        a_thread_that_ends_without_a_word_is_told_so_in_every_isolation,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    let registry = registry.function("long-talker", "fails at length; args: panics", talker);
    registry.with("failing", "fails at once", Ok::<Failing, WorkerError>)
}

/// Cannot do its work, for a reason that stays or passes.
#[derive(serde::Deserialize)]
struct Failing {
    is_permanent: bool,
}

impl Worker for Failing {
    fn run(&mut self, _context: &Context) -> Result<(), WorkerError> {
        let cause = std::io::Error::other(Layer(std::fs::read("/nowhere/at-all").err()));
        let error = WorkerError::from(cause);
        Err(if self.is_permanent { error.into_permanent() } else { error })
    }
}

/// How it fails.
#[derive(serde::Deserialize)]
struct Talker {
    panics: bool,
}

const LENGTH: usize = 200_000;

fn talker(context: &Context, args: Talker) -> Result<(), WorkerError> {
    context.status("s".repeat(LENGTH));
    let text = "é".repeat(LENGTH / 2);
    let name = "n".repeat(LENGTH);
    if args.panics {
        let own = context.spawn(name, move |_| panic!("{text}"))?;
        context.wait_for_stop();
        drop(own);
        return Ok(());
    }
    Err(text.into())
}

fn a_text_of_any_length_is_whole_in_the_output_and_cut_elsewhere() {
    for place in crate::PLACES {
        for panics in [false, true] {
            let what = format!("{place}, it panics: {panics}");
            let bed = Bed::new();
            let supervisor = start(
                &bed,
                &format!(
                    "version: 1\nworkers:\n  t: {{ worker: long-talker, args: {{ panics: {panics} }}, \
                     {place}, on_panic: contain, restart: {{ limit: {{ restarts: 0 }} }} }}\n"
                ),
            );
            let incident = supervisor.wait_incident(0);
            let message = incident.ending.message.clone().unwrap_or_default();
            assert!(message.len() <= 512 && message.ends_with("é ..."), "{what}: {message}");
            assert!(incident.sentence.len() < 1000, "{what}: {}", incident.sentence.len());
            // A thread of its own writes it.
            let written = supervisor.wait("the record", |_| {
                let written = std::fs::read(bed.path("state/incidents.jsonl")).ok()?;
                written.ends_with(b"\n").then_some(written)
            });
            let sizes = (written.len(), incident.last_output.concat().len());
            assert!(written.len() < 16_000, "{what}: {sizes:?}");
            let status = serde_json::to_string(&supervisor.status()).expect("JSON");
            assert!(status.len() < 8_000, "{what}: {}", status.len());
            supervisor.stop();
            // There it is whole.
            assert!(bed.output("t").len() > LENGTH, "{what}");
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read the list of customers")]
struct Layer(#[source] Option<std::io::Error>);

const CHAIN: &str = "cannot read the list of customers: No such file or directory (os error 2)";

fn an_error_is_shown_with_its_sources_and_a_permanent_one_ends_the_attempts() {
    for place in ["isolation: thread", "isolation: process", "isolation: thread, cell: box"] {
        let bed = Bed::new();
        let worker = |is_permanent: bool| {
            format!(
                "{{ worker: failing, args: {{ is_permanent: {is_permanent} }}, {place}, restart: \
                 {{ policy: always, backoff: {{ initial: 10ms }}, limit: {{ restarts: 2, within: \
                 1m }} }} }}"
            )
        };
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  stays: {}\n  passes: {}\n",
                worker(true),
                worker(false)
            ),
        );
        let stays = supervisor.wait_phase("stays", "quarantined");
        assert_eq!(stays.generation, 1, "{place}: no other attempt");
        assert_eq!(
            stays.quarantine.as_deref(),
            Some("its error is permanent; `start stays`"),
            "{place}"
        );
        let passes = supervisor.wait_phase("passes", "quarantined");
        assert_eq!(passes.generation, 3, "{place}: once and twice more");
        for (name, cause) in [("stays", "permanent-error"), ("passes", "error")] {
            let incident = supervisor.wait("its incident", |supervisor| {
                let all = supervisor.incidents();
                all.into_iter().find(|incident| incident.worker.as_deref() == Some(name))
            });
            assert_eq!(incident.ending.cause, cause, "{place}");
            assert_eq!(incident.ending.message.as_deref(), Some(CHAIN), "{place}");
            assert!(incident.sentence.contains(CHAIN), "{place}: {}", incident.sentence);
        }
        supervisor.client.start(&["stays".into()], false).expect("by hand it is tried again");
        supervisor.wait("a second attempt", |supervisor| {
            (supervisor.worker("stays").generation == 2).then_some(())
        });
        supervisor.stop();
    }
}

fn a_thread_that_ends_without_a_word_is_told_so_in_every_isolation() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nsupervisor: {{ fault_injection: allow }}\nworkers:\n  v: {{ worker: \
                 sleeper, {place}, heartbeat: 3s }}\n  other: {{ worker: sleeper, {place}, heartbeat: \
                 3s }}\n"
            ),
        );
        supervisor.wait_running();
        supervisor.client.inject("v", "vanish").expect("injection is allowed");
        let incident = supervisor.wait_incident(0);
        let said = &incident.sentence;
        let found = (incident.worker.as_deref(), incident.ending.cause.as_str());
        assert_eq!(found, (Some("v"), "vanished"), "{place}: {said}");
        assert!(incident.fault.injected, "{place}: {said}");
        assert_eq!(incident.lost, ["v"], "{place}: {said}");
        supervisor.wait_generation("v", 2);
        assert_eq!(supervisor.worker("other").generation, 1, "{place}");
        supervisor.stop();
    }
}
