//! A supervisor of an ordinary user: everything that the documentation promises without rights.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::harness::{Bed, EAGER, Supervisor, find, kill, text};
use nix::sys::signal::Signal;

const UID: u32 = 4731;

fn start<'a>(bed: &'a Bed, yaml: &str) -> Supervisor<'a> {
    bed.give_to(UID);
    let (user, group) = (format!("--reuid={UID}"), format!("--regid={UID}"));
    bed.start_under(&["setpriv", &user, &group, "--clear-groups", "--"], yaml, &[])
}

#[test]
fn a_supervisor_of_an_ordinary_user_keeps_what_is_promised() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\ndefaults: {{ {EAGER} }}\n\
            workers:\n  \
         shell: {{ command: [sh, -c, 'echo UP; exec sleep 1d'], limits: {{ open_files: 100 }} \
         }}\n  \
         sdk: {{ worker: ticker }}\n  thread: {{ worker: ticker, isolation: thread }}\n  \
         other: {{ command: [sleep, 1d], user: nobody, restart: never }}\n"
    );
    let supervisor = start(&bed, &yaml);
    let up = |supervisor: &Supervisor<'_>| {
        let status = supervisor.client.status().ok()?;
        let is_up = |name: &str| find(&status, name).phase == "running";
        ["shell", "sdk", "thread"].into_iter().all(is_up).then_some(status)
    };
    let before = supervisor.wait("all to run that can", up);
    let pid = find(&before, "shell").pid.expect("running");
    for path in ["run", "run/control.sock", "state", "logs", "logs/shell.log"] {
        assert_eq!(bed.path(path).metadata().expect(path).uid(), UID, "{path}");
    }
    // A launch that needs root fails with advice, and disturbs no other worker.
    let refused = supervisor.wait("a refusal", |supervisor| {
        find(&supervisor.client.status().ok()?, "other").ending?.message
    });
    assert!(refused.contains("root") || refused.contains("user:"), "{refused}");
    // Its process workers outlive it, and after a thread's crash the successor records the
    // incident.
    supervisor.client.inject("thread", "segfault").expect("allowed");
    let incident = supervisor.wait("the incident of the death", |supervisor| {
        supervisor.client.incidents(100).ok()?.into_iter().find(|incident| incident.supervisor_died)
    });
    assert_eq!(incident.lost, ["thread"], "{}", incident.sentence);
    let after = supervisor.wait("all to run again", up);
    assert_eq!(find(&after, "shell").pid, Some(pid), "adopted: {}", bed.log());
    kill(after.supervisor.pid, Signal::SIGKILL);
    supervisor.wait_successor(after.supervisor.pid);
    assert_eq!(
        find(&supervisor.wait("all to run again", up), "shell").pid,
        Some(pid),
        "{}",
        bed.log()
    );
    // A reload, by root and by the user; the directory keeps other users out.
    bed.write("supervisord-rs.yaml", &yaml.replace("echo UP", "echo CHANGED"));
    let output = bed.verb(&["reload"]);
    assert_eq!(output.status.code(), Some(0), "{} {}", text(&output.stderr), bed.log());
    supervisor.wait_output("shell", "CHANGED");
    let elsewhere = Bed::new();
    elsewhere.give_to(4732);
    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid=4732", "--regid=4732", "--clear-groups", "--"]);
    stranger.arg(elsewhere.path("supervisord-rs")).args(["status", "--socket"]);
    let output = stranger.arg(bed.path("run/control.sock")).output().expect("it runs");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    supervisor.stop();
}
