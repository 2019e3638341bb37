//! What a worker may do to its whole process, and what comes of it in each isolation.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::panic::set_hook;
use std::time::Duration;

use workers::{Context, Registry, WorkerError};

use crate::harness::Bed;
use crate::{PLACES, SUBSCRIBER, Test, command, start, start_with};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    (
        "a_panic_hook_that_ends_its_process_or_blocks_comes_before_the_policy",
        a_panic_hook_that_ends_its_process_or_blocks_comes_before_the_policy,
    ),
    (
        "the_level_that_a_worker_sets_for_log_holds_for_its_process",
        the_level_that_a_worker_sets_for_log_holds_for_its_process,
    ),
    (
        "a_timer_of_a_worker_ends_its_cell_and_not_the_supervisor",
        a_timer_of_a_worker_ends_its_cell_and_not_the_supervisor,
    ),
    (
        "a_worker_that_executes_another_program_has_replaced_its_process",
        a_worker_that_executes_another_program_has_replaced_its_process,
    ),
    (
        "an_order_reaches_a_worker_that_has_taken_all_descriptors",
        an_order_reaches_a_worker_that_has_taken_all_descriptors,
    ),
    (
        "a_program_with_a_subscriber_of_its_own_is_told_what_it_lacks",
        a_program_with_a_subscriber_of_its_own_is_told_what_it_lacks,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry
        .function("bad-hook", "panics with a hook; args: does", bad_hook)
        .function("silencer", "turns `log` off, and says so; no args", silencer)
        .function("logger", "says things by `log`; no args", logger)
        .function("alarmer", "sets a timer that sends a signal; no args", alarmer)
        .function("executor", "executes another program; no args", executor)
        .function("greedy", "opens all that it can; args: mark: path", greedy)
}

#[derive(serde::Deserialize)]
struct Greedy {
    /// Tells when it has all: no file of its output can be opened then.
    mark: std::path::PathBuf,
}

fn greedy(context: &Context, args: Greedy) -> Result<(), WorkerError> {
    let mut mark = std::fs::File::create(args.mark)?;
    let mut all = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        all.push(file);
    }
    mark.write_all(b"has all")?;
    context.wait_for_stop();
    drop(all);
    Ok(())
}

fn an_order_reaches_a_worker_that_has_taken_all_descriptors() {
    let bed = Bed::new();
    let mark = bed.path("mark");
    let supervisor = start(
        &bed,
        &format!(
            "version: 1\nworkers:\n  h: {{ worker: greedy, isolation: thread, args: {{ mark: \
             '{}' }} }}\n  calm: {{ worker: ticker, isolation: process }}\n",
            mark.display()
        ),
    );
    bed.wait("a worker that has all descriptors", || {
        let text = std::fs::read_to_string(&mark).ok()?;
        (text == "has all").then_some(())
    });
    supervisor.client.stop(&["h".into()], false).expect("the order comes through");
    supervisor.wait_phase("h", "idle");
    let told = bed.log().matches("cannot accept a client").count();
    assert!(told < 20, "told once, not at each attempt: {told} times");
    supervisor.stop();
}

#[derive(serde::Deserialize)]
struct BadHook {
    does: Does,
}

/// What its hook does.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Does {
    Abort,
    Panic,
    Exit,
    Block,
}

fn bad_hook(context: &Context, args: BadHook) -> Result<(), WorkerError> {
    context.tick();
    set_hook(Box::new(move |_| match args.does {
        Does::Abort => std::process::abort(),
        Does::Panic => panic!("in the hook"),
        Does::Exit => std::process::exit(5),
        Does::Block => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
    }));
    panic!("to be contained")
}

fn a_panic_hook_that_ends_its_process_or_blocks_comes_before_the_policy() {
    for place in &PLACES[1..] {
        for (does, cause) in [
            ("abort", "panic-no-unwind"),
            ("panic", "panic-no-unwind"),
            ("exit", "error"),
            ("block", "hang"),
        ] {
            let what = format!("{place}, {does}");
            let bed = Bed::new();
            // It is not to miss the signs of life of one that is slow to die.
            let heartbeat = if does == "block" { "500ms" } else { "1h" };
            let supervisor = start(
                &bed,
                &format!(
                    "version: 1\nworkers:\n  a: {{ worker: sleeper, {place} }}\n  h: {{ worker: \
                     bad-hook, args: {{ does: {does} }}, {place}, on_panic: contain, restart: never, \
                     heartbeat: {heartbeat}, stop: {{ timeout: 100ms }}, depends_on: {{ a: ready \
                     }} }}\n"
                ),
            );
            let incident = supervisor.wait_incident(0);
            let said = &incident.sentence;
            let who = (incident.worker.as_deref(), incident.ending.cause.as_str());
            assert_eq!(who, (Some("h"), cause), "{what}: {said}");
            // One that blocks hangs alone.
            let is_shared = *place == PLACES[1] && does != "block";
            let lost: &[&str] = if is_shared { &["a", "h"] } else { &["h"] };
            assert_eq!(incident.lost, lost, "{what}: {said}");
            supervisor.stop();
        }
    }
}

