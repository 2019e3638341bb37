//! `compare` tells the truth.

use std::collections::BTreeSet;

use crate::harness::{program, text};
use supervisord_rs::drill::compare::Comparison;
use workers::fault::{Blast, Fault};

fn compare(arguments: &[&str]) -> Comparison {
    let output =
        program().arg("compare").arg("--json").args(arguments).output().expect("the program runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn threads_share_their_fate_and_processes_do_not() {
    let comparison = compare(&["--fault", "panic,segfault"]);
    let found: Vec<(String, &str, &str, usize, bool)> = comparison
        .trials
        .iter()
        .map(|trial| {
            assert_eq!(trial.running.len(), 4);
            assert_eq!(trial.leftovers, Vec::<String>::new());
            assert!(trial.seen_after_us.is_some() && trial.back_after_us.is_some(), "{trial:?}");
            (
                trial.fault.clone(),
                trial.isolation.name(),
                trial.on_panic.as_str(),
                trial.lost.len(),
                trial.supervisor_died,
            )
        })
        .collect();
    let expected = [
        ("panic", "thread", "abort", 4, true),
        ("panic", "cell", "abort", 4, false),
        ("panic", "process", "abort", 1, false),
        ("panic", "thread", "contain", 1, false),
        ("panic", "cell", "contain", 1, false),
        ("segfault", "thread", "abort", 4, true),
        ("segfault", "cell", "abort", 4, false),
        ("segfault", "process", "abort", 1, false),
    ];
    let expected = expected.map(|(fault, isolation, on_panic, lost, died)| {
        (fault.to_owned(), isolation, on_panic, lost, died)
    });
    assert_eq!(found, expected);
}

#[test]
fn the_table_has_a_row_for_each_trial_and_a_conclusion() {
    let output = program()
        .args(["compare", "--fault", "hang", "--isolation", "process"])
        .output()
        .expect("it runs");
    let table = text(&output.stdout);
    assert!(
        table.contains("| hang ") && table.contains("| b ") && table.contains("alive"),
        "{table}"
    );
    assert!(table.contains("\nA hang in b as a process took b alone.\n"), "{table}");
    assert!(text(&output.stderr).contains("[1/1]"), "progress while it runs");
}

#[test]
fn faults_without_an_ending_are_measured_and_end() {
    let comparison = compare(&["--fault", "leak,signal-stop"]);
    let found: Vec<(&str, &str, usize, bool)> = comparison
        .trials
        .iter()
        .map(|trial| {
            assert!(trial.incident_agrees && trial.leftovers.is_empty(), "{trial:?}");
            let isolation = trial.isolation.name();
            (trial.fault.as_str(), isolation, trial.lost.len(), trial.supervisor_died)
        })
        .collect();
    let expected = [
        ("leak", "thread", 0, false),
        ("leak", "cell", 0, false),
        ("leak", "process", 0, false),
        ("signal-stop", "thread", 4, true),
        ("signal-stop", "cell", 4, false),
        ("signal-stop", "process", 1, false),
    ];
    assert_eq!(found, expected);
    let output = program()
        .args(["compare", "--fault", "leak", "--isolation", "process"])
        .output()
        .expect("it runs");
    let table = text(&output.stdout);
    assert!(table.contains("| leak ") && table.contains("| -    | alive"), "{table}");
    assert!(
        table.contains("\nA leak in b as a process went unnoticed, and took no worker.\n"),
        "{table}"
    );
    assert!(
        table.contains("\nA leak in b as a process: that memory is lost to the worker alone"),
        "{table}"
    );
    assert!(text(&output.stderr).contains("  no incident comes of it now; waiting at most"));
}

#[test]
fn a_fault_that_is_an_order_to_the_supervisor_keeps_no_other_from_its_threads() {
    let faults = ["--fault", "segfault,signal-term"];
    let comparison = compare(&[&faults[..], &["--isolation", "thread,process"]].concat());
    let found: Vec<(&str, &str)> = comparison
        .trials
        .iter()
        .map(|trial| (trial.fault.as_str(), trial.isolation.name()))
        .collect();
    let expected = [("segfault", "thread"), ("segfault", "process"), ("signal-term", "process")];
    assert_eq!(found, expected);
    let impossible = &comparison.impossible[..];
    assert!(
        matches!(impossible, [one] if one.isolation.name() == "thread"
            && one.fault.as_deref() == Some("signal-term")),
        "{impossible:?}"
    );
    let alone = ["compare", "--fault", "signal-term", "--isolation", "thread"];
    let output = program().args(alone).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(message.contains("order to stop everything") && !message.contains("[1/"), "{message}");
}

#[test]
fn a_comparison_that_cannot_be_written_has_failed() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("it is there");
    let output = program()
        .args(["compare", "--fault", "abort", "--isolation", "process", "--json"])
        .stdout(full)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot write to standard output"));
}

#[test]
fn an_unknown_fault_is_a_usage_error_that_lists_the_known_ones() {
    let output = program().args(["compare", "--fault", "segfalt"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("did you mean segfault"), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("stack-overflow"));
}

/// Every fault of the catalogue is one that `compare` can finish, with an incident that agrees with
/// what it has seen.
fn compare_all(isolation: &str) {
    let faults: Vec<&str> = Fault::all().map(Fault::name).collect();
    let comparison = compare(&["--isolation", isolation, "--fault", &faults.join(",")]);
    let compared = comparison.trials.iter().map(|trial| trial.fault.as_str());
    let impossible = comparison.impossible.iter().filter_map(|one| one.fault.as_deref());
    let all: BTreeSet<&str> = compared.chain(impossible).collect();
    assert_eq!(all, faults.iter().copied().collect(), "{isolation}");
    for trial in &comparison.trials {
        let fault = Fault::all().find(|fault| fault.name() == trial.fault).expect("it is one");
        let leaves_thread =
            isolation != "process" && fault.entry().shared == Blast::VictimLeavesThread;
        assert!(trial.incident_agrees, "{isolation}: {trial:?}");
        assert_eq!(trial.lost.is_empty(), fault.entry().harm.is_some(), "{isolation}: {trial:?}");
        assert_eq!(!trial.leftovers.is_empty(), leaves_thread, "{isolation}: {trial:?}");
    }
}

#[test]
fn every_fault_as_a_thread_comes_to_an_end() {
    compare_all("thread");
}

#[test]
fn every_fault_in_a_cell_comes_to_an_end() {
    compare_all("cell");
}

#[test]
fn every_fault_as_a_process_comes_to_an_end() {
    compare_all("process");
}
