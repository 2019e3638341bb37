//! Stop means gone: for every process that a worker started, wherever it went. Each test runs with
//! cgroups and with the walk of the process table, where this machine has both.

use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use crate::harness::skip::{Lack, skip};
use crate::harness::{Bed, EAGER, Supervisor, find, is_alive, kill};
use nix::sys::signal::Signal;
use supervisord_rs::process_table;

/// A worker whose children ignore TERM: one in its group, one in another session, one orphaned by a
/// double fork, one that has also wiped its environment, as sudo does.
const PARENT: &str = include_str!("../fixtures/parent.py");

pub(crate) fn families() -> Vec<(&'static str, Bed)> {
    vec![("cgroup", Bed::new()), ("walk", Bed::new())]
}

pub(crate) fn start<'a>(bed: &'a Bed, how: &str, yaml: &str) -> Supervisor<'a> {
    bed.write("parent.py", PARENT);
    let value = if how == "walk" { "off" } else { "on" };
    bed.start_in(yaml, &[], &[("SUPERVISORD_RS_CGROUPS", value)])
}

/// The PIDs that the worker has printed.
fn pids(supervisor: &Supervisor<'_>, count: usize) -> Vec<i32> {
    supervisor.wait("all of the family", |supervisor| {
        let output = supervisor.bed.output("w");
        let pids: Vec<i32> = output
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1)?.parse().ok())
            .collect();
        (pids.len() >= count).then_some(pids)
    })
}

fn yaml(rest: &str) -> String {
    format!(
        "version: 1\ndefaults: {{ {EAGER} }}\nworkers:\n  w:\n    shell: true\n    \
            command: 'exec python3 parent.py {rest}'\n    cwd: .\n    \
         ready: {{ after: 0s }}\n    stop: {{ timeout: 300ms }}\n  other: {{ worker: ticker }}\n"
    )
}

/// Reports that checks of cgroups are skipped, unless this run hides cgroups on purpose.
#[track_caller]
pub(crate) fn lacks_cgroup() {
    if !crate::harness::hides_cgroups() {
        skip(Lack::Cgroup2, "no cgroup of version 2 that we may write to");
    }
}

#[test]
fn stop_means_that_nothing_of_the_tree_is_left() {
    for (how, bed) in families() {
        let supervisor = start(&bed, how, &yaml(""));
        let family = pids(&supervisor, 5);
        assert!(family.iter().all(|pid| is_alive(*pid)));
        let cgroup =
            std::fs::read_to_string(format!("/proc/{}/cgroup", family[0])).expect("readable");
        let is_born_in_ours = cgroup.contains("/supervisord-rs-");
        match how {
            "cgroup" if !is_born_in_ours => lacks_cgroup(),
            "cgroup" => {}
            _ => assert!(!is_born_in_ours, "{cgroup}"),
        }
        let other = supervisor.wait_phase("other", "running");
        let begun = Instant::now();
        supervisor.client.stop(&["w".into()], true).expect("stopped");
        let left: Vec<i32> = family.iter().copied().filter(|pid| is_alive(*pid)).collect();
        assert_eq!(left, Vec::<i32>::new(), "{how}: alive after stop");
        assert!(
            begun.elapsed() >= Duration::from_millis(300),
            "{how}: children that ignore TERM had their time"
        );
        assert_eq!(supervisor.worker("w").phase, "idle");
        assert_eq!(supervisor.worker("other").pid, other.pid);
        supervisor.stop();
    }
}

/// A worker and a child in another session, both with a name that is cut in the middle of a letter.
const NAMELESS: &str = include_str!("../fixtures/nameless.py");

#[test]
fn a_name_that_is_not_utf8_hides_no_process() {
    for (how, bed) in families() {
        bed.write("nameless.py", NAMELESS);
        let yaml = "version: 1\nworkers:\n  \
            w: { command: [python3, nameless.py], cwd: ., ready: { after: 0s }, stop: { timeout: \
            300ms } }\n";
        let supervisor = start(&bed, how, yaml);
        let family = pids(&supervisor, 2);
        let before = supervisor.status();
        kill(before.supervisor.pid, Signal::SIGKILL);
        let after = supervisor.wait("a successor", |supervisor| {
            let status = supervisor.client.status().ok()?;
            let is_up = find(&status, "w").phase == "running";
            (status.supervisor.pid != before.supervisor.pid && is_up).then_some(find(&status, "w"))
        });
        assert_eq!((after.pid, after.generation), (find(&before, "w").pid, 1), "{how}: taken over");
        supervisor.client.stop(&["w".into()], true).expect("stopped");
        let left: Vec<i32> = family.into_iter().filter(|pid| is_alive(*pid)).collect();
        assert_eq!(left, Vec::<i32>::new(), "{how}: alive after stop");
        supervisor.stop();
    }
}

