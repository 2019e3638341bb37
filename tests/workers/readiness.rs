//! When a worker counts as running, and when its start has failed: every means, with real programs
//! on the other side.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use supervisord_rs::control::protocol::WorkerStatus;

use crate::harness::{Bed, Stopped, find, free_port};

/// Sends datagrams as a worker does: `say READY=1`.
const SAY: &str = include_str!("../fixtures/say.py");

fn notifying(script: &str) -> String {
    let text = serde_json::to_string(&format!("{SAY}\n{script}")).expect("a string");
    format!("command: [python3, -c, {text}]")
}

#[test]
fn ready_by_notify_is_starting_until_it_says_so_and_its_words_are_shown() {
    let bed = Bed::new();
    let script = notifying(
        "say('STATUS=warming up')\nwhile not os.path.exists('go'): time.sleep(0.01)\n\
            say('READY=1', 'STATUS=serving')\n\
            while not os.path.exists('reload'): time.sleep(0.01)\nsay('RELOADING=1')\n\
            while not os.path.exists('reloaded'): time.sleep(0.01)\nsay('READY=1')\n\
            time.sleep(10**6)",
    );
    let yaml = format!(
        "version: 1\nworkers:\n  w:\n    {script}\n    ready: notify\n    cwd: .\n  \
            after: {{ worker: ticker, depends_on: [w] }}\n"
    );
    let supervisor = bed.start(&yaml);
    let has_said = |words: &str| {
        supervisor.wait(words, |supervisor| {
            let worker = find(&supervisor.client.status().ok()?, "w");
            (worker.status_text.as_deref() == Some(words)).then_some(worker)
        })
    };
    assert_eq!(has_said("warming up").phase, "starting");
    assert_eq!(supervisor.worker("after").phase, "idle", "it waits");
    bed.write("go", "");
    has_said("serving");
    supervisor.wait_running();
    bed.write("reload", "");
    supervisor.wait("reloading", |supervisor| supervisor.worker("w").reloading.then_some(()));
    bed.write("reloaded", "");
    supervisor.wait("reloaded", |supervisor| (!supervisor.worker("w").reloading).then_some(()));
    assert_eq!(supervisor.worker("w").phase, "running");
    supervisor.stop();
}

#[test]
fn a_start_takes_no_longer_than_its_timeout_unless_the_worker_asks_for_more() {
    let bed = Bed::new();
    // The silent worker starts after the one that asks: when its time is over, the other's would
    // have been. Long enough for an interpreter to start on a busy machine.
    let yaml = format!(
        "version: 1\ndefaults: {{ restart: never, cwd: ., ready: {{ notify: true, timeout: 6s }} \
            }}\nworkers:\n  slow: {{ {} }}\n  \
            silent: {{ command: [sleep, 1d], depends_on: {{ slow: started }} }}\n",
        notifying(
            "say('EXTEND_TIMEOUT_USEC=3600000000')\n\
                while not os.path.exists('go'): time.sleep(0.01)\nsay('READY=1')\ntime.sleep(10**6)"
        ),
    );
    let supervisor = bed.start(&yaml);
    let silent = supervisor.wait_phase("silent", "finished");
    assert_eq!(silent.ending.expect("an ending").cause, "start-timeout");
    assert_eq!(supervisor.worker("slow").phase, "starting");
    bed.write("go", "");
    supervisor.wait_phase("slow", "running");
    supervisor.stop();
}

