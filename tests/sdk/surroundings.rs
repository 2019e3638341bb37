//! What a worker may change of its process, and whom it reaches.

use std::cell::Cell;
use std::os::unix::fs::PermissionsExt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::{Mode, umask};
use workers::{Context, Registry, Worker, WorkerError};

use crate::harness::{Bed, kill};
use crate::{PLACES, Test, start};

/// For `main`.
pub(crate) const TESTS: &[Test] = &[
    (
        "the_directory_and_the_mask_of_a_worker_are_its_own_and_its_threads",
        the_directory_and_the_mask_of_a_worker_are_its_own_and_its_threads,
    ),
    (
        "a_worker_that_takes_signals_from_the_supervisor_is_found_and_they_are_put_back",
        a_worker_that_takes_signals_from_the_supervisor_is_found_and_they_are_put_back,
    ),
    (
        "a_handler_of_a_fatal_signal_takes_the_last_words_of_no_other_worker",
        a_handler_of_a_fatal_signal_takes_the_last_words_of_no_other_worker,
    ),
    (
        "a_cell_that_is_stopped_is_told_for_all_its_workers",
        a_cell_that_is_stopped_is_told_for_all_its_workers,
    ),
    (
        "statics_outlive_an_incarnation_in_a_shared_process_and_thread_locals_do_not",
        statics_outlive_an_incarnation_in_a_shared_process_and_thread_locals_do_not,
    ),
    (
        "a_variable_that_a_thread_sets_reaches_no_launch",
        a_variable_that_a_thread_sets_reaches_no_launch,
    ),
    (
        "what_a_thread_has_started_ends_with_its_worker",
        what_a_thread_has_started_ends_with_its_worker,
    ),
    (
        "what_other_threads_have_started_ends_with_its_worker",
        what_other_threads_have_started_ends_with_its_worker,
    ),
    (
        "what_a_pool_of_the_process_has_started_for_one_worker_outlives_another",
        what_a_pool_of_the_process_has_started_for_one_worker_outlives_another,
    ),
    ("an_orderly_end_takes_what_is_left_at_once", an_orderly_end_takes_what_is_left_at_once),
    (
        "what_has_outlived_the_thread_that_started_it_is_shown",
        what_has_outlived_the_thread_that_started_it_is_shown,
    ),
    (
        "the_end_of_a_cell_is_no_failure_of_one_that_is_launched_into_it",
        the_end_of_a_cell_is_no_failure_of_one_that_is_launched_into_it,
    ),
    (
        "a_worker_for_which_its_cell_has_no_descriptors_is_refused_alone",
        a_worker_for_which_its_cell_has_no_descriptors_is_refused_alone,
    ),
];

/// Adds the workers of these tests.
pub(crate) fn register(registry: Registry) -> Registry {
    let made = Ok::<Wanderer, WorkerError>;
    let registry = registry.with("wanderer", "changes its directory and its mask", made);
    let registry = registry.with("deafener", "ignores signals", Ok::<Deafener, WorkerError>);
    let registry = registry.function("handler", "handles SIGSEGV; no args", handler);
    let registry = registry.with("keeper", "counts its runs", Ok::<Keeper, WorkerError>);
    let registry = registry.with("setter", "sets a variable", Ok::<Setter, WorkerError>);
    let registry = registry.with("parent", "starts processes", Ok::<Parent, WorkerError>);
    let registry =
        registry.with("foreman", "starts processes by threads", Ok::<Foreman, WorkerError>);
    let registry = registry.function("quitter", "ends its process", |_: &Context, (): ()| {
        // SAFETY: it ends the process, with nothing that runs at its end.
        unsafe { libc::_exit(3) }
    });
    let registry = registry.function("pooled", "starts processes by a pool", pooled);
    registry.with("hoarder", "opens all that it may", Ok::<Hoarder, WorkerError>)
}

/// Closes every file that is made to everyone, and goes elsewhere.
#[derive(serde::Deserialize)]
struct Wanderer {}

