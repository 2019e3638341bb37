//! Cgroups that a worker makes below its own, as systemd, podman and runc do: they end with it, so
//! that its next incarnation finds its cgroup as the first one did.

use std::path::{Path, PathBuf};

use crate::harness::{Bed, EAGER, Supervisor, cgroups, hides_cgroups, is_alive, kill};
use nix::sys::signal::Signal;

/// Where version 2 is mounted; `None`, and a reported skip, where there is none that we may write
/// to.
fn mount() -> Option<PathBuf> {
    let mount = cgroups::mount().filter(|mount| {
        let access = nix::unistd::access(mount.as_path(), nix::unistd::AccessFlags::W_OK);
        access.is_ok() && !hides_cgroups()
    });
    if mount.is_none() {
        cgroups::skip_without();
    }
    mount
}

/// Makes cgroups below its own by this Python code, which has `own` for its path.
fn maker(mount: &Path, code: &str) -> String {
    let head = format!(
        "import os, sys, time\nown = '{}/' + [l for l in open('/proc/self/cgroup') if \
            l.startswith('0::/')][0].strip()[4:]\n",
        mount.display()
    );
    format!("{head}{code}\n")
}

fn start<'a>(bed: &'a Bed, script: &str, rest: &str) -> Supervisor<'a> {
    bed.write("maker.py", script);
    bed.start(&format!(
        "version: 1\ndefaults: {{ {EAGER}, ready: {{ after: 0s }}, stop: {{ timeout: 300ms }} }}\n\
            workers:\n  \
         w: {{ command: [python3, maker.py], cwd: . }}\n{rest}"
    ))
}

/// Waits until the worker has made what it makes, for the n-th time.
fn wait_made(supervisor: &Supervisor<'_>, times: usize) {
    supervisor.wait("its cgroups", |supervisor| {
        (supervisor.bed.output("w").matches("made").count() >= times).then_some(())
    });
}

/// What each incarnation has started below its own cgroup, once there is one of the n-th.
fn wait_below(supervisor: &Supervisor<'_>, times: usize) -> Vec<i32> {
    supervisor.wait("what lives below", |supervisor| {
        let output = supervisor.bed.output("w");
        let pids = output.lines().filter_map(|line| line.strip_prefix("below ")?.parse().ok());
        let pids: Vec<i32> = pids.collect();
        (pids.len() >= times).then_some(pids)
    })
}

#[test]
fn each_incarnation_finds_its_cgroup_as_the_first_one_did() {
    let Some(mount) = mount() else { return };
    // Deeper than a path can be, and beside it a process that goes on below.
    let code = "os.mkdir(own + '/payload')\n\
                os.mkdir(own + '/payload/wide')\n\
                for i in range(300): os.mkdir(f'{own}/payload/wide/{i}')\n\
                at = os.open(own + '/payload', os.O_RDONLY)\n\
                for i in range(60):\n    os.mkdir('n' * 200, dir_fd=at)\n    \
                at = os.open('n' * 200, os.O_RDONLY, dir_fd=at)\n\
                if os.fork() == 0:\n    procs = os.open('cgroup.procs', os.O_WRONLY, \
                dir_fd=at)\n    os.write(procs, b'0')\n    \
                os.setsid(); print('below', os.getpid(), flush=True)\n    time.sleep(1000)\n    \
                os._exit(0)\n\
                print('made', flush=True)\ntime.sleep(1000)";
    let bed = Bed::new();
    let supervisor = start(&bed, &maker(&mount, code), "");
    wait_made(&supervisor, 1);
    wait_below(&supervisor, 1);
    for (times, how) in [(2, "stop"), (3, "crash"), (4, "restart")] {
        let known = supervisor.worker("w");
        match how {
            "stop" => {
                supervisor.client.stop(&["w".into()], true).expect("stopped");
                supervisor.client.start(&["w".into()], true).expect("started");
            }
            "crash" => kill(known.pid.expect("it runs"), Signal::SIGKILL),
            _ => drop(supervisor.client.restart(&["w".into()], false).expect("ordered")),
        }
        wait_made(&supervisor, times);
        let below = wait_below(&supervisor, times);
        let output = bed.output("w");
        assert!(!output.contains("Error"), "{how}: {output}");
        let (last, earlier) = below.split_last().expect("one of each incarnation");
        assert!(is_alive(*last), "{how}: this incarnation has none below; {output}");
        let alive: Vec<&i32> = earlier.iter().filter(|pid| is_alive(**pid)).collect();
        assert!(alive.is_empty(), "{how}: {alive:?} lived below, and outlived their incarnation");
    }
    supervisor.stop();
}