#[test]
fn a_crash_takes_what_the_crashed_one_had_started_and_only_then_is_it_replaced() {
    for (how, bed) in families() {
        let supervisor = start(&bed, how, &yaml(""));
        let family = pids(&supervisor, 5);
        kill(supervisor.wait_phase("w", "running").pid.expect("running"), Signal::SIGSEGV);
        let incident = supervisor.wait_incident(0);
        assert_eq!(
            (incident.lost.as_slice(), incident.fault.kind.as_str()),
            (&["w".to_owned()][..], "segfault"),
            "{how}"
        );
        let left: Vec<i32> = family.iter().copied().filter(|pid| is_alive(*pid)).collect();
        assert_eq!(left, Vec::<i32>::new(), "{how}: outlived its parent");
        assert_eq!(supervisor.wait_phase("w", "running").generation, 2, "{how}");
        supervisor.stop();
    }
}

#[test]
fn one_that_exits_with_children_left_is_never_shown_running() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        "cgroup",
        &yaml("exit")
            .replace("after: 0s", "after: 1h")
            .replace("restart: { policy: on-failure", "restart: { policy: never"),
    );
    let worker = supervisor.wait("the end", |supervisor| {
        let worker = find(&supervisor.client.status().ok()?, "w");
        assert_ne!(worker.phase, "running");
        (worker.phase == "finished").then_some(worker)
    });
    assert_eq!(
        worker.ending.expect("an ending").exit_code,
        Some(3),
        "how the main process ended counts"
    );
    let family = pids(&supervisor, 5);
    assert!(family.iter().all(|pid| !is_alive(*pid)));
    supervisor.stop();
}

/// A probe has a child in another session, and is just born when its worker ends.
#[test]
fn a_stop_leaves_no_probe_and_nothing_that_a_probe_has_started() {
    for (how, bed) in families() {
        let supervisor = start(
            &bed,
            how,
            "version: 1\nworkers:\n  w:\n    command: [sleep, '0.05']\n    instances: 8\n    \
             health: { liveness: { exec: [sh, -c, 'setsid sleep 40404 & exec sleep 40404'], \
             every: 1ms, timeout: 10s } }\n    \
             restart: { policy: always, backoff: { initial: 1ms, max: 1ms }, \
             limit: { restarts: 100000, within: 1s } }\n",
        );
        for round in 1..6 {
            supervisor.wait("a few incarnations", |supervisor| {
                let status = supervisor.client.status().ok()?;
                status.workers.iter().all(|one| one.generation >= 5 * round).then_some(())
            });
            supervisor.client.stop(&["all".into()], true).expect("stopped");
            // What the kernel has killed takes a moment to go.
            supervisor.wait("nothing of a probe", |_| (sleepers("40404") == 0).then_some(()));
            supervisor.client.start(&["all".into()], false).expect("started");
        }
        supervisor.stop();
    }
}

/// How many `sleep` there are with this argument.
pub(crate) fn sleepers(argument: &str) -> usize {
    all_sleepers(argument).count()
}

/// How many of them there are at one moment: while the table is read, one may end and another may
/// begin.
pub(crate) fn sleepers_at_once(argument: &str) -> usize {
    let found: Vec<_> = all_sleepers(argument).collect();
    found.iter().filter(|process| is_sleeper(process, argument)).count()
}

fn all_sleepers(argument: &str) -> impl Iterator<Item = std::path::PathBuf> {
    let processes = std::fs::read_dir("/proc").expect("procfs").flatten();
    processes.map(|process| process.path()).filter(move |path| is_sleeper(path, argument))
}

fn is_sleeper(process: &std::path::Path, argument: &str) -> bool {
    let wanted = format!("sleep\0{argument}\0").into_bytes();
    std::fs::read(process.join("cmdline")).is_ok_and(|line| line == wanted)
}

