//! Workers that are killed, that exit at once, that do not stop; operators that change their minds.

use crate::harness::{Bed, EAGER, find, kill, open_files_by_use, proc_status, text};
use nix::sys::signal::Signal;
use supervisord_rs::record::black_box::CARRIERS;
use supervisord_rs::record::logs::{DESCRIPTORS, KEPT};

fn four(worker: &str) -> String {
    let mut yaml = format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\ndefaults: {{ {EAGER} }}\nworkers:\n"
    );
    for name in ["a", "b", "c", "d"] {
        yaml.push_str(&format!("  {name}: {worker}\n"));
    }
    yaml
}

#[test]
fn a_thousand_kills_are_a_thousand_incidents_and_disturb_no_other_worker() {
    const KILLS: u64 = 1000;
    let bed = Bed::new();
    let supervisor = bed.start(&four("{ worker: ticker }"));
    let before = supervisor.wait_progress(None);
    let process = std::path::PathBuf::from(format!("/proc/{}", before.supervisor.pid));
    let mut victim = find(&before, "b").pid.expect("running");
    let guardian = supervisor.child_pid();
    let (mut warm, mut files) = (0, [(0, 0); 2]);
    for count in 1..=KILLS {
        kill(victim, Signal::SIGKILL);
        let next = supervisor.wait("the replacement", |supervisor| {
            let worker = find(&supervisor.client.status().ok()?, "b");
            (worker.phase == "running" && worker.generation == count + 1).then_some(worker)
        });
        assert_ne!(next.pid, Some(victim));
        victim = next.pid.expect("running");
        // The allocator keeps memory of the first hundred restarts; growth after them would be a
        // leak.
        if count == 100 {
            warm = proc_status(&process, "VmRSS");
            files = [before.supervisor.pid, guardian].map(open_files_by_use);
        }
    }
    let after = supervisor.wait_progress(Some(&before));
    for name in ["a", "c", "d"] {
        assert_eq!(find(&after, name).pid, find(&before, name).pid, "{name}");
        assert_eq!(find(&after, name).generation, 1, "{name}");
    }
    let incidents = supervisor.incidents();
    assert_eq!(incidents.len() as u64, KILLS, "each kill exactly one incident");
    assert!(
        incidents
            .iter()
            .all(|incident| incident.lost == ["b"] && incident.survived == ["a", "c", "d"])
    );
    assert!(incidents.iter().all(|incident| incident.ending.signal.as_deref() == Some("SIGKILL")));
    let rss = proc_status(&process, "VmRSS");
    // 900 further incidents are kept in memory, about 1 KiB each; nothing else may grow.
    assert!(rss < warm + 4096, "memory grew from {warm} to {rss} kB");
    // A leak of one descriptor for each restart would be 900. Connections and launches of this test
    // come and go; descriptors of the threads that carry output have their own bound.
    const PASSING: usize = 20;
    let bounds = [CARRIERS * DESCRIPTORS, CARRIERS * KEPT];
    for ((pid, (carrying, others)), bound) in
        [before.supervisor.pid, guardian].into_iter().zip(files).zip(bounds)
    {
        supervisor.wait(
            "no more descriptors than before, but for threads that carry output",
            |_| {
                let now = open_files_by_use(pid);
                (now.0 <= carrying + bound && now.1 <= others + PASSING).then_some(())
            },
        );
    }
    supervisor.stop();
}

#[test]
fn a_command_that_is_killed_is_replaced_alone() {
    let bed = Bed::new();
    let supervisor = bed.start(&four("{ command: [sleep, 1d], ready: { after: 0s } }"));
    let before = supervisor.wait_running();
    kill(find(&before, "c").pid.expect("running"), Signal::SIGKILL);
    let incident = supervisor.wait_incident(0);
    assert_eq!((incident.lost, incident.fault.injected), (vec!["c".to_owned()], false));
    let after = supervisor.wait_running();
    assert_ne!(find(&after, "c").pid, find(&before, "c").pid);
    assert_eq!(find(&after, "a").pid, find(&before, "a").pid);
    supervisor.stop();
}

