//! Verbs that a person uses while a supervisor runs: waiting for a phase, reading logs, reloading a
//! worker, completing names.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::skip::{Lack, lacks_program, skip};
use crate::harness::{Bed, Supervisor, proc_status, text};

#[test]
fn without_names_a_wait_for_running_asks_nothing_of_what_is_not_to_run() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  migrate: { command: ['true'], restart: never }\n  \
                spare: { command: [sleep, 1d], autostart: false }\n  \
                slow: { command: [sleep, 1d], ready: { after: 300ms } }\n";
    let supervisor = bed.start(yaml);
    let output = bed.verb(&["status", "--wait", "running"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(supervisor.worker("slow").phase, "running");
    let output = bed.verb(&["status", "migrate", "spare", "--wait", "running"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let remedy = "start them with `supervisord-rs start migrate spare`";
    assert!(text(&output.stderr).contains(remedy), "{output:?}");
    assert!(bed.verb(&["stop", "slow"]).status.success());
    let output = bed.verb(&["status", "--wait", "running"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("will not become running: slow;"), "{output:?}");
    supervisor.stop();
}

#[test]
fn the_orderly_end_of_its_supervisor_ends_a_wait_and_its_death_does_not() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { command: [sleep, 1d], ready: { after: 0s } }\n  \
                job: { command: [sh, -c, 'until [ -e END ]; do sleep 0.05; done'], \
                restart: never, critical: true, ready: { after: 0s } }\n";
    let yaml = yaml.replace("END", &bed.path("end").display().to_string());
    let mut supervisor = bed.start(&yaml);
    supervisor.wait_running();
    let mut wait = bed.command(&["status", "a", "--wait", "backoff", "--timeout", "5m"]);
    let wait = wait.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let before = supervisor.status().supervisor.pid;
    let looks = || {
        let process = format!("/proc/{}", wait.id());
        proc_status(Path::new(&process), "voluntary_ctxt_switches")
    };
    // It sleeps between two looks, and more than once in each.
    let several_looks = || {
        let known = looks();
        bed.wait("several looks", || (looks() > known + 30).then_some(()));
    };
    several_looks();
    kill(Pid::from_raw(before), Signal::SIGKILL).expect("it lives");
    supervisor.wait_successor(before);
    supervisor.wait_running();
    several_looks();
    let begun = Instant::now();
    bed.write("end", "");
    supervisor.wait_exit();
    let output = wait.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("the supervisor has ended; when last seen, these were not"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(60), "not the 5 minutes");
}

#[test]
fn status_waits_for_a_phase_and_says_when_it_cannot_come() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  slow: { command: [sleep, 1d], ready: { after: 300ms } }\n  \
                job: { command: ['true'], restart: never }\n  \
                bad: { command: ['false'], restart: { backoff: { initial: 10m, max: 10m } } }\n";
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
    assert!(
        text(&output.stderr).contains("will not become running: job; start them with"),
        "{output:?}"
    );
    let output = bed.verb(&["status", "slow", "--wait", "backoff", "--timeout", "50ms"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("not backoff after 50ms: slow"), "{output:?}");
    assert_eq!(bed.verb(&["status", "zz", "--wait", "running"]).status.code(), Some(4));
    assert_eq!(bed.verb(&["status", "--wait", "ready"]).status.code(), Some(2));
    assert_eq!(bed.verb(&["status", "job", "--wait", "succeeded"]).status.code(), Some(0));
    assert_eq!(bed.verb(&["status", "job", "--wait", "failed"]).status.code(), Some(1));
    supervisor.wait_phase("bad", "backoff");
    bed.wait_log("bad waits for its next attempt");
    let output = bed.verb(&["scale", "slow", "x"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("write a number from 0 to 1000"), "{output:?}");
    supervisor.stop();
}

#[test]
fn a_worker_is_reloaded_by_the_signal_of_its_configuration() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a:\n    \
        command: [sh, -c, 'trap \"echo reloaded\" USR1; echo up; while :; do sleep 0.01; \
        done']\n    \
                ready: { log: up }\n    reload_signal: USR1\n  \
                b: { command: [sleep, 1d], ready: { after: 0s } }\n";
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
    let yaml = "version: 1\nworkers:\n  a: { command: [sh, -c, 'echo one; echo two >&2; exec \
        sleep 1d'], ready: { after: 0s }, \
                logs: { stderr: a.err, timestamps: true } }\n  \
                b: { command: [sh, -c, 'echo three; exec sleep 1d'], ready: { after: 0s }, logs: \
                { prefix: true } }\n";
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
            Some("three") => ("b", "output"),
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

/// A bed in which a supervisor runs instances, a group and a worker.
fn with_names(bed: &Bed) -> Supervisor<'_> {
    let supervisor = bed.start(
        "version: 1\ngroups: { web: { workers: [api] } }\nworkers:\n  \
            api: { instances: 2, command: [sleep, 1d] }\n  db: { worker: sleeper }\n",
    );
    supervisor.wait("the workers", |supervisor| {
        (supervisor.client.status().ok()?.workers.len() == 3).then_some(())
    });
    supervisor
}

/// Another bed in which one runs, whose file says where.
fn with_dove(bed: &Bed) -> Supervisor<'_> {
    let supervisor = bed.start(&format!(
        "version: 1\nsupervisor: {{ runtime_dir: {} }}\nworkers: {{ dove: {{ worker: sleeper }} }}\n",
        bed.path("run").display()
    ));
    supervisor.wait_phase("dove", "running");
    supervisor
}

/// `PATH` with the program under test in front.
fn path_with_program() -> std::ffi::OsString {
    let program = crate::harness::program();
    let folder = std::path::Path::new(program.get_program()).parent().expect("a folder");
    let mut path = folder.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

#[test]
fn bash_completes_verbs_options_and_workers() {
    let bed = Bed::new();
    let supervisor = with_names(&bed);
    let script = bed.write("completions", &text(&bed.verb(&["completions", "bash"]).stdout));
    // What bash itself does at a tab: it calls what `complete` has registered.
    let complete = format!(
        "source {}; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
         registered=$(complete -p supervisord-rs); function=${{registered##*-F }}; \
         ${{function%% *}} supervisord-rs \"${{@: -1}}\" \"${{@: -2:1}}\"; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
    );
    let completed = |words: &[&str]| {
        let mut bash = std::process::Command::new("bash");
        bash.args(["--norc", "-c", &complete, "bash", "supervisord-rs"]).args(words);
        bash.env("PATH", path_with_program());
        bash.env("SUPERVISORD_RS_SOCKET", bed.path("run/control.sock"));
        let output = bash.output().expect("bash");
        assert_eq!(text(&output.stderr), "", "{words:?}");
        text(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(completed(&["sta"]), ["status", "start"]);
    assert_eq!(completed(&["restart", "--no"]), ["--no-wait"]);
    let all = completed(&["stop", ""]);
    for name in ["api", "api.1", "api.2", "db", "web:"] {
        assert!(all.iter().any(|known| known == name), "{name} is not in {all:?}");
    }
    assert_eq!(completed(&["stop", "d"]), ["db"]);
    // Of the supervisor that the line names, wherever it does.
    let other = Bed::new();
    let second = with_dove(&other);
    let file = other.path("supervisord-rs.yaml").display().to_string();
    let socket = other.path("run/control.sock").display().to_string();
    for words in [
        &["-c", &file, "stop", "d"][..],
        &["stop", "--socket", &socket, "d"],
        &["--config", "=", &file, "stop", "d"],
    ] {
        assert_eq!(completed(words), ["dove"], "{words:?}");
    }
    second.stop();
    supervisor.stop();
}

#[test]
fn zsh_completes_verbs_options_and_workers() {
    if lacks_program("zsh", "zsh") {
        return;
    }
    let bed = Bed::new();
    let supervisor = with_names(&bed);
    let script = bed.write("completions", &text(&bed.verb(&["completions", "zsh"]).stdout));
    // A shell on a terminal of its own; what one tab makes of the line is printed between marks.
    let ask = r#"
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell "PS1=; autoload -U compinit; compinit -u -D; source $1"
        zpty -w shell "shown() { print -r -- '<'\$BUFFER'>'; zle kill-whole-line }; zle -N shown"
        zpty -w shell "bindkey '^X' shown; bindkey '^I' expand-or-complete; print READ''Y"
        seen=; until [[ $seen == *READY* ]]; do zpty -r shell part || exit 1; seen+=$part; done
        zpty -w -n shell "$2"$'\t\x18'
        seen=; until [[ $seen == *'<'*'>'* ]]; do zpty -r shell part || exit 1; seen+=$part; done
        print -r -- "${${seen##*'<'}%%'>'*}"
        zpty -d shell
    "#;
    let completed = |line: &str| {
        let mut zsh = std::process::Command::new("timeout");
        zsh.args(["30", "zsh", "-f", "-c", ask, "zsh"]).arg(&script).arg(line);
        zsh.env("PATH", path_with_program()).current_dir(bed.path(""));
        zsh.env("SUPERVISORD_RS_SOCKET", bed.path("run/control.sock"));
        let output = zsh.output().expect("zsh");
        text(&output.stdout).trim().to_owned()
    };
    assert_eq!(completed("supervisord-rs shutd"), "supervisord-rs shutdown");
    assert_eq!(completed("supervisord-rs restart --no-w"), "supervisord-rs restart --no-wait");
    assert_eq!(completed("supervisord-rs stop d"), "supervisord-rs stop db");
    let other = Bed::new();
    let second = with_dove(&other);
    let line = format!("supervisord-rs -c {} stop d", other.path("supervisord-rs.yaml").display());
    assert_eq!(completed(&line), format!("{line}ove"));
    second.stop();
    supervisor.stop();
}

#[test]
fn fish_completes_workers() {
    if std::process::Command::new("fish").arg("--version").output().is_err() {
        return skip(Lack::Package, "fish is not installed");
    }
    let bed = Bed::new();
    let supervisor = with_names(&bed);
    let script = bed.write("completions", &text(&bed.verb(&["completions", "fish"]).stdout));
    let completed = |line: &str| {
        let mut fish = std::process::Command::new("fish");
        fish.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"]);
        fish.arg(&script).arg(line).env("PATH", path_with_program()).env("HOME", bed.path(""));
        fish.env("SUPERVISORD_RS_SOCKET", bed.path("run/control.sock"));
        let output = fish.output().expect("fish");
        text(&output.stdout).trim().to_owned()
    };
    assert_eq!(completed("supervisord-rs stop d"), "db");
    let other = Bed::new();
    let second = with_dove(&other);
    let file = other.path("supervisord-rs.yaml");
    assert_eq!(completed(&format!("supervisord-rs -c {} stop d", file.display())), "dove");
    second.stop();
    supervisor.stop();
}

#[test]
fn what_has_nothing_to_show_says_so_beside_an_empty_answer() {
    let bed = Bed::new();
    let supervisor = bed.start(
        "version: 1\nworkers:\n  w: { command: [sleep, 1d], ready: { after: 0s }, instances: 1 }\n",
    );
    let said = |arguments: &[&str], stdout: &str, stderr: &str| {
        let output = bed.verb(arguments);
        let shown = (text(&output.stdout), text(&output.stderr));
        assert_eq!(shown.0, stdout, "{arguments:?}");
        assert!(shown.1.contains(stderr), "{arguments:?}: {shown:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    };
    said(&["incidents"], "", "there is no incident\n");
    said(&["incidents", "--json"], "[]\n", "there is no incident\n");
    said(&["logs"], "", "there is no output yet\n");
    said(&["logs", "w", "--json"], "", "there is no output of w yet\n");
    said(&["logs", "--since", "1m"], "", "there is no output of the last 1m\n");
    supervisor.client.scale("w", 0, true).expect("none is left");
    said(&["status"], "w: no instances\n", "");
    bed.write("supervisord-rs.yaml", "version: 1\nworkers: {}\n");
    assert_eq!(bed.verb(&["reload"]).status.code(), Some(0));
    said(&["status"], "", "there are no workers: ");
    let orders = text(&bed.verb(&["stop", "all"]).stderr);
    assert!(orders.contains("there are no workers"), "{orders}");
    supervisor.stop();
    let file = bed.path("supervisord-rs.yaml");
    let file = file.to_str().expect("UTF-8");
    said(&["incidents", "-c", file, "--json"], "[]\n", "has no incidents\n");
    said(&["logs", "-c", file], "", "there is no output yet\n");
}

#[test]
fn the_registered_workers_are_listed_with_what_they_take() {
    let bed = Bed::new();
    let output = bed.verb(&["workers"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let line = |word: &str| {
        let words = |line: &&str| line.split_whitespace().next() == Some(word);
        said.lines().find(words).unwrap_or_else(|| panic!("no `{word}` in:\n{said}")).to_owned()
    };
    assert!(line("ticker").ends_with("one unit of work each interval"), "{said}");
    for words in ["a duration such as 500us", "10ms", "the time between two units of work"] {
        assert!(line("interval").contains(words), "`{words}` is not in:\n{said}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&bed.verb(&["workers", "--json"]).stdout).expect("JSON");
    let all = json.as_array().expect("a list");
    let ticker = all.iter().find(|entry| entry["worker"] == "ticker").expect("a ticker");
    assert_eq!(ticker["arguments"][0]["path"], "interval", "{ticker}");
    assert_eq!(ticker["arguments"][0]["default"], "10ms", "{ticker}");
    let sleeper = all.iter().find(|entry| entry["worker"] == "sleeper").expect("a sleeper");
    assert_eq!(sleeper["arguments"], serde_json::json!([]), "it takes none");
}
