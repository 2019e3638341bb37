//! `drill init`: the first scenario of a configuration is valid, and holds.

use crate::drill;
use crate::harness::golden::golden;
use crate::harness::{Bed, text};

#[test]
fn the_first_scenario_of_a_configuration_holds() {
    let bed = Bed::new();
    bed.write(
        "app.yaml",
        "version: 1
supervisor: { fault_injection: allow }
defaults: { restart: { backoff: { initial: 0s } } }
groups: { chain: { strategy: rest-for-one, workers: [first, second] } }
workers:
  prepare: { command: ['true'], restart: never }
  first: { worker: ticker, depends_on: { prepare: finished } }
  second: { worker: ticker }
  clock: { worker: ticker, isolation: thread }
  primes: { worker: cpu-burner, isolation: thread, cell: batch }
  hashes: { worker: file-hasher, isolation: thread, cell: batch, args: { directory: /etc, every: 100ms } }
  web: { command: [sleep, 1d], instances: 2, ready: { after: 10ms } }
  by-hand: { worker: ticker, autostart: false }
  tests: { worker: ticker, critical: true }
",
    );
    let output = drill(&bed, &["init", "-c", "app.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let scenario = text(&output.stdout);
    golden("drill/first.txt", &scenario);
    bed.write("drill.yaml", &scenario);
    let output = drill(&bed, &["run", "drill.yaml"]);
    let told = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
}

#[test]
fn a_configuration_that_denies_injection_gets_no_scenario_but_the_reason() {
    let bed = Bed::new();
    bed.write("app.yaml", "version: 1\nworkers: { a: { worker: ticker } }\n");
    let output = drill(&bed, &["init", "-c", "app.yaml"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("crash injection is off in app.yaml"));
}