impl Worker for Wanderer {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        umask(Mode::from_bits_truncate(0o777));
        std::env::set_current_dir("/proc")?;
        // What a thread of its own finds, and a child.
        let helper = std::thread::spawn(std::env::current_dir);
        let of_helper = helper.join().map_err(|_| "it panicked")??;
        let child = std::process::Command::new("/bin/pwd").output()?;
        let of_child = String::from_utf8_lossy(&child.stdout);
        context.log_line(format!("helper {} child {}", of_helper.display(), of_child.trim()));
        context.wait_for_stop();
        Ok(())
    }
}

fn the_directory_and_the_mask_of_a_worker_are_its_own_and_its_threads() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  w: {{ worker: wanderer, {place} }}\n  next: {{ command: \
                 'umask; pwd; exec sleep 1d', shell: true, depends_on: [w] }}\n"
            ),
        );
        supervisor.wait_output("w", "helper /proc child /proc\n");
        let here = std::env::current_dir().expect("a directory");
        let mask = umask(Mode::empty());
        umask(mask);
        let said = format!("{:04o}\n{}\n", mask.bits(), here.display());
        assert_eq!(supervisor.wait_output("next", "/"), said, "{place}");
        let log = std::fs::metadata(bed.path("logs/next.log")).expect("its log");
        assert_eq!(log.permissions().mode() & 0o777, 0o640 & !mask.bits(), "{place}");
        supervisor.stop();
    }
}

/// Opens whatever it may open, and keeps it.
#[derive(serde::Deserialize)]
struct Hoarder {}

impl Worker for Hoarder {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        let all: Vec<std::fs::File> =
            std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        context.progress(all.len() as u64);
        context.wait_for_stop();
        Ok(())
    }
}

fn a_worker_for_which_its_cell_has_no_descriptors_is_refused_alone() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        "version: 1\ncells: { box: { limits: { open_files: 100 } } }\ndefaults: { isolation: \
         thread, cell: box, restart: { backoff: { initial: 50ms, max: 50ms } } }\nworkers:\n  \
         early: { worker: ticker, args: { interval: 5ms } }\n  h: { worker: hoarder, depends_on: \
         [early] }\n  late: { worker: ticker, depends_on: [h] }\n",
    );
    let incidents = supervisor.wait("two attempts", |supervisor| {
        let all = supervisor.incidents();
        (all.len() >= 2).then_some(all)
    });
    for incident in incidents {
        assert_eq!(incident.worker.as_deref(), Some("late"), "{}", incident.sentence);
        assert_eq!(incident.lost, ["late"], "{}", incident.sentence);
        assert!(incident.sentence.contains("limits: { open_files: }"), "{}", incident.sentence);
    }
    for other in ["early", "h"] {
        assert_eq!(supervisor.worker(other).generation, 1, "{other} goes on");
    }
    supervisor.stop();
}

/// Ignores what its host depends on, and goes on.
#[derive(serde::Deserialize)]
struct Deafener {}

impl Worker for Deafener {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        for ignored in [Signal::SIGTERM, Signal::SIGCHLD, Signal::SIGSEGV] {
            // SAFETY: no handler is installed.
            unsafe { signal(ignored, SigHandler::SigIgn) }?;
        }
        context.wait_for_stop();
        Ok(())
    }
}

fn a_worker_that_takes_signals_from_the_supervisor_is_found_and_they_are_put_back() {
    let bed = Bed::new();
    let mut supervisor = start(
        &bed,
        "version: 1\nworkers:\n  d: { worker: deafener, isolation: thread }\n  p: { worker: ticker, \
         isolation: process, depends_on: [d], restart: always }\n",
    );
    supervisor.wait("it to be found", |supervisor| {
        (supervisor.status().supervisor.changed_signals.len() == 3).then_some(())
    });
    let found = supervisor.status().supervisor.changed_signals;
    assert_eq!(found, ["SIGSEGV", "SIGTERM", "SIGCHLD"]);
    let log = bed.wait_log("changed what these signals do");
    let line = log.lines().find(|line| line.contains("changed what these signals do"));
    assert!(line.is_some_and(|line| line.contains("threads=\"d\"")), "{line:?}");
    // How a child ends is known, and an order by signal is heard.
    let pid = supervisor.wait_phase("p", "running").pid.expect("it runs");
    kill(pid, Signal::SIGABRT);
    let incident = supervisor.wait_incident(0);
    assert_eq!(incident.ending.signal.as_deref(), Some("SIGABRT"), "{}", incident.sentence);
    kill(supervisor.status().supervisor.pid, Signal::SIGTERM);
    assert!(supervisor.wait_exit().success());
}

