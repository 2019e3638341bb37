//! Threads of a worker beside the one that runs it, and what a panic ends: as people see it.

use std::panic::{catch_unwind, resume_unwind};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use workers::fault::Fault;
use workers::{Context, Registry, WorkerError};

use crate::harness::Bed;
use crate::{PLACES, Test, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    (
        "a_fault_of_an_own_thread_is_its_workers_and_the_incident_names_it",
        a_fault_of_an_own_thread_is_its_workers_and_the_incident_names_it,
    ),
    (
        "a_contained_panic_of_an_own_thread_ends_its_worker_alone",
        a_contained_panic_of_an_own_thread_ends_its_worker_alone,
    ),
    (
        "threads_that_outlive_their_worker_are_counted_until_they_end",
        threads_that_outlive_their_worker_are_counted_until_they_end,
    ),
    (
        "a_panic_that_a_pool_resumes_ends_what_the_policy_says",
        a_panic_that_a_pool_resumes_ends_what_the_policy_says,
    ),
    (
        "a_subscriber_that_is_there_already_ends_the_attempts_and_no_other",
        a_subscriber_that_is_there_already_ends_the_attempts_and_no_other,
    ),
    (
        "a_thread_that_takes_all_descriptors_leaves_one_for_orders",
        a_thread_that_takes_all_descriptors_leaves_one_for_orders,
    ),
    (
        "a_destructor_that_panics_after_the_end_is_its_workers_doing",
        a_destructor_that_panics_after_the_end_is_its_workers_doing,
    ),
    (
        "each_death_of_a_supervisor_keeps_its_message_when_the_next_one_settles_it",
        each_death_of_a_supervisor_keeps_its_message_when_the_next_one_settles_it,
    ),
    (
        "a_hang_says_whether_it_is_that_of_the_workers_own_thread",
        a_hang_says_whether_it_is_that_of_the_workers_own_thread,
    ),
    (
        "a_panic_hook_of_a_worker_is_told_and_does_not_blind_the_others",
        a_panic_hook_of_a_worker_is_told_and_does_not_blind_the_others,
    ),
    (
        "a_child_that_a_worker_forks_is_not_the_worker",
        a_child_that_a_worker_forks_is_not_the_worker,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry
        .function("owner", "has a thread of its own; args: does", owner)
        .function("resumer", "resumes the panic of another thread; no args", resumer)
        .function("subscriber", "sets a global subscriber; no args", subscriber)
        .function("trying subscriber", "gives up if it cannot set one; no args", trying_subscriber)
        .function("miser", "takes all descriptors that there are; no args", miser)
        .function("destructor", "panics in a destructor after its end; no args", destructor)
        .function("sticker", "hangs, itself or a thread of it; args: helper", sticker)
        .function("hooker", "sets a panic hook, and panics; no args", hooker)
        .function("panicker", "panics once its sibling has; no args", panicker)
        .function("forker", "forks a child that runs on as it does; no args", forker)
}

#[derive(serde::Deserialize)]
struct Args {
    does: Does,
    /// Until this file is there.
    #[serde(default)]
    until: std::path::PathBuf,
}

/// What the thread does.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Does {
    Panic,
    Segfault,
    Overflow,
    Exit,
    /// It goes on, whatever its worker does.
    Stay,
}

fn owner(context: &Context, args: Args) -> Result<(), WorkerError> {
    let helper = context.spawn("indexer", move |context| match args.does {
        Does::Panic => panic!("no index"),
        Does::Segfault => Fault::SegfaultRead.commit(0),
        Does::Overflow => Fault::StackOverflow.commit(0),
        Does::Exit => Fault::Exit.commit(3),
        Does::Stay => {
            context.log_line("stays");
            while !args.until.exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    })?;
    context.wait_for_stop();
    // It is left behind.
    drop(helper);
    Ok(())
}

fn resumer(_: &Context, (): ()) -> Result<(), WorkerError> {
    // As rayon and tokio do.
    let payload = std::thread::spawn(|| panic!("of the pool")).join();
    let payload = payload.expect_err("it has panicked");
    assert!(catch_unwind(|| panic!("caught before")).is_err());
    resume_unwind(payload)
}

fn subscriber(context: &Context, (): ()) -> Result<(), WorkerError> {
    tracing_subscriber::fmt().with_writer(std::io::sink).init();
    context.log_line("has set it");
    context.wait_for_stop();
    Ok(())
}

fn trying_subscriber(_: &Context, (): ()) -> Result<(), WorkerError> {
    Ok(tracing_subscriber::fmt().with_writer(std::io::sink).try_init()?)
}

fn miser(context: &Context, (): ()) -> Result<(), WorkerError> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, 200, hard)?;
    let mut taken = Vec::new();
    while let Ok(next) = std::fs::File::open("/dev/null") {
        taken.push(next);
    }
    context.log_line("has them all");
    context.wait_for_stop();
    Ok(())
}