#[test]
fn a_command_is_crashed_from_outside_by_injection() {
    let bed = Bed::new();
    let supervisor = bed.start(&four("{ command: [sleep, 1d], ready: { after: 0s } }"));
    supervisor.wait_running();
    supervisor.client.inject("b", "signal-segv").expect("allowed");
    let incident = supervisor.wait_incident(0);
    assert_eq!(incident.ending.signal.as_deref(), Some("SIGSEGV"));
    assert!(incident.fault.injected && incident.detected_us.is_some(), "{incident:?}");
    let refused =
        supervisor.client.inject("b", "panic").expect_err("a command cannot panic").to_string();
    assert!(refused.contains("signal-segv"), "{refused}");
    supervisor.stop();
}

#[test]
fn what_exits_at_once_is_never_reported_running_and_ends_in_quarantine() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  hasty:\n    command: [sh, -c, exit 3]\n    \
                ready: { after: 1m }\n    \
                restart: { backoff: { initial: 10ms, jitter: 0 }, limit: { restarts: 3, within: \
                60s } }\n";
    let supervisor = bed.launch(yaml, &[]);
    let quarantined = supervisor.wait("quarantine", |supervisor| {
        let worker = find(&supervisor.client.status().ok()?, "hasty");
        assert_ne!(worker.phase, "running");
        (worker.phase == "quarantined").then_some(worker)
    });
    assert_eq!(quarantined.restarts, 3);
    assert_eq!(quarantined.ending.and_then(|ending| ending.exit_code), Some(3));
    let status = bed.verb(&["status"]);
    assert_eq!(status.status.code(), Some(3), "{}", text(&status.stdout));
    assert_eq!(supervisor.incidents().len(), 4, "each failure one incident");
    supervisor.stop();
}

