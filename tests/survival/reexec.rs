//! Another supervisor takes over while this one runs: upgrades, and one that is rolled back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::{
    Bed, DEADLINE, Stopped, Supervisor, find, free_port, join_in_time, kill, text, until,
};
use nix::sys::signal::Signal;
use supervisord_rs::control::client::Client;
use supervisord_rs::control::protocol::{StatusReport, WorkerStatus};

fn configuration(port: u16) -> String {
    let server = include_str!("../fixtures/http_server.py");
    format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\n\
            defaults: {{ ready: {{ after: 0s }} }}\nworkers:\n  \
         web: {{ command: [python3, -c, {}], instances: 2, sockets: [ {{ listen: \
         \"127.0.0.1:{port}\" }} ] }}\n  \
         lines: {{ command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.002; done'] \
         }}\n  \
         code: {{ worker: ticker, isolation: process }}\n  \
         in-cell: {{ worker: ticker, isolation: thread, cell: c }}\n  \
         thread: {{ worker: ticker, isolation: thread }}\n",
        serde_json::to_string(server).expect("a string")
    )
}

/// What a hand-over must not change: the running workers with process and generation.
fn processes(status: &StatusReport) -> Vec<(String, Option<i32>, u64)> {
    let all = status.workers.iter().filter(|worker| worker.name != "thread");
    all.map(|worker| (worker.name.clone(), worker.pid, worker.generation)).collect()
}

/// Clients that ask without a pause, and the numbers of answers and failures.
struct Load {
    stop: Arc<AtomicBool>,
    failed: Arc<AtomicU64>,
    served: Arc<AtomicU64>,
    client: std::thread::JoinHandle<()>,
}

impl Load {
    fn start(port: u16) -> Self {
        let (stop, failed, served) = (Arc::default(), Arc::default(), Arc::default());
        let client = std::thread::spawn({
            let (stop, failed, served): (Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>) =
                (Arc::clone(&stop), Arc::clone(&failed), Arc::clone(&served));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
                        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
                        let mut answer = String::new();
                        stream.read_to_string(&mut answer).map(|_| answer)
                    });
                    let counter = if answer.is_ok_and(|answer| answer.contains("200 OK")) {
                        &served
                    } else {
                        &failed
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, failed, served, client }
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.client.join().expect("the client");
        self.failed.load(Ordering::Relaxed)
    }
}

fn script(bed: &Bed, name: &str, body: &str) -> PathBuf {
    let path = bed.write(name, &format!("#!/bin/sh\n{body}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

fn running(supervisor: &Supervisor<'_>) -> StatusReport {
    supervisor.wait_running()
}

#[test]
fn no_client_notices_an_upgrade_under_load_and_a_broken_binary_is_rolled_back() {
    let bed = Bed::new();
    let port = free_port();
    let supervisor = bed.start(&configuration(port));
    let mut before = running(&supervisor);
    let load = Load::start(port);
    let own = env!("CARGO_BIN_EXE_supervisord-rs");
    for round in 0..5 {
        let done = bed.verb(&["reexec", "--binary", own]);
        assert_eq!(
            done.status.code(),
            Some(0),
            "round {round}: {}{}",
            text(&done.stderr),
            bed.log()
        );
        let after = running(&supervisor);
        assert_ne!(after.supervisor.pid, before.supervisor.pid, "another one");
        assert_eq!(processes(&after), processes(&before), "round {round}");
        assert!(
            find(&after, "thread").generation > find(&before, "thread").generation,
            "threads start again"
        );
        before = after;
    }
    assert_eq!(
        supervisor.incidents().len(),
        0,
        "an upgrade is no incident: {:?}",
        supervisor.incidents()
    );
    assert!(!bed.log().contains("an unknown descriptor"), "{}", bed.log());

    // A binary that does not even start, one that refuses the configuration, one that ends, and one
    // that never reports anything.
    let takes = format!("[ \"$2\" = check ] || [ \"$1\" = check ] && exec {own} \"$@\"");
    let broken = [
        (bed.path("nowhere"), "no such file"),
        (script(&bed, "refuses", "exit 3"), "exit status 3"),
        (script(&bed, "ends", &format!("{takes}; exit 1")), "it ended before it was prepared"),
        (
            script(&bed, "hangs", &format!("{takes}; sleep 1000")),
            "it is not prepared to take over after 5s",
        ),
    ];
    for (binary, why) in broken {
        let binary = binary.to_str().expect("UTF-8");
        let timeout = if binary.ends_with("hangs") { "5s" } else { "1m" };
        let done = bed.verb(&["reexec", "--binary", binary, "--timeout", timeout]);
        assert_ne!(done.status.code(), Some(0), "{binary}");
        let said = text(&done.stderr).to_lowercase();
        assert!(said.contains(why), "{binary}: {said}\n{}", bed.log());
        let after = running(&supervisor);
        assert_eq!(processes(&after), processes(&before), "{binary}");
        assert_eq!(
            after.supervisor.pid, before.supervisor.pid,
            "{binary}: the same supervisor goes on"
        );
        assert_eq!(
            find(&after, "thread").generation,
            find(&before, "thread").generation,
            "{binary}"
        );
        before = after;
    }
    let served = load.served.load(Ordering::Relaxed);
    supervisor
        .wait("requests", |_| (load.served.load(Ordering::Relaxed) > served + 20).then_some(()));
    assert_eq!(load.end(), 0, "failed requests");

    // The successor works like a started supervisor: it dies and is replaced, and it ends in order.
    crate::harness::kill(before.supervisor.pid, nix::sys::signal::Signal::SIGKILL);
    let after = supervisor.wait_successor(before.supervisor.pid);
    assert_eq!(processes(&after), processes(&before));
    supervisor.stop();
    let output = bed.output("lines");
    for (number, line) in (1..).zip(output.lines()) {
        assert_eq!(line, number.to_string(), "a line is missing, twice, or torn");
    }
}

#[test]
fn a_reload_touches_only_what_has_changed_and_an_invalid_file_changes_nothing() {
    let bed = Bed::new();
    let same = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        same: { command: [sleep, 1d] }\n";
    let supervisor = bed.start(&format!("{same}  changed: {{ command: [sleep, 2d] }}\n"));
    let mut before = supervisor.wait_running();
    bed.write(
        "supervisord-rs.yaml",
        &format!(
            "{same}  changed: {{ command: [sleep, 3d] }}\n  new: {{ command: [sleep, 4d] }}\n"
        ),
    );
    let done = bed.verb(&["reload"]);
    assert_eq!(done.status.code(), Some(0), "{}{}", text(&done.stderr), bed.log());
    let after = supervisor.wait("the change", |supervisor| {
        let status = supervisor.client.status().ok()?;
        let is_done = status.workers.len() == 3
            && status.workers.iter().all(|worker| worker.phase == "running")
            && find(&status, "changed").generation == 2;
        is_done.then_some(status)
    });
    assert_eq!(find(&after, "same").pid, find(&before, "same").pid, "it is not touched");
    before = after;

    bed.write("supervisord-rs.yaml", "version: 1\nworkers: { a: { comand: [sleep, 1d] } }\n");
    let done = bed.verb(&["reload"]);
    assert_eq!(done.status.code(), Some(78), "{}", text(&done.stderr));
    let said = text(&done.stderr).replace(bed.directory.path().to_str().expect("UTF-8"), "BED");
    crate::harness::golden::golden("reload/invalid.txt", &said);
    let done = bed.verb(&["reload", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(done.status.code(), Some(78), "{json}");
    assert_eq!(json["problems"][0]["nearest"], "command", "{json}");
    // By signal too, and the supervisor is the same one as before.
    crate::harness::kill(before.supervisor.pid, nix::sys::signal::Signal::SIGHUP);
    supervisor.bed.wait_log("the configuration is not reloaded");
    let status = supervisor.status();
    assert_eq!(
        (processes(&status), status.supervisor.pid),
        (processes(&before), before.supervisor.pid)
    );

    bed.write("supervisord-rs.yaml", same);
    let done = bed.verb(&["reload"]);
    assert_eq!(done.status.code(), Some(4), "what runs is not killed because a line is missing");
    assert!(
        text(&done.stderr).contains("supervisord-rs stop changed new"),
        "{}",
        text(&done.stderr)
    );
    supervisor.client.stop(&["changed".into(), "new".into()], true).expect("stopped");
    crate::harness::kill(before.supervisor.pid, nix::sys::signal::Signal::SIGHUP);
    let after = supervisor.wait("the one that is left", |supervisor| {
        let status = supervisor.client.status().ok()?;
        (status.workers.len() == 1).then_some(status)
    });
    assert_eq!(find(&after, "same").pid, find(&before, "same").pid);
    supervisor.stop();
}

#[test]
fn a_reload_says_what_it_does_to_each_worker_and_waits_for_those_that_it_starts() {
    let bed = Bed::new();
    let yaml = |policy: &str, new: &str, second: &str| {
        format!(
            "version: 1\ndefaults: {{ ready: {{ after: 0s }} }}\nworkers:\n  \
                same: {{ command: [sleep, 1d] }}\n  \
             other: {{ command: [sleep, {second}] }}\n  \
             policy: {{ command: [sleep, 1d], restart: {policy} }}\n  \
             thread: {{ worker: ticker, isolation: thread }}\n  \
             pool: {{ instances: 1, command: [sleep, 1d] }}\n{new}"
        )
    };
    let supervisor = bed.start(&yaml("never", "", "2d"));
    let before = supervisor.wait_running();
    supervisor.client.scale("pool", 2, true).expect("scaled");
    // In the group of another: its own entry has not changed.
    let new = "  new: { command: [sleep, 4d] }\ngroups: { g: { workers: [same] } }\n";
    bed.write("supervisord-rs.yaml", &yaml("always", new, "3d"));
    let done = bed.verb(&["reload"]);
    assert_eq!(done.status.code(), Some(0), "{}{}", text(&done.stderr), bed.log());
    let said = text(&done.stdout);
    let (first, rest) = said.split_once('\n').expect("lines");
    assert!(first.starts_with("reloaded ") && first.contains("supervisord-rs.yaml"), "{said}");
    crate::harness::golden::golden("reload/changes.txt", rest);
    let after = supervisor.status();
    assert!(after.workers.iter().all(|worker| worker.phase == "running"), "it waited: {after:?}");
    for name in ["same", "policy", "pool.1"] {
        assert_eq!(find(&after, name).pid, find(&before, name).pid, "{name} was touched");
    }
    let bad = "  new: { command: [sleep, 4d] }\n  bad: { command: [/no/such], restart: never }\n";
    bed.write("supervisord-rs.yaml", &yaml("always", bad, "3d"));
    let done = bed.verb(&["reload"]);
    assert_eq!(done.status.code(), Some(1), "{}{}", text(&done.stderr), bed.log());
    assert!(text(&done.stderr).contains("  bad failed: "), "{}", text(&done.stderr));
    supervisor.stop();
}

#[test]
fn without_an_fd_store_a_hand_over_is_refused() {
    let bed = Bed::new();
    let supervisor =
        bed.start_with("version: 1\nworkers:\n  w: { command: [sleep, 1d] }\n", &["--no-guardian"]);
    let before = supervisor.wait_phase("w", "running");
    let done = bed.verb(&["reexec"]);
    assert_eq!(done.status.code(), Some(4), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("FileDescriptorStoreMax="), "{}", text(&done.stderr));
    assert_eq!(supervisor.worker("w").pid, before.pid);
    supervisor.stop();
}

/// Reads datagrams until the wanted one or the deadline.
fn next(socket: &UnixDatagram, wanted: &str, within: Duration) -> bool {
    let end = Instant::now() + within;
    while Instant::now() < end {
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let mut bytes = [0; 4096];
        if let Ok(count) = socket.recv(&mut bytes)
            && text(&bytes[..count]).lines().any(|line| line == wanted)
        {
            return true;
        }
    }
    false
}

#[test]
fn the_watchdog_of_the_service_manager_hears_of_a_loop_that_turns_and_of_no_other() {
    let bed = Bed::new();
    let path = bed.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let environment =
        [("NOTIFY_SOCKET", path.to_str().expect("UTF-8")), ("WATCHDOG_USEC", "400000")];
    let supervisor = bed.start_in(
        "version: 1\nworkers:\n  w: { command: [sleep, 1d] }\n",
        &["--no-guardian"],
        &environment,
    );
    assert!(next(&socket, "READY=1", Duration::from_secs(30)));
    for _ in 0..3 {
        assert!(next(&socket, "WATCHDOG=1", Duration::from_secs(30)), "the loop turns");
    }
    let pid = supervisor.status().supervisor.pid;
    let suspended = Stopped::new(pid);
    // What it has said before.
    socket.set_nonblocking(true).expect("a socket");
    while socket.recv(&mut [0; 4096]).is_ok() {}
    socket.set_nonblocking(false).expect("a socket");
    assert!(
        !next(&socket, "WATCHDOG=1", Duration::from_secs(1)),
        "it does not turn, and says that it does"
    );
    drop(suspended);
    assert!(next(&socket, "WATCHDOG=1", Duration::from_secs(30)), "it turns again");
    supervisor.stop();
}

#[test]
fn a_reload_refuses_a_change_of_identity_before_anything_happens() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let supervisor = bed.start(yaml);
    let before = running(&supervisor);
    let other = bed.path("elsewhere");
    for (key, value) in [("runtime_dir", other.to_str().expect("UTF-8")), ("on_death", "kill")] {
        bed.write("supervisord-rs.yaml", &format!("{yaml}supervisor: {{ {key}: {value} }}\n"));
        let done = bed.verb(&["reload"]);
        let said = text(&done.stderr);
        assert_ne!(done.status.code(), Some(0), "{said}");
        assert!(said.contains(&format!("supervisor.{key}")) && said.contains(value), "{said}");
        let after = supervisor.status();
        assert_eq!(after.supervisor.pid, before.supervisor.pid, "nothing has happened");
        assert_eq!(processes(&after), processes(&before));
    }
    assert!(!other.exists());
    bed.write("supervisord-rs.yaml", yaml);
    assert_eq!(bed.verb(&["reload"]).status.code(), Some(0), "{}", bed.log());
    assert_eq!(processes(&running(&supervisor)), processes(&before));
    supervisor.stop();
}

/// Each version has its own way to tell whether a worker is configured as it was launched.
#[test]
fn a_reload_after_an_upgrade_restarts_what_is_changed_after_it_and_nothing_else() {
    let bed = Bed::new();
    let own = PathBuf::from(env!("CARGO_BIN_EXE_supervisord-rs"));
    let other = bed.path("other");
    std::fs::copy(own, &other).expect("a copy");
    let yaml = |sleep: &str| {
        format!(
            "version: 1\nworkers:\n  w: {{ command: [sleep, {sleep}], ready: {{ after: 0s }} }}\n"
        )
    };
    let supervisor = bed.start(&yaml("1d"));
    let before = supervisor.wait_running();
    let upgrade = |binary: &str| {
        let done = bed.verb(&["reexec", "--binary", binary]);
        assert_eq!(done.status.code(), Some(0), "{}{}", text(&done.stderr), bed.log());
        supervisor.wait_running()
    };
    let reload = || {
        let done = bed.verb(&["reload"]);
        assert_eq!(done.status.code(), Some(0), "{}{}", text(&done.stderr), bed.log());
        supervisor.wait_running()
    };
    let other = other.to_str().expect("UTF-8");
    assert_eq!(processes(&upgrade(other)), processes(&before));
    bed.write("supervisord-rs.yaml", &yaml("2d"));
    let changed = reload();
    assert_ne!(processes(&changed), processes(&before), "changed after the upgrade");
    bed.write("supervisord-rs.yaml", &yaml("3d"));
    let upgraded = upgrade(env!("CARGO_BIN_EXE_supervisord-rs"));
    assert_ne!(processes(&upgraded), processes(&changed), "changed with the version");
    assert_eq!(processes(&reload()), processes(&upgraded), "and nothing since");
    let yaml = format!("{}# a comment\n", yaml("3d"));
    bed.write("supervisord-rs.yaml", &yaml);
    assert_eq!(processes(&upgrade(other)), processes(&upgraded), "no entry of it is another");
    bed.write("supervisord-rs.yaml", &yaml.replace("3d", "4d"));
    assert_ne!(processes(&reload()), processes(&upgraded), "and the next change counts");
    supervisor.stop();
}

/// The path that started the supervisor counts: a link that was flipped, a file that was moved away
/// and replaced.
#[test]
fn an_upgrade_takes_what_lies_where_the_supervisor_was_started_from() {
    for how in ["a link is turned", "the file is moved away, and another put there"] {
        let bed = Bed::new();
        let own = PathBuf::from(env!("CARGO_BIN_EXE_supervisord-rs"));
        for version in ["old", "new"] {
            std::fs::copy(&own, bed.path(version)).expect("a copy");
        }
        let started_from = bed.path("supervisord-rs");
        let is_link = how.starts_with("a link");
        let turn = |to: &str| {
            let hidden = bed.path("hidden");
            std::os::unix::fs::symlink(bed.path(to), &hidden).expect("a link");
            std::fs::rename(hidden, &started_from).expect("turned");
        };
        if is_link {
            turn("old");
        } else {
            std::fs::rename(bed.path("old"), &started_from).expect("ours");
        }
        let yaml = "version: 1\nworkers:\n  w: { command: [sleep, 1d] }\n";
        let file = bed.write("supervisord-rs.yaml", yaml);
        let log = std::fs::File::create(bed.path("supervisor.log")).expect("a log");
        let mut command = bed.command_of(&started_from, &["run", "-c"]);
        command.arg(file).stderr(log);
        let supervisor = bed.attach(command);
        let before = running(&supervisor);
        let image =
            |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).expect("a live process");
        let [old, new] = if is_link {
            turn("new");
            [bed.path("old"), bed.path("new")]
        } else {
            std::fs::rename(&started_from, bed.path("old")).expect("moved");
            std::fs::copy(bed.path("new"), &started_from).expect("put there");
            [bed.path("old"), started_from.clone()]
        };
        assert_eq!(image(before.supervisor.pid), old, "{how}");
        let done = bed.verb(&["reexec"]);
        assert_eq!(done.status.code(), Some(0), "{how}: {}{}", text(&done.stderr), bed.log());
        let named = format!("{} {}", new.display(), env!("CARGO_PKG_VERSION"));
        let said = text(&done.stdout);
        assert!(said.contains(&named), "{how}: the answer names what runs now: {said}");
        let after = running(&supervisor);
        assert_eq!(image(after.supervisor.pid), new, "{how}");
        // After a death the guardian starts the binary that ran last, not its own.
        crate::harness::kill(after.supervisor.pid, nix::sys::signal::Signal::SIGKILL);
        let last = supervisor.wait_successor(after.supervisor.pid);
        assert_eq!(image(last.supervisor.pid), new, "{how}");
        assert_eq!(processes(&last), processes(&before), "{how}");
        supervisor.stop();
    }
}

/// Reads events until the supervisor ends the stream; the supervisor serves it already.
fn reader_of_events(bed: &Bed) -> JoinHandle<usize> {
    let socket = bed.path("run/control.sock");
    let (serves, served) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let client = Client::new(&socket);
        let events = client.events().expect("events");
        serves.send(()).expect("the test waits for that");
        events.take_while(Result::is_ok).count()
    });
    served.recv_timeout(DEADLINE).expect("a reader");
    reader
}

#[test]
fn readers_of_events_do_not_delay_a_hand_over() {
    let bed = Bed::new();
    let supervisor = bed.start("version: 1\nworkers:\n  w: { command: [sleep, 1d] }\n");
    running(&supervisor);
    let reload = || {
        let begun = Instant::now();
        assert_eq!(bed.verb(&["reload"]).status.code(), Some(0), "{}", bed.log());
        begun.elapsed()
    };
    let alone = (0..3).map(|_| reload()).min().expect("three");
    let with_reader = || {
        let reader = reader_of_events(&bed);
        let took = reload();
        join_in_time(reader);
        took
    };
    // One of ten: the machine has other things to do. What delays it does so each time.
    let mut slow = Vec::new();
    let is_quick = |took| took < alone + Duration::from_millis(600);
    let is_one_quick = (0..10).any(|_| {
        slow.push(with_reader());
        slow.last().copied().is_some_and(is_quick)
    });
    assert!(is_one_quick, "{slow:?} with a reader, {alone:?} without");
    supervisor.stop();
}

/// A client that has the answer of a hand-over may ask at once, even one that asks only once.
#[test]
fn the_successor_serves_each_client_that_connects_after_the_answer() {
    let bed = Bed::new();
    let supervisor = bed.start("version: 1\nworkers:\n  w: { command: [sleep, 1d] }\n");
    running(&supervisor);
    for round in 0..10 {
        supervisor.client.reexec(None, None).expect("handed over");
        let asked: Vec<_> = (0..4)
            .map(|_| {
                let socket = bed.path("run/control.sock");
                std::thread::spawn(move || asked_once(&socket))
            })
            .collect();
        for answer in asked {
            let answer = join_in_time(answer);
            assert!(answer.starts_with("HTTP/1.1 200"), "round {round}: {answer:?}");
        }
    }
    supervisor.stop();
}

/// The whole answer to one question; what came of it, where the supervisor broke off.
fn asked_once(socket: &Path) -> String {
    let mut client = std::os::unix::net::UnixStream::connect(socket).expect("it listens");
    client.set_read_timeout(Some(DEADLINE)).expect("a socket");
    let question = b"GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut answer = Vec::new();
    let asked = client.write_all(question).and_then(|()| client.read_to_end(&mut answer));
    let error = asked.err().map(|error| error.to_string()).unwrap_or_default();
    text(&answer) + &error
}

/// A binary that is slow to check the configuration delays nothing.
#[test]
fn while_a_successor_is_looked_for_the_supervisor_works() {
    let bed = Bed::new();
    let supervisor =
        bed.start("version: 1\nworkers:\n  w: { command: [sleep, 1d], ready: { after: 0s } }\n");
    let before = running(&supervisor);
    let go = bed.path("go");
    let body = format!("until [ -e {} ]; do sleep 0.01; done; exit 3", go.display());
    let slow = script(&bed, "slow", &body);
    let slow = slow.to_str().expect("UTF-8");
    let mut order = bed
        .command(&["reexec", "--binary", slow])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    supervisor.bed.wait_log(slow);
    let done = bed.verb(&["reexec"]);
    assert!(
        text(&done.stderr).contains("another hand-over is under way"),
        "{}",
        text(&done.stderr)
    );
    supervisor.client.restart(&["w".into()], true).expect("restarted");
    let after = supervisor.status();
    assert_eq!(after.supervisor.pid, before.supervisor.pid);
    assert!(find(&after, "w").generation > find(&before, "w").generation);
    assert!(order.try_wait().expect("our child").is_none(), "the check goes on meanwhile");
    std::fs::write(&go, "").expect("a file");
    let done = order.wait_with_output().expect("our child");
    assert!(text(&done.stderr).contains("exit status 3"), "{}", text(&done.stderr));
    supervisor.stop();
}

/// A successor that is not prepared has received nothing: the supervisor works on as before.
#[test]
fn a_stuck_successor_changes_nothing_and_blocks_nothing() {
    let bed = Bed::new();
    let supervisor = bed.start(
        "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
         slow: { command: [sh, -c, 'trap \"\" TERM; echo up; while :; do sleep 0.1; done'], stop: \
         { timeout: 8s } }\n  \
         spare: { command: [sleep, 1d] }\n  code: { worker: ticker, isolation: process }\n  \
         in-cell: { worker: ticker, isolation: thread, cell: c }\n  \
         thread: { worker: ticker, isolation: thread }\n",
    );
    let before = running(&supervisor);
    supervisor.wait_output("slow", "up");
    let in_flight = bed.command(&["restart", "slow"]).spawn().expect("it runs");
    supervisor.wait_phase("slow", "stopping");
    let stuck = script(&bed, "stuck", "[ \"$1\" = check ] && exit 0; exec sleep 1d");
    let mut order = bed
        .command(&["reexec", "--timeout", "4s", "--binary", stuck.to_str().expect("UTF-8")])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut restarts = 0;
    while order.try_wait().expect("our child").is_none() {
        supervisor.client.restart(&["spare".into()], true).expect("restarted");
        supervisor.status();
        restarts += 1;
    }
    // One that is held does one, or two.
    assert!(restarts > 2, "{restarts}");
    let done = order.wait_with_output().expect("our child");
    assert!(!done.status.success());
    assert!(text(&done.stderr).contains("nothing has changed"), "{}", text(&done.stderr));
    let answered = in_flight.wait_with_output().expect("our child");
    assert!(
        answered.status.success(),
        "an answer in flight breaks off: {answered:?}\n{}",
        bed.log()
    );
    let after = running(&supervisor);
    assert_eq!(after.supervisor.pid, before.supervisor.pid);
    for name in ["code", "in-cell", "thread"] {
        let (was, is) = (find(&before, name), find(&after, name));
        assert_eq!((is.pid, is.generation), (was.pid, was.generation), "{name}");
    }
    // Nothing is left that would block the next one.
    assert_eq!(bed.verb(&["reload"]).status.code(), Some(0), "{}", bed.log());
    assert_eq!(supervisor.incidents().len(), 0);
    supervisor.stop();
}

/// A successor that is prepared, receives everything, and ends: a new process of the old binary
/// continues.
#[test]
fn a_successor_that_ends_with_all_it_was_given_is_replaced_by_the_old_binary() {
    let bed = Bed::new();
    let supervisor = bed.start(
        "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
            w: { command: [sleep, 1d], instances: 3 }\n  \
         code: { worker: ticker, isolation: process }\n  \
         thread: { worker: ticker, isolation: thread }\n",
    );
    let before = running(&supervisor);
    let python = bed.write("ends.py", include_str!("../fixtures/ends.py"));
    let ends = script(
        &bed,
        "ends",
        &format!("[ \"$1\" = check ] && exit 0; exec python3 {}", python.display()),
    );
    let done = bed.verb(&["reexec", "--binary", ends.to_str().expect("UTF-8")]);
    let said = text(&done.stderr);
    assert!(
        !done.status.success() && said.contains("the old one goes on as process"),
        "{said}\n{}",
        bed.log()
    );
    let after = running(&supervisor);
    assert_ne!(after.supervisor.pid, before.supervisor.pid);
    assert_eq!(processes(&after), processes(&before));
    assert!(find(&after, "thread").generation > find(&before, "thread").generation);
    assert_eq!(supervisor.incidents().len(), 0, "{:?}", supervisor.incidents());
    supervisor.stop();
}

/// The time in which one supervisor waits for threads and the other is not there yet counts against
/// no heartbeat.
#[test]
fn a_hand_over_that_waits_for_a_thread_counts_against_no_worker() {
    let bed = Bed::new();
    let beating = include_str!("../fixtures/beating.py");
    let port = free_port();
    let late = format!(
        "import socket, time\ntime.sleep(2)\ns = socket.create_server(('127.0.0.1', {port}))\n\
            time.sleep(10**6)"
    );
    let yaml = format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\n\
            defaults: {{ ready: {{ after: 0s }}, restart: never }}\nworkers:\n  \
         beats: {{ command: [python3, -c, {}], heartbeat: 4s, instances: 3 }}\n  \
         sdk: {{ worker: ticker, isolation: process, heartbeat: 4s, instances: 3 }}\n  \
         asleep: {{ worker: sleeper, isolation: process, heartbeat: 4s }}\n  \
         busy: {{ worker: cpu-burner, isolation: process, heartbeat: 4s }}\n  \
         hangs: {{ worker: ticker, isolation: thread }}\n  \
         late: {{ command: [python3, -c, {}], autostart: false, ready: {{ tcp: \
         '127.0.0.1:{port}', every: 50ms, timeout: 4s }} }}\n",
        serde_json::to_string(beating).expect("a string"),
        serde_json::to_string(&late).expect("a string"),
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait("all but one", |supervisor| {
        let status = supervisor.client.status().ok()?;
        let are_up = |worker: &WorkerStatus| worker.phase == "running" || worker.name == "late";
        status.workers.iter().all(are_up).then_some(())
    });
    // It ignores its stop order for as long as the supervisor waits.
    supervisor.client.inject("hangs", "hang").expect("injection is allowed");
    // It listens while no supervisor probes it, and its timeout ends before one does.
    supervisor.client.start(&["late".into()], false).expect("an order");
    supervisor.wait_phase("late", "starting");
    let before = supervisor.status();
    // Beside all that, until its stream ends.
    let reader = reader_of_events(&bed);
    let begun = Instant::now();
    assert_eq!(bed.verb(&["reload"]).status.code(), Some(0), "{}", bed.log());
    join_in_time(reader);
    assert!(
        begun.elapsed() > Duration::from_secs(2),
        "the hand-over did not wait for the thread: {:?}",
        begun.elapsed()
    );
    let after = running(&supervisor);
    assert_ne!(after.supervisor.pid, before.supervisor.pid);
    // The subject of the test is time: longer than their heartbeats.
    std::thread::sleep(Duration::from_secs(6));
    let after = running(&supervisor);
    let others = |status: &StatusReport| {
        let all = processes(status).into_iter();
        all.filter(|(name, ..)| name != "hangs").collect::<Vec<_>>()
    };
    assert_eq!(others(&after), others(&before), "{}", bed.log());
    assert_eq!(supervisor.incidents().len(), 0, "{:?}", supervisor.incidents());
    supervisor.stop();
}

#[test]
fn a_hand_over_that_waits_answers_meanwhile_and_loses_no_signal() {
    let bed = Bed::new();
    let yaml = "version: 1\nsupervisor: { fault_injection: allow }\ndefaults: { restart: never }\n\
        workers:\n  \
         hangs: { worker: ticker, isolation: thread }\n  w: { command: [sleep, 1d] }\n";
    let path = bed.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let notify = [("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))];
    let mut supervisor = bed.start_in(yaml, &[], &notify);
    let before = supervisor.wait_running();
    // Signs of life go to a queue that has room for few, and that others need.
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let signs = std::thread::spawn(move || {
        let mut count = 0;
        while !over.load(Ordering::Relaxed) {
            count += u32::from(next(&socket, "WATCHDOG=1", Duration::from_millis(100)));
        }
        count
    });
    // It does not stop when it is asked to: as long as the supervisor has patience.
    supervisor.client.inject("hangs", "hang").expect("injection is allowed");
    kill(before.supervisor.pid, Signal::SIGHUP);
    let is_at_rest = || {
        let refused = supervisor.client.start(&["w".into()], false).err()?;
        refused.to_string().contains("another supervisor is taking over").then_some(())
    };
    until(Duration::from_secs(20), is_at_rest)
        .unwrap_or_else(|| panic!("it does not answer while it waits; log:\n{}", bed.log()));
    assert_eq!(supervisor.status().supervisor.pid, before.supervisor.pid);
    kill(before.supervisor.pid, Signal::SIGTERM);
    let status = supervisor.wait_exit();
    assert_eq!(status.code(), Some(0), "{}", bed.log());
    bed.wait_log("passed on to the successor");
    is_over.store(true, Ordering::Relaxed);
    let signs = signs.join().expect("a count");
    assert!((1..40).contains(&signs), "{signs} signs of life in some seconds");
}

/// The disk of the file may hang, and with it every reader.
#[test]
fn a_configuration_that_cannot_be_read_blocks_nothing() {
    let bed = Bed::new();
    let supervisor =
        bed.start("version: 1\nworkers:\n  w: { command: [sleep, 1d], ready: { after: 0s } }\n");
    let before = running(&supervisor);
    let file = bed.path("supervisord-rs.yaml");
    std::fs::remove_file(&file).expect("our file");
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let binary = script(&bed, "likes-all", "exit 0");
    let begun = Instant::now();
    let done =
        bed.verb(&["reexec", "--timeout", "60s", "--binary", binary.to_str().expect("UTF-8")]);
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "it is not waited for: {:?}",
        begun.elapsed()
    );
    assert!(
        !done.status.success() && text(&done.stderr).contains("nothing has changed"),
        "{done:?}"
    );
    let after = running(&supervisor);
    assert_eq!(
        (after.supervisor.pid, crate::harness::find(&after, "w").pid),
        (before.supervisor.pid, crate::harness::find(&before, "w").pid)
    );
    supervisor.stop();
}

/// More descriptors than one message carries.
#[test]
fn a_hand_over_of_many_workers_moves_none_of_them() {
    let bed = Bed::new();
    let supervisor = bed.start(
        "version: 1\nworkers:\n  w: { command: [sleep, 1d], ready: { after: 0s }, \
            instances: 120 }\n",
    );
    let before = running(&supervisor);
    for _ in 0..2 {
        assert_eq!(bed.verb(&["reload"]).status.code(), Some(0), "{}", bed.log());
        assert_eq!(processes(&running(&supervisor)), processes(&before), "{}", bed.log());
    }
    assert_eq!(supervisor.incidents().len(), 0);
    supervisor.stop();
}

/// Leaves a process room for so many descriptors more.
fn leave_room(pid: i32, more: usize) {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a live process");
    let numbers = open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let numbers: std::collections::BTreeSet<u64> = numbers.collect();
    let mut free = (0..).filter(|number| !numbers.contains(number));
    let limit = format!("--nofile={}:", free.nth(more).expect("endless"));
    let limited =
        std::process::Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
    assert!(limited.expect("prlimit").success());
}

/// A descriptor that is not given is one that its worker has lost.
#[test]
fn a_hand_over_without_room_for_another_descriptor_loses_none() {
    let bed = Bed::new();
    let supervisor = bed.start(
        "version: 1\nsupervisor: { fault_injection: allow }\nworkers:\n  \
         thread: { worker: ticker, isolation: thread }\n  \
         w: { command: [sleep, 1d], ready: { after: 0s }, instances: 20 }\n",
    );
    let before = running(&supervisor);
    // It does not stop when it is asked to: the hand-over lasts as long as the supervisor has
    // patience.
    supervisor.client.inject("thread", "hang").expect("injection is allowed");
    kill(before.supervisor.pid, Signal::SIGHUP);
    supervisor.wait("a hand-over", |supervisor| {
        let refused = supervisor.client.start(&["thread".into()], false).err()?;
        refused.to_string().contains("another supervisor is taking over").then_some(())
    });
    // For the locks and what it shares with the guardian.
    leave_room(before.supervisor.pid, 4);
    let after = supervisor.wait("the successor", |supervisor| {
        let status = supervisor.client.status().ok()?;
        (status.supervisor.pid != before.supervisor.pid).then(|| running(supervisor))
    });
    assert_eq!(processes(&after), processes(&before), "{}", bed.log());
    supervisor.stop();
}

#[test]
fn how_a_worker_ended_reads_the_same_after_a_hand_over_and_a_death() {
    let bed = Bed::new();
    let supervisor = bed.start(
        "version: 1\ndefaults: { ready: { after: 0s }, restart: { backoff: { initial: 1h, max: 1h \
            } } }\n\
         supervisor: { fault_injection: allow }\nworkers:\n  stays: { command: [sleep, 1d] }\n  \
         missing: { command: [no-such-program-anywhere] }\n  \
         homeless: { command: [sleep, 1d], cwd: /no/such/directory }\n  \
         panics: { worker: ticker, isolation: process, inject: [ { fault: panic, after: 10ms } ] \
         }\n",
    );
    let failed = ["missing", "homeless", "panics"];
    let before = supervisor.wait("all failures", |supervisor| {
        let status = supervisor.client.status().ok()?;
        let is_down = |name: &&str| find(&status, name).phase == "backoff";
        failed.iter().all(is_down).then_some(status)
    });
    let all = || supervisor.client.incidents_and_open(100).expect("incidents");
    let incidents = all();
    assert_eq!(incidents.len(), 3, "{incidents:?}");
    let ending = |status: &StatusReport, name| find(status, name).ending.expect("it failed");
    let missing = ending(&before, "missing").message.expect("advice");
    assert!(missing.contains("no-such-program-anywhere: "), "{missing}");
    assert_eq!(ending(&before, "homeless").stage.as_deref(), Some("directory"));
    assert!(ending(&before, "panics").message.is_some());

    assert_eq!(bed.verb(&["reexec"]).status.code(), Some(0));
    let handed_over = supervisor.status();
    kill(handed_over.supervisor.pid, Signal::SIGKILL);
    let after = supervisor.wait_successor(handed_over.supervisor.pid);
    for name in failed {
        assert_eq!(ending(&handed_over, name), ending(&before, name), "{name}, handed over");
        assert_eq!(ending(&after, name), ending(&before, name), "{name}, after a death");
    }
    let now = all();
    for incident in incidents {
        let same = now.iter().find(|other| other.id == incident.id).expect("it is still known");
        assert_eq!(same.ending, incident.ending, "incident {}", incident.id);
    }
    supervisor.stop();
}
