//! Verbs on a terminal: progress while they wait, and colours as people choose them.

use crate::harness::{Bed, text};
use crate::screen::Screen;

/// One that is ready when a file appears, and one that waits for it.
const LATE: &str = "version: 1\ndefaults: { autostart: false }\nworkers:\n  \
    late: { command: [sleep, 1d], ready: { exec: [test, -e, ./go], timeout: 10m } }\n  \
    behind: { command: [sleep, 1d], ready: { after: 0s }, depends_on: { late: ready } }\n  \
    pool: { instances: 1, command: [sleep, 1d], ready: { exec: [test, -e, ./go], timeout: 10m } \
    }\n  \
    stubborn: { command: [sh, -c, 'trap \"\" TERM; echo up; while :; do sleep 0.1; done'], \
        ready: { log: up }, stop: { timeout: 10m } }\n";

#[test]
fn a_verb_that_waits_shows_for_whom_and_leaves_no_trace_of_that() {
    let bed = Bed::new();
    let go = bed.path("go");
    let supervisor = bed.start(&LATE.replace("./go", &go.display().to_string()));
    let mut screen = Screen::start(bed.command(&["start", "late", "behind"]), 24, 80);
    screen.wait("s: waiting for late (starting), behind (waits for late)");
    std::fs::write(&go, "").expect("a file");
    screen.wait("start late behind: done");
    screen.wait_gone("waiting for");
    let (status, _) = screen.end();
    assert_eq!(status.code(), Some(0));

    // So does every verb that waits.
    std::fs::remove_file(&go).expect("the file");
    let mut screen = Screen::start(bed.command(&["scale", "pool", "2"]), 24, 80);
    screen.wait("s: waiting for pool.2 (starting)");
    std::fs::write(&go, "").expect("a file");
    screen.wait_gone("waiting for");
    assert_eq!(screen.end().0.code(), Some(0));
    bed.verb(&["start", "stubborn"]);
    let pid = supervisor.worker("stubborn").pid.expect("it runs");
    let mut screen = Screen::start(bed.command(&["stop", "stubborn"]), 24, 80);
    screen.wait("s: waiting for stubborn (stopping)");
    crate::harness::kill(pid, nix::sys::signal::Signal::SIGKILL);
    screen.wait_gone("waiting for");
    assert_eq!(screen.end().0.code(), Some(0));

    // A file or a pipe gets the outcome alone.
    std::fs::remove_file(&go).expect("the file");
    let mut command = bed.command(&["restart", "late"]);
    let child = command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let child = child.spawn().expect("it runs");
    let begun = std::time::Instant::now();
    // Longer than the first line of progress would take on a terminal.
    bed.wait("a while", || (begun.elapsed().as_millis() > 1500).then_some(()));
    std::fs::write(&go, "").expect("a file");
    let output = child.wait_with_output().expect("it ends");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && !said.contains("waiting"), "{said}");

    std::fs::remove_file(&go).expect("the file");
    let yaml = LATE.replace("./go", &go.display().to_string());
    bed.write("supervisord-rs.yaml", &yaml.replacen("sleep, 1d", "sleep, 2d", 1));
    let mut screen = Screen::start(bed.command(&["reload"]), 24, 80);
    screen.wait("s: waiting for late (starting)");
    std::fs::write(&go, "").expect("a file");
    screen.wait_gone("waiting for");
    let (status, _) = screen.end();
    assert_eq!(status.code(), Some(0));
    supervisor.stop();
}

#[test]
fn colours_on_a_terminal_are_those_that_people_choose() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_phase("a", "running");
    let file = bed.path("supervisord-rs.yaml").display().to_string();
    // It logs, and ends at once.
    let brief = Bed::new();
    let yaml =
        "version: 1\nworkers:\n  a: { command: [\"false\"], restart: never, critical: true }\n";
    let end = brief.write("end.yaml", yaml).display().to_string();
    for (bed, verb) in [
        (&bed, &["status"][..]),
        (&brief, &["run", "--no-guardian", "-c", &end]),
        (&bed, &["--help"]),
        (&bed, &["inject", "--help"]),
        // A usage error.
        (&bed, &["start", "--no-such-option"]),
    ] {
        for (no_colour, choice, expected) in [
            (None, None, true),
            // An empty variable chooses nothing (no-color.org).
            (Some(""), None, true),
            (Some("1"), None, false),
            (None, Some("auto"), true),
            (Some("1"), Some("auto"), false),
            (None, Some("never"), false),
            (Some("1"), Some("always"), true),
        ] {
            let choice = choice.map_or(vec![], |choice| vec!["--color", choice]);
            let mut command = bed.command(&[&choice, verb].concat());
            command.env_remove("NO_COLOR").envs(no_colour.map(|value| ("NO_COLOR", value)));
            let (_, written) = Screen::start(command, 24, 100).end();
            let has_colour = written.contains("\x1b[");
            assert_eq!(has_colour, expected, "{choice:?} {verb:?} {no_colour:?}: {written:?}");
        }
    }
    // These never have any; all of them accept the option.
    for verb in [&["incidents"][..], &["faults"], &["check", &file], &["logs", "a", "-n", "1"]] {
        for choice in ["auto", "never"] {
            let command = bed.command(&[verb, &["--color", choice]].concat());
            let (status, written) = Screen::start(command, 24, 100).end();
            assert!(status.success() && !written.contains('\x1b'), "{verb:?}: {written:?}");
        }
    }
    // No terminal, and colours all the same.
    let output = bed.verb(&["--color=always", "--help"]);
    assert!(text(&output.stdout).contains("\x1b["), "{output:?}");
    supervisor.stop();
}