fn handler(context: &Context, (): ()) -> Result<(), WorkerError> {
    extern "C" fn on_segfault(_: i32) {
        // SAFETY: it ends the process, with nothing in between.
        unsafe { libc::_exit(9) };
    }
    // SAFETY: the handler makes one call, which is async-signal-safe.
    unsafe { signal(Signal::SIGSEGV, SigHandler::Handler(on_segfault)) }?;
    context.log_line("handles it");
    context.wait_for_stop();
    Ok(())
}

fn a_handler_of_a_fatal_signal_takes_the_last_words_of_no_other_worker() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  h: {{ worker: handler, {place} }}\n  b: {{ worker: owner, \
                 args: {{ does: segfault }}, {place}, autostart: false, restart: never }}\n"
            ),
        );
        supervisor.wait_output("h", "handles it");
        let pid = supervisor.wait_phase("h", "running").pid.expect("it runs");
        if place == PLACES[2] {
            // Its process is its own.
            kill(pid, Signal::SIGSEGV);
            let incident = supervisor.wait_incident(0);
            assert_eq!(incident.ending.exit_code, Some(9), "{}", incident.sentence);
            assert!(supervisor.worker("h").changed_signals.is_empty());
        } else {
            let before = supervisor.status().supervisor.pid;
            let log = bed.wait_log("changed what these signals do");
            let line = log.lines().find(|line| line.contains("changed what these signals do"));
            let is_told = |line: &str| line.contains("signals=\"SIGSEGV\" threads=\"h\"");
            assert!(line.is_some_and(is_told), "{line:?}");
            supervisor.wait("it to be shown", |supervisor| {
                let found = if place == PLACES[0] {
                    supervisor.status().supervisor.changed_signals
                } else {
                    supervisor.worker("h").changed_signals
                };
                (found == ["SIGSEGV"]).then_some(())
            });
            // As a thread it ends the supervisor, perhaps before that has answered.
            let _ = supervisor.client.start(&["b".into()], false);
            if place == PLACES[0] {
                supervisor.wait_successor(before);
            }
            let incident = supervisor.wait_incident(0);
            let who = (incident.worker.as_deref(), incident.ending.cause.as_str());
            assert_eq!(who, (Some("b"), "segfault"), "{place}: {}", incident.sentence);
            let message = incident.ending.message.unwrap_or_default();
            assert!(message.contains("in its thread `indexer`"), "{place}: {message}");
        }
        supervisor.stop();
    }
}

fn a_cell_that_is_stopped_is_told_for_all_its_workers() {
    let bed = Bed::new();
    let place = PLACES[1];
    let worker = format!("worker: ticker, args: {{ interval: 10ms }}, {place}");
    let supervisor = start(
        &bed,
        &format!(
            "version: 1\nworkers:\n  a: {{ {worker} }}\n  b: {{ {worker}, heartbeat: 3s }}\n  c: {{ \
             {worker}, heartbeat: 3600ms }}\n"
        ),
    );
    let status = supervisor.wait_running();
    let pid = status.workers[0].pid.expect("it runs");
    kill(pid, Signal::SIGSTOP);
    let incident = supervisor.wait_incident(0);
    let said = &incident.sentence;
    let found = (incident.worker.as_deref(), incident.ending.cause.as_str());
    assert_eq!(found, (None, "hang"), "{said}");
    assert_eq!(incident.lost, ["a", "b", "c"], "{said}");
    let why = "its whole process was stopped";
    assert!(said.starts_with("incident 1: cell box died (hang; ") && said.contains(why), "{said}");
    for name in ["a", "b", "c"] {
        let ending = supervisor.wait_phase(name, "running").ending.expect("one");
        assert_eq!(ending.cause, "domain-lost", "{name}: it has not failed");
        assert!(ending.message.is_some_and(|message| message.starts_with(why)), "{name}");
    }
    supervisor.stop();
}

