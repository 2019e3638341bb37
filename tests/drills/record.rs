//! `drill record`: a scenario from an incident of a real run is valid, holds, and can fail.

use nix::sys::signal::Signal;

use crate::harness::golden::golden;
use crate::harness::{self, Bed, EAGER, Supervisor, text};
use crate::{drill, drill_alone};

/// The configuration of a real run. `isolation`: of three workers, two of which share a cell.
fn configuration(isolation: &str) -> String {
    format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\ndefaults: {{ {EAGER} }}\nworkers:\n  \
         api: {{ worker: ticker }}\n  left: {{ worker: ticker, {isolation} }}\n  right: {{ worker: \
         ticker, {isolation} }}\n  job: {{ command: [sh, -c, 'while ! rm go 2> /dev/null; do sleep \
         0.02; done; exit 3'], cwd: ., ready: {{ after: 10ms }} }}\n  by-hand: {{ worker: ticker, \
         autostart: false }}\n"
    )
}

const CELL: &str = "isolation: thread, cell: pair";

/// What `drill record` says of an incident.
fn record(bed: &Bed, incident: u64) -> (Option<i32>, String, String) {
    let number = incident.to_string();
    let output = bed
        .command(&["drill", "record", &number, "-c", "supervisord-rs.yaml"])
        .current_dir(bed.directory.path())
        .output()
        .expect("the program runs");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The scenario of an incident.
#[track_caller]
fn recorded(bed: &Bed, incident: u64) -> String {
    let (code, scenario, why) = record(bed, incident);
    assert_eq!(code, Some(0), "{why}");
    scenario
}

/// The incident that comes next.
fn next(supervisor: &Supervisor<'_>, known: u64) -> u64 {
    supervisor.wait_incident(known).id
}

#[test]
fn what_happened_to_each_of_them_happens_again() {
    let bed = Bed::new();
    let supervisor = bed.start(&configuration(CELL));
    let before = supervisor.wait("all to run", |supervisor| {
        let status = supervisor.status();
        let is_up = |name: &str| harness::find(&status, name).phase == "running";
        ["api", "left", "right", "job"].into_iter().all(is_up).then_some(status)
    });
    // A real crash, no matter who sent the signal.
    harness::kill(harness::find(&before, "api").pid.expect("it runs"), Signal::SIGSEGV);
    let mut incidents = vec![next(&supervisor, 0)];
    supervisor.client.inject("left", "panic").expect("injection is allowed");
    incidents.push(next(&supervisor, incidents[0]));
    bed.write("go", "");
    incidents.push(next(&supervisor, incidents[1]));
    supervisor.client.start(&["by-hand".into()], true).expect("it starts");
    supervisor.client.inject("by-hand", "exit:4").expect("injection is allowed");
    incidents.push(next(&supervisor, incidents[2]));
    let pid = supervisor.status().supervisor.pid;
    harness::kill(pid, Signal::SIGKILL);
    supervisor.wait_successor(pid);
    incidents.push(next(&supervisor, incidents[3]));
    let scenarios: Vec<String> =
        incidents.iter().map(|incident| recorded(&bed, *incident)).collect();
    supervisor.stop();
    // Its files tell the same when it has ended.
    for (incident, scenario) in incidents.iter().zip(&scenarios) {
        assert_eq!(recorded(&bed, *incident), *scenario);
    }
    let told = |line: &&str| !line.starts_with("# Incident");
    let lines = scenarios.iter().flat_map(|one| one.lines()).filter(told);
    let back = |line: &str| line.contains("within: ") && !line.contains("running: all");
    let lines: Vec<&str> = lines.filter(|line| !back(line)).collect();
    golden("drill/recorded.txt", &(lines.join("\n") + "\n"));
    for (number, scenario) in scenarios.iter().enumerate() {
        bed.write(
            &format!("drills/{number}.yaml"),
            &scenario.replace("supervisord-rs.yaml", "../supervisord-rs.yaml"),
        );
    }
    let output = drill_alone_in(&bed, &["run", "drills"]);
    assert_eq!(output.0, Some(0), "{}", output.1);
    assert!(output.1.contains("5 of 5 runs held"), "{}", output.1);
    // One that would not notice a larger loss would be worth nothing.
    let others = configuration("isolation: thread, cell: pair").replace(
        "api: { worker: ticker }",
        "api: { worker: ticker, isolation: thread, cell: pair }",
    );
    bed.write("supervisord-rs.yaml", &others);
    let output = drill_alone_in(&bed, &["run", "drills", "--only", "incident 1, segfault in api"]);
    assert_eq!(output.0, Some(1), "{}", output.1);
    assert!(output.1.contains("expected: lost: api, and no others"), "{}", output.1);
}

fn drill_alone_in(bed: &Bed, arguments: &[&str]) -> (Option<i32>, String) {
    let _others = crate::beside_others();
    let output = drill_alone(bed, arguments);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn what_cannot_happen_again_is_refused_with_the_reason() {
    let bed = Bed::new();
    let denied = configuration(CELL).replace("fault_injection: allow", "fault_injection: deny");
    let broken = denied + "  broken: { command: [/nonexistent/program], restart: never }\n";
    let supervisor = bed.start(&broken);
    let first = supervisor.wait_incident(0);
    assert_eq!(first.worker.as_deref(), Some("broken"), "{}", first.sentence);
    let (code, scenario, why) = record(&bed, first.id);
    assert_eq!((code, scenario.as_str()), (Some(4), ""));
    assert!(why.contains("crash injection is off in supervisord-rs.yaml"), "{why}");
    bed.write("supervisord-rs.yaml", &broken.replace("deny", "allow"));
    let (code, _, why) = record(&bed, first.id);
    assert_eq!(code, Some(4), "{why}");
    assert!(why.contains("cannot be repeated by a fault (launch-failure)"), "{why}");
    let (code, _, why) = record(&bed, 4711);
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("no incident has the number 4711"), "{why}");
    bed.write("supervisord-rs.yaml", &configuration(CELL));
    let (code, _, why) = record(&bed, first.id);
    assert_eq!(code, Some(4), "{why}");
    assert!(why.contains("broken of incident 1 is not in supervisord-rs.yaml"), "{why}");
    let output = drill_without_file(&bed);
    assert!(output.contains("which configuration?"), "{output}");
    supervisor.stop();
}

/// By the socket alone.
fn drill_without_file(bed: &Bed) -> String {
    std::fs::rename(bed.path("supervisord-rs.yaml"), bed.path("other.yaml")).expect("renamed");
    let output = bed
        .command(&["drill", "record", "1", "--socket", "run/control.sock"])
        .current_dir(bed.directory.path())
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    std::fs::rename(bed.path("other.yaml"), bed.path("supervisord-rs.yaml")).expect("renamed");
    let unknown = drill(&Bed::new(), &["record", "x"]);
    assert_eq!(unknown.status.code(), Some(2));
    text(&output.stderr)
}
