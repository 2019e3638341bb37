//! Storms: one seed gives one schedule, what they break is found and made as short as it can be,
//! and what was never reached is no success.

use serde_json::Value;

use crate::drill;
use crate::harness::{Bed, repository, text};
use crate::reports::check_junit;

/// Seconds of the storm over twenty workers; `STORM_SECONDS=2000` has ten thousand blows.
const SECONDS: u64 = 12;

fn results(bed: &Bed, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(bed.path(file)).expect("written")).expect("JSON")
}

/// The storm that ships, for so long.
fn shipped(seconds: u64) -> String {
    let file = repository("config/scenarios/storm.yaml");
    let yaml = std::fs::read_to_string(file).expect("readable");
    assert!(yaml.contains("for: 12s"), "{yaml}");
    yaml.replace("for: 12s", &format!("for: {seconds}s"))
}

#[test]
fn one_seed_gives_one_schedule_and_what_is_promised_holds_in_it() {
    let seconds =
        std::env::var("STORM_SECONDS").map_or(SECONDS, |text| text.parse().expect("a number"));
    let bed = Bed::new();
    bed.write("storm.yaml", &shipped(seconds));
    let arguments = ["run", "storm.yaml", "--json", "out.json", "--shrink-for", "0s"];
    let mut schedules = Vec::new();
    for _ in 0..2 {
        let output = drill(&bed, &arguments);
        let told = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        let results = results(&bed, "out.json");
        let storm = &results["runs"][0]["storms"][0];
        assert_eq!(storm["seed"], 337, "{storm}");
        assert_eq!(storm["blows"], 5 * seconds, "{storm}");
        let count = |key: &str| storm[key].as_u64().expect("a number");
        assert_eq!(count("struck") + count("passed_over"), 5 * seconds, "{storm}");
        assert!(count("struck") >= seconds, "many find their victim: {storm}");
        let line =
            format!("storm: seed 337, schedule {}", storm["schedule"].as_str().expect("text"));
        assert!(told.contains(&line) && told.contains("storm of a storm in every"), "{told}");
        schedules.push(storm["schedule"].clone());
        println!("{storm}");
    }
    assert_eq!(schedules[0], schedules[1]);
}

/// A supervisor that ends a neighbour, as a bug of it would: once `a` has been started twice, the
/// next start of `b` kills `c`. It takes a fault in each, in this order, to see it: `a` counts a
/// start half a second later, so that a `b` that is slow to look does not see a start after its own.
const PLANTED: &str = "version: 1
scenario: planted
configuration:
  supervisor: { fault_injection: allow }
  defaults: { ready: { after: 0s }, restart: { backoff: { initial: 0s }, limit: { restarts: 1000, within: 60s } } }
  workers:
    a: { command: [sh, -c, 'sleep 0.5; echo x >> $SUPERVISORD_RS_TRIAL/a; exec sleep 1d'] }
    b: { command: [sh, -c, 'test $(cat $SUPERVISORD_RS_TRIAL/a 2>&- | wc -l) -lt 2 || kill -9 $(cat $SUPERVISORD_RS_TRIAL/c); exec sleep 1d'], depends_on: [a, c] }
    c: { command: [sh, -c, 'echo $$ > $SUPERVISORD_RS_TRIAL/c; exec sleep 1d'] }
    d: { worker: ticker, args: { interval: 5ms } }
steps:
  - wait: { running: all, within: 30s }
  - storm:
      seed: 409 # draws a, and b a second later: a is back by then
      faults: [signal-kill, signal-abrt]
      workers: [a, b, d]
      per_second: 3
      for: 8s
      within: 30s
  - wait: { for: 10ms }
";

