//! What a CI reads: JUnit, annotations, JSON, lists.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::harness::skip::lacks_program;
use crate::harness::{Bed, repository, text};
use crate::{drill, run};

/// A case as an independent reader of XML found it.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    suite: String,
    class: String,
    name: String,
    time: f64,
    /// `passed`, or the element that says otherwise.
    pub(crate) result: String,
    kind: Option<String>,
    message: Option<String>,
    text: Option<String>,
}

impl Case {
    /// What its element says, or nothing.
    pub(crate) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// Its name: that of the scenario, and which run of it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The type of its failure.
    pub(crate) fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }
}

/// Validates a file against the schema, and reads it back.
#[track_caller]
pub(crate) fn check_junit(file: &Path) -> Vec<Case> {
    if !lacks_program("xmllint", "libxml2-utils") {
        let checked = Command::new("xmllint")
            .args(["--noout", "--schema"])
            .args([repository("tests/fixtures/junit.xsd").as_path(), file])
            .output()
            .expect("xmllint");
        assert!(checked.status.success(), "{}", text(&checked.stderr));
    }
    let read = Command::new("python3")
        .args([repository("tests/fixtures/read_junit.py").as_path(), file])
        .output()
        .expect("python3");
    assert!(read.status.success(), "{}", text(&read.stderr));
    serde_json::from_slice(&read.stdout).expect("JSON")
}

/// Fails in some of its runs: in those in which the file is not there yet.
const FLAKY: &str = "version: 1
scenario: 'flaky & \"odd\" <names>'
configuration:
  supervisor: { fault_injection: allow }
  workers:
    a: { command: [sh, -c, 'printf \"\\033[31m<&>\\n\"; test -e seen || { touch seen; exit 3; }; exec sleep 1d'], cwd: ., restart: never, ready: { after: 1s } }
    b: { worker: ticker, restart: { backoff: { initial: 0s } } }
already_broken: a
repeat: 3
steps:
  - wait: { running: [b] }
  - mark: before
  - inject: { worker: b, fault: segfault }
  - expect: { lost: [b], phase: { a: running }, within: 8s }
";

#[test]
fn junit_and_annotations_say_which_run_failed_and_that_it_is_flaky() {
    let bed = Bed::new();
    bed.write("drill.yaml", FLAKY);
    let output =
        drill(&bed, &["run", "drill.yaml", "--junit", "out.xml", "--json", "out.json", "--github"]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("FAILED      flaky & \"odd\" <names>") && told.contains("1 of 3 runs)"),
        "{told}"
    );
    assert!(told.contains("2 of 3 runs held"), "{told}");
    let cases = check_junit(&bed.path("out.xml"));
    let results: Vec<(&str, Option<&str>)> =
        cases.iter().map(|case| (case.result.as_str(), case.kind.as_deref())).collect();
    assert_eq!(results, [("failure", Some("flaky")), ("passed", None), ("passed", None)]);
    let first = &cases[0];
    assert_eq!(first.suite, "flaky & \"odd\" <names>");
    assert_eq!(
        (first.class.as_str(), first.name.as_str()),
        ("drill.drill", "flaky & \"odd\" <names>, run 1 of 3")
    );
    assert!(first.time > 0.0);
    let message = first.message.as_deref().unwrap_or_default();
    assert!(
        message.contains("step 4 (line 14, `expect`): expected a running; seen: a is "),
        "{message}"
    );
    let body = first.text.as_deref().unwrap_or_default();
    assert!(
        body.contains("| \\u{1b}[31m<&>"),
        "what a worker wrote, without what XML has no character for: {body}"
    );
    assert!(body.contains("again: supervisord-rs drill run"), "{body}");
    let annotation = told.lines().find(|line| line.starts_with("::error ")).expect("one");
    assert!(
        annotation.starts_with(
            "::error file=drill.yaml,line=14,title=flaky & \"odd\" <names>%2C run 1 of 3::step 4"
        ),
        "{annotation}"
    );
    assert_eq!(told.matches("::error ").count(), 1);
    let results: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bed.path("out.json")).expect("written"))
            .expect("JSON");
    assert_eq!((&results["version"], &results["held"]), (&1.into(), &false.into()));
    let runs = results["runs"].as_array().expect("a list");
    let verdicts: Vec<&str> = runs.iter().filter_map(|run| run["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["failed", "held", "held"]);
    assert_eq!(runs[0]["failure"]["line"], 14);
    assert_eq!(runs[0]["failure"]["unmet"][0]["expected"], "a running");
    assert!(runs[0]["incidents"].as_array().is_some_and(|all| !all.is_empty()));
}

#[test]
fn an_error_of_a_scenario_is_no_failure_of_the_product() {
    let bed = Bed::new();
    bed.write(
        "drill.yaml",
        "version: 1\nscenario: unsteady\nconfiguration: { workers: { a: { command: [/nonexistent/x], restart: never } } }\n\
         steps:\n  - wait: { running: all }\n  - expect: { phase: { a: running } }\n",
    );
    let output = drill(&bed, &["run", "drill.yaml", "--junit", "out.xml"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stdout));
    let cases = check_junit(&bed.path("out.xml"));
    assert_eq!((cases[0].result.as_str(), cases[0].kind.as_deref()), ("error", Some("unsteady")));
}

#[test]
fn a_failure_says_step_expectation_sight_incident_and_last_lines() {
    let bed = Bed::new();
    let (code, told) = run(
        &bed,
        "version: 1
scenario: telling
configuration:
  supervisor: { fault_injection: allow }
  workers:
    a: { worker: ticker, restart: { backoff: { initial: 0s } } }
    loud: { command: [sh, -c, 'echo last words; exec sleep 1d'], ready: { after: 10ms } }
steps:
  - wait: { running: all }
  - mark: before
  - inject: { worker: a, fault: segfault }
  - expect: { lost: [loud], within: 5s }
",
    );
    assert_eq!(code, Some(1), "{told}");
    for words in [
        "FAILED: telling, step 4 (line 12, `expect`)",
        "expected: lost: loud, and no others",
        "seen:     lost: a; not lost: loud; a was PID",
        "incident 1: segfault in a (process)",
        "last lines of loud:\n    | last words",
        "last lines of the supervisor:",
        "again: supervisord-rs drill run 'drill.yaml' --only 'telling' --keep",
        "[1/1] FAILED: telling",
    ] {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
}

#[test]
fn a_list_says_what_there_is_and_how_long_it_takes_at_most() {
    let bed = Bed::new();
    let scenarios = repository("config/scenarios").display().to_string();
    let output = drill(&bed, &["list", &scenarios, "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = list["scenarios"].as_array().expect("a list");
    assert!(list.len() >= 30);
    assert!(list.iter().all(|one| one["at_most_s"].as_u64().is_some_and(|most| most > 0)));
    let output = drill(&bed, &["list", &scenarios]);
    assert_eq!(text(&output.stdout).lines().count(), list.len());
}
