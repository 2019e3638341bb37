//! `args:` of a worker of one's own: `check` shows what is wrong with them at its place, before
//! anything runs.

use std::time::{Duration, Instant};

use serde::Deserialize;
use workers::{Context, Registry, Worker, WorkerError};

use crate::harness::{Bed, text};
use crate::{PLACES, Test, command, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    ("arguments_of_any_size_reach_the_worker", arguments_of_any_size_reach_the_worker),
    ("an_error_stands_at_the_very_argument", an_error_stands_at_the_very_argument),
    (
        "what_is_wrong_in_a_variant_with_data_is_one_error",
        what_is_wrong_in_a_variant_with_data_is_one_error,
    ),
    ("examples_name_the_program_as_it_is_called", examples_name_the_program_as_it_is_called),
    ("an_argument_that_is_ignored_is_a_warning", an_argument_that_is_ignored_is_a_warning),
    ("a_worker_without_arguments_is_given_none", a_worker_without_arguments_is_given_none),
    (
        "a_list_is_no_mapping_and_what_is_missing_is_named",
        a_list_is_no_mapping_and_what_is_missing_is_named,
    ),
    (
        "a_maker_that_blocks_or_panics_is_a_diagnostic",
        a_maker_that_blocks_or_panics_is_a_diagnostic,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry
        .with("nested", "takes nested arguments", Nested::make)
        .with("paced", "takes variants with data", |_: Paced| Ok(Idle))
        .with("pace", "takes one of them", |_: Pace| Ok(Idle))
        .with("plain", "takes no arguments", |()| Ok(Idle))
        .with("counting", "prints how long its text is", Ok::<Counting, WorkerError>)
        .with("blocking", "is never made", |()| -> Result<Idle, WorkerError> {
            loop {
                std::thread::park();
            }
        })
        .with("panicking", "panics when it is made", |()| -> Result<Idle, WorkerError> {
            panic!("no config.toml")
        })
        .with("exiting", "ends the process when it is made", |()| -> Result<Idle, WorkerError> {
            std::process::exit(0)
        })
        .with("aborting", "kills the process when it is made", |()| -> Result<Idle, WorkerError> {
            std::process::abort()
        })
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is read into")]
struct Paced {
    pace: Pace,
    #[serde(default)]
    by: std::collections::BTreeMap<String, Pace>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "it is read into")]
enum Pace {
    Off,
    Rate(u32),
    Pair(u8, u8),
    Window { size: u32, step: u32 },
}

/// Waits for its end.
struct Idle;

impl Worker for Idle {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        context.wait_for_stop();
        Ok(())
    }
}

/// Prints how long its text is.
#[derive(Deserialize)]
struct Counting {
    text: String,
}

impl Worker for Counting {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        context.log_line(format!("{} bytes", self.text.len()));
        context.wait_for_stop();
        Ok(())
    }
}

