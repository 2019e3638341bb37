//! What a supervisor stands on: its control socket, and its limits.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Bed, text};

#[test]
fn a_control_socket_is_known_by_itself_and_not_by_its_name() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let supervisor = bed.start(yaml);
    let before = supervisor.wait_running();
    let path = bed.path("run/control.sock");
    // One without a server gives way.
    std::fs::remove_file(&path).expect("removed");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    supervisor.status();
    // The directory is moved away and back, with the old socket in it.
    std::fs::rename(bed.path("run"), bed.path("away")).expect("moved");
    supervisor.status();
    std::fs::rename(bed.path("run"), bed.path("other")).expect("moved");
    std::fs::rename(bed.path("away"), bed.path("run")).expect("moved back");
    supervisor.status();
    // Anything else is named, and not called there.
    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("a directory");
    let named = "a directory is in its place: remove it";
    bed.wait_log(named);
    assert!(!bed.log().contains("the control socket: it is there again"), "{}", bed.log());
    std::fs::remove_dir(&path).expect("removed");
    let after = supervisor.status();
    assert_eq!(after.workers[0].pid, before.workers[0].pid, "{}", bed.log());
    supervisor.stop();
}

/// The longer something else has been wrong, the less often the supervisor looks at that.
#[test]
fn a_control_socket_that_goes_away_is_made_again_at_once_whatever_else_is_wrong() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sleep, 1d] }\n";
    let supervisor = bed.start(yaml);
    let file = bed.path("supervisord-rs.yaml");
    std::fs::write(&file, format!("{yaml}# edited, and not reloaded\n")).expect("our file");
    let path = bed.path("run/control.sock");
    for round in 0..8 {
        let begun = Instant::now();
        std::fs::remove_file(&path).expect("removed");
        supervisor.wait("a new socket", |_| path.exists().then_some(()));
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "round {round}: {took:?}; log:\n{}", bed.log());
        supervisor.status();
        // What else is wrong is known from the first round on.
        bed.wait_log("has been changed and not reloaded");
    }
    supervisor.stop();
}

/// Guardian and supervisor raise their own limit; what they launch gets back what it was.
#[test]
fn a_limit_on_the_size_of_files_keeps_no_successor_from_its_work() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        w: { command: [sh, -c, 'ulimit -S -f; exec sleep 1d'] }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_output("w", "\n");
    let before = supervisor.wait_running();
    let original = bed.output("w");
    let guardian = supervisor.child.id().to_string();
    for pid in [&before.supervisor.pid.to_string(), &guardian] {
        let lowered = Command::new("prlimit").args(["--pid", pid, "--fsize=0:"]).status();
        assert!(lowered.expect("prlimit").success());
    }
    crate::harness::kill(before.supervisor.pid, nix::sys::signal::Signal::SIGKILL);
    let after = supervisor.wait_successor(before.supervisor.pid);
    assert_eq!(after.workers[0].pid, before.workers[0].pid, "{}", bed.log());
    supervisor.client.restart(&["w".into()], false).expect("restarted");
    supervisor.wait("its second line", |_| (bed.output("w") == original.repeat(2)).then_some(()));
    supervisor.stop();
}

/// As root it could raise a hard limit again, and does not: an administrator has set it.
#[test]
fn a_hard_limit_that_leaves_too_little_is_refused_at_the_start_with_what_to_do() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let file = bed.write("supervisord-rs.yaml", yaml);
    for (limit, words) in [
        (
            "--fsize=8192:8192",
            "the hard limit on the size of files is 8 KiB, and this configuration needs 12: raise \
                it",
        ),
        (
            "--stack=262144:262144",
            "the hard limit of the stack is 256 KiB, and supervisord-rs needs 1024: raise it",
        ),
        ("--nofile=16:16", "the hard limit of open files is 16"),
    ] {
        for guardian in [&[][..], &["--no-guardian"]] {
            let inner = bed.command(&["run", "-c"]);
            let mut command = Command::new("prlimit");
            command
                .arg(limit)
                .arg(inner.get_program())
                .args(inner.get_args())
                .arg(&file)
                .args(guardian)
                .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let output = command.output().expect("it ends by itself");
            let said = text(&output.stderr);
            assert!(!output.status.success(), "{limit} {guardian:?}: {said}");
            assert!(said.contains(words), "{limit} {guardian:?}: {:?} {said}", output.status);
        }
    }
    assert_eq!(bed.processes(), Vec::<i32>::new());
}

#[test]
fn a_small_stack_is_no_limit_for_the_supervisor_and_stays_one_for_its_workers() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        w: { command: [sh, -c, 'ulimit -S -s; exec sleep 1d'] }\n";
    let supervisor = bed.start_under(&["prlimit", "--stack=131072:"], yaml, &[]);
    supervisor.wait_output("w", "128\n");
    let before = supervisor.status();
    crate::harness::kill(before.supervisor.pid, nix::sys::signal::Signal::SIGKILL);
    let after = supervisor.wait_successor(before.supervisor.pid);
    assert_eq!(after.workers[0].pid, before.workers[0].pid, "{}", bed.log());
    supervisor.client.restart(&["w".into()], true).expect("restarted");
    supervisor.wait("its second line", |_| (bed.output("w") == "128\n128\n").then_some(()));
    supervisor.stop();
}