fn silencer(context: &Context, (): ()) -> Result<(), WorkerError> {
    log::set_max_level(log::LevelFilter::Off);
    context.log_line("off");
    context.ready();
    context.wait_for_stop();
    Ok(())
}

fn logger(context: &Context, (): ()) -> Result<(), WorkerError> {
    log::warn!("by log");
    tracing::warn!("by tracing");
    context.log_line("has said it");
    context.wait_for_stop();
    Ok(())
}

fn the_level_that_a_worker_sets_for_log_holds_for_its_process() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  s: {{ worker: silencer, {place} }}\n  l: {{ worker: logger, \
                 {place}, depends_on: {{ s: ready }} }}\n"
            ),
        );
        let output = supervisor.wait_output("l", "has said it");
        assert_eq!(output.contains("by log"), place == PLACES[2], "{place}: {output}");
        assert!(output.contains("by tracing"), "{place}: {output}");
        supervisor.stop();
    }
}

fn alarmer(context: &Context, (): ()) -> Result<(), WorkerError> {
    let soon = libc::timeval { tv_sec: 0, tv_usec: 10_000 };
    let timer = libc::itimerval { it_interval: soon, it_value: soon };
    // SAFETY: a valid time, and the old one is not asked for.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    for _ in 0..10 {
        if !context.sleep(Duration::from_millis(20)) {
            return Ok(());
        }
    }
    context.log_line("no signal came");
    context.wait_for_stop();
    Ok(())
}

fn a_timer_of_a_worker_ends_its_cell_and_not_the_supervisor() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  a: {{ worker: sleeper, {place} }}\n  t: {{ worker: alarmer, \
                 {place}, restart: never, depends_on: {{ a: ready }} }}\n"
            ),
        );
        if place == PLACES[0] {
            supervisor.wait_output("t", "no signal came");
            assert!(supervisor.incidents().is_empty());
        } else {
            let incident = supervisor.wait_incident(0);
            let said = &incident.sentence;
            assert_eq!(incident.ending.signal.as_deref(), Some("SIGALRM"), "{place}: {said}");
            let is_known = place == PLACES[2];
            assert_eq!(incident.worker.as_deref(), is_known.then_some("t"), "{place}: {said}");
        }
        supervisor.stop();
    }
}

fn executor(context: &Context, (): ()) -> Result<(), WorkerError> {
    if context.generation() > 1 {
        context.wait_for_stop();
        return Ok(());
    }
    context.ready();
    Err(std::process::Command::new("sleep").arg("40409").exec().into())
}

fn a_worker_that_executes_another_program_has_replaced_its_process() {
    for place in PLACES {
        let bed = Bed::new();
        // The guardian finds it as a thread of the supervisor, and else its heartbeat.
        let is_thread = place == PLACES[0];
        let (watchdog, heartbeat) = if is_thread { ("2s", "1h") } else { ("1h", "2s") };
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nsupervisor: {{ watchdog: {watchdog} }}\nworkers:\n  a: {{ worker: \
                 sleeper, {place} }}\n  e: {{ worker: executor, {place}, heartbeat: {heartbeat}, \
                 stop: {{ timeout: 200ms }}, depends_on: {{ a: ready }} }}\n"
            ),
        );
        let incident = supervisor.wait_incident(0);
        let said = &incident.sentence;
        let (cause, who, lost): (_, _, &[&str]) = match place {
            // The guardian misses its signs of life.
            "isolation: thread" => ("abort", None, &["a", "e"]),
            "isolation: process" => ("vanished", Some("e"), &["e"]),
            _ => ("killed", None, &["a", "e"]),
        };
        let found = (incident.ending.cause.as_str(), incident.worker.as_deref());
        assert_eq!(found, (cause, who), "{place}: {said}");
        assert_eq!(incident.lost, lost, "{place}: {said}");
        assert_eq!(incident.supervisor_died, place == PLACES[0], "{place}: {said}");
        if place == PLACES[1] {
            bed.wait_log("a worker of this cell has executed another program");
        }
        if place == PLACES[2] {
            assert!(said.contains("it has executed another program (exec)"), "{said}");
        }
        supervisor.wait_phase("e", "running");
        supervisor.wait_phase("a", "running");
        supervisor.stop();
    }
}

fn a_program_with_a_subscriber_of_its_own_is_told_what_it_lacks() {
    let bed = Bed::new();
    let yaml = format!("version: 1\nworkers:\n  l: {{ worker: logger, {} }}\n", PLACES[0]);
    let file = bed.write("supervisord-rs.yaml", &yaml);
    let mut program = command(&bed, &["run", "-c"]);
    program.arg(file).env(SUBSCRIBER, "1");
    let supervisor = start_with(&bed, program);
    let output = supervisor.wait_output("l", "has said it");
    assert!(!output.contains("by tracing"), "{output}");
    supervisor.stop();
    let log = std::fs::read_to_string(bed.path("supervisor.log")).expect("its log");
    assert!(log.contains("leave it out of `main`"), "{log}");
}
