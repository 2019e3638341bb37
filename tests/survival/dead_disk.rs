//! Launches from a disk that does not answer: they delay no other worker, are given up in time, and
//! start nothing later.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::dead_disk::DeadDisk;
use crate::harness::{Bed, EAGER, find};
use supervisord_rs::control::protocol::StatusReport;
use supervisord_rs::process_table::{children_of, stat, threads};

/// Workers whose launch waits for a dead disk, each in another step, beside two healthy ones.
fn on_a_dead_disk(disk: &Path, limit: &str) -> String {
    for name in ["cwd", "key"] {
        if name == "cwd" {
            fs::create_dir(disk.join(name))
        } else {
            fs::write(disk.join(name), "KEY=1\n")
        }
        .expect("written");
    }
    std::os::unix::fs::symlink("/bin/sh", disk.join("sh")).expect("linked");
    let disk = disk.display();
    let ready = format!("ready: {{ fd: 9, timeout: {limit} }}, stop: {{ timeout: {limit} }}");
    let run = "sh, -c, echo >&9; exec sleep 1d";
    let mut yaml = format!(
        "version: 1\ndefaults: {{ {EAGER} }}\nworkers:\n  \
            a: {{ worker: ticker, isolation: process }}\n  \
            b: {{ command: [sleep, 1d], ready: {{ after: 0s }} }}\n"
    );
    for (name, keys) in [
        ("cwd", format!("command: [{run}], cwd: {disk}/cwd")),
        ("exec", format!("command: [{disk}/{run}]")),
        ("env", format!("command: [{run}], env_file: {disk}/key")),
        ("secret", format!("command: [{run}], secrets: {{ KEY: {disk}/key }}")),
        ("socket", format!("command: [{run}], sockets: [ 'unix:{disk}/x.sock' ]")),
        // More than the launcher's first threads.
        ("more1", format!("command: [{run}], cwd: {disk}/cwd")),
        ("more2", format!("command: [{run}], cwd: {disk}/cwd")),
    ] {
        yaml.push_str(&format!("  {name}: {{ {keys}, {ready} }}\n"));
    }
    yaml
}

const DEAD: [&str; 7] = ["cwd", "exec", "env", "secret", "socket", "more1", "more2"];

/// Shows that the loop turns and launches work: `b` is replaced.
#[track_caller]
fn replace(supervisor: &crate::harness::Supervisor<'_>) {
    let before = supervisor.worker("b");
    crate::harness::kill(before.pid.expect("running"), nix::sys::signal::Signal::SIGKILL);
    let struck = Instant::now();
    supervisor.wait("the replacement", |supervisor| {
        let worker = find(&supervisor.client.status().ok()?, "b");
        (worker.phase == "running" && worker.pid != before.pid).then_some(())
    });
    assert!(struck.elapsed() < Duration::from_secs(5), "after {:?}", struck.elapsed());
}

#[test]
fn a_launch_that_hangs_delays_no_other_worker_and_is_given_up_in_time() {
    let bed = Bed::new();
    let disk = bed.path("disk");
    fs::create_dir(&disk).expect("a directory");
    let yaml = on_a_dead_disk(&disk, "700ms");
    let Some(mut dead) = DeadDisk::over(&disk) else { return };
    let supervisor = bed.start(&yaml);
    supervisor.wait_phase("b", "running");
    replace(&supervisor);
    for (name, words) in [
        ("cwd", "cannot enter its working directory: it hangs"),
        ("exec", "/disk/sh: it hangs"),
        ("env", "cannot read its env_file"),
        ("secret", "cannot read the secret KEY: it hangs"),
        ("socket", "/disk/x.sock: it hangs"),
        ("more1", "cannot enter its working directory: it hangs"),
    ] {
        let worker = supervisor.wait("an attempt that was given up", |supervisor| {
            let worker = find(&supervisor.client.status().ok()?, name);
            worker.ending.is_some().then_some(worker)
        });
        let message = worker.ending.and_then(|ending| ending.message).unwrap_or_default();
        assert!(message.contains(words), "{name}: {message}");
    }
    replace(&supervisor);
    // The supervisor tries them again, and nothing piles up: the kernel holds one process of each
    // at most.
    let tried = supervisor.worker("cwd").generation;
    supervisor.wait_generation("cwd", tried + 2);
    // Besides them the look at the world, which names the disk to its log and is not repeated.
    let is_launch = |pid: &i32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        !arguments.windows(7).any(|word| word == b"\0check\0")
    };
    let held: Vec<i32> = children_of(supervisor.status().supervisor.pid)
        .into_iter()
        .filter(|pid| state(*pid) == Some('D') && is_launch(pid))
        .collect();
    assert!(held.len() <= DEAD.len(), "one of each: {held:?}");
    // Stopping a hanging launch returns at once.
    supervisor.client.stop(&["more2".into()], true).expect("stopped");
    replace(&supervisor);
    dead.heal();
    for name in DEAD.into_iter().filter(|name| *name != "more2") {
        supervisor.wait_phase(name, "running");
    }
    assert_eq!(supervisor.worker("a").generation, 1, "a neighbour went on");
    supervisor.client.start(&["more2".into()], false).expect("ordered");
    supervisor.wait_phase("more2", "running");
    let of_each = |name: &str| bed.processes().into_iter().filter(|pid| is_of(*pid, name)).count();
    for name in DEAD {
        supervisor.wait(&format!("one incarnation of {name} alone"), |_| {
            (of_each(name) == 1).then_some(())
        });
    }
    supervisor.stop();
}

