//! `top` and the figures of `status`: on a real terminal, with real keys.

use supervisord_rs::control::protocol::StatusReport;
use vt100::Color;

use crate::harness::{Bed, find, text};
use crate::screen::Screen;

#[test]
fn status_shows_what_workers_use_and_json_has_all_of_it() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  busy: { command: [sh, -c, 'sleep 1d & while :; do :; \
        done'], ready: { after: 0s } }\n  \
                th: { worker: ticker, isolation: thread }\n  \
                sleeping: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    let report = supervisor.wait("figures", |supervisor| {
        let report = supervisor.client.status_with_usage().ok()?;
        let busy = find(&report, "busy").usage?;
        (busy.cpu_us > 50_000 && busy.processes == 2).then_some(report)
    });
    let busy = find(&report, "busy").usage.expect("figures");
    assert!(busy.pss_kib.is_some_and(|pss| pss > 50) && busy.rss_kib >= busy.pss_kib, "{busy:?}");
    assert!(busy.threads == 2 && busy.fds.is_some_and(|fds| fds >= 6), "{busy:?}");
    let sleeping = find(&report, "sleeping").usage.expect("figures");
    assert!(sleeping.cpu_us < busy.cpu_us && sleeping.voluntary_switches > 0, "{sleeping:?}");
    let thread = find(&report, "th").usage.expect("figures");
    assert_eq!((thread.threads, thread.pss_kib), (1, None), "memory is the process's: {thread:?}");
    assert!(report.supervisor.usage.is_some_and(|usage| usage.pss_kib.is_some()));
    let shown = text(&bed.verb(&["status"]).stdout);
    assert!(
        ["CPU", "MEMORY", "THREADS", "FDS", "SWITCHES"].iter().all(|word| shown.contains(word)),
        "{shown}"
    );
    let json: serde_json::Value =
        serde_json::from_slice(&bed.verb(&["status", "--json"]).stdout).expect("JSON");
    assert!(json["workers"][0]["usage"]["voluntary_switches"].is_u64(), "{json}");
    supervisor.stop();
}

#[test]
fn one_that_computes_is_seen_to_run_and_one_that_sleeps_is_shown_too() {
    let bed = Bed::new();
    let places = [
        ("thread", "isolation: thread"),
        ("cell", "isolation: thread, cell: box"),
        ("process", "isolation: process"),
    ];
    let mut yaml = "version: 1\nworkers:\n".to_owned();
    for (name, place) in places {
        // They share one processor: each is made to wait.
        yaml += &format!("  busy-{name}: {{ worker: cpu-burner, {place}, cpus: [0] }}\n");
        yaml += &format!("  idle-{name}: {{ worker: sleeper, {place}, cpus: [0] }}\n");
    }
    let supervisor = bed.start(&yaml);
    supervisor.wait_running();
    let first = supervisor.client.status_with_usage().expect("figures");
    let usage = |report: &StatusReport, name: &str| {
        let worker = find(report, name);
        worker.usage.unwrap_or_else(|| panic!("no figures of {name}"))
    };
    let then = supervisor.wait("each to run, and to be made to wait", |supervisor| {
        let then = supervisor.client.status_with_usage().ok()?;
        let has_grown = |(name, _): &(&str, &str)| {
            let [before, after] =
                [&first, &then].map(|report| usage(report, &format!("busy-{name}")));
            after.cpu_us > before.cpu_us + 50_000
                && after.involuntary_switches > before.involuntary_switches
                && after.wait_us > before.wait_us
        };
        places.iter().all(has_grown).then_some(then)
    });
    for (name, _) in places {
        let (busy, idle) =
            (usage(&then, &format!("busy-{name}")), usage(&then, &format!("idle-{name}")));
        assert!(idle.cpu_us < busy.cpu_us && idle.voluntary_switches > 0, "{name}: {idle:?}");
        assert!(idle.wait_us.is_some(), "{name}: {idle:?}");
        assert_eq!([busy.last_cpu, idle.last_cpu], [Some(0); 2], "{name}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&bed.verb(&["status", "--json"]).stdout).expect("JSON");
    for key in ["cpu_us", "wait_us", "last_cpu"] {
        assert!(json["workers"][0]["usage"][key].is_u64(), "{key}: {json}");
    }
    let shown = text(&bed.verb(&["status"]).stdout);
    assert!(["WAITED", "PSR"].iter().all(|title| shown.contains(title)), "{shown}");
    let mut screen = Screen::start(bed.command(&["top", "--interval", "0.1"]), 40, 170);
    for title in ["CPU%", "WAIT%", "PSR"] {
        screen.wait(title);
    }
    screen.press("q");
    assert!(screen.end().0.success());
    supervisor.stop();
}

#[test]
fn processes_that_come_and_go_while_they_are_looked_at_are_no_error() {
    let bed = Bed::new();
    // Each lives for as long as a look takes; its name ends what comes before the numbers.
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'cp $(command -v true) \"a) Z 1 (\"; \
        while :; do \"./a) Z 1 (\" & \"./a) Z 1 (\"; done'], cwd: ., ready: { after: 0s } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    for _ in 0..50 {
        let report = supervisor.client.status_with_usage().expect("an answer");
        let usage = find(&report, "w").usage.expect("figures");
        assert!(usage.wait_us.is_some() && usage.last_cpu.is_some(), "{usage:?}");
        assert!(usage.processes >= 1, "{usage:?}");
    }
    supervisor.stop();
}

#[test]
fn top_says_that_no_supervisor_answers_until_one_does() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers: { a: { worker: ticker } }\n";
    let mut supervisor = bed.start(yaml);
    supervisor.wait_running();
    let mut screen = Screen::start(bed.command(&["top", "--interval", "0.1"]), 40, 160);
    screen.wait("1 of 1 running");
    supervisor.client.shutdown(false).expect("an order");
    assert!(supervisor.wait_exit().success());
    screen.wait("no supervisor answers");
    let supervisor = bed.start(yaml);
    screen.wait_gone("no supervisor answers");
    screen.press("q");
    assert!(screen.end().0.success());
    supervisor.stop();
}