#[derive(Deserialize)]
struct Nested {
    limits: Limits,
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Limits {
    size: u32,
    #[serde(default)]
    mode: Mode,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Fast,
    Careful,
}

#[derive(Deserialize)]
struct Target {
    port: u16,
}

impl Nested {
    fn make(args: Self) -> Result<Idle, WorkerError> {
        if args.limits.size > 100 && matches!(args.limits.mode, Mode::Careful) {
            return Err("limits.size: more than 100 are too many for `careful`".into());
        }
        match args.targets.iter().find(|target| target.port == 0) {
            Some(_) => Err("no target has port 0".into()),
            None => Ok(Idle),
        }
    }
}

/// What `check` says of these workers, and its exit status.
fn check(bed: &Bed, workers: &str) -> (i32, String) {
    let file = bed.write("checked.yaml", &format!("version: 1\nworkers:\n{workers}"));
    let output = command(bed, &["check"]).arg(file).output().expect("it runs");
    (output.status.code().expect("no signal"), text(&output.stderr))
}

fn assert_said(said: &str, all: &[&str]) {
    for words in all {
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }
}

fn an_error_stands_at_the_very_argument() {
    let bed = Bed::new();
    let (status, said) = check(
        &bed,
        "  a:\n    worker: nested\n    args:\n      limits:\n        size: many\n        mode: carefull\n      \
         targets: [ { port: 1 }, { port: 70000 } ]\n  b: { worker: nested, args: { limits: {} } }\n  \
         c: { worker: nested, args: { limits: { size: 101, mode: careful } } }\n  \
         d: { worker: nested, args: { limits: { size: 1 }, targets: [ { port: 0 } ] } }\n  \
         e: { worker: nested }\n",
    );
    assert_eq!(status, 78, "{said}");
    assert_said(
        &said,
        &[
            "workers.a.args.limits.size: expected a whole number from 0, not the text `many`",
            "checked.yaml:7:15",
            "workers.a.args.limits.mode: invalid value `carefull`",
            "checked.yaml:8:15",
            "did you mean `careful`?",
            "workers.a.args.targets[1].port: expected a whole number from 0 to 65535, not the number 70000",
            "checked.yaml:9:39",
            "workers.b.args.limits: missing argument `size`",
            "workers.c.args.limits.size: more than 100 are too many for `careful`",
            "checked.yaml:11:48",
            "workers.d.args.targets: no target has port 0",
            "workers.e.worker: missing argument `limits`",
            "7 errors",
        ],
    );
}

fn what_is_wrong_in_a_variant_with_data_is_one_error() {
    let bed = Bed::new();
    for (args, places) in [
        ("{ pace: { rate: many } }", &["args.pace.rate: expected a whole number from 0, not"][..]),
        ("{ pace: { window: { size: 1 } } }", &["args.pace.window: missing argument `step`"]),
        ("{ pace: { pair: [1, 300] } }", &["args.pace.pair[1]: expected a whole number from 0 to"]),
        ("{ pace: off, by: { k: { rate: -1 } } }", &["args.by.k.rate: expected a whole number"]),
        (
            "{ pace: { rate: many }, by: { k: { window: { size: x, step: 1 } } } }",
            &["args.pace.rate: ", "args.by.k.window.size: "],
        ),
        ("{ pace: rate }", &["args.pace: `rate` lacks its value\n", "write `{ rate: ... }`"]),
        ("{ pace: pair }", &["args.pace: `pair` lacks its value\n", "write `{ pair: [ ... ] }`"]),
        ("{ pace: window }", &["`window` lacks its value\n", "write `{ window: { ... } }`"]),
        ("{ pace: { off: 3 } }", &["args.pace.off: expected nothing, not the number 3"]),
        (
            "{ pace: { rate: 1, off: } }",
            &[
                "args.pace: expected a mapping with one key, the kind of its value\n",
                "expected one of: off, rate, pair, window",
            ],
        ),
        ("{ pace: {} }", &["args.pace: expected a mapping with one key, the kind of its value\n"]),
        (
            "{ pace: 3 }",
            &["args.pace: expected a word, or a mapping with one key, not the number 3"],
        ),
    ] {
        let (status, said) = check(&bed, &format!("  a: {{ worker: paced, args: {args} }}\n"));
        assert_eq!(status, 78, "{args}: {said}");
        assert_said(&said, places);
        let errors = places.iter().filter(|place| place.starts_with("args.")).count().max(1);
        let count = said.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(count, errors, "{args}: {said}");
    }
    // The argument as a whole is one.
    let (_, said) = check(&bed, "  a: { worker: pace, args: { rate: many } }\n");
    assert_said(&said, &["workers.a.args.rate: expected a whole number", "1 error"]);
}

fn examples_name_the_program_as_it_is_called() {
    let bed = Bed::new();
    let program = std::env::current_exe().expect("this program");
    let name = program.file_name().and_then(|name| name.to_str()).expect("its name").to_owned();
    for verb in ["run", "stop", "drill", "signal"] {
        let output = command(&bed, &[verb, "--help"]).output().expect("it runs");
        let help = text(&output.stdout);
        assert_said(&help, &[&format!("  {name} {verb}")]);
        assert!(!help.contains("  supervisord-rs "), "{help}");
    }
}

fn an_argument_that_is_ignored_is_a_warning() {
    let bed = Bed::new();
    let workers =
        "  a: { worker: nested, args: { limits: { size: 1, mod: careful }, other: [1] } }\n";
    let (status, said) = check(&bed, workers);
    assert_eq!(status, 0, "it is valid: {said}");
    assert_said(
        &said,
        &[
            "warning: workers.a.args.limits.mod: `nested` ignores this argument",
            "checked.yaml:3:51",
            "did you mean `mode`?",
            "warning: workers.a.args.other: `nested` ignores this argument",
            "expected one of: limits, targets",
        ],
    );
    let supervisor = start(&bed, &format!("version: 1\nworkers:\n{workers}"));
    supervisor.wait_phase("a", "running");
    supervisor.wait("the warning in the log", |supervisor| {
        supervisor.bed.log().contains("`nested` ignores this argument").then_some(())
    });
    supervisor.stop();
}

fn a_worker_without_arguments_is_given_none() {
    let bed = Bed::new();
    let (status, said) = check(
        &bed,
        "  a: { worker: plain, args: { size: 1 } }\n  b: { worker: plain, args: {} }\n  \
         c: { worker: plain, args: }\n  d: { worker: plain, args: [1] }\n",
    );
    assert_eq!(status, 78, "{said}");
    assert_said(
        &said,
        &[
            "workers.a.args: `plain` takes no arguments",
            "remove `args:`",
            "workers.d.args",
            "2 errors",
        ],
    );
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  a: {{ worker: plain, {place}, ready: {{ timeout: 1m }} }}\n"
            ),
        );
        supervisor.wait_phase("a", "running");
        supervisor.stop();
    }
}

