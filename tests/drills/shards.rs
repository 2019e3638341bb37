//! `--shard`, `--lines` and `merge`: a campaign on several machines gives one answer.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{Bed, text};
use crate::reports::check_junit;
use crate::{beside_others, command, drill, drill_alone};

/// Holds in each run.
fn scenario(name: &str, repeat: u32) -> String {
    format!(
        "version: 1
scenario: {name}
repeat: {repeat}
configuration:
  supervisor: {{ fault_injection: allow }}
  defaults: {{ restart: {{ backoff: {{ initial: 0s }} }} }}
  workers: {{ a: {{ worker: ticker }}, b: {{ worker: ticker }} }}
steps:
  - wait: {{ running: all }}
  - mark: before
  - inject: {{ worker: a, fault: segfault }}
  - expect: {{ lost: [a], within: 20s }}
"
    )
}

/// Two scenarios with five runs, in two shards.
fn shards(bed: &Bed) {
    bed.write("drills/first.yaml", &scenario("first", 3));
    bed.write("drills/second.yaml", &scenario("second", 2));
    std::fs::create_dir_all(bed.path("results")).expect("a directory");
    for (shard, held) in [("1/2", "3 of 3 runs held"), ("2/2", "2 of 2 runs held")] {
        let file = format!("results/{}.jsonl", &shard[..1]);
        let output = drill(bed, &["run", "drills", "--shard", shard, "--lines", &file]);
        let told = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(told.contains(held), "{told}");
    }
}

