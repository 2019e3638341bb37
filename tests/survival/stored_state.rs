//! The state that a predecessor left is stale, foreign, cut off, or wrong: the supervisor adopts
//! nothing foreign, starts nothing twice, and says so.

use std::process::{Command, Stdio};

use crate::harness::{Bed, Stopped, Supervisor, find, is_alive, kill, kill_together, text};
use nix::sys::signal::Signal;
use supervisord_rs::control::protocol::StatusReport;

const YAML: &str = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
    a: { command: [sleep, 1d] }\n  \
                    b: { command: [sleep, 2d] }\n  c: { worker: ticker, isolation: process }\n";

/// Kills the supervisor and does something before the next one starts.
fn meanwhile(
    supervisor: &Supervisor<'_>,
    before: &StatusReport,
    act: impl FnOnce(&Bed),
) -> StatusReport {
    let guardian = Stopped::new(supervisor.child_pid());
    kill(before.supervisor.pid, Signal::SIGKILL);
    supervisor.wait("its death", |_| (!is_alive(before.supervisor.pid)).then_some(()));
    act(supervisor.bed);
    drop(guardian);
    supervisor.wait_successor(before.supervisor.pid);
    supervisor.wait_running()
}

fn assert_each_runs_once(supervisor: &Supervisor<'_>, before: &StatusReport, after: &StatusReport) {
    for (old, new) in before.workers.iter().zip(&after.workers) {
        assert_ne!(old.pid, new.pid, "{} was adopted without evidence", old.name);
        assert!(!is_alive(old.pid.expect("it ran")), "{} runs twice", old.name);
    }
    assert_eq!(supervisor.bed.processes().len(), 5, "guardian, supervisor, three workers");
}

#[test]
fn a_black_box_that_is_cut_off_foreign_or_of_the_future_is_reported_and_nothing_runs_twice() {
    type Spoil = fn(&mut Vec<u8>);
    let spoilt: [(&str, Spoil); 4] = [
        ("is cut off", |bytes| bytes.truncate(5000)),
        ("is not a black box of this version", |bytes| bytes[..8].copy_from_slice(b"SVBLBOX\x63")),
        ("is not a black box of this version", |bytes| bytes.fill(0xa5)),
        ("is cut off", Vec::clear),
    ];
    for (said, spoil) in spoilt {
        let bed = Bed::new();
        let supervisor = bed.start(YAML);
        let before = supervisor.wait_running();
        let after = meanwhile(&supervisor, &before, |bed| {
            let path = bed.path("run/blackbox");
            let mut bytes = std::fs::read(&path).expect("a black box");
            spoil(&mut bytes);
            std::fs::write(&path, bytes).expect("written");
        });
        assert_each_runs_once(&supervisor, &before, &after);
        bed.wait_log(said);
        supervisor.stop();
    }
}

#[test]
fn a_reused_pid_is_neither_adopted_nor_signalled() {
    let bed = Bed::new();
    let supervisor = bed.start(YAML);
    let before = supervisor.wait_running();
    let mut stranger =
        Command::new("sleep").arg("1d").stdin(Stdio::null()).spawn().expect("a stranger");
    let number = i32::try_from(stranger.id()).expect("a pid");
    let old = before.workers[0].pid.expect("it runs");
    let after = meanwhile(&supervisor, &before, |bed| {
        // As if the worker had died and another process had its PID.
        kill(old, Signal::SIGKILL);
        let path = bed.path("run/blackbox");
        let mut bytes = std::fs::read(&path).expect("a black box");
        let places: Vec<usize> = (0..bytes.len() - 3)
            .step_by(4)
            .filter(|at| bytes[*at..at + 4] == old.to_ne_bytes())
            .collect();
        assert!(!places.is_empty(), "the number stands there");
        for at in places {
            bytes[at..at + 4].copy_from_slice(&number.to_ne_bytes());
        }
        std::fs::write(&path, bytes).expect("written");
    });
    assert_ne!(after.workers[0].pid, Some(number));
    assert_eq!(
        stranger.try_wait().expect("our child"),
        None,
        "a stranger was signalled; log:\n{}",
        bed.log()
    );
    for worker in 1..3 {
        assert_eq!(
            after.workers[worker].pid, before.workers[worker].pid,
            "the others are what they were"
        );
    }
    stranger.kill().expect("our child");
    stranger.wait().expect("our child");
    supervisor.stop();
}

#[test]
fn unknown_descriptors_are_closed_and_named() {
    ["2", "2147483647"].into_iter().for_each(are_closed_and_named);
}