#[test]
fn launches_that_hang_hold_up_neither_the_end_nor_a_successor() {
    let bed = Bed::new();
    let disk = bed.path("disk");
    fs::create_dir(&disk).expect("a directory");
    // The end takes longer than this.
    let watched = "version: 1\nsupervisor: { watchdog: 4s }\n";
    let yaml = on_a_dead_disk(&disk, "1s").replacen("version: 1\n", watched, 1);
    let Some(mut dead) = DeadDisk::over(&disk) else { return };
    let mut supervisor = bed.start(&yaml);
    let before = supervisor.wait("a and b to run", |supervisor| {
        let status = supervisor.client.status().ok()?;
        ["a", "b"].iter().all(|name| find(&status, name).phase == "running").then_some(status)
    });
    // Killed while launches hang: what the kernel holds never runs, though its parent is gone.
    supervisor.wait("launches that hang", |_| {
        (children_of(before.supervisor.pid)
            .into_iter()
            .filter(|pid| state(*pid) == Some('D'))
            .count()
            > 1)
        .then_some(())
    });
    crate::harness::kill(before.supervisor.pid, nix::sys::signal::Signal::SIGKILL);
    supervisor.wait_successor(before.supervisor.pid);
    assert_eq!(supervisor.worker("b").pid, find(&before, "b").pid, "adopted");
    replace(&supervisor);
    supervisor.client.shutdown(false).expect("ordered");
    assert_eq!(supervisor.wait_exit().code(), Some(1), "{}", bed.log());
    let log = bed.log();
    assert!(!log.contains("no sign of life"), "its end is no hang: {log}");
    assert!(log.contains("do not die of SIGKILL"), "what is left is named: {log}");
    dead.heal();
    bed.wait("all of them to be gone", || bed.processes().is_empty().then_some(()));
}

/// Its workers would be without a supervisor for as long as the disk is frozen.
#[test]
fn a_successor_does_not_wait_for_a_disk_that_does_not_answer() {
    let bed = Bed::new();
    let disk = bed.path("disk");
    fs::create_dir(&disk).expect("a directory");
    let supervisor = bed.start(&format!(
        "version: 1\nsupervisor: {{ state_dir: {disk}/state, log_dir: {disk}/logs }}\n\
            defaults: {{ {EAGER} }}\nworkers:\n  \
         a: {{ command: [sleep, 1d], ready: {{ after: 0s }} }}\n  \
         b: {{ command: [sleep, 1d], ready: {{ after: 0s }} }}\n",
        disk = disk.display()
    ));
    supervisor.wait_running();
    replace(&supervisor);
    let known = supervisor.wait_incident(0).id;
    supervisor.wait("its record", |_| {
        fs::read(disk.join("state/incidents.jsonl"))
            .is_ok_and(|text| !text.is_empty())
            .then_some(())
    });
    let before = supervisor.wait_running();
    let Some(mut dead) = DeadDisk::over(&disk) else { return };
    crate::harness::kill(before.supervisor.pid, nix::sys::signal::Signal::SIGKILL);
    let struck = Instant::now();
    let after = supervisor.wait("the successor", |supervisor| {
        let status = supervisor.client.status().ok()?;
        (status.supervisor.pid != before.supervisor.pid).then_some(status)
    });
    assert!(struck.elapsed() < Duration::from_secs(10), "after {:?}", struck.elapsed());
    assert_eq!(find(&after, "a").pid, find(&before, "a").pid, "adopted; log:\n{}", bed.log());
    let troubles = after.supervisor.troubles.join("\n");
    for missing in ["the state directory", "the log directory", "incidents.jsonl", "lock-"] {
        assert!(troubles.contains(missing), "{missing}: {troubles}");
    }
    assert!(troubles.contains("its file system does not answer"), "{troubles}");
    replace(&supervisor);
    dead.heal();
    supervisor.wait("everything to be there again", |supervisor| {
        supervisor.client.status().ok()?.supervisor.troubles.is_empty().then_some(())
    });
    let records = supervisor.incidents();
    assert!(records.iter().any(|record| record.id == known), "{records:?}");
    supervisor.stop();
}

