//! What a supervisor stands on: its control socket, and its limits.

use std::process::Command;

use crate::harness::Bed;

/// What lies where the control socket was, and what the log calls it.
#[test]
fn a_control_socket_is_known_by_itself_and_not_by_its_name() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let supervisor = bed.start(yaml);
    let before = supervisor.wait_running();
    let path = bed.path("run/control.sock");
    let answers = |supervisor: &crate::harness::Supervisor<'_>| {
        supervisor.wait("an answer", |supervisor| supervisor.client.status().ok())
    };
    // One without a server gives way.
    std::fs::remove_file(&path).expect("removed");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    answers(&supervisor);
    // The directory is moved away and back, with the old socket in it.
    std::fs::rename(bed.path("run"), bed.path("away")).expect("moved");
    answers(&supervisor);
    std::fs::rename(bed.path("run"), bed.path("other")).expect("moved");
    std::fs::rename(bed.path("away"), bed.path("run")).expect("moved back");
    answers(&supervisor);
    // Anything else is named, and not called there.
    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("a directory");
    let named = "a directory lies there, and is no socket: remove it";
    supervisor.wait("its name", |_| bed.log().contains(named).then_some(()));
    assert!(!bed.log().contains("the control socket: it is there again"), "{}", bed.log());
    std::fs::remove_dir(&path).expect("removed");
    let after = answers(&supervisor);
    assert_eq!(after.workers[0].pid, before.workers[0].pid, "{}", bed.log());
    supervisor.stop();
}

/// Guardian and supervisor raise their own limit; what they launch gets back what it was.
#[test]
fn a_limit_on_the_size_of_files_keeps_no_successor_from_its_work() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  w: { command: [sh, -c, 'ulimit -S -f; exec sleep 1d'] }\n";
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
    let after = supervisor.wait("the successor", |supervisor| {
        let status = supervisor.client.status().ok()?;
        (status.supervisor.pid != before.supervisor.pid).then_some(status)
    });
    assert_eq!(after.workers[0].pid, before.workers[0].pid, "{}", bed.log());
    supervisor.client.restart(&["w".into()], false).expect("restarted");
    supervisor.wait("its second line", |_| (bed.output("w") == original.repeat(2)).then_some(()));
    supervisor.stop();
}
