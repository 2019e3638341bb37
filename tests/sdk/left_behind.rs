//! Threads that go on after their worker's run is over, and end the process then: whose doing that
//! is.

use std::path::PathBuf;
use std::time::Duration;

use workers::fault::Fault;
use workers::{Context, Registry, WorkerError};

use crate::harness::{Bed, Supervisor, text};
use crate::{PLACES, Test, command, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    (
        "what_a_thread_does_that_an_earlier_run_left_behind_is_told_of_that_run",
        what_a_thread_does_that_an_earlier_run_left_behind_is_told_of_that_run,
    ),
    (
        "a_thread_of_a_worker_that_is_no_longer_configured_is_told_by_its_name",
        a_thread_of_a_worker_that_is_no_longer_configured_is_told_by_its_name,
    ),
    (
        "the_blame_of_an_earlier_run_outlives_the_supervisor",
        the_blame_of_an_earlier_run_outlives_the_supervisor,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry.function("leaver", "leaves a thread behind; args: does, when, ends", leaver).function(
        "gated",
        "is ready once its gate is there; args: gate",
        gated,
    )
}

#[derive(serde::Deserialize)]
struct Gated {
    gate: PathBuf,
}

fn gated(context: &Context, args: Gated) -> Result<(), WorkerError> {
    while !args.gate.exists() && !context.stop_requested() {
        std::thread::sleep(Duration::from_millis(5));
    }
    context.wait_for_stop();
    Ok(())
}

#[derive(serde::Deserialize)]
struct Args {
    does: Does,
    /// Once this file is there.
    when: PathBuf,
    /// Whether the worker returns by itself.
    ends: bool,
}

/// What the thread does at last.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Does {
    Panic,
    Segfault,
    Exit,
}

fn leaver(context: &Context, args: Args) -> Result<(), WorkerError> {
    if context.generation() == 1 {
        let Args { does, when, .. } = args;
        context.spawn("indexer", move |_| {
            while !when.exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
            match does {
                Does::Panic => panic!("no index"),
                Does::Segfault => Fault::SegfaultRead.commit(0),
                Does::Exit => Fault::Exit.commit(3),
            }
        })?;
    }
    if !args.ends {
        context.wait_for_stop();
    }
    Ok(())
}

fn what_a_thread_does_that_an_earlier_run_left_behind_is_told_of_that_run() {
    for place in &PLACES[..2] {
        for ends in [true, false] {
            for (does, cause) in [("panic", "panic"), ("segfault", "segfault"), ("exit", "error")] {
                told_of_that_run(place, ends, does, cause);
            }
        }
    }
}

fn told_of_that_run(place: &str, ends: bool, does: &str, cause: &str) {
    let what = format!("{place}, {does}, it ends by itself: {ends}");
    let bed = Bed::new();
    let when = bed.path("when");
    let supervisor = start(
        &bed,
        &format!(
            "version: 1\nworkers:\n  a: {{ worker: sleeper, {place} }}\n  w: {{ worker: leaver, \
             args: {{ does: {does}, when: {}, ends: {ends} }}, {place} }}\n",
            when.display()
        ),
    );
    supervisor.wait_phase("a", "running");
    let before = supervisor.status().supervisor.pid;
    if ends {
        supervisor.wait_phase("w", "finished");
    } else {
        supervisor.wait_phase("w", "running");
        supervisor.client.restart(&["w".into()], true).expect("restarted");
    }
    supervisor.wait("the thread to be counted", |supervisor| {
        (supervisor.worker("w").abandoned == 1).then_some(())
    });
    std::fs::write(&when, "").expect("a file");
    if place == PLACES[0] {
        supervisor.wait_successor(before);
    }
    let incident = supervisor.wait_incident(0);
    let said = &incident.sentence;
    let who = (incident.worker.as_deref(), incident.generation, incident.left_behind);
    assert_eq!(who, (Some("w"), Some(1), true), "{what}: {said}");
    assert_eq!(incident.ending.cause, cause, "{what}: {said}");
    let message = incident.ending.message.unwrap_or_default();
    let thread = "in thread `indexer` that an earlier run of w left behind";
    assert!(message.starts_with(thread), "{what}: {message:?}");
    assert!(said.contains("in an earlier run of w (") && said.contains(thread), "{what}: {said}");
    let lost: &[&str] = if ends { &["a"] } else { &["a", "w"] };
    assert_eq!(incident.lost, lost, "{what}: {said}");
    // It was not theirs, and the new run of the worker has not done it either.
    for name in lost {
        let ending = supervisor.wait_phase(name, "running").ending.expect("one");
        assert_eq!(ending.cause, "domain-lost", "{what}: {name}");
        assert_eq!(ending.message, None, "{what}: {name}");
    }
    assert_eq!(supervisor.status().supervisor.abandoned_threads, 0, "{what}");
    // The next incident names the one that did it.
    if does == "segfault" {
        the_next_is_its_own(&supervisor, place, &what);
    }
    supervisor.stop();
}