/// A hard limit that is lowered later: a successor has what was made before, and at the worst goes
/// on with less. It always comes up.
#[test]
fn a_hard_limit_on_the_size_of_files_that_is_lowered_later_ends_no_supervision() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        w: { command: [sleep, 1d], instances: 3 }\n";
    let supervisor = bed.start(yaml);
    let mut before = supervisor.wait_running();
    let guardian = supervisor.child.id().to_string();
    for pid in [&before.supervisor.pid.to_string(), &guardian] {
        let lowered = Command::new("prlimit").args(["--pid", pid, "--fsize=1:1"]).status();
        assert!(lowered.expect("prlimit").success());
    }
    let succeed = |before: &supervisord_rs::control::protocol::StatusReport| {
        crate::harness::kill(before.supervisor.pid, nix::sys::signal::Signal::SIGKILL);
        supervisor.wait_successor(before.supervisor.pid);
        supervisor.wait_running()
    };
    let pids = |status: &supervisord_rs::control::protocol::StatusReport| {
        status.workers.iter().map(|worker| worker.pid).collect::<Vec<_>>()
    };
    // There is a file for its black box, which needs no write to be used.
    let after = succeed(&before);
    assert_eq!(pids(&after), pids(&before), "{:?}", after.supervisor.troubles);
    // Now there is none, and none can be made: it is known from the status, and the one after that
    // starts all again.
    before = succeed(&after);
    assert_eq!(pids(&before), pids(&after), "{:?}", before.supervisor.troubles);
    let troubles = &before.supervisor.troubles;
    let known = "after a death its successor starts every worker again";
    assert!(troubles.iter().any(|trouble| trouble.contains(known)), "{troubles:?}");
    let last = succeed(&before);
    assert!(last.workers.iter().all(|worker| worker.phase == "running"), "{last:?}");
    for pid in pids(&before).into_iter().flatten() {
        assert!(!crate::harness::is_alive(pid), "two of a worker");
    }
    supervisor.stop();
}

/// Processes of somebody else, which end with the test.
struct Crowd(Vec<std::process::Child>);

impl Crowd {
    fn of(count: usize) -> Self {
        let start = |_| Command::new("sleep").arg("1d").spawn().expect("it starts");
        Self((0..count).map(start).collect())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// On a busy machine each change of threads takes as long as others have the processor: with one
/// for each process, a start would take seconds.
#[test]
fn a_start_changes_threads_no_more_often_on_a_machine_with_many_processes() {
    const MANY: usize = 400;
    let changes = || {
        let bed = Bed::new();
        let supervisor = bed.start_with(
            "version: 1\nworkers:\n  w: { command: [sleep, 1d] }\n",
            &["--no-guardian"],
        );
        let pid = supervisor.child_pid();
        let changes = crate::harness::proc_threads(pid, "voluntary_ctxt_switches");
        supervisor.stop();
        changes
    };
    let alone = changes();
    let crowd = Crowd::of(MANY);
    let among_many = changes();
    drop(crowd);
    assert!(
        among_many < alone + MANY as u64 / 2,
        "{alone} alone, {among_many} among {MANY} others"
    );
}

/// Whatever stage of a start fails, the next start goes on from what the predecessor left.
#[test]
fn a_start_that_fails_at_any_stage_leaves_the_story_of_the_predecessor() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  t: { worker: ticker, isolation: thread }\n";
    let mut supervisor = bed.start_with(yaml, &["--no-guardian"]);
    let before = supervisor.wait_progress(None);
    supervisor.child.kill().expect("our child");
    supervisor.child.wait().expect("our child");
    drop(supervisor);

    let (record, socket) = (bed.path("state/incidents.jsonl"), bed.path("run/control.sock"));
    let lock = bed.path("run/supervisor.lock");
    let _ = std::fs::remove_file(&socket);
    for (place, complaint) in [
        (&lock, "supervisor.lock"),
        (&record, "cannot read"),
        (&socket, "cannot listen on the control socket"),
    ] {
        let _ = std::fs::remove_file(place);
        std::fs::create_dir(place).expect("a hindrance");
        let failed = bed.launch(yaml, &["--no-guardian"]).wait_exit();
        assert_eq!(failed.code(), Some(1), "{}", bed.log());
        let log = bed.log();
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains(complaint), "{complaint} expected:\n{log}");
        std::fs::remove_dir(place).expect("removed");
    }

    let next = bed.start_with(yaml, &["--no-guardian"]);
    let incident = next.wait_incident(0);
    assert!(incident.supervisor_died, "{incident:?}");
    assert_eq!((incident.id, incident.lost), (1, vec!["t".to_owned()]));
    let after = next.wait_progress(Some(&before));
    assert_eq!(after.workers[0].generation, 2, "one death, one launch after it");
    next.stop();
}