#[test]
fn a_thousand_instant_exits_are_never_promoted() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nworkers:\n  hasty: {{ command: [\"true\"], ready: {{ after: 1h }}, {} }}\n",
        EAGER.replace("on-failure", "always")
    );
    let supervisor = bed.start(&yaml);
    let mut seen = 0;
    for event in supervisor.client.events().expect("events") {
        let event = event.expect("an event");
        if event.kind == "phase" {
            assert_ne!(event.detail["to"], "running", "{event:?}");
            seen += u32::from(event.detail["to"] == "launching");
        }
        if seen == 1000 {
            break;
        }
    }
    supervisor.stop();
}

#[test]
fn a_worker_that_ignores_its_stop_signal_is_killed_with_its_children() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  deaf:\n    \
        command: [sh, -c, \"trap '' TERM; sleep 1d & echo deaf; while :; do sleep 1; done\"]\n    \
                ready: { log: deaf }\n    stop: { timeout: 200ms }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    let done = supervisor.client.stop(&["deaf".into()], true).expect("stopped");
    assert_eq!(done.workers[0].phase, "idle");
    assert_eq!(
        done.workers[0].ending.as_ref().map(|ending| ending.cause.as_str()),
        Some("stop-timeout")
    );
    // Only the supervisor and its guardian are left.
    supervisor.wait("the children to be gone", |supervisor| {
        (supervisor.bed.processes().len() == 2).then_some(())
    });
    assert!(supervisor.incidents().is_empty(), "a stop is no incident");
    supervisor.stop();
}

#[test]
fn a_thread_that_ignores_its_stop_order_is_left_behind_counted_and_shown() {
    let bed = Bed::new();
    let yaml = "version: 1\nsupervisor: { fault_injection: allow }\n\
        defaults: { isolation: thread, stop: { timeout: 100ms } }\n\
                workers:\n  a: { worker: ticker }\n  b: { worker: ticker }\n";
    let supervisor = bed.start(yaml);
    let before = supervisor.wait_progress(None);
    supervisor.client.inject("b", "busy-loop").expect("allowed");
    let done = supervisor.client.stop(&["b".into()], true).expect("stopped");
    assert_eq!((done.workers[0].phase.as_str(), done.workers[0].abandoned), ("idle", 1));
    assert_eq!(
        done.workers[0].ending.as_ref().map(|ending| ending.cause.as_str()),
        Some("stop-timeout")
    );
    assert_eq!(supervisor.status().supervisor.abandoned_threads, 1);
    assert!(text(&bed.verb(&["status"]).stdout).contains("1 thread left behind"));
    // Its successor works, and the one left behind does not touch its board.
    supervisor.client.start(&["b".into()], true).expect("started");
    supervisor.wait_progress(Some(&before));
    assert_eq!(supervisor.status().supervisor.pid, before.supervisor.pid);
    supervisor.stop();
}

#[test]
fn the_last_command_wins() {
    let bed = Bed::new();
    let supervisor = bed.start(&four("{ worker: sleeper }"));
    supervisor.wait_running();
    let all = ["all".to_owned()];
    for _ in 0..50 {
        supervisor.client.stop(&all, false).expect("ordered");
        supervisor.client.start(&all, false).expect("ordered");
        supervisor.client.restart(&all, false).expect("ordered");
    }
    supervisor.client.stop(&all, true).expect("stopped");
    assert!(
        supervisor
            .status()
            .workers
            .iter()
            .all(|worker| worker.phase == "idle" && worker.pid.is_none())
    );
    supervisor.client.start(&all, true).expect("started");
    // Guardian, supervisor, and one process each: no second copy stays.
    supervisor.wait("six processes", |_| (bed.processes().len() == 6).then_some(()));
    supervisor.stop();
}

#[test]
fn dependents_start_after_and_stop_before_what_they_depend_on() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  api: { worker: sleeper, depends_on: { db: ready } }\n  \
        db: { worker: sleeper }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    let events = supervisor.client.events().expect("events");
    supervisor.client.stop(&["db".into()], true).expect("stopped");
    assert_eq!(find(&supervisor.status(), "api").waits_for, ["db"]);
    let mut order = Vec::new();
    for event in events {
        let event = event.expect("an event");
        if event.kind == "phase" && event.detail["to"] == "idle" {
            order.push(event.worker.expect("a worker"));
        }
        if order.len() == 2 {
            break;
        }
    }
    assert_eq!(order, ["api", "db"]);
    supervisor.client.start(&["db".into()], true).expect("started");
    supervisor.wait_running();
    supervisor.stop();
}

#[test]
fn lines_written_just_before_a_crash_are_in_the_log() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\nworkers:\n  \
         a: {{ worker: ticker, args: {{ interval: 1ms, say: \"line {{n}}\" }}, {EAGER} }}\n"
    );
    let supervisor = bed.start(&yaml);
    let before = supervisor.wait("a hundred lines", |supervisor| {
        Some(supervisor.worker("a")).filter(|worker| worker.progress > Some(100))
    });
    supervisor.client.inject("a", "segfault").expect("allowed");
    let incident = supervisor.wait_incident(0);
    supervisor.stop();
    let log = std::fs::read_to_string(bed.path("logs/a.log")).expect("captured output");
    let lines: Vec<u64> =
        log.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    // The first incarnation's lines are numbered without a gap up to the crash, where the second
    // starts again at 1.
    let first =
        lines.iter().skip(1).position(|number| *number == 1).map_or(lines.len(), |index| index + 1);
    assert_eq!(lines[..first], (1..=first as u64).collect::<Vec<_>>());
    assert!(
        first as u64 >= before.progress.unwrap_or(0)
            && first as u64 >= incident.work.done.expect("its board tells"),
        "{first} {incident:?}"
    );
}
