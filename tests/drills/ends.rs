//! A drill that ends early leaves nothing: interrupted, killed, or with a run that takes too long.

use std::process::{Child, Stdio};

use nix::sys::signal::Signal;
use supervisord_rs::process_table::stat;

use crate::harness::{self, Bed, text};
use crate::{assert_nothing_left, beside_others, command};

/// Runs for a minute.
const LONG: &str = "version: 1
scenario: long
configuration:
  workers:
    a: { worker: ticker, isolation: thread }
    b: { command: [sleep, 1d], ready: { after: 10ms } }
steps:
  - wait: { running: all }
  - wait: { for: 60s }
  - expect: { phase: { a: running } }
";

/// Begins two runs at once, and waits until the programs of both run.
fn begin(bed: &Bed) -> Child {
    bed.write("drill.yaml", LONG);
    let mut command = command(bed, &["run", "drill.yaml", "--repeat", "2", "--jobs", "2"]);
    let child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let runs = |pid: &&i32| stat(**pid).is_some_and(|stat| stat.name_lossy() == "sleep");
    bed.wait("the programs of b", || {
        (bed.processes().iter().filter(runs).count() == 2).then_some(())
    });
    child
}

#[test]
fn an_interrupt_ends_all_runs_and_leaves_nothing() {
    let _others = beside_others();
    let bed = Bed::new();
    for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let child = begin(&bed);
        harness::kill(child.id() as i32, signal);
        let output = child.wait_with_output().expect("our child");
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{message}");
        assert!(message.contains("interrupted: what was running was ended"), "{message}");
        assert_nothing_left(&bed);
    }
}

#[test]
fn a_drill_that_is_killed_takes_its_runs_along() {
    let _others = beside_others();
    let bed = Bed::new();
    let mut child = begin(&bed);
    child.kill().expect("our child");
    child.wait().expect("our child");
    bed.wait("nothing to be left", || {
        let is_empty = std::fs::read_dir(bed.path("tmp")).expect("readable").count() == 0;
        (bed.processes().is_empty() && is_empty).then_some(())
    });
}

#[test]
fn a_run_whose_process_is_killed_is_reported_and_leaves_nothing() {
    let _others = beside_others();
    let bed = Bed::new();
    let child = begin(&bed);
    let runs: Vec<i32> = bed
        .processes()
        .into_iter()
        .filter(|pid| stat(*pid).is_some_and(|stat| stat.parent == child.id() as i32))
        .collect();
    assert_eq!(runs.len(), 2, "a process for each run");
    for run in runs {
        harness::kill(run, Signal::SIGKILL);
    }
    let output = child.wait_with_output().expect("our child");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert!(told.contains("UNFINISHED: long, run 1 of 2"), "{told}");
    assert_nothing_left(&bed);
}

#[test]
fn a_kept_directory_stays_with_its_logs_and_no_process() {
    let _others = beside_others();
    let bed = Bed::new();
    bed.write("drill.yaml", &LONG.replace("60s", "10ms"));
    let output = command(&bed, &["run", "drill.yaml", "--keep"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(bed.processes(), Vec::<i32>::new());
    let kept: Vec<_> = std::fs::read_dir(bed.path("tmp")).expect("readable").flatten().collect();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].path().join("supervisor.log").exists());
    assert!(text(&output.stdout).contains(&kept[0].path().display().to_string()), "it is named");
}