/// The lines of a shard.
fn lines(bed: &Bed, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(bed.path(file)).expect("written");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn merged(bed: &Bed, arguments: &[&str]) -> (Option<i32>, String) {
    let output = drill(bed, &[&["merge", "results"], arguments].concat());
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn the_shards_of_a_campaign_are_one_result() {
    let bed = Bed::new();
    shards(&bed);
    let [first, second] = ["results/1.jsonl", "results/2.jsonl"].map(|file| lines(&bed, file));
    assert_eq!((&first[0]["kind"], &first[0]["trials"]), (&"campaign".into(), &5.into()));
    assert_eq!(first[0]["campaign"], second[0]["campaign"]);
    let trials: Vec<u64> = first.iter().filter_map(|line| line["trial"].as_u64()).collect();
    assert_eq!(trials, [1, 3, 5]);
    let (code, told) = merged(&bed, &["--junit", "out.xml", "--json", "out.json"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("5 of 5 runs held"), "{told}");
    let cases = check_junit(&bed.path("out.xml"));
    let names: BTreeSet<String> = cases.iter().map(|case| case.name().to_owned()).collect();
    assert_eq!(names.len(), 5, "each run once: {names:?}");
    let json = std::fs::read(bed.path("out.json")).expect("written");
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!((&json["held"], json["runs"].as_array().map(Vec::len)), (&true.into(), Some(5)));
}

#[test]
fn what_is_missing_or_contradicts_fails() {
    let bed = Bed::new();
    shards(&bed);
    let whole = std::fs::read_to_string(bed.path("results/2.jsonl")).expect("written");
    // One that was killed while it wrote its last line, and began again.
    let cut = &whole[..whole.len() - 20];
    bed.write("results/2.jsonl", cut);
    let (code, told) = merged(&bed, &[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("trial 4 (second, run 1 of 2) is missing"), "{told}");
    assert!(!told.contains("trial 2 (") && !told.contains("shard 2"), "{told}");
    let output = drill(&bed, &["run", "drills", "--shard", "2/2", "--lines", "results/2.jsonl"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (code, told) = merged(&bed, &[]);
    assert_eq!(code, Some(0), "the same answer twice is one: {told}");
    // Another answer to the same trial.
    let failed = whole.replace("\"verdict\":\"held\"", "\"verdict\":\"failed\"");
    assert_ne!(failed, whole);
    bed.write("results/other.jsonl", &failed);
    let (code, told) = merged(&bed, &[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains(
            "trial 2 (first, run 2 of 3) has two different answers: held in results/2.jsonl, \
             FAILED in results/other.jsonl"
        ),
        "{told}"
    );
    bed.write("results/other.jsonl", "no JSON\n");
    let (code, told) = merged(&bed, &[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("results/other.jsonl, line 1: no result of a drill"), "{told}");
    std::fs::remove_file(bed.path("results/other.jsonl")).expect("ours");
    std::fs::remove_file(bed.path("results/2.jsonl")).expect("ours");
    let (code, told) = merged(&bed, &[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("shard 2 of 2 is missing"), "{told}");
    // What changes a campaign makes it another one.
    bed.write("drills/second.yaml", &scenario("second", 2).replace("within: 20s", "within: 21s"));
    let output = drill(&bed, &["run", "drills", "--shard", "2/2", "--lines", "results/2.jsonl"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (code, told) = merged(&bed, &[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("are of different campaigns"), "{told}");
    let output = drill(&bed, &["merge", "drills"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no results in drills"));
}

#[test]
fn the_variables_of_a_ci_choose_the_shard() {
    let _others = beside_others();
    let bed = Bed::new();
    bed.write("drills/first.yaml", &scenario("first", 2));
    let run = |variables: &[(&str, &str)]| {
        let mut command =
            command(&bed, &["run", "drills", "--shard", "auto", "--lines", "x.jsonl"]);
        for name in ["CI_NODE_INDEX", "CIRCLE_NODE_INDEX", "BUILDKITE_PARALLEL_JOB"] {
            command.env_remove(name);
        }
        command.env_remove("SLURM_ARRAY_TASK_ID").envs(variables.iter().copied());
        command.output().expect("the program runs")
    };
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("CI_NODE_INDEX"), "{}", text(&output.stderr));
    let output = run(&[("CI_NODE_INDEX", "2"), ("CI_NODE_TOTAL", "2")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let found = lines(&bed, "x.jsonl");
    assert_eq!((&found[0]["shard"], &found[1]["trial"]), (&2.into(), &2.into()));
    assert_eq!(found.len(), 2);
}

#[test]
fn a_storm_without_a_seed_has_the_same_one_on_every_machine_and_is_judged_by_all_together() {
    let bed = Bed::new();
    let storm = "version: 1
scenario: a storm
repeat: 2
configuration:
  supervisor: { fault_injection: allow }
  defaults: { restart: { backoff: { initial: 0s }, limit: { restarts: 1000, within: 60s } } }
  workers: { a: { worker: ticker }, b: { worker: ticker } }
steps:
  - wait: { running: all }
  - storm: { seed: random, faults: [segfault], per_second: 2, for: 1s, within: 60s }
sometimes:
  - { fault: segfault, isolation: process }
";
    bed.write("drills/storm.yaml", storm);
    std::fs::create_dir_all(bed.path("results")).expect("a directory");
    for (shard, file) in [("1/2", "1"), ("2/2", "2"), ("1/2", "3")] {
        let file = format!("results/{file}.jsonl");
        let _others = beside_others();
        let output = drill_alone(&bed, &["run", "drills", "--shard", shard, "--lines", &file]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let seed = |file: &str| lines(&bed, file)[1]["report"]["storms"][0]["seed"].clone();
    let [first, second, again] =
        ["results/1.jsonl", "results/2.jsonl", "results/3.jsonl"].map(seed);
    assert_eq!(first, again, "a trial has its seed");
    assert_ne!(first, second, "and another trial another");
    let (code, told) = merged(&bed, &[]);
    assert_eq!(code, Some(0), "{told}");
    // What none of the shards has reached.
    for file in ["results/1.jsonl", "results/2.jsonl", "results/3.jsonl"] {
        let text = std::fs::read_to_string(bed.path(file)).expect("written");
        let start = text.find("\"reached\":[").expect("what it reached");
        let end = start + text[start..].find(']').expect("the end of a list");
        bed.write(file, &(text[..start].to_owned() + "\"reached\":[" + &text[end..]));
    }
    let (code, told) = merged(&bed, &[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("VACUOUS"), "{told}");
    std::fs::remove_file(bed.path("drills/storm.yaml")).expect("ours");
    let (code, told) = merged(&bed, &[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("cannot be judged") && told.contains("drills/storm.yaml"), "{told}");
}