#[test]
fn a_planted_bug_is_found_and_shrunk_to_the_faults_that_it_needs() {
    let bed = Bed::new();
    bed.write("planted.yaml", PLANTED);
    let arguments =
        ["run", "planted.yaml", "--json", "out.json", "--junit", "out.xml", "--shrink-for", "10m"];
    let output = drill(&bed, &arguments);
    let told = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for words in [
        "no worker lost outside the radius of a fault",
        "c was PID",
        "0 faults could reach it",
        "storm: seed 409, schedule ",
        " of 24 blows are enough",
        "see planted.shrunk.yaml",
        "again: supervisord-rs drill run 'planted.yaml' --only 'planted' --seed 409 --keep",
        "[shrinking, at most ",
    ] {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
    let results = results(&bed, "out.json");
    let shrunk = &results["runs"][0]["failure"]["shrunk"];
    // Two are enough; on a machine that is slow a third may be needed for the time that it takes.
    let blows = shrunk["blows"].as_u64().expect("a number");
    assert!((2..=3).contains(&blows) && shrunk["of"] == 24, "{shrunk}");
    assert!(shrunk["failed"].as_u64() >= Some(1) && shrunk["tried"] == 5, "{shrunk}");
    let cases = check_junit(&bed.path("out.xml"));
    assert!(cases[0].text().contains(&format!("shrunk: {blows} of 24 blows")), "{cases:?}");

    // What was written is an ordinary scenario, which fails in the same way, and holds without the
    // bug.
    let yaml = std::fs::read_to_string(bed.path("planted.shrunk.yaml")).expect("written");
    assert!(
        yaml.starts_with(&format!(
            "# The shortest schedule found that fails: {blows} of the 24 blows"
        )),
        "{yaml}"
    );
    assert!(yaml.contains("# It failed in ") && yaml.contains(" of 5 runs"), "{yaml}");
    assert_eq!(yaml.matches("worker: \"").count() as u64, blows, "{yaml}");
    let (first, second) = (yaml.find("worker: \"a\""), yaml.rfind("worker: \"b\""));
    assert!(first.is_some() && first < second, "{yaml}");
    let again = drill(&bed, &["run", "planted.shrunk.yaml"]);
    let told = text(&again.stdout);
    assert_eq!(again.status.code(), Some(1), "{told}");
    assert!(told.contains("FAILED: planted, shrunk") && told.contains("c was PID"), "{told}");
    bed.write("planted.shrunk.yaml", &yaml.replace("kill -9", "true"));
    let without = drill(&bed, &["run", "planted.shrunk.yaml"]);
    assert_eq!(without.status.code(), Some(0), "{}", text(&without.stdout));
}

/// Each of these breaks one invariant.
#[track_caller]
fn breaks(change: &[(&str, &str)], words: &[&str]) {
    let mut yaml = PLANTED.to_owned();
    for (from, to) in change {
        assert!(yaml.contains(from), "{from}");
        yaml = yaml.replace(from, to);
    }
    let bed = Bed::new();
    bed.write("broken.yaml", &yaml);
    let output = drill(&bed, &["run", "broken.yaml", "--shrink-for", "0s"]);
    let told = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for words in words {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
    assert!(!told.contains("shrunk:"), "{told}");
}

#[test]
fn each_invariant_can_fail() {
    let only = |what: &str| format!("within: 30s\n      invariants: [{what}]\n");
    let with = |what: &str| only(what) + "  - wait";
    // A worker that does not come back in time.
    let back = only("back").replace("30s", "2s");
    breaks(
        &[
            ("backoff: { initial: 0s }", "backoff: { initial: 10m, max: 10m, jitter: 0 }"),
            ("within: 30s\n  - wait", &(back + "  - wait")),
        ],
        &["expected: everyone back in time", " is backoff since "],
    );
    // An end that no fault of the storm explains.
    breaks(
        &[("within: 30s\n  - wait", &with("attribution"))],
        &["each fault with its incident", "no fault of the storm explains incident"],
    );
    // A supervisor that a worker kills.
    breaks(
        &[
            ("within: 30s\n  - wait", &with("supervisor")),
            ("kill -9 $(cat $SUPERVISORD_RS_TRIAL/c)", "kill -9 $PPID"),
        ],
        &["a supervisor alive, or another one soon", " times, and 0 faults could take it"],
    );
    // A process that goes on beside its successor.
    breaks(
        &[
            ("within: 30s\n  - wait", &with("instance")),
            (
                "kill -9 $(cat $SUPERVISORD_RS_TRIAL/c)",
                "SUPERVISOR_PROCESS_NAME=d setsid sleep 1d & true",
            ),
        ],
        &["no worker running twice", "d is PID"],
    );
}

#[test]
fn a_campaign_that_never_comes_where_it_is_to_come_is_vacuous() {
    let bed = Bed::new();
    let never = PLANTED
        .replace("kill -9", "true")
        .replace("for: 8s", "for: 1s")
        .replace("faults: [signal-kill, signal-abrt]", "faults: signal-kill")
        .replace("workers: [a, b, d]", "workers: a")
        + "sometimes:
  - { fault: signal-kill, worker: a }
  - { fault: signal-kill, worker: b }
  - { fault: signal-kill, isolation: process, phase: quarantined }
  - { fault: signal-kill, isolation: cell }
";
    bed.write("vacuous.yaml", &never);
    let arguments = ["run", "vacuous.yaml", "--json", "out.json", "--junit", "out.xml", "--github"];
    let output = drill(&bed, &arguments);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let message = "1 run held and never reached: signal-kill in b; signal-kill in a worker of \
                   isolation process that is quarantined; signal-kill in a worker of isolation cell; \
                   make the storm longer or `repeat:` larger, or remove it from `sometimes:`";
    assert!(told.contains("VACUOUS     planted") && told.contains(message), "{told}");
    assert!(told.contains("::error file=vacuous.yaml,line=23,title=planted::1 run held"), "{told}");
    let results = results(&bed, "out.json");
    assert_eq!(
        (&results["held"], &results["vacuous"][0]["scenario"]),
        (&false.into(), &"planted".into())
    );
    let cases = check_junit(&bed.path("out.xml"));
    assert_eq!(cases.len(), 2, "{cases:?}");
    assert_eq!((cases[1].result.as_str(), cases[1].kind()), ("failure", Some("vacuous")));
}

#[test]
fn a_storm_without_a_seed_prints_one_that_repeats_it() {
    let bed = Bed::new();
    let quiet = PLANTED
        .replace("      seed: 409 # draws a, and b a second later: a is back by then\n", "")
        .replace("kill -9", "true")
        .replace("for: 8s", "for: 1s");
    bed.write("storm.yaml", &quiet);
    let run = |seed: &[&str]| {
        let mut arguments = vec!["run", "storm.yaml", "--repeat", "2", "--json", "out.json"];
        arguments.extend(seed);
        let output = drill(&bed, &arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
        let results = results(&bed, "out.json");
        let of = |run: usize| results["runs"][run]["storms"][0].clone();
        (of(0), of(1), text(&output.stdout))
    };
    let (first, second, told) = run(&[]);
    assert_ne!(first["schedule"], second["schedule"], "each run of a campaign has another");
    let seed = second["seed"].as_u64().expect("a number").to_string();
    assert!(told.contains(&format!("storm: seed {seed}, ")), "{told}");
    let (again, _, _) = run(&["--seed", &seed]);
    assert_eq!((&again["seed"], &again["schedule"]), (&second["seed"], &second["schedule"]));
}