#[test]
fn a_stop_takes_no_longer_than_its_timeout_unless_the_worker_asks_for_more() {
    let bed = Bed::new();
    let script = notifying(
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n\
            say('READY=1')\nsignal.sigwait([signal.SIGTERM])\n\
            say('STOPPING=1', 'EXTEND_TIMEOUT_USEC=3600000000')\n\
            while not os.path.exists('go'): time.sleep(0.01)\nopen('orderly', 'w')",
    );
    let yaml = format!(
        "version: 1\ndefaults: {{ ready: notify, cwd: ., stop: {{ timeout: 3s }} }}\nworkers:\n  \
            slow: {{ {script} }}\n  \
         deaf: {{ command: [sh, -c, \"trap '' TERM; echo UP; while :; do sleep 0.1; done\"], \
         ready: {{ after: 0s }} }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_running();
    supervisor.wait_output("deaf", "UP");
    supervisor.client.stop(&["slow".into(), "deaf".into()], false).expect("ordered");
    let deaf = supervisor.wait_phase("deaf", "idle");
    assert_eq!(deaf.ending.expect("an ending").cause, "stop-timeout");
    let slow = supervisor.worker("slow");
    assert_eq!((slow.phase.as_str(), slow.status_text.as_deref()), ("stopping", Some("stopping")));
    bed.write("go", "");
    let slow = supervisor.wait_phase("slow", "idle");
    assert_eq!(slow.ending.expect("an ending").exit_code, Some(0));
    assert!(bed.path("orderly").exists());
    supervisor.stop();
}

#[test]
fn a_watchdog_that_is_not_fed_is_a_hang_and_trigger_is_at_once() {
    let bed = Bed::new();
    let feed = "assert os.environ['WATCHDOG_USEC'] == '4000000'\nsay('READY=1')\nwhile True:\n    \
        say('WATCHDOG=1')\n    time.sleep(0.1)";
    // The worker that sends nothing starts after the one that feeds: when its time is over, the
    // other's would have been.
    let yaml = format!(
        "version: 1\ndefaults: {{ restart: never, ready: notify, heartbeat: 4s }}\nworkers:\n  \
            fed: {{ {} }}\n  starved: {{ {}, depends_on: [fed] }}\n  \
            trigger: {{ {}, heartbeat: 1h }}\n",
        notifying(feed),
        notifying("say('READY=1')\ntime.sleep(10**6)"),
        notifying("say('READY=1')\nsay('WATCHDOG=trigger')\ntime.sleep(10**6)"),
    );
    let supervisor = bed.start(&yaml);
    let starved = supervisor.wait_phase("starved", "finished");
    assert_eq!(starved.ending.expect("an ending").cause, "hang");
    let trigger = supervisor.wait_phase("trigger", "finished");
    assert_eq!(trigger.ending.expect("an ending").cause, "unhealthy");
    assert_eq!(supervisor.worker("fed").phase, "running");
    supervisor.stop();
}

#[test]
fn strangers_and_nonsense_on_a_notify_socket_are_refused_counted_and_change_nothing() {
    let bed = Bed::new();
    let script = notifying(
        "print(os.environ['NOTIFY_SOCKET'], flush=True)\nsay('READY')\nsay('MAINPID=1')\n\
            say('\\x00\\xff')\nsay('A' * 5000)\nsay('MAINPID=x')\nopen('said', 'w')\n\
            time.sleep(10**6)",
    );
    let yaml = format!(
        "version: 1\nworkers:\n  w:\n    {script}\n    \
            ready: {{ notify: true, timeout: 1h }}\n    cwd: .\n  other: {{ worker: ticker }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait("nonsense", |supervisor| supervisor.bed.path("said").exists().then_some(()));
    let output = supervisor.wait_output("w", "@supervisord-rs/notify/");
    let address = SocketAddr::from_abstract_name(&output.trim()[1..]).expect("an address");
    let stranger = UnixDatagram::unbound().expect("a socket");
    for _ in 0..1000 {
        // A full queue refuses too.
        let _ = stranger.send_to_addr(b"READY=1", &address);
    }
    supervisor.bed.wait_log("is refused");
    supervisor.wait_phase("other", "running");
    let worker = supervisor.worker("w");
    assert_eq!((worker.phase.as_str(), worker.main_pid), ("starting", None), "{worker:?}");
    supervisor.stop();
    assert_eq!(bed.log().matches("is refused").count(), 1, "said once:\n{}", bed.log());
}

#[test]
fn mainpid_is_followed_when_the_first_process_leaves() {
    let bed = Bed::new();
    let script = notifying(
        "if os.fork():\n    while not os.path.exists('gone'): time.sleep(0.01)\n    sys.exit(0)\n\
            os.setsid()\nsay('READY=1', 'MAINPID=%d' % os.getpid())\n\
            print('heir', os.getpid(), flush=True)\ntime.sleep(10**6)",
    );
    let yaml = format!(
        "version: 1\nworkers:\n  w:\n    {script}\n    ready: notify\n    cwd: .\n    \
            restart: {{ policy: always, backoff: {{ initial: 0s }} }}\n"
    );
    let supervisor = bed.start(&yaml);
    let heir = supervisor.wait("the heir", |supervisor| supervisor.worker("w").main_pid);
    supervisor.wait_phase("w", "running");
    bed.write("gone", "");
    supervisor.wait("the heir to be the process", |supervisor| {
        (supervisor.worker("w").pid == Some(heir)).then_some(())
    });
    let worker = supervisor.worker("w");
    assert_eq!((worker.phase.as_str(), worker.generation), ("running", 1));
    crate::harness::kill(heir, nix::sys::signal::Signal::SIGKILL);
    let incident = supervisor.wait_incident(0);
    assert_eq!(
        incident.ending.signal.as_deref(),
        Some("SIGKILL"),
        "its status is known: {incident:?}"
    );
    supervisor.stop();
}

#[test]
fn a_main_process_whose_parent_lives_is_followed_too() {
    let bed = Bed::new();
    // The first leaves; its child stays, and is the parent of the one that counts.
    let script = notifying(
        "if os.fork():\n    while not os.path.exists('named'): time.sleep(0.01)\n    sys.exit(0)\n\
            if os.fork():\n    time.sleep(10**6)\nsay('MAINPID=%d' % os.getpid())\n\
            open('named', 'w')\nprint(os.getpid(), flush=True)\n\
            while not os.path.exists('go'): time.sleep(0.01)\nsay('READY=1')\n\
            while not os.path.exists('end'): time.sleep(0.01)",
    );
    let yaml = format!(
        "version: 1\nworkers:\n  w:\n    {script}\n    ready: notify\n    cwd: .\n    \
            restart: never\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait("the first to leave", |supervisor| {
        let heir: i32 = supervisor.bed.output("w").trim().parse().ok()?;
        (supervisor.worker("w").pid == Some(heir)).then_some(())
    });
    bed.write("go", "");
    let worker = supervisor.wait_phase("w", "running");
    assert_eq!(worker.generation, 1);
    bed.write("end", "");
    // Only its parent learns its status; the supervisor learns that it has ended.
    supervisor
        .wait("its end", |supervisor| (supervisor.worker("w").phase != "running").then_some(()));
    supervisor.stop();
}

#[test]
fn ready_by_newline_by_a_line_of_output_by_a_port_by_http_and_by_a_command() {
    let bed = Bed::new();
    let (tcp, http) = (free_port(), free_port());
    let go = "while [ ! -e go ]; do sleep 0.01; done";
    let yaml = format!(
        "version: 1\ndefaults: {{ cwd: . }}\nworkers:\n  \
           newline: {{ command: [sh, -c, '{go}; echo up >&5; exec sleep 1d'], ready: {{ fd: 5 }} \
           }}\n  \
           line: {{ command: [sh, -c, 'echo not yet; {go}; echo server ready to accept; exec \
           sleep 1d'], ready: {{ log: 'ready to accept' }} }}\n  \
           tcp: {{ command: [sh, -c, '{go}; exec python3 -m http.server {tcp} --bind 127.0.0.1'], \
           ready: {{ tcp: '127.0.0.1:{tcp}' }} }}\n  \
           http: {{ command: [sh, -c, '{go}; exec python3 -m http.server {http} --bind \
           127.0.0.1'], ready: {{ http: 'http://127.0.0.1:{http}/' }} }}\n  \
           exec: {{ command: [sleep, 1d], ready: {{ exec: [sh, -c, 'echo >>asked; test -e go'], \
           every: 20ms }} }}\n  \
           startup: {{ command: [sleep, 1d], health: {{ startup: {{ exec: [test, -e, go], every: \
           20ms, failures: 100000 }} }} }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_output("line", "not yet");
    // Probes have failed more than once.
    supervisor.wait("ten probes", |supervisor| {
        let asked = std::fs::read(supervisor.bed.path("asked")).ok()?;
        (asked.len() >= 10).then_some(())
    });
    for worker in supervisor.status().workers {
        assert_eq!(worker.phase, "starting", "{}", worker.name);
    }
    bed.write("go", "");
    supervisor.wait_running();
    supervisor.stop();
}

#[test]
fn a_line_of_the_predecessor_does_not_make_its_successor_ready() {
    let bed = Bed::new();
    // The first says that it is ready and dies at once, with its line in the pipe; the second never
    // says so.
    let script = "if [ -e second ]; then echo SECOND; exec sleep 1d; fi; touch second; echo \
        READY; echo READY; kill -9 $$";
    let yaml = format!(
        "version: 1\nworkers:\n  w: {{ command: [sh, -c, '{script}'], cwd: ., ready: {{ log: \
            READY, timeout: 1h }}, restart: {{ backoff: {{ initial: 0s }} }} }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_generation("w", 2);
    // The supervisor matches lines in their order, before it writes them: it has matched those of
    // the first.
    supervisor.wait_output("w", "READY\nREADY\nSECOND");
    assert_eq!(supervisor.worker("w").phase, "starting");
    supervisor.stop();
}

#[test]
fn a_failed_liveness_probe_restarts_and_a_failed_readiness_probe_is_shown() {
    let bed = Bed::new();
    bed.write("good", "");
    bed.write("ready", "");
    let yaml = "version: 1\ndefaults: { cwd: ., ready: { after: 0s } }\nworkers:\n  \
        alive: { command: [sleep, 1d], health: { exec: [test, -e, good], every: 30ms, timeout: \
        30s, failures: 2 } }\n  \
        open: { command: [sleep, 1d], health: { readiness: { exec: [test, -e, ready], every: \
        30ms, timeout: 30s, failures: 1 } } }\n  \
        late: { command: [sleep, 1d], depends_on: { open: ready }, autostart: false }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_phase("alive", "running");
    let open = supervisor.wait_phase("open", "running");
    std::fs::remove_file(bed.path("ready")).expect("there");
    supervisor
        .wait("unready", |supervisor| (!supervisor.worker("open").health.ready).then_some(()));
    supervisor.client.start(&["late".into()], false).expect("ordered");
    assert_eq!(
        supervisor.worker("late").waits_for,
        ["open"],
        "no dependent starts before it is ready"
    );
    bed.write("ready", "");
    supervisor.wait_phase("late", "running");
    assert_eq!(supervisor.worker("open").pid, open.pid, "a readiness probe restarts no worker");
    std::fs::remove_file(bed.path("good")).expect("there");
    let next = supervisor.wait_generation("alive", 2);
    assert_eq!(next.ending.as_ref().map(|ending| ending.cause.as_str()), Some("unhealthy"));
    supervisor.stop();
}

#[test]
fn a_probe_of_a_closed_port_or_without_an_end_disturbs_no_other_worker() {
    let bed = Bed::new();
    let closed = free_port();
    // Accepts, and then sends an endless head, a byte at a time.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endless = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
                while stream.write_all(b"X: y\r\n").is_ok() {
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
        }
    });
    let yaml = format!(
        "version: 1\ndefaults: {{ restart: never }}\nworkers:\n  \
         closed: {{ command: [sleep, 1d], ready: {{ tcp: '127.0.0.1:{closed}', timeout: 400ms, \
         every: 1ms }} }}\n  \
         endless: {{ command: [sleep, 1d], ready: {{ after: 0s }}, health: {{ http: \
         'http://127.0.0.1:{endless}/', every: 50ms, timeout: 100ms, failures: 2 }} }}\n  \
         missing: {{ command: [sleep, 1d], ready: {{ after: 0s }}, health: {{ exec: \
         [no-such-probe], every: 50ms, failures: 2 }} }}\n  \
         good: {{ worker: ticker }}\n"
    );
    let supervisor = bed.start(&yaml);
    let good = supervisor.wait_phase("good", "running");
    for (worker, cause) in
        [("closed", "start-timeout"), ("endless", "unhealthy"), ("missing", "unhealthy")]
    {
        let worker = supervisor.wait_phase(worker, "finished");
        assert_eq!(worker.ending.expect("an ending").cause, cause);
    }
    assert_eq!(supervisor.worker("good").pid, good.pid);
    supervisor.stop();
}

#[test]
fn time_in_which_the_supervisor_did_not_run_counts_against_no_worker() {
    let bed = Bed::new();
    let (port, http) = (free_port(), free_port());
    let beating = notifying("while True:\n say('WATCHDOG=1')\n time.sleep(0.05)");
    // Each becomes ready while the supervisor is stopped, and its timeout ends meanwhile.
    let wait = "while not os.path.exists('go'): time.sleep(0.01)\n";
    let notify = notifying(&format!("{wait}say('READY=1')\ntime.sleep(10**6)"));
    let go = "while ! test -e go; do sleep 0.01; done";
    let newline =
        "command: [sh, -c, 'while ! test -e go; do sleep 0.01; done; echo >&4; exec sleep 1d']";
    let log =
        "command: [sh, -c, 'while ! test -e go; do sleep 0.01; done; echo UP; exec sleep 1d']";
    let tcp = format!(
        "command: [python3, -c, {}]",
        serde_json::to_string(&format!(
            "import os, socket, time\n{wait}s = socket.create_server(('127.0.0.1', {port}))\n\
                time.sleep(10**6)"
        ))
        .expect("a string")
    );
    let yaml = format!(
        "version: 1\ndefaults: {{ cwd: ., restart: never }}\nworkers:\n  \
         beats: {{ {beating}, heartbeat: 6s, ready: {{ after: 0s }} }}\n  \
         sdk: {{ worker: ticker, heartbeat: 6s }}\n  \
         busy: {{ worker: cpu-burner, heartbeat: 6s }}\n  \
         asleep: {{ worker: sleeper, heartbeat: 6s }}\n  \
         notify: {{ {notify}, ready: {{ notify: true, timeout: 8s }} }}\n  \
         newline: {{ {newline}, ready: {{ fd: 4, timeout: 8s }} }}\n  \
         log: {{ {log}, ready: {{ log: UP, timeout: 8s }} }}\n  \
         tcp: {{ {tcp}, ready: {{ tcp: '127.0.0.1:{port}', every: 100ms, timeout: 8s }} }}\n  \
         http: {{ command: [sh, -c, '{go}; exec python3 -m http.server {http} --bind 127.0.0.1'], \
         ready: {{ http: 'http://127.0.0.1:{http}/', every: 100ms, timeout: 8s }} }}\n  \
         exec: {{ command: [sh, -c, '{go}; touch up; exec sleep 1d'], ready: {{ exec: [test, -e, \
         up], every: 100ms, timeout: 8s }} }}\n"
    );
    let supervisor = bed.start_with(&yaml, &["--no-guardian"]);
    for name in ["beats", "sdk", "busy", "asleep"] {
        supervisor.wait_phase(name, "running");
    }
    for name in ["notify", "newline", "log", "tcp", "http", "exec"] {
        supervisor.wait_phase(name, "starting");
    }
    let pid = supervisor.child_pid();
    // A worker that never waits is stopped together with the supervisor, as in a suspended
    // container.
    let busy = supervisor.worker("busy").pid.expect("it runs");
    let suspended = [pid, busy].map(Stopped::new);
    bed.write("go", "");
    // The pause is the subject of the test: it is longer than every timeout.
    std::thread::sleep(Duration::from_secs(10));
    drop(suspended);
    let status = supervisor.wait_running();
    assert!(status.workers.iter().all(|worker| worker.generation == 1), "{status:?}");
    assert_eq!(supervisor.incidents().len(), 0);
    supervisor.stop();
}

#[test]
fn a_pause_at_any_moment_of_a_start_counts_against_no_worker() {
    let yaml = "version: 1\nworkers:\n  w:\n    instances: 40\n    \
        command: [sh, -c, 'echo >&4; exec sleep 1d']\n    ready: { fd: 4, timeout: 5s }\n    \
        restart: never\n";
    let beds: Vec<Bed> = (0..16).map(|_| Bed::new()).collect();
    let paused = beds.iter().zip(0..).map(|(bed, moment)| {
        let supervisor = bed.launch(yaml, &["--no-guardian"]);
        bed.wait("its socket", || bed.path("run/control.sock").exists().then_some(()));
        // Before the first launch, between launches, after the last.
        let at = Instant::now() + moment * Duration::from_millis(3);
        while Instant::now() < at {
            std::hint::spin_loop();
        }
        crate::harness::kill(supervisor.child_pid(), nix::sys::signal::Signal::SIGSTOP);
        supervisor
    });
    let paused: Vec<_> = paused.collect();
    // The pause is the subject of the test: it is longer than every timeout.
    std::thread::sleep(Duration::from_secs(6));
    for supervisor in paused {
        crate::harness::kill(supervisor.child_pid(), nix::sys::signal::Signal::SIGCONT);
        let status = supervisor.wait("an outcome", |supervisor| {
            let status = supervisor.client.status().ok()?;
            let is_over = |worker: &WorkerStatus| {
                !["idle", "launching", "starting"].contains(&worker.phase.as_str())
            };
            status.workers.iter().all(is_over).then_some(status)
        });
        let late: Vec<_> = status.workers.iter().filter(|it| it.phase != "running").collect();
        let ends: Vec<_> = late.iter().map(|it| (&it.name, &it.ending)).collect();
        assert!(late.is_empty(), "{ends:?}\n{}", supervisor.bed.log());
        supervisor.stop();
    }
}

#[test]
fn a_line_that_is_written_right_after_the_launch_is_seen() {
    let bed = Bed::new();
    // The shell runs already, and writes before anything else: thirty times, to exclude luck.
    let yaml = "version: 1\nworkers:\n  w: { instances: 30, command: [sh, -c, 'echo READY; exec \
        sleep 1d'], ready: { log: READY, timeout: 1h } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    supervisor.client.restart(&["w".into()], true).expect("they come back");
    supervisor.stop();
}
