//! The guardian's reaction to a supervisor that dies, hangs, cannot start, or must end: workers
//! notice nothing, or end in order.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Bed, Stopped, Supervisor, find, holds, is_alive, kill, reads_stdin};
use nix::sys::signal::Signal;
use supervisord_rs::control::protocol::{IncidentRecord, StatusReport};

/// A worker that prints a line when it gets TERM, and takes a moment to end.
const POLITE: &str =
    "trap 'sleep 0.3; echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";

fn configuration(supervisor: &str) -> String {
    let polite = serde_json::to_string(POLITE).expect("a string");
    format!(
        "version: 1\nsupervisor: {{ {supervisor} }}\ndefaults: {{ ready: {{ after: 0s }} }}\n\
            workers:\n  \
         polite: {{ command: [sh, -c, {polite}] }}\n  other: {{ command: [sleep, 1d] }}\n"
    )
}

/// The same, where the polite worker ends when the file is there, and has the time for that.
fn configuration_until(go: &Path) -> String {
    configuration("")
        .replace("sleep 0.3", &format!("until [ -e {} ]; do sleep 0.01; done", go.display()))
        .replace("ready: { after: 0s }", "ready: { after: 0s }, stop: { timeout: 1h }")
}

/// A bed where the polite worker has its handler installed.
fn started<'a>(bed: &'a Bed, supervisor: &str) -> (Supervisor<'a>, StatusReport) {
    started_with(bed, &configuration(supervisor))
}

fn started_with<'a>(bed: &'a Bed, yaml: &str) -> (Supervisor<'a>, StatusReport) {
    let supervisor = bed.start(yaml);
    supervisor.wait_output("polite", "up");
    let status = supervisor.wait_running();
    (supervisor, status)
}

fn pids(status: &StatusReport) -> BTreeMap<String, Option<i32>> {
    status.workers.iter().map(|worker| (worker.name.clone(), worker.pid)).collect()
}