struct AtEnd;

impl Drop for AtEnd {
    fn drop(&mut self) {
        panic!("after the end");
    }
}

fn destructor(_: &Context, (): ()) -> Result<(), WorkerError> {
    thread_local! {
        static AT_END: AtEnd = const { AtEnd };
    }
    AT_END.with(|_| {});
    Ok(())
}

/// Whether a thread of it hangs, or it does.
#[derive(serde::Deserialize)]
struct Sticker {
    helper: bool,
}

fn sticker(context: &Context, args: Sticker) -> Result<(), WorkerError> {
    let hang = |context: &Context| {
        context.tick();
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    };
    let lives = |context: &Context| while context.sleep(Duration::from_millis(20)) {};
    if args.helper {
        context.spawn("indexer", hang)?;
        lives(context);
    } else {
        context.spawn("indexer", lives)?;
        hang(context);
    }
    Ok(())
}

fn hooker(_: &Context, (): ()) -> Result<(), WorkerError> {
    std::panic::set_hook(Box::new(|_| {}));
    panic!("with a hook of its own")
}

fn panicker(_: &Context, (): ()) -> Result<(), WorkerError> {
    panic!("seen by the supervisor's hook")
}

fn forker(context: &Context, (): ()) -> Result<(), WorkerError> {
    context.progress(1);
    // SAFETY: the child makes no call that is not async-signal-safe, but for the allocator's, which
    // glibc has made usable in a child.
    let child = unsafe { libc::fork() };
    if child == 0 {
        context.progress(1000);
        // Its end, as if it were the worker.
        return Ok(());
    }
    let mut status = 0;
    // SAFETY: a valid pointer, and the child that was made here.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    context.log_line(format!("the child has ended: {status}"));
    context.wait_for_stop();
    Ok(())
}

const LIMIT: &str = "restart: { policy: on-failure, limit: { restarts: 0 } }";

fn a_fault_of_an_own_thread_is_its_workers_and_the_incident_names_it() {
    for place in ["isolation: thread, cell: box", "isolation: process"] {
        for (does, cause) in [
            ("panic", "panic"),
            ("segfault", "segfault"),
            ("overflow", "stack-overflow"),
            ("exit", "error"),
        ] {
            let bed = Bed::new();
            let supervisor = start(
                &bed,
                &format!(
                    "version: 1\nworkers:\n  b: {{ worker: owner, args: {{ does: {does} }}, \
                     {place}, {LIMIT} }}\n"
                ),
            );
            let incident = supervisor.wait_incident(0);
            assert_eq!(incident.worker.as_deref(), Some("b"), "{place}: {}", incident.sentence);
            assert_eq!(incident.ending.cause, cause, "{place}: {}", incident.sentence);
            let message = incident.ending.message.unwrap_or_default();
            assert!(message.contains("in its thread `indexer`"), "{place}, {does}: {message:?}");
            supervisor.stop();
        }
    }
}

fn a_contained_panic_of_an_own_thread_ends_its_worker_alone() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  a: {{ worker: sleeper, {place} }}\n  b: {{ worker: owner, \
                 args: {{ does: panic }}, {place}, on_panic: contain, {LIMIT} }}\n"
            ),
        );
        let incident = supervisor.wait_incident(0);
        assert_eq!(incident.worker.as_deref(), Some("b"), "{place}: {}", incident.sentence);
        assert_eq!(incident.ending.cause, "panic", "{place}: {}", incident.sentence);
        let message = incident.ending.message.unwrap_or_default();
        assert!(message.starts_with("in its thread `indexer`: "), "{place}: {message}");
        assert_eq!(incident.lost, ["b"], "{place}");
        assert_eq!(supervisor.worker("a").generation, 1, "{place}");
        supervisor.stop();
    }
}

