//! The answers to orders and `status` are true, worker by worker.

use std::time::{Duration, Instant};

use crate::harness::{Bed, find, text};
use serde_json::Value;
use supervisord_rs::control::protocol::IncidentRecord;

/// A worker for each outcome of a start.
const EACH_WAY: &str = "version: 1\ndefaults: { autostart: false, restart: { backoff: { initial: \
    10s } } }\nworkers:\n  \
    good: { command: [sleep, 1d], ready: { after: 0s } }\n  \
    hasty: { command: [sh, -c, 'echo about to fail; exit 3'], ready: { after: 5s } }\n  \
    missing: { command: [/no/such/program] }\n  \
    late: { command: [sleep, 1d], ready: { fd: 3, timeout: 300ms } }\n  \
    job: { command: [sh, -c, 'exit 0'], restart: never, ready: { after: 5s } }\n  \
    broken: { command: [sh, -c, 'kill -9 $$'], restart: never, ready: { after: 5s } }\n";

pub(crate) fn outcome<'a>(answer: &'a Value, worker: &str) -> &'a Value {
    let all = answer["outcomes"].as_array().expect("outcomes");
    all.iter().find(|outcome| outcome["worker"] == worker).expect("an outcome of each")
}

#[test]
fn a_start_tells_the_outcome_of_each_worker_and_fails_if_one_does() {
    let bed = Bed::new();
    let supervisor = bed.start(EACH_WAY);
    let output = bed.verb(&["start", "all", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON also of a failure");
    for (worker, expected) in [
        ("good", "running"),
        ("hasty", "failed"),
        ("missing", "failed"),
        ("late", "failed"),
        ("job", "succeeded"),
        ("broken", "failed"),
    ] {
        assert_eq!(outcome(&answer, worker)["outcome"], expected, "{worker}: {answer:#}");
    }
    let hasty = outcome(&answer, "hasty");
    assert_eq!(hasty["ending"]["exit_code"], 3, "{hasty}");
    assert_eq!(hasty["last_output"][0], "about to fail", "{hasty}");
    assert!(hasty["retry_in_ms"].as_u64() > Some(1000), "{hasty}");
    let missing = &outcome(&answer, "missing")["ending"];
    assert_eq!((&missing["stage"], &missing["errno"]), (&"exec".into(), &"ENOENT".into()));
    assert_eq!(missing["exit_code"], 127);
    assert_eq!(outcome(&answer, "late")["ending"]["cause"], "start-timeout");
    assert_eq!(outcome(&answer, "broken")["ending"]["signal"], "SIGKILL");
    supervisor.stop();
}

#[test]
fn the_answer_has_a_line_for_each_worker_with_its_last_lines() {
    let bed = Bed::new();
    let supervisor = bed.start(EACH_WAY);
    let output = bed.verb(&["start", "good", "hasty", "missing"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [
        "done for 1 of 3 workers:",
        "  good runs (pid ",
        "  hasty failed: exit status 3; next attempt in ",
        "    | about to fail",
        "  missing failed: cannot execute /no/such/program: No such file or directory",
        "(exec, ENOENT, exit status 127)",
        "see `logs hasty` and `incidents ",
    ] {
        assert!(said.contains(words), "no `{words}` in:\n{said}");
    }
    let output = bed.verb(&["start", "good", "job"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("done; ended with success: job"), "{output:?}");
    // One worker has one line.
    let output = bed.verb(&["restart", "broken"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).starts_with("supervisord-rs: broken failed: SIGKILL; see `logs"));
    supervisor.stop();
}

#[test]
fn a_failure_counts_although_the_next_attempt_has_begun() {
    let bed = Bed::new();
    // It fails once, and is tried again at once: by the time of the answer it may run.
    let yaml = "version: 1\nworkers:\n  once: { autostart: false, \
        command: [sh, -c, 'test -e ../stamp || { touch ../stamp; exit 4; }; echo >&3; exec sleep 1d'], \
        cwd: logs, ready: { fd: 3 }, restart: { backoff: { initial: 0s } } }\n  \
        slow: { command: [sleep, 1d], autostart: false, ready: { after: 1s } }\n";
    std::fs::create_dir(bed.path("logs")).expect("a directory");
    let supervisor =
        bed.start(&yaml.replace("cwd: logs", &format!("cwd: {}", bed.path("logs").display())));
    let output = bed.verb(&["start", "all"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("once failed: exit status 4"), "{said}");
    assert!(said.contains("slow runs"), "all are waited for, not the first alone: {said}");
    supervisor.stop();
}

#[test]
fn a_scale_tells_which_of_the_new_instances_failed_and_how() {
    let bed = Bed::new();
    let full = bed.path("full");
    let yaml = "version: 1\nworkers:\n  pool: { instances: 1, ready: { fd: 3 }, restart: { \
        backoff: { initial: 1h, max: 1h } }, \
        command: [sh, -c, 'test -e FULL && { echo no room; exit 9; }; echo >&3; exec \
        sleep 1d'] }\n";
    let supervisor = bed.start(&yaml.replace("FULL", &full.display().to_string()));
    supervisor.wait_phase("pool.1", "running");
    std::fs::write(&full, "").expect("a file");
    let output = bed.verb(&["scale", "pool", "3"]);
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()), "{said}");
    for words in [
        "done for 0 of 2 workers:",
        "  pool.2 failed: exit status 9; next attempt in ",
        "  pool.3 failed: exit status 9; next attempt in ",
        "    | no room",
        "; see `logs pool.3` and `incidents ",
    ] {
        assert!(said.contains(words), "no `{words}` in:\n{said}");
    }
    let output = bed.verb(&["scale", "pool", "4", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON also of a failure");
    let new = outcome(&answer, "pool.4");
    assert_eq!((&new["outcome"], &new["ending"]["exit_code"]), (&"failed".into(), &9.into()));
    assert_eq!(new["last_output"], serde_json::json!(["no room"]), "{new}");
    std::fs::remove_file(&full).expect("the file");
    let output = bed.verb(&["scale", "pool", "5"]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "what ran or failed before does not count: {output:?}"
    );
    supervisor.stop();
}

#[test]
fn status_is_0_when_nothing_is_wrong_and_tells_success_from_failure() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        service: { command: [sleep, 1d] }\n  \
        migrate: { command: [\"true\"], restart: never, ready: { after: 5s } }\n  \
        often: { command: [\"true\"], restart: { policy: always, backoff: { initial: 1h, max: 1h \
        }, limit: { restarts: 1000, within: 1s } } }\n  \
        by-hand: { command: [sleep, 1d], autostart: false }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_phase("migrate", "finished");
    supervisor.wait_phase("often", "backoff");
    supervisor.wait_phase("service", "running");
    let output = bed.verb(&["status"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(bed.verb(&["status", "migrate", "often"]).status.code(), Some(0));
    assert_eq!(bed.verb(&["status", "by-hand"]).status.code(), Some(3), "asked about by name");
    let migrate = supervisor.worker("migrate");
    assert_eq!((migrate.succeeded, migrate.ok), (Some(true), true));
    let coloured = text(&bed.verb(&["--color", "always", "status"]).stdout);
    assert!(coloured.contains("\x1b[2mfinished\x1b[0m"), "{coloured}");
    bed.verb(&["stop", "service"]);
    assert_eq!(bed.verb(&["status"]).status.code(), Some(3), "stopped by hand is not running");
    supervisor.stop();

    let bed = Bed::new();
    let supervisor =
        bed.start(&yaml.replace("[\"true\"], restart: never", "[\"false\"], restart: never"));
    let migrate = supervisor.wait_phase("migrate", "finished");
    assert_eq!((migrate.succeeded, migrate.ok), (Some(false), false));
    let output = bed.verb(&["status", "migrate"]);
    assert_eq!(output.status.code(), Some(3));
    let shown = text(&output.stdout);
    assert!(shown.contains("failed") && shown.contains("exit status 1"), "{shown}");
    assert!(!shown.contains("finished"), "{shown}");
    let coloured = text(&bed.verb(&["--color", "always", "status"]).stdout);
    assert!(coloured.contains("\x1b[31mfailed\x1b[0m"), "{coloured}");
    // The log has the word of `status`.
    let log = bed.wait_log("migrate has failed for good");
    assert!(!log.contains("is finished"), "{log}");
    supervisor.stop();
}

#[test]
fn a_service_that_ends_before_it_is_ready_has_not_succeeded() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  \
        flappy: { command: [sh, -c, 'exit 0'], ready: { after: 10s }, \
            restart: { policy: always, backoff: { initial: 1h, max: 1h } } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_phase("flappy", "backoff");
    assert_eq!(bed.verb(&["status", "flappy"]).status.code(), Some(3));
    assert!(!supervisor.worker("flappy").ok);
    let output = bed.verb(&["start", "flappy"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    supervisor.stop();
}

#[test]
fn a_job_that_has_failed_for_good_is_named_by_what_waits_for_it() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        migrate: { command: [sh, -c, 'exit 3'], restart: never, ready: { after: 5s } }\n  \
        api: { command: [sleep, 1d], depends_on: { migrate: finished } }\n  \
        web: { command: [sleep, 1d], depends_on: { api: ready } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_phase("migrate", "finished");
    supervisor.wait("web to be known not to come", |supervisor| {
        let web = find(&supervisor.client.status().ok()?, "web");
        (web.in_vain.as_deref() == Some("migrate")).then_some(())
    });
    let why = "cannot start: it waits for migrate, which has failed (exit status 3) and is not \
        tried again";
    for name in ["api", "web"] {
        let output = bed.verb(&["start", name]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains(&format!("{name} {why}")), "{output:?}");
        bed.wait_log(&format!("{name} {why}"));
    }
    let shown = text(&bed.verb(&["status"]).stdout);
    assert!(shown.contains("cannot start: migrate has failed for good"), "{shown}");
    supervisor.stop();
}

#[test]
fn a_critical_worker_that_cannot_start_ends_the_supervisor_and_the_log_says_why() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  \
        migrate: { command: [sh, -c, 'exit 3'], restart: never, ready: { after: 5s } }\n  \
        api: { command: [sleep, 1d], critical: true, depends_on: { migrate: finished } }\n";
    let mut supervisor = bed.launch(yaml, &[]);
    assert_eq!(supervisor.wait_exit().code(), Some(3), "the status of what has failed");
    let log = bed.log();
    for words in [
        "stopping everything, to end with exit status 3: api is critical and cannot start",
        "it waits for migrate, which has failed (exit status 3)",
    ] {
        assert!(log.contains(words), "no `{words}` in:\n{log}");
    }
}

#[test]
fn an_incident_is_a_line_when_it_opens_and_one_when_it_is_settled() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        a: { command: [sleep, 1d], restart: { backoff: { initial: 1h, max: 1h } } }\n";
    let supervisor = bed.start(yaml);
    let pid = supervisor.wait_phase("a", "running").pid.expect("it runs");
    crate::harness::kill(pid, nix::sys::signal::Signal::SIGSEGV);
    supervisor.wait_phase("a", "backoff");
    let shown = text(&bed.verb(&["incidents"]).stdout);
    let open =
        "incident 1 (open): segfault in a (process): lost a, survived none; next attempt in ";
    assert!(shown.contains(open) && shown.contains("[SIGSEGV]"), "{shown}");
    let one = text(&bed.verb(&["incidents", "1", "--json"]).stdout);
    assert_eq!(serde_json::from_str::<Value>(&one).expect("JSON")["open"], true, "{one}");
    supervisor.client.start(&["a".into()], true).expect("started");
    supervisor.wait_incident(0);
    // A thread of its own writes the log.
    let of_it = |log: &str| -> Vec<String> {
        log.lines().filter(|line| line.contains("incident 1")).map(str::to_owned).collect()
    };
    let of_it = supervisor.wait("both lines", |_| {
        let lines = of_it(&bed.log());
        (lines.len() >= 2).then_some(lines)
    });
    assert_eq!(of_it.len(), 2, "{of_it:#?}");
    assert!(of_it[0].contains(open), "{of_it:#?}");
    assert!(of_it[1].contains("all back after"), "{of_it:#?}");
    supervisor.stop();
}

#[test]
fn what_only_an_administrator_can_mend_is_one_incident_with_a_count() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  gone: { command: [./not-there], \
        restart: { backoff: { initial: 10ms, factor: 1, jitter: 0 }, limit: { restarts: 4, \
        within: 60s } } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_phase("gone", "quarantined");
    let incident = supervisor.wait_incident(0);
    assert_eq!((supervisor.incidents().len(), incident.count), (1, 5), "{incident:?}");
    assert!(incident.sentence.contains("(5 launches failed in this way)"), "{incident:?}");
    assert!(incident.sentence.contains("; exec, ENOENT, exit status 127]"), "{incident:?}");
    supervisor.stop();

    // So are a user that does not exist, and limits without the means to enforce them.
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { restart: { backoff: { initial: 10ms, factor: 1, jitter: 0 \
        }, limit: { restarts: 4, within: 60s } } }\n\
        workers:\n  stranger: { command: [sleep, 1d], user: no-such-user }\n  \
        limited: { command: [sleep, 1d], limits: { pids: 4 } }\n";
    let supervisor = bed.start_in(yaml, &[], &[("SUPERVISORD_RS_CGROUPS", "off")]);
    supervisor.wait_phase("stranger", "quarantined");
    supervisor.wait_phase("limited", "quarantined");
    let incidents = supervisor.wait("both to be settled", |supervisor| {
        let all = supervisor.incidents();
        (all.len() >= 2).then_some(all)
    });
    assert_eq!(incidents.len(), 2, "{incidents:#?}");
    for (worker, why) in [
        (
            "stranger",
            "[there is no user `no-such-user`: add it, or correct `user:`; user, ENOENT, exit \
                status 126]",
        ),
        ("limited", "[cannot enforce its limits: cgroups are switched off"),
    ] {
        let of_it = |incident: &&IncidentRecord| incident.worker.as_deref() == Some(worker);
        let incident = incidents.iter().find(of_it).expect("an incident of each");
        assert_eq!(incident.count, 5, "{incident:?}");
        assert!(incident.sentence.contains("(5 launches failed in this way)"), "{incident:?}");
        assert!(incident.sentence.contains(why), "{incident:?}");
    }
    // One line when it opens and one when it is settled, not two for each attempt.
    let lines = supervisor.wait("both pairs of lines", |_| {
        let log = bed.log();
        let lines = log.lines().filter(|line| line.contains("launch-failure in ")).count();
        (lines >= 4).then_some(lines)
    });
    assert_eq!(lines, 4, "{}", bed.log());
    supervisor.stop();
}

#[test]
fn a_stop_names_the_dependents_that_went_along_and_who_had_to_be_killed() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        db: { command: [sleep, 1d] }\n  \
        api: { command: [sh, -c, 'trap \"\" TERM; echo >&3; while :; do sleep 0.1; done'], \
            depends_on: { db: ready }, ready: { fd: 3 }, stop: { timeout: 200ms } }\n  \
        other: { command: [sleep, 1d] }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    let before = supervisor.worker("api").generation;
    let said = text(&bed.verb(&["restart", "db"]).stdout);
    assert!(said.contains("also restarted, as dependents: api"), "{said}");
    let api = supervisor.worker("api");
    assert_eq!((api.phase.as_str(), api.generation), ("running", before + 1), "it was waited for");
    let output = bed.verb(&["stop", "db", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        answer["message"],
        "stop db: done; also stopped, as dependents: api; killed, because they did not stop in \
            time: api"
    );
    let api = outcome(&answer, "api");
    assert_eq!((&api["dependent"], &api["killed"]), (&true.into(), &true.into()), "{api}");
    assert_eq!(api["ending"]["cause"], "stop-timeout");
    assert_eq!(answer["outcomes"].as_array().map(Vec::len), Some(2), "{answer:#}");
    // Dependents that are wanted come back with it, and the answer says so.
    let output = bed.verb(&["start", "db"]);
    assert_eq!(text(&output.stdout).trim(), "start db: done; also started, as dependents: api");
    assert_eq!(supervisor.worker("api").phase, "running");
    bed.verb(&["stop", "db"]);
    // There is nothing to kill any more.
    let said = text(&bed.verb(&["stop", "api"]).stdout);
    assert_eq!(said.trim(), "stop api: done");
    supervisor.stop();
}

#[test]
fn a_signal_goes_to_groups_and_instances_and_has_a_name_in_the_api() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\n\
        groups: { g: { workers: [one, two] } }\nworkers:\n  \
        pool: { instances: 2, command: [sh, -c, 'trap \"echo hup\" HUP; while :; do sleep 0.05; \
        done'] }\n  \
        one: { command: [sh, -c, 'trap \"echo hup\" HUP; while :; do sleep 0.05; done'] }\n  \
        two: { command: [sleep, 1d], autostart: false }\n  \
        thread: { worker: sleeper, isolation: thread }\n";
    let supervisor = bed.start(yaml);
    for name in ["pool.1", "pool.2", "one", "thread"] {
        supervisor.wait_phase(name, "running");
    }
    // A shell that has not come to its trap yet would die of it.
    for name in ["pool.1", "pool.2", "one"] {
        let pid = supervisor.worker(name).pid.expect("it runs");
        supervisor.wait("the trap", |_| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
            (u64::from_str_radix(caught.trim(), 16).ok()? & 1 == 1).then_some(())
        });
    }
    for (arguments, status, words) in [
        (&["signal", "pool", "HUP"][..], 0, "SIGHUP sent to pool.1, pool.2"),
        (&["signal", "g:", "hup"], 0, "SIGHUP sent to one; not running: two"),
        (
            &["signal", "one", "thread", "CONT"],
            0,
            "SIGCONT sent to one; no process of their own: thread",
        ),
        (&["signal", "two", "HUP"], 4, "two is not running"),
        (&["signal", "thread", "HUP"], 4, "a thread cannot get a signal"),
        (&["signal", "one", "NOPE"], 2, "`NOPE` is not the name of a signal"),
        (&["signal", "nobody", "HUP"], 5, "no worker is called nobody"),
    ] {
        let output = bed.verb(arguments);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    for name in ["pool.1", "pool.2", "one"] {
        supervisor.wait_output(name, "hup");
    }
    supervisor.stop();
}

#[test]
fn an_injection_returns_when_its_fate_is_clear() {
    let bed = Bed::new();
    let yaml = "version: 1\nsupervisor: { fault_injection: allow }\n\
        defaults: { ready: { after: 0s } }\nworkers:\n  \
        code: { worker: ticker }\n  \
        beating: { worker: ticker, heartbeat: 3s }\n  \
        slow: { command: [sleep, 1d], restart: { backoff: { initial: 1h, max: 1h } } }\n  \
        thread: { worker: ticker, isolation: thread }\n";
    let mut supervisor = bed.start_with(yaml, &["--no-guardian"]);
    supervisor.wait_progress(None);
    let output = bed.verb(&["inject", "code", "leak", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&answer["lost"], &answer["outcome"]),
        (&serde_json::json!([]), &"unnoticed".into())
    );
    // One that is suspended has no heartbeat, and is noticed by that; without it, by nothing.
    let output = bed.verb(&["inject", "beating", "signal-stop", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&answer["lost"], &answer["fault"]["kind"]),
        (&serde_json::json!(["beating"]), &"signal-stop".into()),
        "{answer}"
    );
    let output = bed.verb(&["inject", "code", "signal-stop"]);
    assert!(text(&output.stdout).contains("no incident comes of it"), "{output:?}");
    // The verb does not wait for an hour: the incident is known.
    let begun = Instant::now();
    let output = bed.verb(&["inject", "slow", "signal-kill", "--json"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&answer["lost"], &answer["open"]), (&serde_json::json!(["slow"]), &true.into()));
    assert!(answer["retry_in_ms"].as_u64() > Some(1_000_000), "{answer}");
    // It dies of it, and nothing starts it again.
    let output = bed.verb(&["inject", "thread", "segfault"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(text(&output.stderr).contains("the supervisor is gone"), "{output:?}");
    supervisor.wait_exit();
}

#[test]
fn an_injection_that_ends_the_supervisor_returns_with_its_incident() {
    let bed = Bed::new();
    let yaml = "version: 1\nsupervisor: { fault_injection: allow }\n\
        defaults: { ready: { after: 0s } }\nworkers:\n  \
        thread: { worker: ticker, isolation: thread }\n  process: { command: [sleep, 1d] }\n";
    let supervisor = bed.start(yaml);
    let before = supervisor.wait_progress(None).supervisor;
    let output = bed.verb(&["inject", "thread", "segfault"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(&output.stdout);
    let words = "segfault in thread (thread of the supervisor): the supervisor died, lost thread, \
        survived process; ";
    assert!(said.contains(words) && said.contains("all back after "), "{output:?}");
    assert!(said.trim_end().ends_with("[SIGSEGV]"), "{said}");
    // Both are back: the answer did not come too early.
    let after = supervisor.status();
    assert_eq!(find(&after, "thread").phase, "running");
    assert_ne!(after.supervisor.pid, before.pid);
    assert_eq!(after.supervisor.guardian, before.guardian, "it came back under the same guardian");

    let output = bed.verb(&["inject", "thread", "segfault", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["lost"], serde_json::json!(["thread"]), "{answer}");
    assert_eq!(
        (&answer["supervisor_died"], &answer["fault"]["injected"], &answer["survived"]),
        (&true.into(), &true.into(), &serde_json::json!(["process"])),
        "{answer}"
    );
    supervisor.stop();
}

#[test]
fn who_lost_no_worker_does_not_read_that_some_are_missing() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_phase("a", "running");
    crate::harness::kill(supervisor.status().supervisor.pid, nix::sys::signal::Signal::SIGKILL);
    let incident = supervisor.wait_incident(0);
    assert_eq!((incident.supervisor_died, &incident.lost), (true, &vec![]), "{incident:?}");
    assert_eq!(incident.survived, ["a"], "{incident:?}");
    let words = "lost none, survived a; ";
    let log = bed.wait_log(words);
    for said in [incident.sentence, text(&bed.verb(&["incidents"]).stdout), log] {
        assert!(said.contains(words), "{said}");
        assert!(said.contains("nothing to bring back"), "{said}");
        assert!(!said.contains("not all back") && !said.contains("not back:"), "{said}");
    }
    supervisor.stop();
}

#[test]
fn people_read_what_json_has() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        zombie: { command: [sh, -c, '(exit 0) & exec sleep 1d'] }\n  \
        both: { command: [sh, -c, 'echo out; echo err >&2; exec sleep 1d'], logs: { format: json \
        } }\n  \
        killed: { command: [sh, -c, 'kill -9 $$'], restart: never }\n  \
        missing: { command: [/no/such/program], restart: never }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_output("both", "err");
    for line in bed.output("both").lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["stream"], "output", "the two cannot be told apart: {line}");
    }
    let pid = supervisor.wait_phase("zombie", "running").pid.expect("it runs");
    supervisor.wait("a zombie", |_| {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        let child = children.split_whitespace().next()?;
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        stat.contains(") Z ").then_some(())
    });
    supervisor.wait_phase("killed", "finished");
    supervisor.wait_phase("missing", "finished");
    let usage = supervisor.client.status_with_usage().expect("an answer");
    let zombie = find(&usage, "zombie").usage.expect("figures");
    assert!(zombie.rss_kib > Some(0) && zombie.fds > Some(0), "{zombie:?}");
    let shown = text(&bed.verb(&["status"]).stdout);
    for words in ["ended: SIGKILL", "exec, ENOENT, exit status 127"] {
        assert!(shown.contains(words), "no `{words}` in:\n{shown}");
    }
    supervisor.stop();
}

#[test]
fn colours_widths_and_times_are_those_that_people_choose() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let supervisor = bed.start(yaml);
    let pid = supervisor.wait_phase("a", "running").pid.expect("it runs");
    let status = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = bed.command(arguments);
        command.envs(variables.iter().copied());
        text(&command.output().expect("it runs").stdout)
    };
    let green = "\x1b[32mrunning";
    let always = ["--color", "always"];
    assert!(!status(&["status"], &[]).contains('\x1b'), "no terminal, no colours");
    assert!(status(&[&["status"], &always[..]].concat(), &[("NO_COLOR", "1")]).contains(green));
    assert!(!status(&["--color", "never", "status"], &[]).contains('\x1b'));
    let narrow = status(&["status"], &[("COLUMNS", "40")]);
    assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
    let faults = status(&["faults"], &[("COLUMNS", "80")]);
    assert!(faults.lines().all(|line| line.chars().count() <= 80), "{faults}");

    crate::harness::kill(pid, nix::sys::signal::Signal::SIGKILL);
    let at = supervisor.wait_incident(0).at;
    let (date, time) = at.split_once('T').expect("RFC 3339");
    let utc = format!("{date} {}Z  incident 1", &time[..8]);
    let zone = [("TZ", "Asia/Tokyo")];
    assert!(status(&["incidents", "--utc"], &zone).starts_with(&utc));
    let hour: u32 = time[..2].parse().expect("an hour");
    let local = status(&["incidents"], &[("TZ", "JST-9")]);
    let shown = format!(" {:02}{}  incident 1", (hour + 9) % 24, &time[2..8]);
    assert!(local.contains(&shown), "{shown} is not in {local}");
    supervisor.stop();
}

#[test]
fn status_says_why_a_worker_is_down_and_what_to_do() {
    let bed = Bed::new();
    let supervisor = bed.start(
        "version: 1\nsupervisor: { fault_injection: allow }\n\
            defaults: { restart: { backoff: { initial: 1ms, max: 1ms } } }\nworkers:\n  \
         flap: { command: [sh, -c, exit 5], restart: { limit: { restarts: 2, within: 60s } } }\n  \
         never: { command: [sh, -c, exit 78], restart: { never_on: [78] } }\n  \
         a: { command: [sh, -c, exit 6] }\n  b: { command: [sleep, 1d] }\n  \
         off: { command: [sleep, 1d], autostart: false }\n  \
         beside: { command: [sleep, 1d], depends_on: [off] }\n  \
         still: { command: [sleep, 1d] }\n\
         groups: { g: { workers: [a, b], limit: { restarts: 1, within: 60s } } }\n",
    );
    for worker in ["flap", "never", "a", "b"] {
        supervisor.wait_phase(worker, "quarantined");
    }
    supervisor.wait_phase("still", "running");
    let ordered = bed.verb(&["inject", "still", "signal-stop"]);
    assert!(ordered.status.success(), "{ordered:?}");
    let notes = || text(&bed.verb(&["status"]).stdout);
    bed.wait("the suspension to show", || {
        let shown = notes();
        shown.lines().any(|line| line.contains("still") && line.contains("suspended")).then_some(())
    });
    let shown = notes();
    for (worker, note) in [
        ("flap", "2 restarts in 1m; `start flap`; ended: exit status 5"),
        ("never", "`never_on` names its ending; `start never`; ended: exit status 78"),
        ("b", "group g failed too often; `start b`"),
        ("off", "not started: autostart: false"),
        ("beside", "off was never started (`start off`)"),
    ] {
        let line = shown.lines().find(|line| line.starts_with(&format!("{worker} ")));
        assert!(line.is_some_and(|line| line.contains(note)), "{worker}: {note}:\n{shown}");
    }
    let group = bed.verb(&["inject", "g", "signal-kill"]);
    let said = text(&group.stderr);
    assert!(said.contains("g is a group: name one of its workers, such as a"), "{said}");
    supervisor.stop();
}