#[test]
fn an_orderly_main_process_leaves_its_children_the_rest_of_the_grace_period() {
    let bed = Bed::new();
    let script = "trap 'exit 0' TERM; (trap 'sleep 0.3; echo CHILD-DONE; exit' TERM; echo UP; \
        while :; do sleep 0.05; done) & while :; do sleep 0.05; done";
    let yaml = format!(
        "version: 1\nworkers:\n  w:\n    command: [sh, -c, {}]\n    ready: {{ after: 0s }}\n    \
            stop: {{ timeout: 10s }}\n",
        serde_json::to_string(script).expect("a string")
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_output("w", "UP");
    supervisor.client.stop(&["w".into()], true).expect("stopped");
    supervisor.wait_output("w", "CHILD-DONE");
    supervisor.stop();
}

#[test]
fn a_stop_command_asks_first_and_the_signal_follows() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w:\n    \
        command: [sh, -c, \"trap 'echo GOT-TERM; exit 0' TERM; echo UP; while :; do sleep 0.02; \
        done\"]\n    \
                ready: { after: 0s }\n    \
                stop: { command: [sh, -c, 'echo $MAINPID > asked'], timeout: 10s }\n    cwd: .\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_output("w", "UP");
    let pid = supervisor.wait_phase("w", "running").pid.expect("running");
    supervisor.client.stop(&["w".into()], true).expect("stopped");
    assert_eq!(std::fs::read_to_string(bed.path("asked")).expect("it ran").trim(), pid.to_string());
    supervisor.wait_output("w", "GOT-TERM");
    supervisor.stop();
}

#[test]
fn pause_suspends_the_tree_without_missing_its_heartbeat_and_resume_continues_it() {
    for (how, bed) in families() {
        let supervisor = start(
            &bed,
            how,
            "version: 1\nsupervisor: { fault_injection: allow }\nworkers:\n  w:\n    \
                command: [sh, -c, 'while :; do echo tick; sleep 0.01; done']\n    \
                ready: { after: 0s }\n    stop: { timeout: 1h }\n  \
             t: { worker: ticker, heartbeat: 2s, args: { interval: 5ms } }\n  \
             hung: { worker: ticker, heartbeat: 2s, restart: never }\n  \
             th: { worker: ticker, isolation: thread }\n",
        );
        supervisor.wait_output("w", "tick\ntick\n");
        supervisor.wait_phase("w", "running");
        supervisor.wait_phase("t", "running");
        supervisor.wait_phase("hung", "running");
        supervisor.client.pause(&["w".into(), "t".into()]).expect("paused");
        assert!(supervisor.worker("w").paused);
        for name in ["w", "t"] {
            let pid = supervisor.worker(name).pid.expect("running");
            supervisor.wait("it to be stopped", |_| {
                (process_table::stat(pid)?.state == 'T').then_some(())
            });
        }
        let before = bed.output("w").len();
        let progress = supervisor.worker("t").progress;
        // Another worker with the same heartbeat hangs from now on: when the supervisor notices,
        // the heartbeat of the suspended one has been over for longer.
        supervisor.client.inject("hung", "hang").expect("injected");
        let found = supervisor.wait_incident(0);
        assert_eq!(found.lost, ["hung"], "{how}: a suspended heartbeat is no hang");
        // What it has written before may come a moment later. It would have been 200 lines.
        let more = bed.output("w").len() - before;
        assert!(more < 50 * "tick\n".len(), "{how}: it went on: {more} bytes");
        let before = before + more;
        assert_eq!(supervisor.worker("t").progress, progress, "{how}");
        assert_eq!(supervisor.incidents().len(), 1, "{how}: a suspended heartbeat is no hang");
        supervisor.client.resume(&["all".into()]).expect("resumed");
        supervisor.wait("output again", |supervisor| {
            (supervisor.bed.output("w").len() > before).then_some(())
        });
        let refused = supervisor.client.pause(&["th".into()]).expect_err("a thread").to_string();
        assert!(refused.contains("thread"), "{refused}");
        // Stopping a suspended worker does not take its whole grace period.
        supervisor.client.pause(&["w".into()]).expect("paused");
        supervisor.client.stop(&["w".into()], false).expect("ordered");
        supervisor.wait_phase("w", "idle");
        supervisor.stop();
    }
}

#[test]
fn a_signal_to_a_thread_is_refused_and_every_suspended_worker_can_be_resumed() {
    let bed = Bed::new();
    let yaml = "version: 1\ncells: { c: {} }\nworkers:\n  \
        w: { command: [sleep, 1d], ready: { after: 0s } }\n  \
                th: { worker: ticker, isolation: thread }\n  \
                ce: { worker: ticker, isolation: thread, cell: c }\n";
    let supervisor = bed.start(yaml);
    let before = supervisor.wait_running();
    for thread in ["th", "ce"] {
        let refused =
            supervisor.client.signal(thread, libc::SIGKILL).expect_err("a thread").to_string();
        assert!(refused.contains("a thread cannot get a signal without its process"), "{refused}");
        let refused = supervisor.client.resume(&[thread.into()]).expect_err("a thread").to_string();
        assert!(refused.contains("thread"), "{refused}");
    }
    let after = supervisor.wait_running();
    assert_eq!(after.supervisor.pid, before.supervisor.pid, "it lives");
    assert_eq!(find(&after, "ce").pid, find(&before, "ce").pid, "its cell lives");
    // `resume` continues it, no matter who suspended it.
    let pid = find(&after, "w").pid.expect("running");
    kill(pid, Signal::SIGSTOP);
    supervisor.wait("it to be stopped", |_| (process_table::stat(pid)?.state == 'T').then_some(()));
    supervisor.client.resume(&["w".into()]).expect("resumed");
    supervisor.wait("it to go on", |_| (process_table::stat(pid)?.state != 'T').then_some(()));
    supervisor.client.stop(&["w".into()], true).expect("stopped");
    let refused =
        supervisor.client.resume(&["w".into()]).expect_err("no worker is suspended").to_string();
    assert!(refused.contains("not running"), "{refused}");
    supervisor.stop();
}

/// A child in another session whose first thread ends, and whose second lives on and ignores TERM.
const HEADLESS: &str = include_str!("../fixtures/headless.py");

#[test]
fn a_process_whose_first_thread_has_ended_is_not_forgotten() {
    for (how, bed) in families() {
        bed.write("headless.py", HEADLESS);
        let yaml = "version: 1\nworkers:\n  \
            w: { command: [python3, headless.py], cwd: ., ready: { after: 0s }, stop: { timeout: \
            300ms } }\n";
        let supervisor = start(&bed, how, yaml);
        let family = pids(&supervisor, 2);
        let is_headless =
            |pid: &i32| process_table::stat(*pid).is_some_and(|stat| stat.state == 'Z');
        supervisor
            .wait("its first thread to end", |_| family.iter().any(is_headless).then_some(()));
        assert!(family.iter().all(|pid| is_alive(*pid)), "{how}");
        supervisor.client.stop(&["w".into()], true).expect("stopped");
        // The cgroup is empty a moment before its last thread is gone.
        let is_over = || family.iter().all(|pid| !is_alive(*pid)).then_some(());
        bed.wait(&format!("{how}: all of it to end with the stop"), is_over);
        supervisor.stop();
    }
}

#[test]
fn a_copied_mark_admits_no_process() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    const SAY: &str = include_str!("../fixtures/say_argument.py");
    bed.write("say.py", SAY);
    bed.write(
        "worker.sh",
        "while ! test -e go; do sleep 0.02; done\n\
            (sleep 1d) | exec python3 say.py READY=1 and-wait\n",
    );
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, worker.sh], cwd: ., ready: notify }\n";
    // Without a guardian, children of this test look like orphans of an earlier supervisor.
    let supervisor = bed.start_in(yaml, &["--no-guardian"], &[("SUPERVISORD_RS_CGROUPS", "off")]);
    let pid = supervisor.wait_phase("w", "starting").pid.expect("it runs");
    let marks = ["SUPERVISORD_RS_FAMILY", "NOTIFY_SOCKET"];
    let variables = marks.map(|name| (name, crate::harness::variable(pid, name)));
    let mut stranger = std::process::Command::new("python3")
        .args(["-c", SAY, "READY=1\nMAINPID=1", "and wait"])
        .envs(variables)
        .uid(65534)
        .gid(65534)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    supervisor.bed.wait_log("the sender is not one of its processes");
    assert_eq!(supervisor.worker("w").phase, "starting", "said by a stranger");
    drop(stranger.stdin.take());
    stranger.wait().expect("our child");
    bed.write("go", "");
    supervisor.wait_phase("w", "running");
    supervisor.stop();
}