/// Says how often it has run, by a static and by a thread local, and fails.
#[derive(serde::Deserialize)]
struct Keeper {}

impl Worker for Keeper {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        thread_local! {
            static RUNS_HERE: Cell<u32> = const { Cell::new(0) };
        }
        RUNS_HERE.set(RUNS_HERE.get() + 1);
        let runs = RUNS.fetch_add(1, Ordering::Relaxed) + 1;
        context.log_line(format!("static {runs} local {}", RUNS_HERE.get()));
        Err("again".into())
    }
}

fn statics_outlive_an_incarnation_in_a_shared_process_and_thread_locals_do_not() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  k: {{ worker: keeper, {place}, restart: {{ policy: always, \
                 backoff: {{ initial: 10ms }}, limit: {{ restarts: 1, within: 1m }} }} }}\n"
            ),
        );
        supervisor.wait_phase("k", "quarantined");
        let output = supervisor.wait_output("k", "again\nstatic");
        let counts: Vec<&str> = output.lines().filter(|line| line.contains("static")).collect();
        let expected = if place == "isolation: process" {
            ["static 1 local 1", "static 1 local 1"]
        } else {
            ["static 1 local 1", "static 2 local 1"]
        };
        assert_eq!(counts, expected, "{place}");
        supervisor.stop();
    }
}

/// Sets a variable of its whole process.
#[derive(serde::Deserialize)]
struct Setter {}

impl Worker for Setter {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        // SAFETY: there is none: another thread may read the environment just now. That is why the
        // documentation forbids it.
        unsafe { std::env::set_var("SET_BY_A_THREAD", "yes") };
        context.wait_for_stop();
        Ok(())
    }
}

fn a_variable_that_a_thread_sets_reaches_no_launch() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        "version: 1\nworkers:\n  s: { worker: setter, isolation: thread }\n  next: { command: 'echo \
         \"[$SET_BY_A_THREAD]\"; exec sleep 1d', shell: true, depends_on: [s] }\n",
    );
    assert_eq!(supervisor.wait_output("next", "]"), "[]\n");
    supervisor.stop();
}

/// Starts processes, waits for none of them, and hangs where it is to.
#[derive(serde::Deserialize)]
struct Parent {
    hangs: bool,
}

impl Worker for Parent {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        let script = "sleep 40408 & setsid sleep 40408 & trap '' TERM; sleep 40408; sleep 40408";
        for _ in 0..2 {
            std::process::Command::new("sh").args(["-c", script]).spawn()?;
        }
        context.ready();
        context.wait_for_stop();
        if self.hangs {
            loop {
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
        }
        Ok(())
    }
}

fn what_a_thread_has_started_ends_with_its_worker() {
    for place in PLACES {
        let bed = Bed::new();
        // One that hangs is not to take long, and the other has all the time that it needs.
        let worker = |hangs: bool| {
            let timeout = if hangs { "300ms" } else { "1m" };
            format!(
                "{{ worker: parent, args: {{ hangs: {hangs} }}, {place}, stop: {{ timeout: {timeout} \
                 }} }}"
            )
        };
        let supervisor = start(
            &bed,
            &format!("version: 1\nworkers:\n  p: {}\n  h: {}\n", worker(false), worker(true)),
        );
        let all = || sleepers("40408");
        supervisor.wait("all that they start", |_| (all() == 12).then_some(()));
        supervisor.client.stop(&["p".into()], true).expect("stopped");
        supervisor.wait("what the other has started", |_| (all() == 6).then_some(()));
        for _ in 0..3 {
            supervisor.client.restart(&["p".into()], true).expect("restarted");
        }
        supervisor.wait("no more than before", |_| (all() == 12).then_some(()));
        // Its thread stays behind; what it has started does not.
        let done = supervisor.client.stop(&["h".into()], true).expect("stopped");
        let what = if place == "isolation: process" { "killed" } else { "left behind" };
        let expected = format!("{what}, because they did not stop in time: h");
        assert!(done.message.contains(&expected), "{place}: {}", done.message);
        supervisor.wait("what the first has started", |_| (all() == 6).then_some(()));
        supervisor.stop();
        assert_eq!(all(), 0, "{place}");
    }
}