/// A supervisor in a bed whose log directory no longer answers, so that a thread of it hangs.
fn with_a_dead_log(bed: &Bed) -> Option<(crate::harness::Supervisor<'_>, DeadDisk, StatusReport)> {
    let logs = bed.path("logs");
    fs::create_dir_all(&logs).expect("a directory");
    let supervisor = bed.start(&format!(
        "version: 1\nsupervisor: {{ watchdog: 3s, shutdown_timeout: 5s, log_dir: {} }}\n\
            workers:\n  \
         b: {{ command: [sh, -c, \"while :; do echo L; sleep 0.05; done\"], ready: {{ after: 0s \
         }} }}\n  \
         other: {{ command: [sh, -c, 'echo O; exec sleep 1d'], ready: {{ after: 0s }}, \
         logs: {{ stdout: {} }} }}\n",
        logs.display(),
        bed.path("other.log").display()
    ));
    let before = supervisor.wait_running();
    supervisor
        .wait("a line", |_| fs::metadata(bed.path("other.log")).ok().filter(|log| log.len() > 0));
    let dead = DeadDisk::over(&logs)?;
    let pid = before.supervisor.pid;
    crate::harness::kill(pid, nix::sys::signal::Signal::SIGUSR2);
    supervisor.wait("a thread that hangs", |_| dead.blocks(pid).then_some(()));
    Some((supervisor, dead, before))
}

#[test]
fn a_killed_supervisor_that_cannot_die_is_named_and_an_order_ends_the_workers() {
    let bed = Bed::new();
    let Some((mut supervisor, mut dead, before)) = with_a_dead_log(&bed) else {
        return;
    };
    let worker = find(&before, "b").pid.expect("running");
    crate::harness::kill(before.supervisor.pid, nix::sys::signal::Signal::SIGKILL);
    bed.wait_log("and cannot die");
    assert!(crate::harness::is_alive(worker), "its workers go on: {}", bed.log());
    let guardian = supervisor.child_pid();
    crate::harness::kill(guardian, nix::sys::signal::Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit().code(), Some(1), "{}", bed.log());
    assert!(!crate::harness::is_alive(worker), "{}", bed.log());
    assert_eq!(bed.log().matches("and cannot die").count(), 1, "once: {}", bed.log());
    dead.heal();
    bed.wait("all of them to be gone", || bed.processes().is_empty().then_some(()));
}

/// Whether a process is a worker's, by the name in its environment.
fn is_of(pid: i32, worker: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let name = format!("SUPERVISOR_PROCESS_NAME={worker}");
    environment.split(|byte| *byte == 0).any(|variable| variable == name.as_bytes())
}

fn state(pid: i32) -> Option<char> {
    stat(pid).map(|stat| stat.state)
}

/// Nothing that the loop does looks at a directory: it was held as soon as the mount was noticed.
#[test]
fn a_dead_disk_mounted_over_its_directories_does_not_hold_a_running_supervisor() {
    for directory in ["state", "run"] {
        let bed = Bed::new();
        let yaml = format!(
            "version: 1\ndefaults: {{ {EAGER} }}\nworkers:\n  \
                b: {{ command: [sleep, 1d], ready: {{ after: 0s }} }}\n"
        );
        let supervisor = bed.start(&yaml);
        supervisor.wait_running();
        // The path of the socket is out of reach below the disk.
        let way = bed.path("way");
        fs::hard_link(bed.path("run/control.sock"), &way).expect("linked");
        let client = supervisord_rs::control::client::Client::new(&way);
        let Some(mut dead) = DeadDisk::over(&bed.path(directory)) else { return };
        let pid = find(&client.status().expect("it answers"), "b").pid.expect("running");
        let own = client.status().expect("it answers").supervisor.pid;
        bed.wait("a thread that hangs in the disk", || dead.blocks(own).then_some(()));
        for _ in 0..20 {
            client.status().expect("it answers");
        }
        crate::harness::kill(pid, nix::sys::signal::Signal::SIGKILL);
        bed.wait("the replacement", || {
            let worker = find(&client.status().ok()?, "b");
            (worker.phase == "running" && worker.pid != Some(pid)).then_some(())
        });
        dead.heal();
        supervisor.stop();
    }
}

#[test]
fn a_log_on_a_dead_disk_is_waited_for_by_its_reader_alone() {
    let bed = Bed::new();
    let Some((supervisor, mut dead, _)) = with_a_dead_log(&bed) else {
        return;
    };
    let mut readers: Vec<_> = (0..6)
        .map(|_| bed.command(&["logs", "b"]).stdout(Stdio::piped()).spawn().expect("it runs"))
        .collect();
    let pid = supervisor.status().supervisor.pid;
    let hanging = || {
        let is_reader = |tid: &&i32| {
            fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm"))
                .is_ok_and(|name| name.trim() == "log-reader")
        };
        threads(pid).iter().filter(is_reader).count()
    };
    supervisor.wait("a thread for each reader", |_| (hanging() >= 6).then_some(()));
    let asked = Instant::now();
    let other = bed.verb(&["logs", "other"]);
    assert!(crate::harness::text(&other.stdout).contains("O\n"), "{other:?}");
    assert!(asked.elapsed() < Duration::from_secs(5), "after {:?}", asked.elapsed());
    for _ in 0..10 {
        let asked = Instant::now();
        assert_eq!(supervisor.worker("b").phase, "running");
        assert!(asked.elapsed() < Duration::from_secs(4), "after {:?}", asked.elapsed());
    }
    dead.heal();
    for reader in readers.drain(..) {
        let output = reader.wait_with_output().expect("our child");
        assert!(crate::harness::text(&output.stdout).contains("L\n"), "{output:?}");
    }
    supervisor.stop();
}