fn arguments_of_any_size_reach_the_worker() {
    for place in PLACES {
        let bed = Bed::new();
        let worker = |name: &str, length: usize| {
            let text = "x".repeat(length);
            format!("  {name}: {{ worker: counting, args: {{ text: {text} }}, {place} }}\n")
        };
        let (small, large) = (worker("small", 1000), worker("large", 1 << 20));
        let supervisor = start(&bed, &format!("version: 1\nworkers:\n{small}{large}"));
        supervisor.wait_output("small", "1000 bytes");
        supervisor.wait_output("large", "1048576 bytes");
        supervisor.stop();
    }
}

fn a_list_is_no_mapping_and_what_is_missing_is_named() {
    let bed = Bed::new();
    let (status, said) =
        check(&bed, "  a: { worker: clerk, args: [5, error] }\n  b: { worker: clerk }\n");
    assert_eq!(status, 78, "{said}");
    assert_said(
        &said,
        &[
            "workers.a.args: expected a mapping, such as { key: value }, not a list",
            "the keys units, end",
            "workers.b.worker: missing argument `units`",
            "write `args: { units: ... }` beside `worker: clerk`",
        ],
    );
    // What is to be typed has the name of this program.
    let status = command(&bed, &["status"]).output().expect("it runs");
    let (said, own) = (text(&status.stderr), std::env::current_exe().expect("a program"));
    let own = own.file_name().expect("a name").to_string_lossy().into_owned();
    assert_said(&said, &[&format!("start one with `{own} run`")]);
}

fn a_maker_that_blocks_or_panics_is_a_diagnostic() {
    let bed = Bed::new();
    let begun = Instant::now();
    let (status, said) = check(
        &bed,
        "  a: { worker: blocking }\n  b: { worker: blocking }\n  c: { worker: panicking }\n  \
         d: { worker: plain, args: { size: 1 } }\n",
    );
    assert!(begun.elapsed() < Duration::from_secs(60), "it ends");
    assert_eq!(status, 78, "{said}");
    assert_said(
        &said,
        &[
            "workers.a.worker: worker `blocking`: making it did not return within 2s",
            "effects belong in `run`",
            "workers.c.worker: worker `panicking`: making it panicked at ",
            "arguments.rs:",
            "no config.toml",
            "workers.d.args: `plain` takes no arguments",
        ],
    );
    assert!(!said.contains("RUST_BACKTRACE"), "{said}");
    // One that ends its process ends no other, whatever it claims; the rest is read.
    let (status, said) = check(
        &bed,
        "  e: { worker: exiting }\n  f: { worker: aborting }\n  g: { worker: plain, args: { a: 1 } }\n",
    );
    assert_eq!(status, 78, "{said}");
    assert_said(
        &said,
        &[
            "workers.e.worker: worker `exiting`: making it called exit(0)",
            "effects belong in `run`",
            "workers.f.worker: worker `aborting`: making it ended its process by SIGABRT",
            "workers.g.args: `plain` takes no arguments",
        ],
    );
    // A reload is refused, and meanwhile the supervisor answers.
    let file = "version: 1\nworkers:\n  a: { worker: plain, isolation: thread }\n";
    let supervisor = start(&bed, file);
    supervisor.wait_phase("a", "running");
    bed.write("supervisord-rs.yaml", &format!("{file}  b: {{ worker: blocking }}\n"));
    // What never returns holds up for two seconds the one that asks, each time. A machine that
    // stands still does so now and then.
    let is_held = || {
        let (reload, slowest) = std::thread::scope(|threads| {
            let reload = threads.spawn(|| command(&bed, &["reload"]).output().expect("it runs"));
            let mut slowest = Duration::ZERO;
            while !reload.is_finished() {
                let asked = Instant::now();
                supervisor.client.status().expect("an answer");
                slowest = slowest.max(asked.elapsed());
            }
            (reload.join().expect("an answer"), slowest)
        });
        assert_eq!(reload.status.code(), Some(78), "{reload:?}");
        let said = text(&reload.stderr);
        assert_said(&said, &["making it did not return within 2s", "nothing has changed"]);
        slowest > Duration::from_millis(1800)
    };
    assert!(!(0..5).all(|_| is_held()), "the loop was held");
    assert_eq!(supervisor.worker("a").generation, 1);
    // So is one whose maker would end the supervisor.
    let pid = supervisor.status().supervisor.pid;
    for (kind, how) in [("exiting", "called exit(0)"), ("aborting", "ended its process by SIGABRT")]
    {
        bed.write("supervisord-rs.yaml", &format!("{file}  b: {{ worker: {kind} }}\n"));
        let reload = command(&bed, &["reload"]).output().expect("it runs");
        assert_eq!(reload.status.code(), Some(78), "{reload:?}");
        assert_said(&text(&reload.stderr), &[how, "nothing has changed"]);
        assert_eq!(supervisor.status().supervisor.pid, pid, "{kind}: it lives");
    }
    assert_eq!(supervisor.worker("a").generation, 1);
    supervisor.stop();
}
