//! What a worker and its supervisor tell each other.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use workers::{Context, Registry, WorkerError};

use crate::harness::{Bed, Supervisor, text};
use crate::{PLACES, Test, command, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    ("a_worker_says_what_it_is_at", a_worker_says_what_it_is_at),
    (
        "one_that_needs_more_time_to_start_or_to_stop_gets_it",
        one_that_needs_more_time_to_start_or_to_stop_gets_it,
    ),
    (
        "the_time_to_become_ready_holds_for_registered_code_as_a_default_too",
        the_time_to_become_ready_holds_for_registered_code_as_a_default_too,
    ),
    (
        "an_order_to_reload_wakes_one_that_asks_for_it",
        an_order_to_reload_wakes_one_that_asks_for_it,
    ),
    ("a_worker_is_told_what_it_needs_to_know", a_worker_is_told_what_it_needs_to_know),
    ("a_worker_has_the_stack_that_its_entry_says", a_worker_has_the_stack_that_its_entry_says),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry
        .function("talker", "says what it is at", talker)
        .function("slow", "takes its time", slow)
        .function("reloader", "reloads by order", reloader)
        .function("asker", "prints what the supervisor tells it", asker)
        .function("deep", "needs a large stack", deep)
}

fn talker(context: &Context, (): ()) -> Result<(), WorkerError> {
    context.status(format!("copies 3\u{1b}[31m of\n 7 {}", "ä".repeat(200)));
    context.wait_for_stop();
    context.status("");
    Ok(())
}

#[derive(Deserialize)]
struct Places {
    /// It is ready when this is there.
    ready: PathBuf,
    /// It ends when this is there, after an order to stop.
    end: PathBuf,
    /// Whether it asks for more time.
    #[serde(default = "yes")]
    asks: bool,
}

const fn yes() -> bool {
    true
}

/// Without a sign of life.
fn wait_for(path: &Path) {
    while !path.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn slow(context: &Context, places: Places) -> Result<(), WorkerError> {
    if places.asks {
        context.extend_timeout(Duration::MAX);
    }
    wait_for(&places.ready);
    context.ready();
    context.wait_for_stop();
    let deadline = || context.stop_deadline().ok_or("no deadline");
    let before = deadline()?;
    context.extend_timeout(Duration::from_secs(600));
    // Asking for less takes nothing back.
    context.extend_timeout(Duration::from_millis(1));
    let (now, after) = (Instant::now(), deadline()?);
    let is_sound = before <= now + Duration::from_secs(3) && after > now + Duration::from_secs(590);
    context.log_line(format!("asked for more time: {is_sound}"));
    wait_for(&places.end);
    Ok(())
}

fn reloader(context: &Context, go_on: PathBuf) -> Result<(), WorkerError> {
    let mut reloads = 0;
    assert!(!context.reload_requested(), "there is no order yet");
    context.log_line("up");
    while context.sleep(Duration::MAX) {
        if context.reload_requested() {
            reloads += 1;
            context.log_line(format!("reload {reloads}"));
            wait_for(&go_on);
            context.reloaded();
        }
    }
    Ok(())
}

fn asker(context: &Context, (): ()) -> Result<(), WorkerError> {
    context.log_line(format!("heartbeat {:?}", context.heartbeat_interval()));
    assert!(context.stop_deadline().is_none(), "it has no order to stop");
    match context.previous_ending() {
        None => return Err("the first one fails".into()),
        Some(before) => context.log_line(format!(
            "before: {} {} {:?}",
            before.generation, before.cause, before.message
        )),
    }
    context.wait_for_stop();
    Ok(())
}

/// Goes down the stack until it takes so much.
fn dig(top: usize, bytes: usize) -> usize {
    let here = black_box([0_u8; 1024]);
    let depth = top.saturating_sub(here.as_ptr().addr());
    if depth < bytes { dig(top, bytes) } else { depth + usize::from(here[0]) }
}

fn deep(context: &Context, mebibytes: usize) -> Result<(), WorkerError> {
    let top = black_box([0_u8; 16]);
    let depth = dig(top.as_ptr().addr(), mebibytes << 20);
    context.log_line(format!("dug {} MiB", depth >> 20));
    context.wait_for_stop();
    Ok(())
}

fn run<'a>(bed: &'a Bed, entry: &str) -> Supervisor<'a> {
    start(bed, &format!("version: 1\nworkers:\n  a: {{ {entry} }}\n"))
}

fn a_worker_says_what_it_is_at() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = run(&bed, &format!("worker: talker, {place}"));
        let said = supervisor.wait("a status", |supervisor| supervisor.worker("a").status_text);
        assert!(said.starts_with("copies 3[31m of 7 ää"), "{place}: {said:?}");
        assert!((200..=256).contains(&said.len()), "{place}: {said:?}");
        let shown = text(&bed.verb(&["status"]).stdout);
        assert!(shown.contains("\"copies 3[31m of 7"), "{place}: {shown}");
        supervisor.client.stop(&["a".into()], true).expect("it stops");
        assert_eq!(supervisor.worker("a").status_text, None, "{place}");
        supervisor.stop();
    }
}

