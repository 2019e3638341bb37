//! Which supervisor a verb addresses, and where it has its directories: never another than the
//! named one, and never a directory that depends on the working directory.

use std::process::{Command, Output};

use crate::harness::{Bed, find, text};

const ONE: &str =
    "version: 1\nsupervisor: { fault_injection: allow }\nworkers:\n  a: { worker: ticker }\n";

/// A verb that finds the supervisor of this bed by default, since nothing names another.
fn by_default(bed: &Bed, arguments: &[&str]) -> Output {
    let mut command = bed.command(arguments);
    command.env_remove("SUPERVISORD_RS_SOCKET").current_dir(bed.directory.path());
    command.output().expect("the program runs")
}

/// Every verb that contacts a supervisor.
const VERBS: [&[&str]; 18] = [
    &["status"],
    &["status", "--watch"],
    &["start", "a"],
    &["stop", "all"],
    &["restart", "all"],
    &["pause", "a"],
    &["resume", "a"],
    &["scale", "a", "3"],
    &["signal", "a", "KILL"],
    &["inject", "a", "panic"],
    &["logs", "a"],
    &["top"],
    &["incidents"],
    &["events"],
    &["reexec"],
    &["reload"],
    &["shutdown"],
    &["shutdown", "--now"],
];

#[test]
fn a_file_that_is_missing_or_wrong_never_means_another_supervisor() {
    let bed = Bed::new();
    let supervisor = bed.start(ONE);
    let before = supervisor.wait_progress(None);
    let wrong = [
        ("stagin.yaml", None, "No such file"),
        ("syntax.yaml", Some("workers: [".to_owned()), "is never closed"),
        ("empty.yaml", Some(String::new()), "the file is empty"),
        ("key.yaml", Some(ONE.replace("supervisor:", "supervisr:")), "did you mean `supervisor`?"),
        (
            "dir.yaml",
            Some(ONE.replace("fault_injection: allow", "runtime_dri: /x")),
            "`runtime_dir`?",
        ),
        ("none.yaml", Some(ONE.replace("fault_injection: allow", "runtime_dir: ''")), "a path"),
        ("worker.yaml", Some(ONE.replace("ticker", "tickr")), "did you mean `ticker`?"),
    ];
    for (name, content, words) in &wrong {
        if let Some(content) = content {
            bed.write(name, content);
        }
        for verb in VERBS {
            let output = by_default(&bed, &[&["-c", name], verb].concat());
            let message = text(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "-c {name} {verb:?}: {message}");
            assert!(
                message.contains(name) && message.contains(words),
                "-c {name} {verb:?}: {message}"
            );
            assert!(message.contains("--socket PATH, without -c"), "what to do: {message}");
        }
    }
    let output = by_default(&bed, &["-c", "", "stop", "all"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    for other in ["faults", "man", "compare"] {
        assert_eq!(
            by_default(&bed, &["-c", "stagin.yaml", other]).status.code(),
            Some(78),
            "{other}"
        );
    }
    let after = supervisor.wait_progress(Some(&before));
    assert_eq!(find(&after, "a").tid, find(&before, "a").tid, "no worker was affected");
    supervisor.stop();
}

#[test]
fn the_command_line_wins_over_the_environment() {
    let bed = Bed::new();
    let supervisor = bed.start(ONE);
    let before = supervisor.wait_progress(None);
    // A relative path is relative to the file, whatever the client's working directory is.
    bed.write("staging.yaml", &ONE.replace("fault_injection: allow", "runtime_dir: staging"));
    let other = bed.path("staging/control.sock");
    for (extra, code) in
        [(&["-c", "staging.yaml"][..], 7), (&["--socket", "staging/control.sock"], 7)]
    {
        let mut command = bed.command(&[extra, &["stop", "all"]].concat());
        let output = command.current_dir(bed.directory.path()).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(code), "{extra:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("staging/control.sock"), "{}", text(&output.stderr));
    }
    let elsewhere =
        bed.command(&["-c"]).arg(bed.path("staging.yaml")).arg("status").current_dir("/").output();
    assert!(text(&elsewhere.expect("it runs").stderr).contains(other.to_str().expect("UTF-8")));
    // An empty variable counts as not set; an empty argument is an error.
    let empty =
        bed.command(&["status"]).env("SUPERVISORD_RS_SOCKET", "").output().expect("it runs");
    assert_eq!(empty.status.code(), Some(0), "{}", text(&empty.stderr));
    assert_eq!(bed.verb(&["--socket", "", "stop", "all"]).status.code(), Some(2));
    let after = supervisor.wait_progress(Some(&before));
    assert_eq!(find(&after, "a").tid, find(&before, "a").tid, "no worker was affected");
    supervisor.stop();
}

#[test]
fn a_file_here_that_cannot_be_followed_is_not_passed_over_for_the_systems() {
    let bed = Bed::new();
    std::os::unix::fs::symlink("nowhere.yaml", bed.path("supervisord-rs.yaml")).expect("a link");
    for verb in ["check", "run"] {
        let output = by_default(&bed, &[verb]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{verb}: {message}");
        assert!(
            message.contains("supervisord-rs.yaml") && message.contains("No such file"),
            "{message}"
        );
    }
    let output = by_default(&bed, &["check", "a.yaml", "-c", "b.yaml"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

/// The program as an ordinary user, with only this environment, in the directory of the bed.
fn as_user(bed: &Bed, environment: &[(&str, &str)], arguments: &[&str]) -> Command {
    std::os::unix::fs::chown(bed.directory.path(), Some(4711), Some(4711)).expect("ours");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=4711", "--regid=4711", "--clear-groups", "--"]);
    command.arg(crate::harness::program().get_program()).args(arguments);
    command.env_clear().envs(environment.iter().copied()).current_dir(bed.directory.path());
    command
}

#[test]
fn a_variable_without_an_absolute_path_is_ignored_and_reported() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    bed.write("supervisord-rs.yaml", ONE);
    let entries = || std::fs::read_dir(bed.directory.path()).expect("ours").count();
    let before = entries();
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[], ""),
        (&[("XDG_RUNTIME_DIR", ""), ("HOME", "")], ""),
        (&[("XDG_RUNTIME_DIR", "run"), ("HOME", "home")], "XDG_RUNTIME_DIR=run is ignored"),
        (&[("XDG_STATE_HOME", "./state"), ("HOME", "home")], "XDG_STATE_HOME=./state is ignored"),
        (&[("HOME", "home")], "HOME=home is ignored: it is not an absolute path"),
        (&[("RUNTIME_DIRECTORY", "run")], "RUNTIME_DIRECTORY=run is ignored"),
    ];
    for (environment, words) in cases {
        for options in [&["run"][..], &["run", "--no-guardian"], &["status"]] {
            let output = as_user(&bed, environment, options).output().expect("the program runs");
            let message = text(&output.stderr);
            assert!(!output.status.success(), "{environment:?}: /run is not this user's");
            // Reported once, although `run` is two processes.
            let said = message.matches("is ignored").count();
            let expected = environment.iter().filter(|(_, value)| !value.is_empty()).count();
            assert_eq!(said, expected, "{environment:?} {options:?}: {message}");
            assert!(message.contains(words), "{environment:?} {options:?}: {message}");
            // The second one where a supervisor of root has run: then the first is there.
            let names_place = ["/run/supervisord-rs", "/var/lib/supervisord-rs"]
                .iter()
                .any(|place| message.contains(place));
            assert!(names_place, "{environment:?} {options:?}: {message}");
            assert_eq!(entries(), before, "{environment:?} {options:?}: something was made here");
        }
    }
}

#[test]
fn verbs_find_the_file_that_run_and_check_find() {
    let bed = Bed::new();
    let yaml = "version: 1\nsupervisor: { runtime_dir: here }\nworkers:\n  a: { worker: ticker }\n";
    let file = bed.write("supervisord-rs.yaml", yaml);
    let log = || std::fs::File::create(bed.path("supervisor.log")).expect("a log");
    let mut command = bed.command(&["run"]);
    command.env("SUPERVISORD_RS_SOCKET", bed.path("here/control.sock"));
    command.current_dir(bed.directory.path()).stdout(log()).stderr(log());
    let child = command.spawn().expect("it starts");
    let client = supervisord_rs::control::client::Client::new(&bed.path("here/control.sock"));
    let supervisor = crate::harness::Supervisor { bed: &bed, child, client };
    supervisor.wait_running();
    assert_eq!(by_default(&bed, &["status"]).status.code(), Some(0));
    // While a worker is being edited, the place is known; while it may be another, it is not.
    std::fs::write(&file, yaml.replace("ticker", "tickr")).expect("ours");
    assert_eq!(by_default(&bed, &["status"]).status.code(), Some(0));
    for wrong in
        [yaml.replace("runtime_dir", "runtime_dri"), yaml.replace("supervisor:", "supervisr:")]
    {
        std::fs::write(&file, wrong).expect("ours");
        let output = by_default(&bed, &["stop", "all"]);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(text(&output.stderr).contains("use --socket"), "{output:?}");
    }
    supervisor.stop();
}