fn are_closed_and_named(count: &str) {
    let bed = Bed::new();
    let file = bed.write("supervisord-rs.yaml", YAML);
    // As a service manager would: two descriptors from 3 on, one of them unknown to the supervisor.
    let program = bed.command(&[]).get_program().to_owned();
    let log = std::fs::File::create(bed.path("supervisor.log")).expect("a log");
    let mut command = bed.command(&[]);
    let mut shell = Command::new("sh");
    let script = format!(
        "exec 3</dev/null 4</dev/null; LISTEN_PID=$$ LISTEN_FDS={count} \
            LISTEN_FDNAMES=of-nobody:worker-gone/board exec \"$@\""
    );
    shell.args(["-c", &script, "sh"]).arg(program).args(["run", "--no-guardian", "-c"]).arg(file);
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    for variable in ["NOTIFY_SOCKET", "INVOCATION_ID"] {
        shell.env_remove(variable);
    }
    shell.stdin(Stdio::null()).stdout(log.try_clone().expect("a handle")).stderr(log);
    command.env_clear();
    let supervisor = bed.attach(shell);
    supervisor.wait_running();
    bed.wait_log("of-nobody");
    supervisor.stop();
}

/// What the table of passed descriptors names is taken as a whole or not at all.
#[test]
fn a_table_of_descriptors_that_is_torn_or_forged_is_refused_with_its_reason() {
    let bed = Bed::new();
    let file = bed.write("supervisord-rs.yaml", YAML);
    let forged = bed.write("forged", "descriptors 1\n5 worker-a/board\n");
    let program = bed.command(&[]).get_program().to_owned();
    for (given, why) in [
        (format!("exec 7<{}", forged.display()), "is neither sealed memory nor a pipe"),
        ("exec 7<&-".into(), "SUPERVISORD_RS_TABLE is 7, which is no inherited descriptor"),
        ("printf 'descriptors 2\n8 gate\n' |".into(), "is cut off: it has 1 of 2"),
        ("printf '8 gate\n8 lock\n' |".into(), "names descriptor 8 twice"),
        ("printf '8 gate\n9 lock\n' |".into(), "names descriptor 9 (lock), which is not open"),
    ] {
        let take = "exec sh -c 'LISTEN_PID=$$ SUPERVISORD_RS_TABLE=7 exec \"$@\"' sh \"$@\"";
        let script = if given.ends_with('|') {
            format!("{given} {{ exec 7<&0 8</dev/null 9<&-; {take}; }}")
        } else {
            format!("{given}; {take}")
        };
        let command = bed.command(&[]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, "sh"]).arg(&program).args(["run", "--no-guardian", "-c"]);
        shell.arg(&file).env_remove("NOTIFY_SOCKET");
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = shell.output().expect("a shell");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{given}: {said}");
        assert!(said.contains(why) && said.contains("nothing was taken over"), "{given}: {said}");
        assert!(!bed.path("run/control.sock").exists(), "{given}");
    }
}

#[test]
fn workers_that_ended_with_supervisor_and_guardian_start_in_the_next_run() {
    // Orphans become children of this process and stay zombies, which show how they ended.
    nix::sys::prctl::set_child_subreaper(true).expect("allowed");
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { worker: ticker, isolation: process }\n  \
        b: { worker: ticker, isolation: thread, cell: c }\n  \
                s: { command: [sleep, 1d], ready: { after: 0s }, restart: { limit: { restarts: 0 \
                } } }\n";
    let mut supervisor = bed.start(yaml);
    let before = supervisor.wait_running();
    kill_together(&mut supervisor, false);
    // Like a guardian that gives up: a worker that it killed has not failed.
    kill(find(&before, "s").pid.expect("it runs"), Signal::SIGKILL);
    supervisor.wait("them to end", |_| {
        before.workers.iter().all(|worker| !is_alive(worker.pid.expect("it ran"))).then_some(())
    });
    drop(supervisor);
    let next = bed.start(yaml);
    let after = next.wait_running();
    assert!(after.workers.iter().all(|worker| worker.generation == 2), "{after:?}");
    next.stop();
}

/// The layout of a board is shared with workers of other releases: what cannot be read is not
/// adopted, however alive its process is.
#[test]
fn a_worker_whose_board_is_of_another_release_is_not_adopted_and_runs_once() {
    let bed = Bed::new();
    let supervisor = bed.start(YAML);
    let before = supervisor.wait_running();
    let pid = find(&before, "c").pid.expect("running");
    let after = meanwhile(&supervisor, &before, |_| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a live process");
        let is_board = |path: &std::path::PathBuf| {
            std::fs::read_link(path)
                .is_ok_and(|target| target.to_string_lossy().contains("memfd:c"))
        };
        let board = open.flatten().map(|entry| entry.path()).find(is_board).expect("its board");
        let version = (workers::runtime::board::MAGIC + 1).to_ne_bytes();
        let file = std::fs::File::options().write(true).open(board).expect("its board");
        std::os::unix::fs::FileExt::write_all_at(&file, &version, 0).expect("written");
    });
    bed.wait_log("its board is of another release");
    let (old, new) = (find(&before, "c"), find(&after, "c"));
    assert_ne!(old.pid, new.pid);
    assert_eq!(new.generation, old.generation + 1);
    assert!(!is_alive(pid), "it runs twice");
    for name in ["a", "b"] {
        assert_eq!(find(&before, name).pid, find(&after, name).pid, "{name} has no board");
    }
    supervisor.stop();
}