#[test]
fn large_families_do_not_hold_the_loop() {
    // Each in its own session: only the process table shows where they are.
    const CROWD: &str = include_str!("../fixtures/crowd.py");
    for (how, bed) in families() {
        bed.write("crowd.py", CROWD);
        let mut yaml = "version: 1\nworkers:\n  \
            w: { command: [python3, crowd.py], cwd: ., ready: { after: 0s }, stop: { timeout: \
            300ms } }\n"
            .to_owned();
        yaml.push_str("  many: { command: [sleep, 1d], instances: 100, ready: { after: 0s } }\n");
        let supervisor = start(&bed, how, &yaml);
        pids(&supervisor, 1);
        supervisor.wait_running();
        let others = process_table::pids().len();
        supervisor.client.stop(&["w".into()], true).expect("stopped");
        let begun = Instant::now();
        supervisor.client.stop(&["all".into()], true).expect("stopped");
        let took = begun.elapsed();
        let turns = supervisor.status().supervisor.turns;
        eprintln!("{how}: {others} processes, a hundred stopped in {took:?}, {turns:?}");
        // A walk for each member takes seconds; one for all takes milliseconds, on a busy machine
        // some more.
        assert!(turns.cpu_longest_us < 500_000, "{how}: {turns:?}");
        assert!(took < Duration::from_secs(10), "{how}: {took:?}");
        // The end of everything waits for them no longer than `stop` does.
        supervisor.client.start(&["w".into()], true).expect("started");
        pids(&supervisor, 2);
        let begun = Instant::now();
        supervisor.stop();
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(10), "{how}: a shutdown took {took:?}");
    }
}