/// The next death of the same cell is not told of the thread that ended it before.
fn the_next_is_its_own(supervisor: &Supervisor<'_>, place: &str, what: &str) {
    if place == PLACES[0] {
        return;
    }
    let pid = supervisor.wait_phase("a", "running").pid.expect("it runs");
    crate::harness::kill(pid, nix::sys::signal::Signal::SIGKILL);
    let incident = supervisor.wait("the second", |supervisor| {
        supervisor.incidents().into_iter().find(|incident| incident.id == 2)
    });
    assert_eq!((incident.worker, incident.left_behind), (None, false), "{what}");
}

fn a_thread_of_a_worker_that_is_no_longer_configured_is_told_by_its_name() {
    let bed = Bed::new();
    let when = bed.path("when");
    let place = PLACES[1];
    let kept = format!("version: 1\nworkers:\n  a: {{ worker: sleeper, {place} }}\n");
    let supervisor = start(
        &bed,
        &format!(
            "{kept}  w: {{ worker: leaver, args: {{ does: segfault, when: {}, ends: true }}, {place} \
             }}\n",
            when.display()
        ),
    );
    supervisor.wait_phase("w", "finished");
    supervisor.wait_phase("a", "running");
    bed.write("supervisord-rs.yaml", &kept);
    // Two supervisors later it is still known.
    for _ in 0..2 {
        let output = command(&bed, &["reload"]).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        let status = supervisor.status();
        assert_eq!(status.supervisor.abandoned_threads, 1);
        assert!(status.workers.iter().all(|worker| worker.name == "a"), "{}", text(&output.stdout));
    }
    assert_eq!(supervisor.worker("a").generation, 1, "its cell goes on");
    std::fs::write(&when, "").expect("a file");
    let incident = supervisor.wait_incident(0);
    let said = &incident.sentence;
    let who = (incident.worker.as_deref(), incident.generation, incident.isolation.as_deref());
    assert_eq!(who, (Some("w"), Some(1), Some("cell")), "{said}");
    assert!(said.starts_with("incident 1: segfault in an earlier run of w (thread of cell box): "));
    assert!(said.contains("in thread `indexer` that an earlier run of w left behind"), "{said}");
    assert_eq!(
        (incident.lost.as_slice(), incident.ending.cause.as_str()),
        (&["a".into()][..], "segfault")
    );
    assert_eq!(supervisor.wait_phase("a", "running").ending.expect("one").cause, "domain-lost");
    assert_eq!(supervisor.status().supervisor.abandoned_threads, 0);
    supervisor.stop();
}

fn the_blame_of_an_earlier_run_outlives_the_supervisor() {
    let bed = Bed::new();
    let when = bed.path("when");
    let place = PLACES[1];
    // It stays open as long as one of those that were lost waits.
    let gate = bed.path("gate");
    std::fs::write(&gate, "").expect("a file");
    let supervisor = start(
        &bed,
        &format!(
            "version: 1\nworkers:\n  a: {{ worker: gated, args: {{ gate: {} }}, {place}, ready: {{ \
             timeout: 1h }} }}\n  w: {{ worker: leaver, args: {{ does: segfault, when: {}, ends: true \
             }}, {place} }}\n",
            gate.display(),
            when.display()
        ),
    );
    supervisor.wait_phase("w", "finished");
    supervisor.wait_phase("a", "running");
    std::fs::remove_file(&gate).expect("it is there");
    std::fs::write(&when, "").expect("a file");
    supervisor.wait("an open incident", |supervisor| {
        let all = supervisor.client.incidents_and_open(10).ok()?;
        all.iter().any(|incident| incident.open).then_some(())
    });
    let before = supervisor.status().supervisor.pid;
    crate::harness::kill(before, nix::sys::signal::Signal::SIGKILL);
    supervisor.wait_successor(before);
    std::fs::write(&gate, "").expect("a file");
    let incident = supervisor.wait("its record", |supervisor| {
        supervisor.incidents().into_iter().find(|incident| incident.id == 1)
    });
    let said = &incident.sentence;
    let who = (incident.worker.as_deref(), incident.generation, incident.left_behind);
    assert_eq!(who, (Some("w"), Some(1), true), "{said}");
    supervisor.stop();
}