fn threads_that_outlive_their_worker_are_counted_until_they_end() {
    for place in &PLACES[..2] {
        let bed = Bed::new();
        let may_end = bed.path("may-end");
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  b: {{ worker: owner, args: {{ does: stay, until: {} }}, \
                 {place} }}\n",
                may_end.display()
            ),
        );
        for restarts in 1..=3 {
            supervisor.wait_phase("b", "running");
            supervisor.client.restart(&["b".into()], false).expect("restarted");
            supervisor.wait("the next run", |supervisor| {
                let b = supervisor.worker("b");
                (b.generation == restarts + 1 && b.phase == "running").then_some(())
            });
            let left = u32::try_from(restarts).expect("few");
            supervisor.wait("it to be counted, and its own two", |supervisor| {
                let b = supervisor.worker("b");
                (b.abandoned == left && b.own_threads == 2).then_some(())
            });
            assert_eq!(supervisor.status().supervisor.abandoned_threads, left, "{place}");
        }
        std::fs::write(&may_end, "").expect("a file");
        supervisor.wait("none to be left", |supervisor| {
            (supervisor.worker("b").abandoned == 0).then_some(())
        });
        supervisor.stop();
    }
}

fn a_panic_that_a_pool_resumes_ends_what_the_policy_says() {
    for place in PLACES {
        for (policy, lost) in [("contain", "resumer"), ("abort", "a resumer")] {
            // An abort as a thread ends the supervisor, and another test looks at that.
            if policy == "abort" && place == PLACES[0] {
                continue;
            }
            let bed = Bed::new();
            let supervisor = start(
                &bed,
                &format!(
                    "version: 1\nworkers:\n  a: {{ worker: sleeper, {place} }}\n  resumer: {{ \
                     worker: resumer, {place}, on_panic: {policy}, {LIMIT} }}\n"
                ),
            );
            let incident = supervisor.wait_incident(0);
            let who = incident.worker.as_deref();
            assert_eq!(who, Some("resumer"), "{place}, {policy}: {}", incident.sentence);
            assert_eq!(incident.ending.cause, "panic", "{place}: {}", incident.sentence);
            let message = incident.ending.message.unwrap_or_default();
            assert_eq!(message, "of the pool", "{place}, {policy}");
            let lost = if place == PLACES[2] { "resumer" } else { lost };
            assert_eq!(incident.lost.join(" "), lost, "{place}, {policy}");
            supervisor.stop();
        }
    }
}

fn a_subscriber_that_is_there_already_ends_the_attempts_and_no_other() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  a: {{ worker: sleeper, {place} }}\n  b: {{ worker: \
                 subscriber, {place}, restart: always }}\n  c: {{ worker: subscriber, {place}, \
                 restart: always, depends_on: {{ a: ready }} }}\n  d: {{ worker: trying subscriber, \
                 {place}, restart: always }}\n"
            ),
        );
        // Each process that runs workers has one, which sends to each worker's output.
        for name in ["b", "c", "d"] {
            supervisor.wait_phase(name, "quarantined");
        }
        for incident in supervisor.incidents() {
            assert_eq!(incident.ending.cause, "permanent-error", "{}", incident.sentence);
            let message = incident.ending.message.unwrap_or_default();
            assert!(message.contains("use `try_init`"), "{place}: {message}");
        }
        assert_eq!(supervisor.worker("a").generation, 1, "{place}: no other was lost");
        supervisor.stop();
    }
}

fn a_thread_that_takes_all_descriptors_leaves_one_for_orders() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        "version: 1\nworkers:\n  other: { worker: sleeper }\n  w: { worker: miser, restart: never }\n",
    );
    supervisor.wait_output("w", "has them all");
    // More than one client after the other.
    for _ in 0..3 {
        assert_eq!(supervisor.worker("w").phase, "running");
    }
    supervisor.client.stop(&["w".into()], true).expect("stopped");
    assert_eq!(supervisor.worker("other").generation, 1);
    supervisor.stop();
}