/// Starts a process by each kind of thread that it can have, and one in the background of another.
#[derive(serde::Deserialize)]
struct Foreman {
    mark: String,
    by: Vec<String>,
}

impl Worker for Foreman {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        let sleeper = {
            let mark = self.mark.clone();
            move || drop(std::process::Command::new("sleep").arg(&mark).spawn())
        };
        let daemon = format!("(trap '' TERM; setsid sleep {} & ) ; exit 0", self.mark);
        let mut ending_with_it = Vec::new();
        for by in &self.by {
            let sleeper = sleeper.clone();
            let for_ever = context.clone();
            match by.as_str() {
                "own" => drop(context.spawn("own", move |context| {
                    sleeper();
                    context.wait_for_stop();
                })?),
                "own that ends" => drop(context.spawn("own", move |_| sleeper())?),
                "plain" => ending_with_it.push(std::thread::spawn(move || {
                    sleeper();
                    for_ever.wait_for_stop();
                })),
                "plain that ends" => drop(std::thread::spawn(sleeper).join()),
                "entered" => drop(std::thread::spawn(move || {
                    for_ever.enter().until_thread_ends();
                    sleeper();
                })),
                "daemon" => {
                    let mut shell = std::process::Command::new("sh");
                    shell.args(["-c", &daemon]).spawn()?.wait()?;
                }
                by => return Err(format!("by whom: {by}?").into()),
            }
        }
        context.ready();
        context.wait_for_stop();
        // One that ends long after this one was perhaps no thread of this worker.
        for thread in ending_with_it {
            thread.join().map_err(|_| "it panicked")?;
        }
        Ok(())
    }
}

fn what_other_threads_have_started_ends_with_its_worker() {
    for place in PLACES {
        let bed = Bed::new();
        let worker = |mark: &str| {
            format!(
                "{{ worker: foreman, args: {{ mark: '{mark}', by: [own, own that ends, plain, \
                 entered] }}, {place} }}"
            )
        };
        let supervisor = start(
            &bed,
            &format!("version: 1\nworkers:\n  f: {}\n  g: {}\n", worker("40409"), worker("40410")),
        );
        let wait = |mark: &str, count: usize| {
            supervisor.wait("its processes", |_| (sleepers(mark) == count).then_some(()));
        };
        let generation = supervisor.wait_phase("g", "running").generation;
        wait("40409", 4);
        wait("40410", 4);
        for _ in 0..3 {
            supervisor.client.restart(&["f".into()], true).expect("restarted");
            wait("40409", 4);
            wait("40410", 4);
        }
        supervisor.client.stop(&["f".into()], true).expect("stopped");
        wait("40409", 0);
        wait("40410", 4);
        assert_eq!(supervisor.worker("g").generation, generation, "{place}");
        supervisor.stop();
        assert_eq!(sleepers("40410"), 0, "{place}");
    }
}

/// A pool of the whole process, as rayon has one: its thread is started by the worker that uses it
/// first, and never ends.
static POOL: LazyLock<Sender<Box<dyn FnOnce() + Send>>> = LazyLock::new(|| {
    let (sender, jobs) = channel::<Box<dyn FnOnce() + Send>>();
    std::thread::spawn(move || jobs.into_iter().for_each(|job| job()));
    sender
});

#[derive(serde::Deserialize)]
struct Pooled {
    mark: String,
    enters: bool,
}

fn pooled(context: &Context, Pooled { mark, enters }: Pooled) -> Result<(), WorkerError> {
    let its = context.clone();
    POOL.send(Box::new(move || {
        let _entered = enters.then(|| its.enter());
        drop(std::process::Command::new("sleep").arg(mark).spawn());
    }))
    .map_err(|_| "the pool has ended")?;
    context.ready();
    context.wait_for_stop();
    Ok(())
}