fn the_time_to_become_ready_holds_for_registered_code_as_a_default_too() {
    // How commands say that they are ready is none of its business.
    for ready in ["{ timeout: 300ms }", "{ log: listening, timeout: 300ms }"] {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\ndefaults: {{ ready: {ready} }}\nworkers:\n  w: {{ worker: slow, args: {{ \
                 ready: /nowhere/ready, end: /nowhere/end, asks: false }}, restart: never }}\n"
            ),
        );
        assert_eq!(supervisor.wait_incident(0).ending.cause, "start-timeout", "{ready}");
        supervisor.stop();
    }
    let bed = Bed::new();
    let supervisor =
        start(&bed, "version: 1\ndefaults: { ready: notify }\nworkers:\n  w: { worker: talker }\n");
    supervisor.wait_phase("w", "running");
    supervisor.stop();
}

fn one_that_needs_more_time_to_start_or_to_stop_gets_it() {
    for place in PLACES {
        let bed = Bed::new();
        let [ready, end] = ["ready", "end"].map(|name| bed.path(name));
        let supervisor = run(
            &bed,
            &format!(
                "worker: slow, args: {{ ready: {}, end: {} }}, {place}, ready: {{ timeout: 3s }}, \
                 stop: {{ timeout: 3s }}",
                ready.display(),
                end.display()
            ),
        );
        let begun = Instant::now();
        let is_late = |begun: Instant| (begun.elapsed() > Duration::from_secs(4)).then_some(());
        supervisor.wait_phase("a", "starting");
        supervisor.wait("its timeout to pass", |_| is_late(begun));
        assert_eq!(supervisor.worker("a").phase, "starting", "{place}");
        bed.write("ready", "");
        supervisor.wait_phase("a", "running");
        supervisor.client.stop(&["a".into()], false).expect("an order");
        let begun = Instant::now();
        supervisor.wait_output("a", "asked for more time: true");
        supervisor.wait("its timeout to pass", |_| is_late(begun));
        let worker = supervisor.worker("a");
        assert_eq!((worker.phase.as_str(), worker.generation), ("stopping", 1), "{place}");
        bed.write("end", "");
        let worker = supervisor.wait_phase("a", "idle");
        assert_eq!(worker.ending.expect("it has ended").cause, "requested", "{place}");
        assert_eq!(supervisor.incidents().len(), 0, "{place}");
        supervisor.stop();
    }
}

fn an_order_to_reload_wakes_one_that_asks_for_it() {
    for place in PLACES {
        let bed = Bed::new();
        let go_on = bed.path("go-on");
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  a: {{ worker: reloader, args: {}, {place} }}\n  \
                 deaf: {{ worker: sleeper, {place} }}\n",
                go_on.display()
            ),
        );
        supervisor.wait_output("a", "up");
        supervisor.wait_running();
        let output = bed.verb(&["signal", "a", "reload"]);
        assert_eq!(text(&output.stdout), "has the order to reload: a\n", "{place}: {output:?}");
        supervisor.wait_output("a", "reload 1");
        assert!(supervisor.worker("a").reloading, "{place}");
        bed.write("go-on", "");
        supervisor
            .wait("the end of it", |supervisor| (!supervisor.worker("a").reloading).then_some(()));
        let output = bed.verb(&["signal", "a", "deaf", "reload"]);
        let said = text(&output.stdout);
        assert!(
            said.starts_with("has the order to reload: a; does not ask"),
            "{place}: {output:?}"
        );
        supervisor.wait_output("a", "reload 2");
        let output = bed.verb(&["signal", "deaf", "reload"]);
        assert_eq!(output.status.code(), Some(4), "{place}: {output:?}");
        assert!(text(&output.stderr).contains("Context::reload_requested"), "{place}: {output:?}");
        let worker = supervisor.worker("a");
        assert_eq!((worker.phase.as_str(), worker.generation), ("running", 1), "{place}");
        supervisor.stop();
    }
}

fn a_worker_is_told_what_it_needs_to_know() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = run(
            &bed,
            &format!(
                "worker: asker, heartbeat: 7s, {place}, restart: {{ backoff: {{ initial: 0s }} }}"
            ),
        );
        let output = supervisor.wait_output("a", "before: 1 error Some(\"the first one fails\")");
        assert!(output.contains("heartbeat Some(7s)"), "{place}: {output}");
        supervisor.client.restart(&["a".into()], true).expect("it restarts");
        supervisor.wait_output("a", "before: 2 requested None");
        supervisor.stop();
    }
}

fn a_worker_has_the_stack_that_its_entry_says() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = run(&bed, &format!("worker: deep, args: 12, {place}, stack_size: 16MiB"));
        supervisor.wait_output("a", "dug 12 MiB");
        assert_eq!(supervisor.worker("a").generation, 1, "{place}");
        supervisor.stop();
    }
    let bed = Bed::new();
    for (entry, words) in [
        ("worker: plain, stack_size: 32KiB", "from 64KiB to 1GiB"),
        ("worker: plain, stack_size: 2GiB", "from 64KiB to 1GiB"),
        ("command: [sleep, 1d], stack_size: 8MiB", "`limits: { stack: SIZE }` for a command"),
    ] {
        let file =
            bed.write("checked.yaml", &format!("version: 1\nworkers:\n  a: {{ {entry} }}\n"));
        let output = command(&bed, &["check"]).arg(file).output().expect("it runs");
        assert_eq!(output.status.code(), Some(78), "{entry}: {output:?}");
        assert!(text(&output.stderr).contains(words), "{entry}: {output:?}");
    }
}
