//! `config/resources.yaml`: workers in every isolation share a queue, a semaphore and memory, and
//! are killed at random. The file runs itself, and judges itself.

use std::fs;

use serde_json::Value;

use crate::harness::{Bed, repository, text};

/// Seconds; otherwise ten.
const STORM: &str = "BANK_STORM";

/// Runs the file of this name for a short time: how it ends, and what it says.
fn run(bed: &Bed, name: &str) -> (bool, String) {
    let seconds = std::env::var(STORM).unwrap_or_else(|_| "10".into());
    let yaml = fs::read_to_string(repository(name)).expect("it is shipped");
    let shorter = yaml.replace("time: 60s", &format!("time: {seconds}s"));
    assert_ne!((yaml == shorter, seconds.as_str()), (true, "10"), "its time is another");
    let file = bed.write("supervisord-rs.yaml", &shorter);
    let output = bed.command(&["run", "-c"]).arg(file).output().expect("it runs");
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    (output.status.success(), said)
}

/// The number before these words.
fn number_before(verdict: &str, words: &str) -> u64 {
    let before = verdict.split(words).next().unwrap_or_default();
    let number = before.rsplit(' ').next().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no number before {words}: {verdict}"))
}

fn incidents(bed: &Bed) -> String {
    fs::read_to_string(bed.path("state/incidents.jsonl")).expect("deaths")
}

#[test]
fn a_bank_whose_clerks_are_killed_loses_no_money_and_no_order() {
    let _machine = crate::beside_others();
    let bed = Bed::new();
    let (is_right, said) = run(&bed, "config/resources.yaml");
    assert!(is_right, "{said}");
    let verdict = said.lines().find(|line| line.contains("verdict: right")).expect("a verdict");
    println!("{verdict}");
    // Nothing of that is a test if nothing was done, or no user died with something.
    assert!(number_before(verdict, " orders sent") > 100, "{verdict}");
    let incidents = incidents(&bed);
    for (words, what) in [
        ("\"supervisor_died\":true", "the supervisor"),
        ("\"kind\":\"signal-kill\"", "a process at any instruction"),
        ("\"kind\":\"kill-self\"", "a thread of a cell"),
        ("\"kind\":\"panic\"", "a thread that unwinds"),
        ("\"had\":\"message\"", "one with a message"),
        ("\"had\":\"permit\"", "one with a permit"),
    ] {
        assert!(incidents.contains(words), "{what} has not died: {verdict}");
    }
}

/// What of these an incident has told: the sum of their counts.
fn told(incidents: &str, had: &str) -> u64 {
    let lines = incidents.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let losses = lines.flat_map(|one| one["resources"].as_array().cloned().unwrap_or_default());
    let lost = losses.filter(|loss| loss["had"] == had && loss["then"] == "lost");
    lost.filter_map(|loss| loss["count"].as_u64()).sum()
}

/// What the file with this mechanism says at its end, and the incidents of its run.
fn loses(name: &str) -> (String, String) {
    let bed = Bed::new();
    let (is_right, said) = run(&bed, name);
    assert!(!is_right, "nothing was lost: {said}");
    let verdict = said.lines().find(|line| line.contains("verdict: wrong"));
    let verdict = verdict.unwrap_or_else(|| panic!("no verdict: {said}")).to_owned();
    println!("{verdict}");
    // The money is right all the same: a mutex guards it.
    assert!(verdict.contains("the total is right"), "{verdict}");
    (verdict, incidents(&bed))
}

#[test]
fn the_same_bank_by_a_pipe_loses_orders_and_says_so() {
    let _machine = crate::beside_others();
    let (verdict, incidents) = loses("config/resources-pipe.yaml");
    assert!(number_before(&verdict, " lost,") > 0, "{verdict}");
    assert_eq!(number_before(&verdict, " permits missing"), 0, "{verdict}");
    assert!(told(&incidents, "message") > 0, "{verdict}\n{incidents}");
}

#[test]
fn the_same_bank_by_posix_loses_permits_and_says_so() {
    let _machine = crate::beside_others();
    let (verdict, incidents) = loses("config/resources-posix.yaml");
    assert!(number_before(&verdict, " permits missing") > 0, "{verdict}");
    assert!(told(&incidents, "permit") > 0, "{verdict}\n{incidents}");
}

#[test]
fn the_three_files_differ_in_what_carries_and_for_how_long_is_waited() {
    let read = |name: &str| {
        let yaml = fs::read_to_string(repository(name)).expect("it is shipped");
        let lines = yaml.lines().skip_while(|line| line.starts_with('#'));
        let is_other = |line: &&str| {
            !["  jobs:", "  gate:", "  ledger:"].iter().any(|key| line.starts_with(key))
        };
        let lines = lines.filter(is_other).map(|line| line.replace(", last_orders: 5s", ""));
        lines.collect::<Vec<_>>()
    };
    let first = read("config/resources.yaml");
    assert!(first.len() > 40, "{first:?}");
    assert_eq!(first, read("config/resources-pipe.yaml"));
    assert_eq!(first, read("config/resources-posix.yaml"));
}
