//! Functions that make workers and do what they should not: end, hang, start processes, change
//! their mind.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use workers::{Context, Registry, Worker, WorkerError};

use crate::harness::{Bed, text};
use crate::surroundings::sleepers;
use crate::{PLACES, Test, command, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    ("what_is_wrong_with_each_entry_is_said", what_is_wrong_with_each_entry_is_said),
    (
        "a_verb_reaches_its_supervisor_whatever_makers_have_come_to",
        a_verb_reaches_its_supervisor_whatever_makers_have_come_to,
    ),
    ("what_a_maker_starts_ends_with_the_question", what_a_maker_starts_ends_with_the_question),
    (
        "a_permanent_error_of_a_maker_ends_the_attempts",
        a_permanent_error_of_a_maker_ends_the_attempts,
    ),
    (
        "a_thread_that_is_gone_is_neither_left_behind_nor_waited_for",
        a_thread_that_is_gone_is_neither_left_behind_nor_waited_for,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    let registry = registry.function("vanisher", "has a thread that vanishes", vanisher);
    registry.with("moody", "is made as a word, or a file with it, says", |place: String| {
        let word = std::fs::read_to_string(&place).unwrap_or_else(|_| place.clone());
        if word == "tells" {
            std::fs::write(format!("{place}.told"), "")?;
        }
        made(word.trim())
    })
}

fn made(word: &str) -> Result<Idle, WorkerError> {
    match word {
        "panics" => panic!("no such mood"),
        "blocks" => loop {
            std::thread::park();
        },
        "exits" => std::process::exit(9),
        "fails" => return Err("not today".into()),
        "fails for good" => return Err(WorkerError::permanent("not ever")),
        // SAFETY: it ends this thread, with nothing that runs at its end.
        "vanishes" => unsafe {
            libc::syscall(libc::SYS_exit, 0);
        },
        "hides its text" => return Err(Unreadable.into()),
        "starts" | "starts and exits" => {
            let script = "sleep 40416 & setsid sleep 40416 & (setsid sleep 40416 &) ; sleep 40416";
            let shell = Command::new("sh").args(["-c", script]).spawn()?;
            // It has two seconds to be made.
            let end = Instant::now() + Duration::from_millis(500);
            while sleepers("40416") < 4 && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            if word == "starts and exits" {
                std::process::exit(9);
            }
            drop(shell);
        }
        _ => {}
    }
    Ok(Idle)
}

/// An error whose text cannot be made.
#[derive(Debug)]
struct Unreadable;

impl std::fmt::Display for Unreadable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("no words")
    }
}

impl std::error::Error for Unreadable {}

struct Idle;

impl Worker for Idle {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        context.wait_for_stop();
        Ok(())
    }
}

fn entries(words: &[&str]) -> String {
    let entry = |(number, word): (usize, &&str)| {
        format!("  w{number}: {{ worker: moody, args: '{word}' }}\n")
    };
    let entries: String = words.iter().enumerate().map(entry).collect();
    format!("version: 1\nworkers:\n{entries}")
}

fn what_is_wrong_with_each_entry_is_said() {
    let bed = Bed::new();
    let words = ["panics", "exits", "blocks", "fails", "exits", "hides its text", "fine"];
    let file = bed.write("checked.yaml", &entries(&words));
    let output = command(&bed, &["check"]).arg(file).output().expect("it runs");
    let said = text(&output.stderr);
    for words in [
        "workers.w0.args: worker `moody`: making it panicked at ",
        "workers.w1.args: worker `moody`: making it called exit(9)",
        "workers.w2.args: worker `moody`: making it did not return within 2s",
        "workers.w3.args: not today",
        "workers.w4.args: worker `moody`: making it called exit(9)",
        "workers.w5.args: worker `moody`: making it panicked at ",
        "no words",
        "6 errors",
    ] {
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }
    // However many there are, there is an answer.
    let many = |number: usize| {
        let file = std::iter::repeat_n("blocks", number);
        let file = file.enumerate().map(|(number, _)| format!("blocks {number}"));
        file.collect::<Vec<String>>()
    };
    let names = many(30);
    for name in &names {
        bed.write(name, "blocks");
    }
    let paths: Vec<String> =
        names.iter().map(|name| bed.path(name).display().to_string()).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let file = bed.write("checked.yaml", &entries(&paths));
    let output = command(&bed, &["check"]).arg(file).output().expect("it runs");
    let said = text(&output.stderr);
    assert!(said.contains("30 errors"), "{said}");
    assert!(said.contains("others took too long"), "{said}");
}

