//! Orders end: with their outcome, superseded by a later one, refused, or at their timeout.

use std::time::{Duration, Instant};

use crate::harness::{Bed, find, text};
use supervisord_rs::control::client::{Client, ClientError};
use supervisord_rs::control::protocol::{Done, Failure};

/// An order on a separate thread, and its outcome.
fn beside<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    socket: &std::path::Path,
    order: impl FnOnce(&Client) -> Result<Done, ClientError> + Send + 'scope,
) -> std::thread::ScopedJoinHandle<'scope, Result<Done, ClientError>> {
    let socket = socket.to_owned();
    scope.spawn(move || order(&Client::new(&socket)))
}

#[track_caller]
fn failure(outcome: Result<Done, ClientError>) -> Failure {
    match outcome {
        Err(ClientError::Failed(failure)) => failure,
        other => panic!("it was to fail: {other:?}"),
    }
}

#[test]
fn a_superseded_order_is_answered_at_once() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  \
        deaf: { command: [sh, -c, 'trap \"\" TERM; echo DEAF; while :; do sleep 0.1; done'], \
        ready: { log: DEAF }, stop: { timeout: 100s } }\n  \
        slow: { command: [sleep, 1d], instances: 1, ready: { fd: 3, timeout: 100s } }\n";
    let mut supervisor = bed.start(yaml);
    supervisor.wait_phase("deaf", "running");
    let socket = supervisor.client.socket();
    let names = || vec!["deaf".to_owned()];
    std::thread::scope(|scope| {
        let stop = beside(scope, socket, |client| client.stop(&names(), true));
        supervisor.wait_phase("deaf", "stopping");
        let start = beside(scope, socket, |client| client.start(&names(), true));
        let stop = failure(stop.join().expect("no panic"));
        assert_eq!(stop.error, "superseded", "{stop:?}");
        assert!(stop.message.contains("deaf got a later order meanwhile: start"), "{stop:?}");
        supervisor.client.stop(&names(), false).expect("ordered");
        assert_eq!(failure(start.join().expect("no panic")).error, "superseded");
        let restart = beside(scope, socket, |client| client.restart(&names(), true));
        supervisor.wait("the restart to be wanted", |supervisor| {
            (!find(&supervisor.client.status().ok()?, "deaf").stopped).then_some(())
        });
        supervisor.client.stop(&names(), false).expect("ordered");
        assert_eq!(failure(restart.join().expect("no panic")).error, "superseded");

        let more = beside(scope, socket, |client| client.scale("slow", 3, true));
        supervisor.wait("a third instance", |supervisor| {
            let status = supervisor.client.status().ok()?;
            status
                .workers
                .iter()
                .any(|worker| worker.name == "slow.3" && worker.phase == "starting")
                .then_some(())
        });
        supervisor.client.scale("slow", 1, true).expect("scaled");
        assert_eq!(failure(more.join().expect("no panic")).error, "superseded");
    });
    supervisor.client.shutdown(true).expect("ordered");
    supervisor.wait_exit();
}

#[test]
fn an_order_ends_with_its_timeout_or_as_soon_as_it_cannot_succeed() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  \
        slow: { command: [sleep, 1d], autostart: false, ready: { fd: 3, timeout: 100s } }\n  \
        setup: { command: [\"false\"], restart: never, ready: { after: 10s } }\n  \
        main: { command: [sleep, 1d], depends_on: { setup: finished }, ready: { after: 0s } }\n";
    let supervisor = bed.start(yaml);
    let patient = supervisor.client.clone_with(Some(Duration::from_millis(200)));
    let late = failure(patient.start(&["slow".into()], true));
    assert_eq!(late.error, "timed-out", "{late:?}");
    assert!(late.message.contains("within 200ms; the order stands"), "{late:?}");
    supervisor.wait_phase("setup", "finished");
    let in_vain = failure(supervisor.client.start(&["main".into()], true));
    let why = "main cannot start: it waits for setup, which has failed (exit status 1)";
    assert!(in_vain.message.contains(why), "{in_vain:?}");
    supervisor.stop();
}

#[test]
fn a_restart_starts_what_is_needed_as_a_start_does() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        db: { command: [sleep, 1d] }\n  \
                api: { command: [sleep, 1d], depends_on: [db] }\n  \
                web: { command: [sleep, 1d], depends_on: [api] }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    supervisor.client.stop(&["db".into()], true).expect("stopped");
    supervisor.client.restart(&["api".into()], true).expect("restarted, with what it needs");
    let status = supervisor.wait_running();
    assert!(status.workers.iter().all(|worker| worker.generation == 2), "{status:?}");
    // Its dependents stop and start with it, and its dependencies run on.
    supervisor.client.restart(&["api".into()], true).expect("restarted");
    let generations = |status: &supervisord_rs::control::protocol::StatusReport| {
        ["db", "api", "web"].map(|name| find(status, name).generation)
    };
    assert_eq!(generations(&supervisor.wait_running()), [2, 3, 3]);
    supervisor.stop();
}

