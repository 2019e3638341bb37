//! `reload` answers as `start` does, and as `check` does where the file is not valid.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::answers::outcome;
use crate::harness::{Bed, find, text};

#[test]
fn a_reload_removes_what_did_not_run_and_says_how_to_reach_an_older_socket() {
    let bed = Bed::new();
    let kept = "version: 1\nworkers:\n  kept: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let supervisor =
        bed.start(&format!("{kept}  idle: {{ command: [sleep, 1d], autostart: false }}\n"));
    supervisor.wait_phase("kept", "running");
    bed.write("supervisord-rs.yaml", kept);
    let output = bed.verb(&["reload"]);
    let said = text(&output.stdout);
    for words in ["  removed    idle\n", "  kept       kept\n"] {
        assert!(said.contains(words), "no `{words}` in: {output:?}");
    }
    let moved = format!("{kept}supervisor: {{ runtime_dir: {} }}\n", bed.path("new").display());
    let file = bed.write("moved.yaml", &moved).display().to_string();
    let output = bed.verb(&["-c", &file, "reload"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let words = "another `runtime_dir:` than the file has now is reached by `--socket`";
    assert!(text(&output.stderr).contains(words), "{output:?}");
    supervisor.stop();
}

#[test]
fn a_reload_reports_like_a_start() {
    let bed = Bed::new();
    let yaml = |option: &str| {
        format!(
            "version: 1\ndefaults: {{ ready: {{ after: 100ms }} }}\nworkers:\n  \
                kept: {{ command: [sleep, 1d] }}\n  \
             good: {{ command: [sleep, 1d, {option}] }}\n  \
             a: {{ command: [sh, -c, 'test {option} = 0s || {{ echo bad option; exit 2; }}; echo \
             >&3; exec sleep 1d'], ready: {{ fd: 3 }}, restart: never }}\n"
        )
    };
    let supervisor = bed.start(&yaml("0s"));
    supervisor.wait_running();
    bed.write("supervisord-rs.yaml", &yaml("1s"));
    let output = bed.verb(&["reload"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for words in [
        "done for 1 of 2 workers:",
        "  good runs (pid ",
        "  a failed: exit status 2; see `logs a` and `incidents ",
        "    | bad option",
    ] {
        assert!(said.contains(words), "no `{words}` in:\n{said}");
    }
    assert!(!said.contains("finished"), "{said}");
    bed.write(
        "supervisord-rs.yaml",
        &format!(
            "{}  b: {{ command: [sh, -c, 'echo no b; exit 3'], ready: {{ fd: 3 }}, restart: never }}\n",
            yaml("0s")
        ),
    );
    let output = bed.verb(&["reload", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON also of a failure");
    assert_eq!((output.status.code(), &answer["error"]), (Some(1), &"failed".into()), "{answer:#}");
    assert_eq!(outcome(&answer, "good")["outcome"], "running", "{answer:#}");
    let failed = outcome(&answer, "b");
    assert_eq!((&failed["outcome"], &failed["ending"]["exit_code"]), (&"failed".into(), &3.into()));
    assert_eq!(failed["last_output"][0], "no b", "{answer:#}");
    assert!(failed["incident"].is_u64(), "{answer:#}");
    // What is refused is an answer too.
    bed.write("supervisord-rs.yaml", &yaml("0s").replace("  kept: { command: [sleep, 1d] }\n", ""));
    let output = bed.verb(&["reload", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON of a refusal");
    assert_eq!((output.status.code(), &answer["error"]), (Some(4), &"refused".into()), "{answer}");
    supervisor.stop();
}

/// `restart` names them; so does a reload, and waits for them.
#[test]
fn a_reload_names_the_dependents_that_it_restarts() {
    let bed = Bed::new();
    let yaml = |database: &str| {
        format!(
            "version: 1\ndefaults: {{ ready: {{ after: 0s }} }}\nworkers:\n  \
             db: {{ command: [sleep, {database}] }}\n  \
             api: {{ command: [sleep, 1d], depends_on: {{ db: ready }} }}\n  \
             page: {{ command: [sleep, 1d], depends_on: [api] }}\n  \
             idle: {{ command: [sleep, 1d], depends_on: [db], autostart: false }}\n  \
             late: {{ command: [sleep, 1d], depends_on: {{ db: {{ is: ready, soft: true }} \
             }} }}\n"
        )
    };
    let supervisor = bed.start(&yaml("1d"));
    for name in ["page", "late"] {
        supervisor.wait_phase(name, "running");
    }
    let before = supervisor.status();
    bed.write("supervisord-rs.yaml", &yaml("2d"));
    let output = bed.verb(&["reload"]);
    let said = text(&output.stdout);
    for words in
        ["  restarted  db\n", "  restarted  api page (as dependents)\n", "  kept       idle late\n"]
    {
        assert!(said.contains(words), "no `{words}` in: {output:?}");
    }
    let after = supervisor.status();
    for name in ["db", "api", "page", "late"] {
        let is_same = find(&before, name).pid == find(&after, name).pid;
        assert_eq!(is_same, name == "late", "{name}: {after:?}");
    }
    supervisor.stop();
}

/// More than there ever were, so that all of them come.
#[test]
fn a_reload_that_raises_a_scaled_number_says_that_all_come_back() {
    let bed = Bed::new();
    let yaml = |count: u32| {
        format!(
            "version: 1\nworkers:\n  w: {{ command: [sleep, 1d], ready: {{ after: 0s }}, \
             instances: {count} }}\n"
        )
    };
    let supervisor = bed.start(&yaml(3));
    supervisor.wait_running();
    assert_eq!(bed.verb(&["scale", "w", "2"]).status.code(), Some(0));
    bed.write("supervisord-rs.yaml", &yaml(4));
    let said = text(&bed.verb(&["reload"]).stdout);
    assert!(said.contains("  started    w.3 w.4\n") && !said.contains("not there"), "{said}");
    supervisor.wait_phase("w.3", "running");
    // Those beyond the number in the file are made of the same entry.
    assert_eq!(bed.verb(&["scale", "w", "5"]).status.code(), Some(0));
    bed.write("supervisord-rs.yaml", &yaml(4).replace("1d", "2d"));
    let said = text(&bed.verb(&["reload"]).stdout);
    assert!(said.contains("  restarted  w.1 w.2 w.3 w.4 w.5\n"), "{said}");
    supervisor.stop();
}

#[test]
fn a_failure_after_a_reload_counts_although_the_worker_runs_by_now() {
    let bed = Bed::new();
    let kept = "version: 1\nworkers:\n  kept: { worker: ticker }\n";
    let supervisor = bed.start(kept);
    supervisor.wait_running();
    // Its second run is ready at once.
    let second = "  w: { command: [sh, -c, 'mkdir first && exit 3; echo >&3; exec sleep 1d'], \
        ready: { fd: 3 }, restart: { backoff: { initial: 0s } }, cwd: CWD }\n";
    let second = second.replace("CWD", &bed.path("").display().to_string());
    bed.write("supervisord-rs.yaml", &format!("{kept}{second}"));
    let output = bed.verb(&["reload"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("w failed: exit status 3") && said.contains("incidents 1"), "{said}");
    supervisor.wait_phase("w", "running");
    supervisor.stop();
}

#[test]
fn what_waits_for_a_stopped_worker_however_far_away_is_an_outcome() {
    let bed = Bed::new();
    let db = "version: 1\ndefaults: { ready: { after: 10ms } }\nworkers:\n  \
        db: { command: [sleep, 1d] }\n";
    let supervisor = bed.start(db);
    supervisor.wait_running();
    assert!(bed.verb(&["stop", "db"]).status.success());
    let behind = "  mid: { command: [sleep, 1d], depends_on: [db] }\n  \
        api: { command: [sleep, 1d], depends_on: [mid] }\n";
    bed.write("supervisord-rs.yaml", &format!("{db}{behind}"));
    let begun = Instant::now();
    let output = bed.verb(&["reload"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for worker in ["mid", "api"] {
        let words = format!("  {worker} cannot start: db is stopped (`start db`)");
        assert!(said.contains(&words), "no `{words}` in:\n{said}");
    }
    let output = bed.verb(&["status", "api", "--wait", "running"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("without another order"), "{output:?}");
    assert!(begun.elapsed() < Duration::from_secs(60), "not the 5 minutes of the default");
    let api = supervisor.worker("api");
    assert!(api.blocked, "{api:?}");
    assert_eq!(api.waits_why.as_deref(), Some("waits for mid; db is stopped (`start db`)"));
    assert!(bed.verb(&["start", "db"]).status.success());
    supervisor.wait_running();
    supervisor.stop();
}

#[test]
fn a_reload_of_a_file_with_errors_answers_as_check_does() {
    let bed = Bed::new();
    let supervisor = bed.start("version: 1\nworkers: { a: { worker: ticker } }\n");
    let wrong: String = (0..150).map(|n| format!("  w{n}: {{ comand: [x] }}\n")).collect();
    bed.write("supervisord-rs.yaml", &format!("version: 1\nworkers:\n{wrong}"));
    let json = |verb: &[&str]| -> Value {
        let output = bed.verb(verb);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let file = bed.path("supervisord-rs.yaml").display().to_string();
    let checked = json(&["check", &file, "--json"]);
    assert!(checked["count"].as_u64() >= Some(150), "{}", checked["count"]);
    assert_eq!(json(&["reload", "--json"]), checked);
    supervisor.stop();
}

#[test]
fn a_reload_says_which_changed_workers_it_did_not_start() {
    let bed = Bed::new();
    let yaml = |code: u8| {
        format!(
            "version: 1\ndefaults: {{ restart: {{ backoff: {{ initial: 1h, max: 1h }} }} }}\n\
                workers:\n  \
             failed: {{ command: [sh, -c, exit {code}], restart: never }}\n  \
             later: {{ command: [sh, -c, exit {code}] }}\n  \
             never: {{ command: [sh, -c, exit {code}], restart: {{ never_on: [7] }} }}\n  \
             stopped: {{ command: [sleep, {code}d] }}\n"
        )
    };
    let supervisor = bed.start(&yaml(7));
    for (worker, phase) in [
        ("failed", "finished"),
        ("later", "backoff"),
        ("never", "quarantined"),
        ("stopped", "running"),
    ] {
        supervisor.wait_phase(worker, phase);
    }
    assert!(bed.verb(&["stop", "stopped"]).status.success());
    bed.write("supervisord-rs.yaml", &yaml(8));
    let output = bed.verb(&["reload"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for words in [
        "  changed    failed later never stopped",
        "  failed has failed (exit status 7) and was not started: `supervisord-rs start failed` \
            starts it",
        "  later is in backoff: next attempt in ",
        "  never is in quarantine and was not started: `supervisord-rs start never` starts it",
        "  stopped is stopped: `supervisord-rs start stopped` starts it",
    ] {
        assert!(said.contains(words), "no `{words}` in:\n{said}");
    }
    supervisor.stop();
}
