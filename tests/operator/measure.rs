//! `measure` as people call it. Whether its figures are sane, its own crate tests.

use std::process::{Command, Output};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Bed, kill, program, text};

fn measure(bed: &Bed, arguments: &[&str]) -> Command {
    // Where the tests run in the background of a script, they inherit that SIGINT is ignored.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(program().get_program());
    command.arg("measure").args(arguments);
    // What belongs to the bed is known by this.
    command.env("TMPDIR", bed.directory.path()).current_dir(bed.directory.path());
    command
}

fn output(bed: &Bed, arguments: &[&str]) -> Output {
    measure(bed, arguments).output().expect("the program runs")
}

#[test]
fn crashes_are_measured_by_real_trials_and_counted() {
    let bed = Bed::new();
    let output = output(&bed, &["isolation", "--quick", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["version"], &report["quick"]), (&1.into(), &true.into()));
    let axis = &report["axes"][0];
    let lost = &axis["tables"][0];
    assert_eq!((&axis["axis"], &lost["name"]), (&"isolation".into(), &"lost".into()));
    let rows = lost["rows"].as_array().expect("rows");
    let segfault = rows.iter().find(|row| row["name"] == "segfault").expect("a row");
    for (place, count) in [("thread", 4.0), ("cell", 4.0), ("process", 1.0)] {
        assert_eq!(segfault[place]["figure"]["median"], count, "{place}: {segfault}");
    }
    let first = axis["meaning"][0].as_str().expect("a sentence");
    assert!(first.starts_with("A crash in one process did not affect the others"), "{first}");
    let progress = text(&output.stderr);
    assert!(progress.contains("[1/1] isolation: about "), "{progress}");
}

#[test]
fn tables_have_their_limit_their_reasons_and_their_sentences() {
    let bed = Bed::new();
    let output = output(&bed, &["switching", "switching", "--quick"]);
    assert!(output.status.success(), "{output:?}");
    let shown = text(&output.stdout);
    assert_eq!(shown.matches("SWITCHING: ").count(), 1, "each axis once: {shown}");
    for words in ["| limit |", "limit: ", "> ", "Measured on ", "Medians of rounds"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!shown.contains("ISOLATION"), "{shown}");
}

#[test]
fn a_page_is_written_and_one_that_cannot_be_is_refused_before_anything_is_measured() {
    let bed = Bed::new();
    let done = output(&bed, &["switching", "--quick", "--html", "page.html"]);
    assert!(done.status.success(), "{done:?}");
    let page = std::fs::read_to_string(bed.path("page.html")).expect("the page");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<svg "), "{page}");
    let refused = output(&bed, &["switching", "--html", "nowhere/page.html"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let words = text(&refused.stderr);
    assert!(
        words.contains("nowhere/page.html") && words.contains("nothing was measured"),
        "{words}"
    );
    assert!(refused.stdout.is_empty() && !words.contains("[1/1]"), "{words}");
}

#[test]
fn an_unknown_axis_is_refused_with_those_that_there_are() {
    let bed = Bed::new();
    let output = output(&bed, &["switchin"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let words = text(&output.stderr);
    assert!(words.contains("time-slicing") && words.contains("similar"), "{words}");
}

#[test]
fn an_interrupt_or_a_kill_leaves_no_process() {
    for axis in ["memory", "isolation", "time-slicing"] {
        for signal in [Signal::SIGINT, Signal::SIGKILL] {
            let bed = Bed::new();
            let mut child = measure(&bed, &[axis]).spawn().expect("the program runs");
            let pid = child.id().cast_signed();
            bed.wait("its processes", || {
                let others = bed.processes().into_iter().filter(|other| *other != pid).count();
                (others >= 2).then_some(())
            });
            kill(pid, signal);
            let status = child.wait().expect("our child");
            assert!(!status.success(), "{axis}, {signal}: {status}");
            bed.wait("the end of all", || bed.processes().is_empty().then_some(()));
            let left = std::fs::read_dir(bed.directory.path()).expect("readable").flatten();
            let left: Vec<_> = left
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .filter(|name| name.starts_with("supervisord-rs-"))
                .collect();
            assert!(left.is_empty(), "{axis}, {signal}: {left:?}");
        }
    }
}