#[test]
fn resume_is_for_those_that_are_suspended() {
    let bed = Bed::new();
    let yaml = "version: 1\ngroups: { g: { workers: [a, b] } }\n\
        defaults: { ready: { after: 0s } }\nworkers:\n  a: { command: [sleep, 1d] }\n  \
        b: { command: [sleep, 1d] }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    for (name, why) in [
        ("a", "a is not suspended"),
        ("all", "no worker of `all` is suspended"),
        ("g:", "no worker of `g:` is suspended"),
    ] {
        let said = bed.verb(&["resume", name]);
        assert_eq!(said.status.code(), Some(4), "{said:?}");
        assert!(text(&said.stderr).contains(why), "{said:?}");
    }
    supervisor.client.pause(&["a".into()]).expect("paused");
    supervisor.client.resume(&["all".into()]).expect("one of them is suspended");
    assert!(!supervisor.worker("a").paused);
    // All or none, and the refusal names only those that are in the way.
    let stopped = bed.verb(&["stop", "b", "--json"]);
    assert!(stopped.status.success(), "{stopped:?}");
    // Only an injected fault can be silent.
    assert!(!text(&stopped.stdout).contains("is_silent"), "{stopped:?}");
    let refused = failure(supervisor.client.pause(&["a".into(), "b".into()]));
    assert!(refused.message.starts_with("b is not running"), "{refused:?}");
    assert!(!supervisor.worker("a").paused);
    supervisor.stop();
}

#[test]
fn an_injection_says_what_came_of_it_even_if_that_is_nothing() {
    let bed = Bed::new();
    let yaml = "version: 1\nsupervisor: { fault_injection: allow }\n\
        defaults: { ready: { after: 0s } }\nworkers:\n  \
        polite: { command: [sh, -c, 'trap \"exit 0\" TERM; echo up; while :; do sleep 0.01; done'], \
        restart: { policy: always, backoff: { initial: 0s } } }\n  \
        deaf: { command: [sh, -c, 'trap \"\" TERM; echo up; while :; do sleep 0.1; done'], stop: { \
        timeout: 0s } }\n  \
        catching: { command: [sh, -c, 'trap : TERM; echo up; while :; do sleep 0.1; done'], stop: { \
        timeout: 0s } }\n  \
        code: { worker: ticker }\n  idle: { worker: ticker }\n  \
        thread: { worker: ticker, isolation: thread }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    supervisor.wait_progress(None);
    for name in ["polite", "deaf", "catching"] {
        supervisor.wait_output(name, "up");
    }
    let begun = Instant::now();
    for (arguments, status, words) in [
        (
            &["inject", "polite", "signal-term"][..],
            0,
            "polite ended without an incident: exit status 0",
        ),
        (&["inject", "code", "vanish"], 0, "no incident comes of it"),
        (&["inject", "idle", "hang"], 0, "no incident comes of it"),
        (
            &["inject", "catching", "signal-term", "--timeout", "300ms"],
            1,
            "no incident came of it within 300ms",
        ),
        (&["inject", "deaf", "signal-term"], 0, "deaf ignores SIGTERM: no incident comes of it"),
        (&["inject", "deaf", "segfault"], 4, "is a command"),
        (&["pause", "thread"], 4, "a thread cannot be suspended"),
        (&["pause", "deaf"], 0, ""),
        (&["inject", "deaf", "signal-kill"], 4, "resume"),
        // `start` continues a suspended worker.
        (&["start", "deaf"], 0, ""),
        (&["inject", "deaf", "signal-kill"], 0, "signal-kill in deaf"),
        (&["scale", "deaf", "3"], 4, "instances: 1"),
        (&["signal", "deaf", "NOPE"], 2, "not the name of a signal"),
        (&["inject", "deaf", "nope"], 2, "nope"),
    ] {
        let output = bed.verb(arguments);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(45),
        "nothing waited in vain: {:?}",
        begun.elapsed()
    );
    supervisor.stop();
}

#[test]
fn a_scaled_number_holds_over_a_reload_until_the_file_has_more_than_ever() {
    let yaml = |instances: u32| {
        format!(
            "version: 1\ndefaults: {{ ready: {{ after: 0s }} }}\nworkers:\n  \
                api: {{ instances: {instances}, command: [sleep, 1d] }}\n"
        )
    };
    let bed = Bed::new();
    let supervisor = bed.start(&yaml(3));
    supervisor.wait_running();
    supervisor.client.scale("api", 1, true).expect("scaled");
    for (written, expected) in [(2, 1), (4, 4)] {
        bed.write("supervisord-rs.yaml", &yaml(written));
        let reloaded = bed.verb(&["reload"]);
        assert!(reloaded.status.success(), "{}", text(&reloaded.stderr));
        supervisor.wait(&format!("{expected} instances"), |supervisor| {
            let status = supervisor.client.status().ok()?;
            let are_up = status.workers.iter().all(|worker| worker.phase == "running");
            (status.workers.len() == expected && are_up).then_some(())
        });
    }
    supervisor.client.scale("api", 6, true).expect("scaled");
    bed.write("supervisord-rs.yaml", &yaml(5));
    assert!(bed.verb(&["reload"]).status.success());
    assert_eq!(supervisor.wait_running().workers.len(), 6);
    supervisor.stop();
}