#[test]
fn top_shows_workers_by_domain_and_its_keys_act() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  proc: { command: [sh, -c, 'printf \
        \"\\033]0;owned\\007\\033[2Jthe-last-line\\n\"; exec sleep 1d'], ready: { after: 0s } }\n  \
                th: { worker: ticker, isolation: thread }\n  \
                c1: { worker: ticker, isolation: thread, cell: batch }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    let mut screen = Screen::start(bed.command(&["top", "--interval", "0.1"]), 40, 160);
    for words in ["DOMAIN", "supervisor", "batch", "th", "c1", "proc", "quit"] {
        screen.wait(words);
    }
    // The supervisor's own threads come first, then cells, then processes: the third is `proc`.
    screen.press("jj");
    screen.press("x");
    supervisor.wait_phase("proc", "idle");
    screen.press("s");
    supervisor.wait_phase("proc", "running");
    let generation = supervisor.worker("proc").generation;
    screen.press("r");
    supervisor.wait_generation("proc", generation + 1);
    supervisor.wait_phase("proc", "running");
    screen.press("p");
    supervisor.wait("suspended", |supervisor| supervisor.worker("proc").paused.then_some(()));
    screen.wait("suspended");
    screen.press("p");
    supervisor.wait("resumed", |supervisor| (!supervisor.worker("proc").paused).then_some(()));
    screen.press("l");
    // The terminal obeys nothing that a worker has written.
    screen.wait("\\x1b]0;owned\\x07\\x1b[2Jthe-last-line");
    // Esc closes the pane, not the whole.
    screen.press("\x1b");
    screen.wait_gone("the-last-line");
    // Then the last message; with nothing left to close, it does nothing.
    screen.press("\x1b");
    screen.wait_gone("Esc close");
    screen.press("\x1b");
    screen.press("l");
    screen.wait("the-last-line");
    screen.wait("Esc close");
    screen.press("q");
    let (status, _) = screen.end();
    assert!(status.success(), "{status}");
    let refused = bed.verb(&["top"]);
    assert_eq!(refused.status.code(), Some(2), "without a terminal");
    supervisor.stop();
}

#[test]
fn top_shows_the_last_lines_as_the_supervisor_reads_them() {
    let bed = Bed::new();
    // Each file has some five lines.
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'for i in $(seq 40); do echo line $i; \
        echo error $i >&2; sleep 0.01; done; exec sleep 1d'], ready: { after: 0s }, logs: { stdout: \
        w.log, stderr: w.err, rotate: { size: 40, keep: 100 } } }\n";
    let mut supervisor = bed.start(yaml);
    let log = || std::fs::read_to_string(bed.path("logs/w.log")).unwrap_or_default();
    supervisor.wait("the last line", |_| log().contains("line 40\n").then_some(()));
    assert!(log().lines().count() < 12, "the last twelve are in several files: {}", log());
    let mut screen = Screen::start(bed.command(&["top", "--interval", "0.1"]), 40, 160);
    screen.wait("1 of 1 running");
    screen.press("l");
    for words in ["w.log ──", "line 29", "line 40"] {
        screen.wait(words);
    }
    screen.wait_gone("line 28");
    screen.wait_gone("error");
    // They stay while no supervisor answers.
    supervisor.client.shutdown(false).expect("an order");
    assert!(supervisor.wait_exit().success());
    screen.wait("no supervisor answers");
    screen.wait("line 40");
    screen.press("q");
    assert!(screen.end().0.success());
    bed.wait_ended();
}

#[test]
fn top_tells_success_from_failure_by_word_and_by_colour() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  up: { command: [sleep, 1d], ready: { after: 0s } }\n  \
        migrated: { command: [\"true\"], restart: never, ready: { after: 5s } }\n  \
        broken: { command: [\"false\"], restart: never, ready: { after: 5s } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_phase("up", "running");
    supervisor.wait_phase("migrated", "finished");
    supervisor.wait_phase("broken", "finished");
    let (green, red, grey) = (Color::Idx(2), Color::Idx(1), Color::Idx(8));
    for (no_colour, arguments, has_colour) in [
        (None, &["top"][..], true),
        (Some("1"), &["top"], false),
        (Some("1"), &["top", "--color", "always"], true),
        (None, &["--color", "never", "top"], false),
    ] {
        let mut command = bed.command(arguments);
        command.env_remove("NO_COLOR").envs(no_colour.map(|value| ("NO_COLOR", value)));
        let mut screen = Screen::start(command, 24, 100);
        screen.wait("broken");
        screen.wait("quit");
        for (worker, word, colour) in
            [("up", "running", green), ("migrated", "finished", grey), ("broken", "failed", red)]
        {
            let expected = if has_colour { colour } else { Color::Default };
            assert_eq!(screen.colour(worker, word), expected, "{worker}, {arguments:?}");
        }
        screen.press("q");
        let (status, _) = screen.end();
        assert!(status.success(), "{status}");
    }
    supervisor.stop();
}
