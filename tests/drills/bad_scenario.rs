//! A scenario that is not valid is refused with all its errors, each at its place, before anything is started.

use crate::drill;
use crate::harness::golden::golden;
use crate::harness::{Bed, text};

/// What `drill run` says of a scenario that is not valid.
#[track_caller]
fn refused(scenario: &str, status: i32) -> String {
    let bed = Bed::new();
    bed.write("drill.yaml", scenario);
    let output = drill(&bed, &["run", "drill.yaml"]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{message}");
    assert_eq!(text(&output.stdout), "", "nothing was started");
    message
}

#[test]
fn every_error_has_its_place() {
    let scenario = "version: 1
scenarioo: misspelt
configuration:
  workers:
    api: { worker: ticker, restrat: always }
repeat: 0
steps:
  - wait: { runing: all }
  - wait: { for: 3 }
  - wait: { running: all, log: { api: x } }
  - ingect: { worker: api, fault: panic }
  - load: { http: \"https://127.0.0.1/\" }
  - squeeze: { api: 1MiB }
  - fill: memory
  - sleep: 3s
  - stop: api
    start: api
  - expect: {}
  - kill: everyone
  - 7
finally: { left_behind: something }
";
    golden("drill/errors.txt", &refused(scenario, 78));
}

#[test]
fn names_faults_and_marks_are_looked_up() {
    let scenario = "version: 1
scenario: names
configuration:
  supervisor: { fault_injection: allow }
  workers:
    api: { worker: ticker }
    web: { worker: ticker, instances: 2 }
    job: { command: [sleep, 1d] }
    thread: { worker: ticker, isolation: thread }
steps:
  - expect: { lost: [api] }
  - mark: before
  - mark: before
  - inject: { worker: apy, fault: segfault }
  - inject: { worker: api, fault: segfolt }
  - inject: { worker: web, fault: segfault }
  - inject: { worker: job, fault: panic }
  - inject: { worker: thread, fault: signal-term }
  - kill: api
  - signal: { worker: api, signal: HUPP }
  - expect: { lost: [apy], adopted: [], log: { api: '(' }, numbered: { api: 'n' }, since: after }
  - expect: { back: {}, work_lost: { most: 3 }, incident: {}, phase: { api: runing } }
  - reload: nothing.yaml
";
    golden("drill/names.txt", &refused(scenario, 78));
}

#[test]
fn a_storm_is_checked_before_anything_starts() {
    let scenario = "version: 1
scenario: storms
configuration:
  supervisor: { fault_injection: allow }
  workers:
    api: { worker: ticker }
    web: { command: [sleep, 1d] }
    thread: { worker: ticker, isolation: thread }
    last: { worker: ticker, critical: true }
steps:
  - storm: {}
  - storm: { seed: 1.5, faults: [segfolt, panic-at-launch, kill-supervizor, hang], per_second: 0, for: 1, workers: [wep], invariants: [raduis] }
  - storm: { faults: [signal-term], per_second: 5, for: 2s, workers: thread }
  - storm: { faults: [panic, kill-guardian], per_second: 5, for: 2s, workers: [api, web] }
  - storm: { faults: [segfault], per_second: 5, for: 2s, workers: last }
  - storm: { faults: all, per_second: 1000, for: 1h }
  - storm: { faults: [], per_second: 1, for: 2s, invariants: [] }
  - storm: { fault: segfault, per_secnd: 1, for: 2s }
  - storm: { seed: 7, schedule: [] }
  - storm: { schedule: [ { after: 3, kill: worker }, { kill: guardian, worker: api }, { worker: api, fault: hang }, { worker: web, fault: panic }, { progress: 0 } ] }
sometimes:
  - { fault: panik, isolation: sell, phase: runing }
  - { fault: bus-error }
  - { isolation: cell }
";
    golden("drill/storms.txt", &refused(scenario, 78));
    let denied = "version: 1
scenario: denied
configuration: { workers: { api: { worker: ticker } } }
steps:
  - storm: { faults: [segfault], per_second: 1, for: 2s }
";
    let message = refused(denied, 78);
    assert!(message.contains("crash injection is off"), "{message}");
}

#[test]
fn a_configuration_that_denies_injection_is_refused_before_anything_runs() {
    let bed = Bed::new();
    bed.write("app.yaml", "version: 1\nworkers: { api: { worker: ticker } }\n");
    bed.write(
        "drill.yaml",
        "version: 1\nscenario: denied\nconfiguration: app.yaml\nsteps:\n  - mark: before\n  \
         - inject: { worker: api, fault: segfault }\n  - expect: { lost: [api] }\n",
    );
    let output = drill(&bed, &["run", "drill.yaml"]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{message}");
    assert!(message.contains("crash injection is off"), "{message}");
    assert!(message.contains("write `supervisor: { fault_injection: allow }` into"), "{message}");
    bed.write("app.yaml", "version: 1\nworkers: { api: { comand: [x] } }\n");
    let output = drill(&bed, &["run", "drill.yaml"]);
    let message = text(&output.stderr);
    assert!(message.contains("did you mean `command`?"), "{message}");
    assert!(message.contains("app.yaml:2:"), "at its place in the configuration: {message}");
}

#[test]
fn a_scenario_that_expects_nothing_cannot_fail_and_is_refused() {
    let message = refused(
        "version: 1\nscenario: idle\nconfiguration: { workers: { a: { worker: ticker } } }\nsteps:\n  \
         - wait: { running: all }\n",
        78,
    );
    assert!(message.contains("nothing is expected, so this scenario cannot fail"), "{message}");
}

#[test]
fn what_is_named_must_be_there() {
    let bed = Bed::new();
    let of = |arguments: &[&str]| {
        let output = drill(&bed, arguments);
        (output.status.code(), text(&output.stderr))
    };
    let (code, message) = of(&["run", "nowhere"]);
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("cannot read nowhere"), "{message}");
    std::fs::create_dir(bed.path("empty")).expect("a directory");
    let (code, message) = of(&["run", "empty"]);
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("no scenario in empty: write one, or begin with"), "{message}");
    let valid = "version: 1\nscenario: one\nconfiguration: { workers: { a: { worker: ticker } } }\n\
                 steps: [{ wait: { running: all } }, { expect: { phase: { a: running } } }]\n";
    std::fs::create_dir(bed.path("two")).expect("a directory");
    bed.write("two/a.yaml", valid);
    // A configuration that lies beside a scenario is passed over.
    bed.write("two/app.yaml", "version: 1\nworkers: { a: { worker: ticker } }\n");
    let (code, message) = of(&["run", "two", "--only", "won"]);
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("no scenario is called `won`; there are: one"), "{message}");
    let (code, message) = of(&["run", "two", "--junit", "/nonexistent/out.xml"]);
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("cannot write /nonexistent/out.xml"), "{message}");
    let (code, message) = of(&["run", "two", "-c", "two/app.yaml"]);
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("leave out `-c`"), "{message}");
    bed.write("two/b.yaml", valid);
    let (code, message) = of(&["run", "two"]);
    assert_eq!(code, Some(78), "{message}");
    assert!(message.contains("are both called `one`"), "{message}");
    let (code, message) = of(&["run", "two/a.yaml"]);
    assert_eq!(code, Some(0), "{message}");
}

#[test]
fn a_configuration_where_a_scenario_is_meant_is_one_error() {
    let bed = Bed::new();
    bed.write("app.yaml", "version: 1\nworkers: { a: { worker: ticker } }\n");
    let output = drill(&bed, &["run", "app.yaml"]);
    let message = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{message}");
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
    assert!(message.contains("this is a configuration (it has `workers:`)"), "{message}");
    assert!(message.contains("prints a first one"), "{message}");
}
