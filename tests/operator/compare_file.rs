//! `compare -c FILE --worker NAME`: the user's own configuration.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use supervisord_rs::drill::compare::Comparison;
use supervisord_rs::drill::outcome::Trial;

use crate::harness::golden::golden;
use crate::harness::skip::lacks_root;
use crate::harness::{Bed, find, free_port, program, text};

/// Runs a comparison of `app.yaml` in the directory of the bed, as a user would.
fn compare(bed: &Bed, yaml: &str, arguments: &[&str]) -> Output {
    bed.write("app.yaml", yaml);
    std::fs::create_dir_all(bed.path("tmp")).expect("a directory");
    let output = program()
        .args(["compare", "-c", "app.yaml"])
        .args(arguments)
        .current_dir(bed.directory.path())
        .env("TMPDIR", bed.path("tmp"))
        .output()
        .expect("the program runs");
    let left = std::fs::read_dir(bed.path("tmp")).expect("readable").count();
    assert_eq!(left, 0, "a directory was left: {}", text(&output.stderr));
    output
}

fn json(bed: &Bed, yaml: &str, arguments: &[&str]) -> Comparison {
    let output = compare(bed, yaml, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Isolation, lost, whether the supervisor died.
fn facts(trial: &Trial) -> (&'static str, String, bool) {
    (trial.isolation.name(), trial.lost.join(" "), trial.supervisor_died)
}

/// Times, counts and the machine differ in each run; so do the widths of columns.
fn masked(output: &Output) -> String {
    let mask = |text: String, pattern: &str, with: &str| {
        regex::Regex::new(pattern).expect("a pattern").replace_all(&text, with).into_owned()
    };
    let text = mask(text(&output.stdout), r"[0-9.]+ m?s\b", "T");
    let text = mask(text, r"\| +[0-9]+ \|", "| N |");
    let text = mask(text, "(?m)^[0-9]+ CPUs, [^;]+;", "N CPUs, KERNEL;");
    mask(mask(text, " +", " "), "-{3,}", "---")
}

#[test]
fn a_file_runs_in_copies_while_its_own_supervisor_runs_on() {
    let bed = Bed::new();
    let port = free_port();
    let log = bed.path("elsewhere.log");
    let yaml = format!(
        "version: 1
workers:
  hash: {{ worker: file-hasher, args: {{ directory: /etc, every: 5ms }}, heartbeat: 2s }}
  tick: {{ worker: ticker, args: {{ interval: 5ms }}, isolation: thread }}
  web:
    command: [python3, {}]
    sockets: [\"127.0.0.1:{port}\"]
    ready: {{ tcp: \"127.0.0.1:{port}\" }}
    logs: {{ stdout: {} }}
",
        crate::harness::repository("tests/fixtures/socket_server.py").display(),
        log.display()
    );
    let supervisor = bed.start(&yaml);
    let before = supervisor.wait_progress(Some(&supervisor.wait_running()));
    let logs = |path: &Path| {
        let mut files: Vec<_> = std::fs::read_dir(path)
            .expect("readable")
            .flatten()
            .map(|entry| (entry.file_name(), entry.metadata().expect("metadata").len()))
            .collect();
        files.sort();
        files
    };
    let (state, output) = (logs(&bed.path("state")), logs(&bed.path("logs")));
    let comparison = json(&bed, &yaml, &["--worker", "hash", "--fault", "segfault"]);
    let found: Vec<_> = comparison.trials.iter().map(facts).collect();
    let expected = [
        ("thread", "hash tick".to_owned(), true),
        ("cell", "hash".to_owned(), false),
        ("process", "hash".to_owned(), false),
    ];
    assert_eq!(found, expected, "{comparison:#?}");
    assert!(comparison.trials.iter().all(|trial| trial.incident_agrees), "{comparison:#?}");
    let after = supervisor.wait_progress(Some(&before));
    for worker in &before.workers {
        let now = find(&after, &worker.name);
        assert_eq!((now.pid, now.generation), (worker.pid, worker.generation), "{}", worker.name);
    }
    assert!(supervisor.incidents().is_empty(), "of the trials");
    assert_eq!((logs(&bed.path("state")), logs(&bed.path("logs"))), (state, output));
    supervisor.stop();
}

#[test]
fn a_command_can_only_be_a_process_and_the_output_says_so() {
    let bed = Bed::new();
    let yaml = "version: 1
workers:
  api: { command: [sleep, 1d], ready: { after: 10ms } }
  job: { command: ['true'], ready: { after: 10ms } }
";
    let output = compare(&bed, yaml, &["--worker", "api", "--expect", "process=1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    golden("compare/command.txt", &masked(&output));
    let message = text(&output.stderr);
    assert!(message.contains("its commands run for real"), "{message}");
    let output = compare(&bed, yaml, &["--worker", "api", "--fault", "panic"]);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(message.contains("takes signals only; write signal-segv, "), "{message}");
}

#[test]
fn leak_and_signal_stop_end_whatever_the_file_waits_for() {
    let bed = Bed::new();
    let yaml = "version: 1
supervisor: { watchdog: never }
defaults: { heartbeat: 3s, restart: { backoff: { initial: 0s } } }
workers:
  a: { worker: ticker, isolation: thread }
  b: { worker: ticker, isolation: thread, cell: batch }
  c: { worker: ticker, isolation: thread, cell: batch }
";
    let output = compare(&bed, yaml, &["--worker", "b", "--fault", "leak,signal-stop"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    golden("compare/stop.txt", &masked(&output));
}

#[test]
fn an_expectation_sets_the_exit_status() {
    let bed = Bed::new();
    let yaml = "version: 1
workers:
  a: { worker: ticker, isolation: thread }
  b: { worker: ticker }
  c: { command: [sleep, 1d], ready: { after: 10ms } }
";
    let of_b = ["--worker", "b", "--fault", "abort"];
    let expecting = |expected: &str| {
        let output = compare(&bed, yaml, &[&of_b[..], &["--expect", expected]].concat());
        (output.status.code(), text(&output.stderr))
    };
    let (code, message) = expecting("thread=2,process=1");
    assert_eq!(code, Some(0), "{message}");
    let (code, message) = expecting("process=2,thread=2");
    assert_eq!(code, Some(1), "{message}");
    let unmet = "abort in isolation process: expected 2 lost, found 1 (b)";
    assert!(message.contains(unmet) && !message.contains("isolation thread:"), "{message}");
    for (expected, what_to_write) in [
        ("thread", "write ISOLATION=COUNT, such as thread=4"),
        ("thread=x", "`x` is not a count: write ISOLATION=COUNT"),
        ("fiber=1", "write thread, cell or process before `=`"),
        ("thread=4", "there are 3 workers; write thread=0 to thread=3"),
        ("thread=1,thread=2", "write one of the two"),
    ] {
        let (code, message) = expecting(expected);
        assert_eq!(code, Some(2), "{expected}: {message}");
        assert!(message.contains(what_to_write), "{expected}: {message}");
    }
    for (arguments, what_to_write) in [
        (["--worker", "c", "--expect", "thread=1"], "can only be a process; write process=COUNT"),
        (["--worker", "b", "--isolation", "cell"], ""),
    ] {
        let expected = if what_to_write.is_empty() { &["--expect", "process=1"][..] } else { &[] };
        let output = compare(&bed, yaml, &[&arguments[..], expected].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let wanted = if expected.is_empty() { what_to_write } else { "write cell=COUNT" };
        assert!(text(&output.stderr).contains(wanted), "{}", text(&output.stderr));
    }
}

#[test]
fn critical_workers_groups_and_restart_policies_are_part_of_the_result() {
    let bed = Bed::new();
    let critical = "version: 1
workers:
  a: { worker: ticker, critical: true, restart: never }
  b: { command: [sleep, 1d], ready: { after: 10ms } }
";
    let comparison =
        json(&bed, critical, &["--worker", "a", "--fault", "segfault", "--isolation", "process"]);
    let trial = &comparison.trials[0];
    assert_eq!((trial.lost.join(" ").as_str(), trial.supervisor_ended), ("a b", Some(139)));
    assert!(trial.seen_after_us.is_some(), "its incident is read from its file: {trial:?}");

    let group = "version: 1
groups: { g: { strategy: one-for-all, workers: [a, b] } }
workers:
  a: { worker: ticker, restart: { backoff: { initial: 0s } } }
  b: { command: [sleep, 1d], ready: { after: 10ms } }
  c: { command: [sleep, 1d], ready: { after: 10ms }, instances: 2 }
  d: { worker: ticker, autostart: false, restart: never }
";
    let output =
        compare(&bed, group, &["--worker", "a", "--fault", "abort", "--isolation", "process"]);
    golden("compare/group.txt", &masked(&output));
    let output = compare(&bed, group, &["--worker", "d", "--fault", "exit:3"]);
    golden("compare/not_back.txt", &masked(&output));
    let comparison = json(&bed, group, &["--worker", "c", "--fault", "signal-kill"]);
    assert_eq!(comparison.worker, "c.1", "the first instance");
    assert_eq!(comparison.trials[0].lost, ["c.1"]);
}

#[test]
fn what_the_file_does_not_allow_is_no_isolation_of_the_worker() {
    let bed = Bed::new();
    let yaml = "version: 1
hooks: [ { on: [failed], command: [sh, -c, 'cat > failed.json'] } ]
workers:
  a: { worker: ticker, env: { MODE: fast } }
";
    let output = compare(&bed, yaml, &["--worker", "a", "--fault", "kill-self"]);
    golden("compare/environment.txt", &masked(&output));
    let message = text(&output.stderr);
    assert!(message.contains("its `hooks:` run for real"), "{message}");
    let asked = ["--worker", "a", "--isolation", "thread"];
    let output = compare(&bed, yaml, &asked);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("isolation thread for a: "), "{output:?}");
}

#[test]
fn a_file_that_cannot_be_compared_is_refused_before_anything_runs() {
    let bed = Bed::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("bound");
    let invalid = "version: 1\nworkers:\n  a: { comand: [sleep, 1d] }\n";
    let asked = format!(
        "version: 1\nworkers:\n  a: {{ command: [sleep, 1d], ready: {{ tcp: \"{taken}\" }} }}\n"
    );
    let numbered = "version: 1\nworkers:\n  \
        a: { command: [sleep, 1d], instances: 2, sockets: [\"127.0.0.1:1810${instance}\"] }\n";
    let passed =
        "version: 1\nworkers:\n  a: { command: [sleep, 1d], secrets: { TOKEN: \"fd:5\" } }\n";
    let valid = "version: 1\nworkers:\n  a: { command: [sleep, 1d] }\n";
    for (yaml, worker, code, words) in [
        (invalid, "a", 78, "did you mean `command`?"),
        (valid, "b", 5, "no worker `b` in app.yaml: it has a"),
        (asked.as_str(), "a", 4, "is in use: each trial starts a second a"),
        (numbered, "a", 4, "cannot be replaced: write it out"),
        (passed, "a", 4, "can be read once"),
    ] {
        let output = compare(&bed, yaml, &["--worker", worker]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(words) && !message.contains("[1/"), "{message}");
    }
    let output = compare(&bed, valid, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Write --worker NAME; app.yaml has a"), "{output:?}");
    let output = program().args(["compare", "--worker", "a"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("write -c FILE --worker a"), "{output:?}");
}

#[test]
fn a_bystander_that_does_not_start_is_named_with_its_last_line() {
    let bed = Bed::new();
    let yaml = "version: 1
workers:
  a: { worker: ticker }
  db: { command: [sh, -c, 'echo no disk; exit 3'], restart: never, ready: { after: 1h } }
";
    let output = compare(&bed, yaml, &["--worker", "a"]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains("db does not run in the copy") && message.contains("exit status 3"));
    assert!(message.contains("    | no disk"), "{message}");
    assert!(!message.contains("[2/"), "the other trials would fail too: {message}");
}

#[test]
fn what_waits_for_a_worker_that_is_not_to_start_stays_down() {
    let bed = Bed::new();
    let yaml = "version: 1
workers:
  a: { worker: ticker }
  off: { command: [sleep, 1d], autostart: false }
  behind: { command: [sleep, 1d], depends_on: [off] }
";
    let asked = ["--worker", "a", "--fault", "abort", "--isolation", "process"];
    let comparison = json(&bed, yaml, &asked);
    assert_eq!(comparison.trials[0].running, ["a"], "{comparison:?}");
}

#[test]
fn what_a_worker_writes_reaches_no_terminal_as_it_is() {
    let bed = Bed::new();
    let yaml = "version: 1
workers:
  a: { worker: ticker }
  db: { command: [sh, -c, 'printf \"\\033]0;x\\007no disk\\n\"; exit 3'], restart: never, ready: { after: 1h } }
";
    let output = compare(&bed, yaml, &["--worker", "a"]);
    let message = text(&output.stderr);
    assert!(message.contains("    | \\x1b]0;x\\x07no disk"), "{message}");
    assert!(!message.contains('\u{1b}'), "{message}");
}

#[test]
fn an_address_that_only_root_may_bind_is_in_use_where_a_server_answers() {
    if lacks_root() {
        return;
    }
    let listener = (701..1000).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let taken = listener.expect("a free port below 1024").local_addr().expect("bound");
    let listener = TcpListener::bind(taken).expect("it was free");
    let bed = Bed::new();
    bed.write(
        "app.yaml",
        &format!(
            "version: 1\nworkers:\n  \
                a: {{ command: [sleep, 1d], ready: {{ tcp: \"{taken}\" }} }}\n"
        ),
    );
    let output = std::process::Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--"])
        .arg(program().get_program())
        .args(["compare", "-c", "app.yaml", "--worker", "a"])
        .current_dir(bed.directory.path())
        .output()
        .expect("setpriv runs");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("is in use"), "{}", text(&output.stderr));
    drop(listener);
}