fn a_verb_reaches_its_supervisor_whatever_makers_have_come_to() {
    let bed = Bed::new();
    let mood = bed.write("mood", "fine");
    let supervisor = start(&bed, &entries(&[&mood.display().to_string()]));
    supervisor.wait_phase("w0", "running");
    let verb = |arguments: &[&str]| {
        let mut command = command(&bed, arguments);
        command.arg("-c").arg(bed.path("supervisord-rs.yaml"));
        command.output().expect("it runs")
    };
    for word in ["panics", "blocks", "tells", "exits", "fails"] {
        bed.write("mood", word);
        let output = verb(&["status"]);
        assert!(output.status.success(), "{word}: {output:?}");
        assert!(!bed.path("mood.told").exists(), "{word}: nothing is made to be shown");
    }
    let output = verb(&["stop", "w0"]);
    assert!(output.status.success(), "{output:?}");
    // What launches it asks.
    let output = verb(&["reload"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(text(&output.stderr).contains("not today"), "{output:?}");
    let output = verb(&["shutdown"]);
    assert!(output.status.success(), "{output:?}");
    drop(supervisor);
}

fn what_a_maker_starts_ends_with_the_question() {
    let bed = Bed::new();
    for (word, status) in [("starts", 0), ("starts and exits", 78)] {
        let file = bed.write("checked.yaml", &entries(&[word]));
        // Its output ends with it: nothing else holds that.
        let output = command(&bed, &["check"]).arg(file).output().expect("it ends");
        assert_eq!(output.status.code(), Some(status), "{word}: {output:?}");
        bed.wait("the end of what it has started", || (sleepers("40416") == 0).then_some(()));
    }
}

fn a_permanent_error_of_a_maker_ends_the_attempts() {
    for place in PLACES {
        let bed = Bed::new();
        let mood: PathBuf = bed.write("mood", "fine");
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  w: {{ worker: moody, args: '{}', {place}, restart: {{ \
                 policy: always, backoff: {{ initial: 10ms }} }} }}\n",
                mood.display()
            ),
        );
        supervisor.wait_phase("w", "running");
        bed.write("mood", "fails for good");
        supervisor.client.restart(&["w".into()], false).expect("an order");
        let worker = supervisor.wait_phase("w", "quarantined");
        assert_eq!(worker.generation, 2, "{place}: no other attempt");
        let ending = worker.ending.expect("it has ended");
        assert_eq!(ending.cause, "permanent-error", "{place}: {ending:?}");
        let message = ending.message.unwrap_or_default();
        assert!(message.contains("not ever"), "{place}: {message}");
        supervisor.stop();
    }
}

fn vanisher(context: &Context, (): ()) -> Result<(), WorkerError> {
    let borrowed = context.clone();
    // SAFETY: it ends this thread, with nothing that runs at its end.
    let gone = borrowed.spawn("gone", |_| unsafe {
        libc::syscall(libc::SYS_exit, 0);
    })?;
    while !gone.is_finished() && context.sleep(Duration::from_millis(1)) {}
    let joined = gone.join().map_err(|error| error.to_string());
    context.log_line(format!("gone: {joined:?}"));
    context.wait_for_stop();
    Ok(())
}

fn a_thread_that_is_gone_is_neither_left_behind_nor_waited_for() {
    for place in PLACES {
        let bed = Bed::new();
        let mood = bed.write("mood", "fine");
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nworkers:\n  v: {{ worker: vanisher, {place} }}\n  w: {{ worker: moody, \
                 args: '{}', {place}, autostart: false, ready: {{ timeout: 5s }}, restart: {{ \
                 policy: never }} }}\n",
                mood.display()
            ),
        );
        supervisor.wait_output("v", "gone: Err(\"its thread `gone` ended without returning\")");
        // Only now: as long as it could be made, it would have five seconds to be ready.
        bed.write("mood", "vanishes");
        supervisor.client.start(&["w".into()], false).expect("an order");
        let incident = supervisor.wait_incident(0);
        assert_eq!(incident.worker.as_deref(), Some("w"), "{place}: {}", incident.sentence);
        assert!(!incident.sentence.contains("left behind"), "{place}: {}", incident.sentence);
        assert_eq!(supervisor.worker("w").abandoned, 0, "{place}");
        supervisor.stop();
    }
}