fn a_destructor_that_panics_after_the_end_is_its_workers_doing() {
    for place in &PLACES[1..] {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  a: {{ worker: sleeper, {place} }}\n  b: {{ worker: \
                 destructor, {place}, on_panic: contain, {LIMIT} }}\n"
            ),
        );
        let incident = supervisor.wait_incident(0);
        assert_eq!(incident.worker.as_deref(), Some("b"), "{place}: {}", incident.sentence);
        assert_eq!(incident.ending.cause, "panic-no-unwind", "{place}: {}", incident.sentence);
        let message = incident.ending.message.unwrap_or_default();
        assert!(message.ends_with("after the end"), "{place}: {message}");
        supervisor.stop();
    }
}

fn each_death_of_a_supervisor_keeps_its_message_when_the_next_one_settles_it() {
    let bed = Bed::new();
    let place = PLACES[0];
    let supervisor = start(
        &bed,
        &format!(
            "version: 1\nworkers:\n  a: {{ worker: sleeper, {place} }}\n  b: {{ worker: destructor, \
             {place}, restart: {{ policy: on-failure, backoff: {{ initial: 50ms, max: 50ms }}, limit: \
             {{ restarts: 2, within: 1m }} }} }}\n"
        ),
    );
    let incidents = supervisor.wait("three deaths", |supervisor| {
        let all = supervisor.client.incidents(10).ok()?;
        (all.len() == 3 && all.iter().all(|incident| !incident.open)).then_some(all)
    });
    for incident in incidents {
        assert!(incident.supervisor_died, "{}", incident.sentence);
        let message = incident.ending.message.unwrap_or_default();
        assert!(message.ends_with("after the end"), "{}", incident.sentence);
    }
    let message = supervisor.worker("b").ending.and_then(|ending| ending.message);
    assert!(message.is_some_and(|message| message.ends_with("after the end")));
    supervisor.stop();
}

fn a_hang_says_whether_it_is_that_of_the_workers_own_thread() {
    for place in &PLACES[1..] {
        for (helper, words) in [
            (true, "one of its other contexts gave no sign of life"),
            (false, "the thread that runs it gave no sign of life"),
        ] {
            let bed = Bed::new();
            let supervisor = start(
                &bed,
                &format!(
                    "version: 1\nworkers:\n  s: {{ worker: sticker, args: {{ helper: {helper} }}, \
                     {place}, heartbeat: 3s, restart: never }}\n"
                ),
            );
            let incident = supervisor.wait_incident(0);
            assert_eq!(incident.ending.cause, "hang", "{place}: {}", incident.sentence);
            assert!(incident.sentence.contains(words), "{place}: {}", incident.sentence);
            supervisor.stop();
        }
    }
}

fn a_panic_hook_of_a_worker_is_told_and_does_not_blind_the_others() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  a: {{ worker: hooker, {place}, on_panic: contain, {LIMIT} \
                 }}\n  b: {{ worker: panicker, {place}, on_panic: contain, {LIMIT}, autostart: false \
                 }}\n"
            ),
        );
        supervisor.wait_phase("a", "quarantined");
        let incident = supervisor.wait_incident(0);
        let message = incident.ending.message.unwrap_or_default();
        assert_eq!(message, "with a hook of its own", "{place}");
        if place == "isolation: process" {
            // It may have a hook of its own there.
            let output = supervisor.wait_output("a", "with a hook of its own");
            assert!(!output.contains("panic hook"), "{output}");
        } else {
            supervisor.wait_output("a", "the panic hook of this process was replaced");
        }
        supervisor.client.start(&["b".into()], false).expect("started");
        supervisor.wait_phase("b", "quarantined");
        // With its place, which the hook alone knows.
        supervisor.wait_output("b", "tests/sdk/own_threads.rs:");
        supervisor.stop();
    }
}

fn a_child_that_a_worker_forks_is_not_the_worker() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!("version: 1\nworkers:\n  b: {{ worker: forker, {place}, restart: always }}\n"),
        );
        supervisor.wait_output("b", "the child has ended: 0");
        let b = supervisor.worker("b");
        assert_eq!(
            (b.phase.as_str(), b.generation, b.progress),
            ("running", 1, Some(1)),
            "{place}"
        );
        assert!(supervisor.incidents().is_empty(), "{place}");
        supervisor.stop();
    }
}