fn what_a_pool_of_the_process_has_started_for_one_worker_outlives_another() {
    for place in ["isolation: thread", "isolation: thread, cell: box"] {
        let bed = Bed::new();
        let worker = |mark: u32, enters: bool| {
            format!("{{ worker: pooled, args: {{ mark: '{mark}', enters: {enters} }}, {place} }}")
        };
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  first: {}\n  plain: {}\n  enters: {}\n",
                worker(40413, true),
                worker(40414, false),
                worker(40415, true)
            ),
        );
        let left = || ["40413", "40414", "40415"].map(sleepers);
        supervisor.wait("one of each", |_| (left() == [1, 1, 1]).then_some(()));
        for (stopped, expected) in
            [("first", [0, 1, 1]), ("plain", [0, 1, 1]), ("enters", [0, 1, 0])]
        {
            supervisor.client.stop(&[stopped.into()], true).expect("stopped");
            supervisor.wait(&format!("{expected:?} after the end of {stopped}"), |_| {
                (left() == expected).then_some(())
            });
        }
        supervisor.stop();
        assert_eq!(left(), [0; 3], "{place}: with the process");
    }
}

fn an_orderly_end_takes_what_is_left_at_once() {
    for place in PLACES {
        let bed = Bed::new();
        let mut by = "own".to_owned();
        if place == "isolation: process" {
            by.push_str(", daemon, plain that ends");
        }
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  f: {{ worker: foreman, args: {{ mark: '40411', by: [{by}] }}, \
                 {place}, stop: {{ timeout: 30s }} }}\n"
            ),
        );
        supervisor.wait_phase("f", "running");
        let before = std::time::Instant::now();
        let done = supervisor.client.stop(&["f".into()], true).expect("stopped");
        assert!(!done.message.contains("killed"), "{place}: {}", done.message);
        assert!(before.elapsed() < std::time::Duration::from_secs(25), "{place}");
        supervisor.wait("the end of all", |_| (sleepers("40411") == 0).then_some(()));
        supervisor.stop();
    }
}

fn what_has_outlived_the_thread_that_started_it_is_shown() {
    for (place, cell) in [("isolation: thread", ""), ("isolation: thread, cell: box", ", cell box")]
    {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  f: {{ worker: foreman, args: {{ mark: '40412', by: [daemon, \
                 plain that ends] }}, {place} }}\n  p: {{ command: [sleep, 1d] }}\n"
            ),
        );
        supervisor.wait_phase("f", "running");
        supervisor.client.stop(&["f".into()], true).expect("stopped");
        let strays = supervisor.wait("both to be shown", |supervisor| {
            let strays = supervisor.status().supervisor.stray_processes;
            (strays.len() == 2).then_some(strays)
        });
        let expected = format!(" (sleep{cell})");
        assert!(strays.iter().all(|stray| stray.ends_with(&expected)), "{place}: {strays:?}");
        supervisor.stop();
        assert_eq!(sleepers("40412"), 0, "{place}");
    }
}

fn the_end_of_a_cell_is_no_failure_of_one_that_is_launched_into_it() {
    let bed = Bed::new();
    let others: String =
        (0..8).map(|number| format!("  b{number}: {{ worker: sleeper }}\n")).collect();
    let supervisor = start(
        &bed,
        &format!(
            "version: 1\ndefaults: {{ isolation: thread, cell: box, restart: {{ backoff: {{ initial: \
             1ms, max: 1ms }}, limit: {{ restarts: 100000, within: 1m }} }} }}\nworkers:\n  \
             a: {{ worker: quitter }}\n{others}"
        ),
    );
    supervisor.wait("many ends of the cell", |supervisor| {
        (supervisor.worker("a").generation > 60).then_some(())
    });
    for incident in supervisor.incidents() {
        // Whose doing the end of a process is that says nothing is not known.
        let blamed = incident.worker.as_deref().unwrap_or("a");
        assert_eq!(blamed, "a", "{}", incident.sentence);
        assert_ne!(incident.ending.cause, "launch-failure", "{}", incident.sentence);
    }
    supervisor.stop();
}

/// How many `sleep` there are with this argument.
pub(crate) fn sleepers(argument: &str) -> usize {
    let wanted = format!("sleep\0{argument}\0").into_bytes();
    let processes = std::fs::read_dir("/proc").expect("procfs").flatten();
    let is_one = |process: &std::fs::DirEntry| {
        std::fs::read(process.path().join("cmdline")).is_ok_and(|line| line == wanted)
    };
    processes.filter(is_one).count()
}
