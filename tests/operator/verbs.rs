//! Verbs that a person uses while a supervisor runs: waiting for a phase, reading logs, reloading a
//! worker, completing names.

use std::time::Duration;

use crate::harness::{Bed, text};

#[test]
fn status_waits_for_a_phase_and_says_when_it_cannot_come() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  slow: { command: [sleep, 1d], ready: { after: 300ms } }\n  \
                job: { command: ['true'], restart: never }\n";
    // Before there is a supervisor at all.
    let mut waiting = bed.command(&["status", "slow", "--wait", "running", "--timeout", "60s"]);
    let waiting = waiting.stdout(std::process::Stdio::null()).spawn();
    let supervisor = bed.start(yaml);
    let status = waiting.expect("it runs").wait().expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", bed.log());
    assert_eq!(supervisor.worker("slow").phase, "running");
    let output = bed.verb(&["status", "job", "--wait", "finished"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = bed.verb(&["status", "job", "--wait", "running"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("not all will be running by themselves"), "{output:?}");
    let output = bed.verb(&["status", "slow", "--wait", "backoff", "--timeout", "50ms"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("not all are backoff after 50ms"), "{output:?}");
    assert_eq!(bed.verb(&["status", "zz", "--wait", "running"]).status.code(), Some(4));
    assert_eq!(bed.verb(&["status", "--wait", "ready"]).status.code(), Some(2));
    supervisor.stop();
}

#[test]
fn a_worker_is_reloaded_by_the_signal_of_its_configuration() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a:\n    command: [sh, -c, 'trap \"echo reloaded\" USR1; echo up; while :; do sleep 0.01; done']\n    \
                ready: { log: up }\n    reload_signal: USR1\n  b: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let supervisor = bed.start(yaml);
    let before = supervisor.wait_running();
    let output = bed.verb(&["signal", "a", "reload"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    supervisor.wait_output("a", "reloaded");
    let output = bed.verb(&["signal", "b", "reload"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(text(&output.stderr).contains("b has no `reload_signal:`"), "{output:?}");
    let after = supervisor.status();
    assert_eq!(after.workers[0].pid, before.workers[0].pid);
    supervisor.stop();
}

#[test]
fn logs_are_chosen_by_time_and_stream_and_shown_as_json() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { command: [sh, -c, 'echo one; echo two >&2; exec sleep 1d'], ready: { after: 0s }, \
                logs: { stderr: a.err, timestamps: true } }\n  \
                b: { command: [sh, -c, 'echo three; exec sleep 1d'], ready: { after: 0s }, logs: { prefix: true } }\n";
    let old = "2020-01-01T00:00:00.000Z zero\n";
    bed.write("logs/a.log", old);
    let supervisor = bed.start(yaml);
    supervisor.wait_output("a", "one");
    supervisor.wait_output("b", "three");
    supervisor.wait("standard error", |supervisor| {
        let path = supervisor.bed.path("logs/a.err");
        std::fs::read_to_string(path).is_ok_and(|text| text.contains("two")).then_some(())
    });
    let lines = |arguments: &[&str]| {
        let output = bed.verb(&[&["logs"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        text(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(lines(&["a"]).iter().any(|line| line.ends_with("zero")));
    let recent = lines(&["a", "--since", "1h"]);
    assert!(recent.len() == 2 && !recent.iter().any(|line| line.ends_with("zero")), "{recent:?}");
    let errors = lines(&["a", "--stderr"]);
    assert!(errors.len() == 1 && errors[0].ends_with(" two"), "{errors:?}");
    // The name stands in front of each line once.
    let all = lines(&["--since", "1h"]);
    let of_b: Vec<&String> = all.iter().filter(|line| line.ends_with("three")).collect();
    assert_eq!(of_b, ["b | three"], "{all:?}");
    assert!(all.iter().any(|line| line.starts_with("a | 2") && line.ends_with(" one")), "{all:?}");
    for line in lines(&["--since", "1h", "--json"]) {
        let record: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let (worker, stream) = match record["message"].as_str() {
            Some("one") => ("a", "stdout"),
            Some("two") => ("a", "stderr"),
            Some("three") => ("b", "stdout"),
            other => panic!("{other:?} in {line}"),
        };
        assert_eq!(
            (&record["worker"], &record["stream"]),
            (&worker.into(), &stream.into()),
            "{line}"
        );
        assert_eq!(record["at"].is_string(), worker == "a", "{line}");
    }
    let output = bed.verb(&["logs", "b", "--stderr"]);
    assert!(text(&output.stderr).contains("keeps them apart"), "{output:?}");
    supervisor.stop();
}

#[test]
fn completions_know_the_workers_that_run() {
    let bed = Bed::new();
    let supervisor = bed.start(
        "version: 1\ngroups: { web: { workers: [api] } }\nworkers:\n  api: { instances: 2, command: [sleep, 1d] }\n  db: { worker: sleeper }\n",
    );
    supervisor.wait_for(Duration::from_secs(60), "the workers", |supervisor| {
        (supervisor.client.status().ok()?.workers.len() == 3).then_some(())
    });
    let script = bed.write("completions", &text(&bed.verb(&["completions", "bash"]).stdout));
    let program = crate::harness::program();
    let complete = format!(
        "source {}; COMP_WORDS=({} stop \"$1\"); COMP_CWORD=2; _supervisord_rs_workers supervisord-rs \"$1\" stop; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        program.get_program().to_string_lossy()
    );
    let completed = |word: &str| {
        let mut bash = std::process::Command::new("bash");
        bash.args(["-c", &complete, "bash", word]);
        bash.env("SUPERVISORD_RS_SOCKET", bed.path("run/control.sock"));
        text(&bash.output().expect("bash").stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = completed("");
    for name in ["api", "api.1", "api.2", "db", "web:"] {
        assert!(all.iter().any(|known| known == name), "{name} is not in {all:?}");
    }
    assert_eq!(completed("d"), ["db"]);
    supervisor.stop();
}
