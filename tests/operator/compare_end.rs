//! What a trial of `compare` has of those around it, and what is left when `compare` ends early.

use std::path::Path;
use std::process::{Child, Command};

use supervisord_rs::process_table::stat;

use crate::harness::skip::{Lack, skip};
use crate::harness::{Bed, program};

/// A comparison in which a thread hangs, and nothing notices that for minutes.
fn long(bed: &Bed) -> Command {
    bed.write(
        "app.yaml",
        "version: 1\nworkers:\n  a: { worker: ticker, isolation: thread, heartbeat: 5m }\n  \
            b: { command: [sleep, 1d], ready: { after: 10ms } }\n",
    );
    std::fs::create_dir_all(bed.path("tmp")).expect("a directory");
    let mut command = program();
    command
        .args(["compare", "-c", "app.yaml", "--worker", "a", "--fault", "hang"])
        .args(["--isolation", "thread"])
        .current_dir(bed.directory.path())
        .env("TMPDIR", bed.path("tmp"));
    command
}

/// Waits until the program of b runs.
fn wait_for_b(bed: &Bed) {
    // A worker is in its cgroup before its program runs.
    let runs = |pid: &i32| stat(*pid).is_some_and(|stat| stat.name_lossy() == "sleep");
    bed.wait("the program of b", || bed.processes().iter().any(runs).then_some(()));
}

/// Kills it, and waits until nothing is left.
fn kill(bed: &Bed, mut compare: Child) {
    compare.kill().expect("our child");
    compare.wait().expect("our child");
    bed.wait("nothing to be left", || bed.processes().is_empty().then_some(()));
    assert_eq!(std::fs::read_dir(bed.path("tmp")).expect("readable").count(), 0);
}

#[test]
fn a_comparison_that_is_killed_takes_its_trial_along() {
    let bed = Bed::new();
    let compare = long(&bed).spawn().expect("the program runs");
    wait_for_b(&bed);
    kill(&bed, compare);
}

#[test]
fn a_trial_inherits_nothing_of_a_supervisor_around_compare() {
    let bed = Bed::new();
    let mut command = long(&bed);
    let names = supervisord_rs::service_manager::NOT_FOR_CHILDREN;
    for name in names {
        command.env(name, "1");
    }
    let compare = command.spawn().expect("the program runs");
    wait_for_b(&bed);
    let is_guardian = |pid: &i32| stat(*pid).is_some_and(|stat| stat.parent == compare.id() as i32);
    let guardian = bed.processes().into_iter().find(is_guardian).expect("it lives");
    let environment = std::fs::read(format!("/proc/{guardian}/environ")).expect("ours");
    let has = |name: &&str| {
        let variable = format!("{name}=1");
        environment.split(|&byte| byte == 0).any(|one| one == variable.as_bytes())
    };
    let inherited: Vec<&str> = names.into_iter().filter(has).collect();
    kill(&bed, compare);
    assert!(inherited.is_empty(), "{inherited:?}");
}

#[test]
fn an_interrupt_leaves_nothing_behind_even_of_a_supervisor_that_is_stopped() {
    let bed = Bed::new();
    let mut compare = program()
        .args(["compare", "--fault", "signal-stop", "--isolation", "thread"])
        .env("TMPDIR", bed.directory.path())
        .spawn()
        .expect("the program runs");
    let stopped = |pid: &i32| {
        let stat = stat(*pid);
        stat.is_some_and(|stat| stat.state == 'T')
    };
    // The supervisor's own thread has stopped the supervisor.
    bed.wait("a stopped supervisor", || bed.processes().iter().any(stopped).then_some(()));
    crate::harness::kill(compare.id() as i32, nix::sys::signal::Signal::SIGINT);
    assert_eq!(compare.wait().expect("our child").code(), Some(130));
    bed.wait("nothing to be left", || bed.processes().is_empty().then_some(()));
    let left = std::fs::read_dir(bed.directory.path()).expect("readable").count();
    assert_eq!(left, 0, "a directory was left");
}

#[test]
fn an_interrupt_leaves_no_process_no_directory_and_no_cgroup() {
    let bed = Bed::new();
    bed.write(
        "app.yaml",
        "version: 1\nworkers:\n  a: { worker: ticker, isolation: thread }\n  \
            b: { command: [sleep, 1d], ready: { after: 10ms } }\n",
    );
    std::fs::create_dir_all(bed.path("tmp")).expect("a directory");
    let mut compare = program()
        .args(["compare", "-c", "app.yaml", "--worker", "a", "--fault", "signal-stop"])
        .current_dir(bed.directory.path())
        .env("TMPDIR", bed.path("tmp"))
        .spawn()
        .expect("the program runs");
    let stopped = |pid: &i32| {
        let stat = stat(*pid);
        stat.is_some_and(|stat| stat.state == 'T')
    };
    // A worker is in its cgroup before its program runs.
    let runs = |pid: &i32| {
        let stat = stat(*pid);
        stat.is_some_and(|stat| stat.name_lossy() == "sleep")
    };
    let processes = bed.wait("a stopped supervisor and the program of b", || {
        let processes = bed.processes();
        (processes.iter().any(stopped) && processes.iter().any(runs)).then_some(processes)
    });
    // In which a worker is, where the supervisor may make them.
    let cgroups = processes
        .iter()
        .filter_map(|pid| supervisord_rs::process_table::cgroup(*pid))
        .filter(|path| path.display().to_string().contains("supervisord-rs-"));
    let roots: Vec<_> = cgroups
        .flat_map(|cgroup| {
            let supervisors = cgroup.parent().expect("the supervisor's").to_owned();
            ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(|mount| {
                let inside = supervisors.strip_prefix("/").unwrap_or(&supervisors);
                Path::new(mount).join(inside)
            })
        })
        .filter(|root| root.exists())
        .collect();
    crate::harness::kill(compare.id() as i32, nix::sys::signal::Signal::SIGINT);
    assert_eq!(compare.wait().expect("our child").code(), Some(130));
    bed.wait("nothing to be left", || bed.processes().is_empty().then_some(()));
    assert_eq!(std::fs::read_dir(bed.path("tmp")).expect("readable").count(), 0);
    let left: Vec<_> = roots.iter().filter(|root| root.exists()).collect();
    assert!(left.is_empty(), "left: {left:?}");
    if roots.is_empty() && !crate::harness::hides_cgroups() {
        skip(Lack::Cgroup2, "no cgroup of version 2 that we may write to");
    }
}