/// The incidents in the file, once no supervisor answers any more.
fn written(bed: &Bed) -> Vec<IncidentRecord> {
    let text = std::fs::read_to_string(bed.path("state/incidents.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

#[test]
fn a_supervisor_that_cannot_start_is_tried_again_and_its_workers_run_on() {
    let bed = Bed::new();
    let (supervisor, before) = started(&bed, "");
    tried_again(supervisor, &before, &["env"], "nofile=4", "Max open files");
}

/// The limit of processes binds all users but root.
#[test]
fn a_supervisor_whose_process_cannot_be_made_is_tried_again_and_its_workers_run_on() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    bed.give_to(4717);
    let user = ["setpriv", "--reuid=4717", "--regid=4717", "--clear-groups"];
    let supervisor = bed.start_under(&user, &configuration(""), &[]);
    let before = supervisor.wait_running();
    tried_again(supervisor, &before, &user, "nproc=1", "Max processes");
    assert!(bed.log().contains("raise the limit of processes"), "{}", bed.log());
}

/// Its guardian has this limit while the supervisor dies, and gets its former one later.
/// A wrapper starts what changes it: not even root may change every process's.
fn tried_again(
    supervisor: Supervisor<'_>,
    before: &StatusReport,
    wrapper: &[&str],
    tight: &str,
    name: &str,
) {
    let guardian = supervisor.child_pid();
    let limit = |to: &str| {
        let done = Command::new(wrapper[0])
            .args(&wrapper[1..])
            .args(["prlimit", "--pid", &guardian.to_string(), &format!("--{to}:")])
            .status()
            .expect("prlimit");
        assert!(done.success());
    };
    let original = std::fs::read_to_string(format!("/proc/{guardian}/limits")).expect("its limits");
    let original = original.lines().find_map(|line| line.strip_prefix(name));
    let original =
        original.and_then(|line| line.split_whitespace().next()).expect("a limit").to_owned();
    limit(tight);
    kill(before.supervisor.pid, Signal::SIGKILL);
    supervisor.wait("a second attempt", |supervisor| {
        (supervisor.bed.log().matches("trying again in").count() >= 2).then_some(())
    });
    let log = supervisor.bed.log();
    assert!(pids(before).values().flatten().all(|pid| is_alive(*pid)), "{log}");
    let (resource, _) = tight.split_once('=').expect("a resource and its limit");
    limit(&format!("{resource}={original}"));
    let after = supervisor.wait_successor(before.supervisor.pid);
    assert_eq!(pids(&after), pids(before), "{log}");
    supervisor.stop();
}

#[test]
fn a_supervisor_that_is_frozen_is_ended_and_its_workers_are_adopted() {
    let bed = Bed::new();
    let (supervisor, before) = started(&bed, "watchdog: 3s");
    kill(before.supervisor.pid, Signal::SIGSTOP);
    let after = supervisor.wait_successor(before.supervisor.pid);
    assert_eq!(pids(&after), pids(&before), "{}", bed.log());
    bed.wait_log("has given no sign of life");
    supervisor.stop();
}

#[test]
fn a_guardian_that_gives_up_at_its_configured_limit_ends_everything_in_order() {
    let bed = Bed::new();
    let (mut supervisor, before) =
        started(&bed, "restart: { limit: { restarts: 1, within: 60s } }");
    kill(before.supervisor.pid, Signal::SIGKILL);
    let after = supervisor.wait_successor(before.supervisor.pid);
    assert_eq!(pids(&after), pids(&before));
    kill(after.supervisor.pid, Signal::SIGKILL);
    assert_eq!(supervisor.wait_exit().code(), Some(70), "{}", bed.log());
    assert!(bed.output("polite").contains("bye"), "it was asked, and had its time: {}", bed.log());
    assert_eq!(bed.processes(), Vec::<i32>::new());
}

#[test]
fn an_order_to_end_while_there_is_no_supervisor_is_carried_out_in_order() {
    let bed = Bed::new();
    let (mut supervisor, before) = started(
        &bed,
        "restart: { backoff: { initial: 1h, max: 1h }, limit: { restarts: 9, within: 60s } }",
    );
    kill(before.supervisor.pid, Signal::SIGKILL);
    let after = supervisor.wait_successor(before.supervisor.pid);
    kill(after.supervisor.pid, Signal::SIGKILL);
    supervisor.wait("the guardian to wait", |supervisor| {
        (supervisor.bed.log().matches("starting it again").count() == 2).then_some(())
    });
    kill(supervisor.child_pid(), Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit().code(), Some(0), "{}", bed.log());
    assert!(bed.output("polite").contains("bye"), "{}", bed.log());
    assert_eq!(bed.processes(), Vec::<i32>::new());
}

#[test]
fn a_death_during_a_shutdown_is_an_incident_and_leaves_workers_their_time_to_stop() {
    let bed = Bed::new();
    let go = bed.path("go");
    let (mut supervisor, before) = started_with(&bed, &configuration_until(&go));
    supervisor.client.shutdown(false).expect("ordered");
    supervisor.wait_phase("polite", "stopping");
    // Like a thread worker that panics when it should stop.
    kill(before.supervisor.pid, Signal::SIGABRT);
    std::fs::write(&go, "").expect("a file");
    assert_eq!(supervisor.wait_exit().code(), Some(0), "{}", bed.log());
    assert!(bed.output("polite").contains("bye"), "{}", bed.log());
    let incidents = written(&bed);
    assert!(
        incidents.iter().any(|incident| incident.supervisor_died),
        "{incidents:?}\n{}",
        bed.log()
    );
    assert_eq!(bed.processes(), Vec::<i32>::new());
}

/// The client that ordered the shutdown learns of its end, whichever supervisor completes it.
#[test]
fn shutdown_waits_for_the_end_that_a_successor_brings() {
    let bed = Bed::new();
    let go = bed.path("go");
    let (mut supervisor, before) = started_with(&bed, &configuration_until(&go));
    let polite = find(&before, "polite").pid.expect("running");
    let said = std::thread::scope(|scope| {
        let verb = scope.spawn(|| {
            let said = bed.verb(&["shutdown"]);
            (said, is_alive(polite))
        });
        supervisor.wait_phase("polite", "stopping");
        kill(before.supervisor.pid, Signal::SIGKILL);
        supervisor.wait_successor(before.supervisor.pid);
        std::fs::write(&go, "").expect("a file");
        verb.join().expect("no panic")
    });
    let (said, is_left) = said;
    assert!(said.status.success(), "{said:?}; log:\n{}", bed.log());
    assert!(!is_left, "it said so too early: {said:?}; log:\n{}", bed.log());
    assert_eq!(supervisor.wait_exit().code(), Some(0), "{}", bed.log());
    assert!(bed.output("polite").contains("bye"), "{}", bed.log());
}

/// The supervisor gets PWR for each thread of the guardian that becomes its parent and dies:
/// however often it comes, it is not a second order. A service manager or a person may order the
/// end on top of it: a first order.
#[test]
fn the_guardians_death_leaves_workers_their_time_to_stop() {
    for round in 0..3 {
        let bed = Bed::new();
        let go = bed.path("go");
        let (mut supervisor, before) = started_with(&bed, &configuration_until(&go));
        supervisor.child.kill().expect("our child");
        supervisor.wait_exit();
        bed.wait_log("the guardian is gone");
        kill(before.supervisor.pid, Signal::SIGPWR);
        kill(before.supervisor.pid, Signal::SIGTERM);
        // It has its time after that.
        supervisor.wait_phase("polite", "stopping");
        std::fs::write(&go, "").expect("a file");
        supervisor.wait("everything to be gone", |_| bed.processes().is_empty().then_some(()));
        assert!(bed.output("polite").contains("bye"), "round {round}: {}", bed.log());
    }
}

#[test]
fn how_long_the_guardian_waits_is_not_how_long_it_took_to_see() {
    let bed = Bed::new();
    let (supervisor, before) = started(&bed, "restart: { backoff: { initial: 3s, max: 3s } }");
    kill(before.supervisor.pid, Signal::SIGKILL);
    let after = supervisor.wait_successor(before.supervisor.pid);
    // The incident must be written before its writer dies too.
    let known = supervisor.wait_incident(0).id;
    kill(after.supervisor.pid, Signal::SIGKILL);
    let incident = supervisor.wait_incident(known);
    assert_eq!(incident.detected_us, None, "{incident:?}");
    supervisor.stop();
}

#[test]
fn an_order_to_end_that_comes_during_the_start_is_carried_out() {
    for options in [&["--no-guardian"][..], &[]] {
        let bed = Bed::new();
        let mut supervisor = bed.launch(&configuration(""), options);
        let pid = supervisor.child_pid();
        // As early as possible: before that, the process has not executed the program yet.
        supervisor.wait("TERM to be held or taken", |_| holds(pid, Signal::SIGTERM));
        kill(pid, Signal::SIGTERM);
        assert_eq!(supervisor.wait_exit().code(), Some(0), "{options:?}: {}", bed.log());
        assert_eq!(bed.processes(), Vec::<i32>::new());
    }
}

#[test]
fn an_order_to_end_that_comes_before_the_configuration_is_read_is_carried_out() {
    let bed = Bed::new();
    let log = std::fs::File::create(bed.path("supervisor.log")).expect("a log");
    let mut child = bed
        .command(&["run", "--no-guardian", "-c", "/dev/stdin"])
        .stdin(std::process::Stdio::piped())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("it runs");
    let pid = child.id() as i32;
    bed.wait("it to wait for its configuration", || reads_stdin(pid));
    assert_eq!(holds(pid, Signal::SIGTERM), Some(()), "as early as that");
    kill(pid, Signal::SIGTERM);
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(configuration("").as_bytes()).expect("it reads");
    drop(pipe);
    let status = bed.wait("its end", || child.try_wait().expect("our child"));
    assert_eq!(status.code(), Some(0), "{}", bed.log());
    assert_eq!(bed.processes(), Vec::<i32>::new());
}

#[test]
fn a_signal_without_a_meaning_ends_nothing() {
    let bed = Bed::new();
    let (supervisor, before) = started(&bed, "");
    let without_meaning = [
        Signal::SIGUSR1,
        Signal::SIGALRM,
        Signal::SIGVTALRM,
        Signal::SIGPROF,
        Signal::SIGIO,
        Signal::SIGSTKFLT,
    ];
    let is_logged = |pid, signal| {
        let said = || bed.log().matches("this signal has no effect").count();
        let known = said();
        kill(pid, signal);
        bed.wait("a word about it", || (said() > known).then_some(()));
    };
    for signal in without_meaning {
        is_logged(supervisor.child_pid(), signal);
        is_logged(before.supervisor.pid, signal);
    }
    // Ignored. A fatal one ends the supervisor, and the guardian starts another; nothing would
    // start another guardian.
    let ignored = [Signal::SIGXCPU, Signal::SIGXFSZ, Signal::SIGTRAP, Signal::SIGSYS];
    ignored.into_iter().for_each(|signal| kill(supervisor.child_pid(), signal));
    let ignored = [Signal::SIGXCPU, Signal::SIGXFSZ];
    ignored.into_iter().for_each(|signal| kill(before.supervisor.pid, signal));
    // After these, both still hear.
    is_logged(supervisor.child_pid(), Signal::SIGUSR1);
    is_logged(before.supervisor.pid, Signal::SIGUSR1);
    let after = supervisor.status();
    assert_eq!((after.supervisor.pid, pids(&after)), (before.supervisor.pid, pids(&before)));
    supervisor.stop();
}

#[test]
fn a_notify_socket_without_an_fd_store_does_not_remove_the_guardian() {
    let bed = Bed::new();
    // A service manager that listens, and keeps no descriptors.
    let path = bed.path("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(crate::harness::DEADLINE)).expect("a socket");
    let live = path.to_str().expect("UTF-8");
    for environment in [
        &[("NOTIFY_SOCKET", "/nowhere/at/all"), ("SUPERVISORD_RS_FDSTORE", "100")][..],
        &[("NOTIFY_SOCKET", live)],
    ] {
        let (_, name) = environment[0];
        let supervisor = bed.start_in(&configuration(""), &[], environment);
        let before = supervisor.wait_running();
        assert_ne!(before.supervisor.pid, supervisor.child_pid(), "{}", bed.log());
        let said = format!("NOTIFY_SOCKET ({name}) has no fd store");
        bed.wait_log(&said);
        kill(before.supervisor.pid, Signal::SIGKILL);
        assert_eq!(
            pids(&supervisor.wait_successor(before.supervisor.pid)),
            pids(&before),
            "{}",
            bed.log()
        );
        supervisor.stop();
    }
    // Its readiness is reported all the same.
    let mut datagram = [0; 4096];
    let mut is_ready = || {
        let length = manager.recv(&mut datagram).expect("a datagram");
        String::from_utf8_lossy(&datagram[..length]).lines().any(|line| line == "READY=1")
    };
    while !is_ready() {}
}

/// A guardian that does nothing delays no client of the supervisor.
#[test]
fn a_guardian_that_does_not_read_blocks_nothing() {
    let bed = Bed::new();
    let yaml = format!(
        "{}  many: {{ command: [sleep, 1d], instances: 1 }}\n",
        configuration("watchdog: never")
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_running();
    let suspended = Stopped::new(supervisor.child_pid());
    // So many launches fill the queue of a socket that is not read: the loop would lose half a
    // second for each if it waited.
    let begun = Instant::now();
    supervisor.client.scale("many", 40, true).expect("scaled");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "40 launches take {took:?}; log:\n{}", bed.log());
    supervisor.bed.wait_log("the guardian takes no descriptors");
    drop(suspended);
    supervisor.bed.wait_log("the guardian takes descriptors again");
    // A worker whose descriptors are all kept outlives the supervisor.
    let before = supervisor.status();
    kill(before.supervisor.pid, Signal::SIGKILL);
    let after = supervisor.wait_successor(before.supervisor.pid);
    assert_eq!(find(&after, "other").pid, find(&before, "other").pid);
    supervisor.stop();
}

/// Fills the queue of the guardian's socket, whose name its supervisor knows.
fn fill_queue(of_supervisor: i32) {
    let address = crate::harness::variable(of_supervisor, "NOTIFY_SOCKET");
    let name = address.strip_prefix('@').expect("an abstract name");
    let address = SocketAddr::from_abstract_name(name).expect("an address");
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.set_nonblocking(true).expect("non-blocking");
    while socket.send_to_addr(b"STATUS=filling", &address).is_ok() {}
}

/// A guardian that is held for less than `watchdog:` while its queue is full loses signs of life.
/// It finds the last one in the page, and ends no healthy supervisor.
#[test]
fn a_held_guardian_with_a_full_queue_ends_no_healthy_supervisor() {
    let bed = Bed::new();
    let (supervisor, before) = started(&bed, "watchdog: 2s");
    // The pauses are the subject of the test: a sign comes once a second, and each round begins a
    // quarter of a second later after one.
    for round in 0..4 {
        let suspended = Stopped::new(supervisor.child_pid());
        fill_queue(before.supervisor.pid);
        std::thread::sleep(Duration::from_millis(1700));
        drop(suspended);
        std::thread::sleep(Duration::from_millis(550));
        assert!(!bed.log().contains("no sign of life"), "round {round}: {}", bed.log());
    }
    assert_eq!(supervisor.status().supervisor.pid, before.supervisor.pid, "{}", bed.log());
    // One that hangs is ended all the same.
    kill(before.supervisor.pid, Signal::SIGSTOP);
    let after = supervisor.wait_successor(before.supervisor.pid);
    assert_eq!(pids(&after), pids(&before), "{}", bed.log());
    supervisor.stop();
}

/// The full queue loses the supervisor's last datagrams, but not the announcement of its orderly
/// end.
#[test]
fn an_orderly_end_is_one_also_for_a_guardian_that_does_not_read() {
    for is_signal in [false, true] {
        let bed = Bed::new();
        let (mut supervisor, before) = started(&bed, "watchdog: never");
        let suspended = Stopped::new(supervisor.child_pid());
        fill_queue(before.supervisor.pid);
        let begun = Instant::now();
        if is_signal {
            kill(before.supervisor.pid, Signal::SIGTERM);
        } else {
            let done = bed.verb(&["shutdown"]);
            assert!(done.status.success(), "{done:?}");
        }
        // It is a zombie as long as the guardian does not reap it.
        supervisor.wait("the supervisor's end", |_| {
            let path = format!("/proc/{}/status", before.supervisor.pid);
            std::fs::read_to_string(path).ok()?.contains("State:\tZ").then_some(())
        });
        let took = begun.elapsed();
        drop(suspended);
        assert_eq!(supervisor.wait_exit().code(), Some(0), "{is_signal}: {}", bed.log());
        assert!(took < Duration::from_secs(10), "{is_signal}: it takes {took:?}: {}", bed.log());
        assert!(!bed.log().contains("starting it again"), "{is_signal}: {}", bed.log());
        assert_eq!(bed.processes(), Vec::<i32>::new());
    }
}

/// No guardian can start a supervisor any more: neither the old one nor its successor leaves
/// workers unsupervised.
#[test]
fn the_guardians_death_during_a_hand_over_ends_everything() {
    for pause in [0, 20, 40, 60, 80, 100] {
        let bed = Bed::new();
        let (mut supervisor, before) = started(&bed, "");
        let old = before.supervisor.pid;
        let mut order = bed.command(&["reexec"]).spawn().expect("the program runs");
        // The subject of the test: a death at any moment of the hand-over.
        std::thread::sleep(Duration::from_millis(pause));
        kill(supervisor.child_pid(), Signal::SIGKILL);
        supervisor.wait_exit();
        supervisor.wait("the end of everything", |supervisor| {
            supervisor.bed.processes().is_empty().then_some(())
        });
        // A process that is just ending has no environment any more, by which the test would find
        // it.
        supervisor.wait("the end of the old one", |_| (!is_alive(old)).then_some(()));
        order.wait().expect("an answer");
    }
}

#[test]
fn an_order_to_end_that_comes_to_guardian_and_supervisor_is_one() {
    let bed = Bed::new();
    // As a terminal does, and a unit with `KillMode=control-group`.
    let (flag, go) = (bed.path("in-time").display().to_string(), bed.path("go"));
    let yaml = format!(
        "version: 1\ndefaults: {{ ready: {{ after: 0s }}, stop: {{ timeout: 30s }} }}\nworkers:\n  \
         w: {{ command: [sh, -c, \"trap 'until [ -e {} ]; do sleep 0.05; done; sleep 0.5; touch {flag}; \
         exit 0' TERM; echo up; while :; do sleep 0.05; done\"] }}\n",
        go.display()
    );
    let mut supervisor = bed.start(&yaml);
    let before = supervisor.wait_running();
    supervisor.wait_output("w", "up");
    kill(before.supervisor.pid, Signal::SIGTERM);
    supervisor.wait_phase("w", "stopping");
    kill(supervisor.child_pid(), Signal::SIGTERM);
    // It takes a moment more.
    std::fs::write(go, "").expect("a file");
    assert_eq!(supervisor.wait_exit().code(), Some(0), "{}", bed.log());
    assert!(bed.path("in-time").exists(), "it was killed; log:\n{}", bed.log());
}