#[test]
fn a_second_term_and_shutdown_now_force() {
    for second in ["signal", "now"] {
        let bed = Bed::new();
        let yaml = "version: 1\nsupervisor: { shutdown_timeout: 1h }\nworkers:\n  w:\n    \
            command: [sh, -c, \"trap '' TERM; echo UP; while :; do sleep 1; done\"]\n    \
                    ready: { after: 0s }\n    stop: { timeout: 1h }\n";
        let mut supervisor = bed.start_with(yaml, &["--no-guardian"]);
        supervisor.wait_output("w", "UP");
        let pid = supervisor.child_pid();
        kill(pid, Signal::SIGTERM);
        supervisor.wait_phase("w", "stopping");
        if second == "signal" {
            kill(pid, Signal::SIGTERM);
        } else {
            supervisor.client.shutdown(true).expect("forced");
        }
        assert_eq!(supervisor.wait_exit().code(), Some(0));
        assert_eq!(bed.processes(), Vec::<i32>::new());
    }
}

#[test]
fn orphans_are_reaped_and_leave_no_zombie() {
    for (how, bed) in families() {
        let script = "for i in 1 2 3 4 5; do (sh -c 'exit 0' & exec true); (setsid sh -c 'sleep \
            0.05' &) ; done; sleep 0.3; echo UP; exec sleep 1d";
        let yaml = format!(
            "version: 1\nworkers:\n  w: {{ command: [sh, -c, {}], ready: {{ after: 0s }} }}\n",
            serde_json::to_string(script).expect("a string")
        );
        let supervisor = start(&bed, how, &yaml);
        supervisor.wait_output("w", "UP");
        let own = supervisor.status().supervisor.pid;
        supervisor.wait("no zombies", |_| {
            let children =
                std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).ok()?;
            let dead = children
                .split_whitespace()
                .filter(|pid| !is_alive(pid.parse().unwrap_or(0)))
                .count();
            (dead == 0).then_some(())
        });
        supervisor.stop();
    }
}

#[test]
fn a_thousand_instant_exits_are_never_called_running() {
    const EXITS: u64 = 1000;
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\ndefaults: {{ {EAGER} }}\nworkers:\n  \
            hasty: {{ command: [sh, -c, exit 1], ready: {{ after: 1h }} }}\n"
    );
    let mut events = bed.command(&["events"]);
    let supervisor = bed.start(&yaml);
    let stream = bed.path("events.jsonl");
    let file = std::fs::File::create(&stream).expect("a file");
    let mut reader = events.stdout(file).spawn().expect("it runs");
    supervisor.wait_for(Duration::from_secs(300), "a thousand exits", |supervisor| {
        let worker = find(&supervisor.client.status().ok()?, "hasty");
        assert_ne!(worker.phase, "running");
        (worker.generation > EXITS).then_some(())
    });
    reader.kill().expect("our child");
    reader.wait().expect("our child");
    let text = std::fs::read_to_string(&stream).expect("events");
    assert!(text.lines().count() > 500, "events were seen");
    assert_eq!(text.matches("\"to\":\"running\"").count(), 0, "promoted though it had exited");
    supervisor.stop();
}
