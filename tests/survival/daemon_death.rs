//! The supervisor dies: by a thread's fault, by SIGKILL, by its guardian's death. Nothing is left
//! over, nothing runs twice, and the successor records the incident.

use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;

use crate::harness::{Bed, EAGER, Stopped, Supervisor, find, kill, repository};
use nix::sys::signal::Signal;
use supervisord_rs::control::protocol::{StatusReport, WorkerStatus};

/// Without a heartbeat that a busy machine cannot keep: a worker without processor time for half a
/// second counts as hung, and that is not the subject here.
fn configuration(name: &str) -> String {
    let path = repository(&format!("config/{name}.yaml"));
    let text = std::fs::read_to_string(path).expect("a configuration of the repository");
    ["1s", "2s", "5s"]
        .iter()
        .fold(text, |text, limit| text.replace(&format!("heartbeat: {limit}"), "heartbeat: 30s"))
}

#[test]
fn without_a_guardian_it_dies_of_the_real_signal_and_the_next_run_tells_the_story() {
    let bed = Bed::new();
    let mut supervisor = bed.start_with(&configuration("thread"), &["--no-guardian"]);
    supervisor.wait_progress(None);
    supervisor.client.inject("b", "segfault").expect("allowed");
    assert_eq!(supervisor.wait_exit().signal(), Some(Signal::SIGSEGV as i32));
    drop(supervisor);

    let next = bed.start_with(&configuration("thread"), &["--no-guardian"]);
    let incident = next.wait_incident(0);
    assert!(incident.supervisor_died);
    assert_eq!(incident.worker.as_deref(), Some("b"));
    assert_eq!(incident.lost, ["a", "b", "c", "d"]);
    assert_eq!(incident.fault.kind, "segfault");
    assert_eq!(incident.ending.signal.as_deref(), Some("SIGSEGV"));
    assert_eq!(incident.ending.address.as_deref(), Some("0x10"));
    assert!(
        incident.detected_us > Some(0) && incident.recovered_us >= incident.detected_us,
        "{incident:?}"
    );
    bed.wait_log("incident 1: segfault in b (thread of the supervisor)");
    assert!(next.status().workers.iter().all(|worker| worker.generation == 2), "generations go on");
    next.stop();
}

/// Waits for another supervisor than this one, with every worker running.
fn successor(supervisor: &Supervisor<'_>, before: &StatusReport) -> StatusReport {
    supervisor.wait_successor(before.supervisor.pid);
    supervisor.wait_running()
}

#[test]
fn a_supervisor_that_is_killed_is_replaced_and_its_processes_are_adopted() {
    let bed = Bed::new();
    let supervisor = bed.start(&configuration("process"));
    let mut before = supervisor.wait_progress(None);
    for round in 1..=5 {
        kill(before.supervisor.pid, Signal::SIGKILL);
        let after = successor(&supervisor, &before);
        supervisor.wait("guardian, supervisor and four workers alone", |_| {
            (bed.processes().len() == 6).then_some(())
        });
        for (new, old) in after.workers.iter().zip(&before.workers) {
            assert_eq!((new.pid, new.generation), (old.pid, old.generation), "{}", new.name);
            assert!(new.progress >= old.progress, "{} lost its progress", new.name);
        }
        let incident = supervisor.wait_incident(round - 1);
        assert!(incident.supervisor_died && incident.lost.is_empty(), "{incident:?}");
        assert_eq!(incident.survived, ["a", "b", "c", "d"]);
        assert_eq!(incident.ending.signal.as_deref(), Some("SIGKILL"));
        assert_eq!(incident.worker, None, "the culprit is unknown");
        assert_eq!(incident.detected_us, None, "when it was struck is unknown: {incident:?}");
        assert!(!incident.sentence.contains("seen after"), "{}", incident.sentence);
        before = supervisor.wait_progress(Some(&after));
    }
    // Adopted workers crash and stop as always.
    supervisor.client.inject("b", "segfault").expect("allowed");
    let incident = supervisor.wait_incident(5);
    assert_eq!(
        (incident.lost.as_slice(), incident.supervisor_died),
        (&["b".to_owned()][..], false)
    );
    assert_eq!(incident.ending.signal.as_deref(), Some("SIGSEGV"), "{incident:?}");
    supervisor.stop();
}

/// An incident is still open when the next supervisor dies: what had died is not forgotten.
#[test]
fn the_death_of_a_supervisor_stays_one_over_another_death() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  p: { command: [sleep, 1d], cwd: ., \
        ready: { exec: [test, -e, go], timeout: 1h } }\n  \
                t: { worker: ticker, isolation: thread }\n";
    bed.write("go", "");
    let mut supervisor = bed.start_with(yaml, &["--no-guardian"]);
    supervisor.wait_running();
    std::fs::remove_file(bed.path("go")).expect("there");
    for _ in 0..2 {
        supervisor.child.kill().expect("our child");
        supervisor.child.wait().expect("our child");
        // Its worker lives until the next run ends it.
        std::mem::forget(supervisor);
        supervisor = bed.start_with(yaml, &["--no-guardian"]);
        supervisor.wait_phase("p", "starting");
    }
    bed.write("go", "");
    supervisor.wait_running();
    let incidents = supervisor.wait("both incidents", |supervisor| {
        let incidents = supervisor.incidents();
        (incidents.len() == 2).then_some(incidents)
    });
    for incident in incidents {
        assert!(incident.supervisor_died && incident.domain == "supervisor", "{incident:?}");
    }
    supervisor.stop();
}

#[test]
fn a_signal_that_a_dead_supervisor_had_ordered_is_told_of_its_worker() {
    let bed = Bed::new();
    let place = "worker: ticker, isolation: thread, cell: box";
    let supervisor = bed.start(&format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\nworkers:\n  a: {{ {place} }}\n  b: {{ \
         {place} }}\n"
    ));
    let status = supervisor.wait_running();
    // It takes the signal when it goes on: with the next supervisor.
    let cell = Stopped::new(status.workers[0].pid.expect("it runs"));
    supervisor.client.inject("b", "signal-term").expect("allowed");
    kill(status.supervisor.pid, Signal::SIGKILL);
    supervisor.wait_successor(status.supervisor.pid);
    drop(cell);
    let incident = supervisor.wait_incident(1);
    let said = &incident.sentence;
    assert!(!incident.supervisor_died, "{said}");
    assert_eq!((incident.worker.as_deref(), incident.fault.injected), (Some("b"), true), "{said}");
    assert_eq!(incident.fault.kind, "signal-term", "{said}");
    assert_eq!(incident.lost, ["a", "b"], "{said}");
    supervisor.stop();
}

#[test]
fn a_fault_that_is_over_is_not_blamed_for_a_later_death() {
    let bed = Bed::new();
    let supervisor = bed.start(&configuration("thread"));
    let before = supervisor.wait_progress(None);
    supervisor.client.inject("b", "leak:1MiB").expect("allowed");
    let first = supervisor.wait_progress(Some(&before));
    // Two units after the order it has been committed.
    let before = supervisor.wait_progress(Some(&first));
    kill(before.supervisor.pid, Signal::SIGKILL);
    let incident = supervisor.wait_incident(0);
    assert!(incident.supervisor_died && incident.worker.is_none(), "{}", incident.sentence);
    assert_eq!((incident.fault.injected, incident.detected_us), (false, None), "{incident:?}");
    supervisor.stop();
}

#[test]
fn with_on_death_kill_nothing_outlives_the_supervisor() {
    let bed = Bed::new();
    let allow = "fault_injection: allow";
    let yaml = configuration("process").replacen(allow, &format!("{allow}, on_death: kill"), 1);
    assert!(yaml.contains("on_death: kill"), "{yaml}");
    let supervisor = bed.start(&yaml);
    let before = supervisor.wait_progress(None);
    // The keeper holds the configuration in force also where it holds no process.
    bed.write("supervisord-rs.yaml", "version: [");
    kill(before.supervisor.pid, Signal::SIGKILL);
    let after = successor(&supervisor, &before);
    let processes = bed.processes();
    for worker in &before.workers {
        assert!(
            !processes.contains(&worker.pid.expect("it ran")),
            "{} outlived its supervisor",
            worker.name
        );
    }
    assert!(after.workers.iter().all(|worker| worker.generation == 2), "{after:?}");
    let incident = supervisor.wait_incident(0);
    assert!(incident.supervisor_died && incident.lost == ["a", "b", "c", "d"], "{incident:?}");
    supervisor.stop();
}

#[test]
fn a_thread_that_kills_the_supervisor_costs_processes_nothing() {
    let bed = Bed::new();
    let supervisor = bed.start(&configuration("mixed"));
    let before = supervisor.wait_running();
    let thread =
        before.workers.iter().find(|worker| worker.isolation == "thread").expect("one").clone();
    supervisor.client.inject(&thread.name, "segfault").expect("allowed");
    let incident = supervisor.wait_incident(0);
    assert!(
        incident.supervisor_died && incident.worker.as_deref() == Some(&thread.name),
        "{incident:?}"
    );
    let after = successor(&supervisor, &before);
    for (new, old) in after.workers.iter().zip(&before.workers) {
        if old.isolation == "thread" {
            assert!(
                incident.lost.contains(&old.name) && new.generation > old.generation,
                "{new:?}"
            );
        } else {
            assert!(incident.survived.contains(&old.name), "{incident:?}");
            assert_eq!((new.pid, new.generation), (old.pid, old.generation), "{}", new.name);
        }
    }
    let primes = find(&after, "primes").progress;
    supervisor.wait("work to go on", |supervisor| {
        (supervisor.worker("primes").progress > primes).then_some(())
    });
    supervisor.stop();
}

#[test]
fn workers_that_end_while_there_is_no_supervisor_are_accounted_for() {
    let bed = Bed::new();
    // The end of the supervisor is what it waits for.
    let script = "while kill -0 $PPID 2>/dev/null && [ \"$(ps -o ppid= -p $$ | tr -d ' ')\" = \
        $PPID ]; do sleep 0.01; done; exit 7";
    let yaml = format!(
        "version: 1\ndefaults: {{ ready: {{ after: 0s }}, {EAGER} }}\nworkers:\n  \
            w: {{ command: [sh, -c, {}] }}\n",
        serde_json::to_string(script).expect("a string")
    );
    let supervisor = bed.start(&yaml);
    let before = supervisor.wait_running();
    // The guardian is stopped, so that no supervisor runs when the worker ends.
    let guardian = Stopped::new(supervisor.child_pid());
    kill(before.supervisor.pid, Signal::SIGKILL);
    let worker = before.workers[0].pid.expect("it runs");
    supervisor.wait("the worker to end", |_| (!crate::harness::is_alive(worker)).then_some(()));
    drop(guardian);
    let incidents = supervisor.wait("both incidents", |supervisor| {
        let incidents = supervisor.incidents();
        (incidents.len() >= 2).then_some(incidents)
    });
    assert!(incidents[0].supervisor_died && incidents[0].lost.is_empty(), "{incidents:?}");
    assert_eq!(incidents[1].worker.as_deref(), Some("w"));
    assert_eq!(incidents[1].ending.exit_code, Some(7), "{incidents:?}");
    supervisor.stop();
}

#[test]
fn scaled_instances_paused_ones_and_backoff_continue_where_they_stood() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        w: { command: [sleep, 1d], instances: 1 }\n  \
                p: { command: [sleep, 1d] }\n  \
                b: { command: [sh, -c, exit 1], ready: { after: 10s }, restart: { backoff: { \
                initial: 1h, max: 1h, jitter: 0 } } }\n";
    let supervisor = bed.start(yaml);
    supervisor.client.scale("w", 3, true).expect("scaled");
    supervisor.client.pause(&["p".into()]).expect("paused");
    let backoff = supervisor.wait_phase("b", "backoff");
    let before = supervisor.status();
    kill(before.supervisor.pid, Signal::SIGKILL);
    let after = supervisor.wait_successor(before.supervisor.pid);
    for name in ["w.1", "w.2", "w.3", "p"] {
        assert_eq!(find(&after, name).pid, find(&before, name).pid, "{name}");
    }
    assert!(find(&after, "p").paused);
    let now = find(&after, "b");
    assert_eq!((now.phase.as_str(), now.generation), ("backoff", backoff.generation), "{now:?}");
    supervisor.client.resume(&["p".into()]).expect("resumed");
    supervisor.stop();
}

#[test]
fn the_guardians_death_ends_everything() {
    let bed = Bed::new();
    let mut supervisor = bed.start(&configuration("process"));
    supervisor.wait_progress(None);
    supervisor.child.kill().expect("our child");
    supervisor.wait_exit();
    supervisor.wait("everything to be gone", |supervisor| {
        supervisor.bed.processes().is_empty().then_some(())
    });
    let log = bed.log();
    assert!(log.contains("shutting down, since the guardian is gone"), "{log}");
    assert!(!log.contains("descriptors") && !log.contains("fd store"), "{log}");
}

#[test]
fn after_the_guardians_death_workers_that_ignore_term_are_killed_and_another_run_starts() {
    let bed = Bed::new();
    let stubborn = "trap '' TERM; echo trapped; while :; do sleep 0.1; done";
    let yaml = format!(
        "version: 1\nworkers:\n  meek: {{ command: [sleep, 1d], instances: 5 }}\n  \
            stubborn: {{ command: [sh, -c, {stubborn:?}], stop: {{ timeout: 300ms }} }}\n"
    );
    for _ in 0..3 {
        let mut supervisor = bed.start(&yaml);
        supervisor.wait_running();
        supervisor.wait_output("stubborn", "trapped");
        std::fs::remove_file(bed.path("logs/stubborn.log")).expect("its log");
        supervisor.child.kill().expect("our child");
        supervisor.wait_exit();
        bed.wait_ended();
    }
    bed.start(&yaml).stop();
}

#[test]
fn signals_are_forwarded_and_the_end_is_orderly() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let bed = Bed::new();
        let mut supervisor = bed.start(&configuration("mixed"));
        kill(supervisor.child_pid(), signal);
        assert_eq!(supervisor.wait_exit().code(), Some(0), "{signal}: {}", bed.log());
        assert_eq!(bed.processes(), Vec::<i32>::new());
    }
}

#[test]
fn a_thread_that_calls_exit_is_no_orderly_end() {
    let bed = Bed::new();
    let supervisor = bed.start(&configuration("thread"));
    let before = supervisor.wait_progress(None);
    supervisor.client.inject("b", "exit").expect("allowed");
    let incident = supervisor.wait_incident(0);
    assert!(incident.supervisor_died, "{incident:?}");
    assert_eq!(incident.ending.exit_code, Some(0));
    assert_eq!(incident.worker.as_deref(), Some("b"), "the breadcrumb names it");
    assert_ne!(supervisor.status().supervisor.pid, before.supervisor.pid);
    supervisor.stop();
}

#[test]
fn a_thread_worker_that_always_kills_its_supervisor_is_quarantined() {
    let bed = Bed::new();
    let yaml = "version: 1\nsupervisor: { fault_injection: allow }\ndefaults:\n  \
        isolation: thread\n  \
                restart: { backoff: { initial: 0s, jitter: 0 }, limit: { restarts: 3, within: 60s \
                } }\nworkers:\n  \
                a: { worker: ticker }\n  \
                b: { worker: ticker, inject: [ { fault: segfault, after: 20ms } ] }\n";
    let supervisor = bed.start(yaml);
    let status = supervisor.wait("quarantine", |supervisor| {
        let status = supervisor.client.status().ok()?;
        (find(&status, "b").phase == "quarantined").then_some(status)
    });
    supervisor.wait("a to go on alone", |supervisor| {
        (supervisor.worker("a").phase == "running").then_some(())
    });
    assert_eq!(find(&status, "b").generation, 4);
    supervisor
        .wait("four incidents", |supervisor| (supervisor.incidents().len() == 4).then_some(()));
    supervisor.stop();
}

#[test]
fn what_is_being_launched_when_its_supervisor_dies_is_lost_or_was_never_there() {
    // When the fault strikes, the launches of the others are at any point.
    for fault in ["segfault", "exit", "panic"].repeat(3) {
        let bed = Bed::new();
        let yaml = format!(
            "version: 1\nsupervisor: {{ fault_injection: allow }}\nworkers:\n  \
             aaa: {{ worker: ticker, isolation: thread, restart: never, inject: [ {{ fault: \
             {fault}, after: 0s }} ] }}\n  \
             b: {{ command: [sleep, 1d], ready: {{ after: 0s }} }}\n  \
             c: {{ command: [sleep, 1d], ready: {{ after: 0s }} }}\n"
        );
        let supervisor = bed.start(&yaml);
        let status = supervisor.wait("its end, and the others", |supervisor| {
            let status = supervisor.client.status().ok()?;
            let is = |name, phase| find(&status, name).phase == phase;
            (is("aaa", "finished") && is("b", "running") && is("c", "running")).then_some(status)
        });
        let incident = supervisor.wait_incident(0);
        assert!(incident.supervisor_died, "{incident:?}");
        for name in ["b", "c"] {
            let lost = incident.lost.iter().filter(|lost| *lost == name).count() as u64;
            assert_eq!(find(&status, name).restarts, lost, "{fault}: {name} in {incident:?}");
        }
        supervisor.stop();
    }
}

#[test]
fn a_stopped_worker_stays_stopped_across_a_death() {
    let bed = Bed::new();
    let supervisor = bed.start(&configuration("thread"));
    let before = supervisor.wait_progress(None);
    supervisor.client.stop(&["d".into()], true).expect("stopped");
    kill(before.supervisor.pid, Signal::SIGKILL);
    supervisor.wait("the successor", |supervisor| {
        let status = supervisor.client.status().ok()?;
        (status.supervisor.pid != before.supervisor.pid && find(&status, "a").phase == "running")
            .then_some(())
    });
    let worker = supervisor.worker("d");
    assert_eq!((worker.phase.as_str(), worker.stopped), ("idle", true));
    supervisor.stop();
}

#[test]
fn the_guardian_gives_up_after_too_many_deaths() {
    let bed = Bed::new();
    let mut supervisor = bed.start(&configuration("process"));
    let mut last = 0;
    let status = loop {
        if let Ok(Some(status)) = supervisor.child.try_wait() {
            break status;
        }
        if let Ok(status) = supervisor.client.status()
            && status.supervisor.pid != last
        {
            last = status.supervisor.pid;
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(last), Signal::SIGKILL);
        }
    };
    assert_eq!(status.code(), Some(70), "{}", bed.log());
    assert!(bed.log().contains("giving up"), "{}", bed.log());
    assert_eq!(bed.processes(), Vec::<i32>::new());
}

#[test]
fn a_crash_is_not_a_reload_whatever_has_become_of_the_file() {
    let bed = Bed::new();
    let line = |name: &str, time: &str| {
        format!("  {name}: {{ command: [sleep, {time}], ready: {{ after: 0s }} }}\n")
    };
    let yaml = format!("version: 1\nworkers:\n{}{}", line("a", "1d"), line("b", "2d"));
    let supervisor = bed.start_with(&yaml, &["--storm"]);
    let file = bed.path("supervisord-rs.yaml");
    let mut before = supervisor.wait_running();
    let pids =
        |status: &StatusReport| status.workers.iter().map(|worker| worker.pid).collect::<Vec<_>>();
    let edited = format!("version: 1\nworkers:\n{}{}", line("b", "3d"), line("c", "1d"));
    for spoilt in
        [Some("version: 1\nworkers: { a: { comand: [x] } }\n"), Some(""), None, Some(&edited)]
    {
        match spoilt {
            Some(text) => std::fs::write(&file, text).expect("written"),
            None => std::fs::remove_file(&file).expect("there"),
        }
        kill(before.supervisor.pid, Signal::SIGKILL);
        let after = successor(&supervisor, &before);
        assert_eq!(pids(&after), pids(&before), "{spoilt:?}: {}", bed.log());
        let differs = supervisor.wait("the difference to be seen", |supervisor| {
            supervisor.client.status().ok()?.supervisor.config_differs
        });
        assert!(differs.contains("supervisord-rs.yaml"), "{differs}");
        bed.wait_log(&differs);
        before = after;
    }
    assert!(supervisor.incidents().iter().all(|incident| incident.lost.is_empty()));
    // `reload` reads the file.
    assert_ne!(
        bed.verb(&["reload"]).status.code(),
        Some(0),
        "`a` would belong to no configuration"
    );
    supervisor.client.stop(&["a".into()], true).expect("stopped");
    let done = bed.verb(&["reload"]);
    assert_eq!(done.status.code(), Some(0), "{}{}", crate::harness::text(&done.stderr), bed.log());
    let after = supervisor.wait("what the file says", |supervisor| {
        let status = supervisor.client.status().ok()?;
        let names: Vec<&str> = status.workers.iter().map(|worker| worker.name.as_str()).collect();
        let is_up = status
            .workers
            .iter()
            .all(|worker| worker.phase == "running" && worker.pid != before.workers[1].pid);
        (names == ["b", "c"] && is_up).then_some(status)
    });
    // From now on a crash continues with the new text.
    std::fs::write(&file, "no: yaml: at: all").expect("written");
    kill(after.supervisor.pid, Signal::SIGKILL);
    let last = successor(&supervisor, &after);
    assert_eq!(pids(&last), pids(&after));
    std::fs::write(&file, &edited).expect("written");
    supervisor.wait("the file to be right again", |supervisor| {
        supervisor.client.status().ok()?.supervisor.config_differs.is_none().then_some(())
    });
    supervisor.stop();
}

#[test]
fn a_runtime_directory_that_is_deleted_is_made_again_and_stays_taken() {
    let bed = Bed::new();
    let supervisor = bed.start_with(
        "version: 1\nworkers:\n  a: { command: [sleep, 1d], ready: { after: 0s } }\n  \
            b: { worker: ticker }\n",
        &["--storm"],
    );
    let before = supervisor.wait_running();
    // A file that is just being made again may be in the way of the removal.
    let clear =
        || bed.wait("the directory to be gone", || std::fs::remove_dir_all(bed.path("run")).ok());
    clear();
    let second =
        bed.command(&["run", "-c"]).arg(bed.path("supervisord-rs.yaml")).output().expect("it runs");
    let said = crate::harness::text(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("another supervisor (pid {})", before.supervisor.pid)),
        "{said}"
    );
    // Its control socket is there again, and so is the lock.
    let status = supervisor.status();
    assert_eq!(status.supervisor.pid, before.supervisor.pid);
    bed.wait_log("the control socket was gone");
    supervisor.wait("the lock", |_| bed.path("run/supervisor.lock").exists().then_some(()));
    assert_eq!(state_locks(&bed).len(), 1, "the one that held meanwhile");
    for is_made_again in [true, false] {
        clear();
        let before = supervisor.status();
        if !is_made_again {
            clear();
        }
        kill(before.supervisor.pid, Signal::SIGKILL);
        let after = successor(&supervisor, &before);
        for (new, old) in after.workers.iter().zip(&before.workers) {
            assert_eq!(
                (new.pid, new.generation),
                (old.pid, old.generation),
                "{}: {}",
                new.name,
                bed.log()
            );
        }
    }
    supervisor.stop();
}

/// However the path stops leading to the directory that it led to.
#[test]
fn a_runtime_directory_that_its_path_no_longer_leads_to_is_noticed_at_once() {
    let bed = Bed::new();
    let link = bed.path("link");
    for name in ["real", "other"] {
        std::fs::create_dir(bed.path(name)).expect("made");
    }
    let point_to = |target: &str| {
        std::os::unix::fs::symlink(bed.path(target), bed.path("new")).expect("made");
        std::fs::rename(bed.path("new"), &link).expect("replaced");
    };
    point_to("real");
    let yaml = "version: 1\nsupervisor: { runtime_dir: link/run }\nworkers:\n  \
        a: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let supervisor = bed.launch(yaml, &[]);
    let socket = link.join("run/control.sock");
    bed.wait_log("a is running");
    point_to("other");
    bed.wait("a socket where the path leads now", || UnixStream::connect(&socket).ok());
    std::fs::remove_file(&link).expect("removed");
    bed.wait("a socket in a directory in its place", || UnixStream::connect(&socket).ok());
    std::fs::rename(&link, bed.path("moved")).expect("moved");
    bed.wait("a socket after its parent has moved", || UnixStream::connect(&socket).ok());
    std::fs::remove_dir_all(&link).expect("removed");
    std::os::unix::fs::symlink(bed.path("nowhere"), &link).expect("made");
    bed.wait_log("cannot create the runtime directory");
    std::fs::create_dir(bed.path("nowhere")).expect("made");
    bed.wait("a socket behind the mended link", || UnixStream::connect(&socket).ok());
    kill(supervisor.child_pid(), Signal::SIGTERM);
    bed.wait("its end", || bed.processes().is_empty().then_some(()));
}

/// The lock files in the state directory.
fn state_locks(bed: &Bed) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(bed.path("state")).into_iter().flatten().flatten();
    let is_lock = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lock-"))
    };
    entries.map(|entry| entry.path()).filter(is_lock).collect()
}

#[test]
fn a_runtime_directory_that_is_deleted_after_a_hand_over_stays_taken() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let supervisor = bed.start(yaml);
    let first = supervisor.wait_running();
    let done = bed.verb(&["reload"]);
    assert_eq!(done.status.code(), Some(0), "{}", crate::harness::text(&done.stderr));
    let before = successor(&supervisor, &first);
    let lock = state_locks(&bed).pop().expect("a lock in the state directory");
    let written = std::fs::read_to_string(&lock).expect("it can be read");
    let pid = before.supervisor.pid.to_string();
    assert_eq!(
        written.lines().map(str::trim).collect::<Vec<_>>(),
        [&*pid, &*bed.path("run").to_string_lossy()]
    );
    // When deleted, the lock is made again: it refuses the second run below.
    std::fs::remove_file(&lock).expect("there");
    supervisor.wait("the lock to be made again", |_| {
        let is_sent =
            bed.log().contains("the lock in the state directory was gone: it is made again");
        (is_sent && lock.exists()).then_some(())
    });
    bed.wait("the directory to be gone", || std::fs::remove_dir_all(bed.path("run")).ok());
    let second =
        bed.command(&["run", "-c"]).arg(bed.path("supervisord-rs.yaml")).output().expect("it runs");
    let said = crate::harness::text(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("another supervisor (pid {pid})")), "{said}");
    let after = supervisor.wait("the control socket", |supervisor| supervisor.client.status().ok());
    assert_eq!(after.supervisor.pid, before.supervisor.pid);
    assert_eq!(find(&after, "a").pid, find(&first, "a").pid, "{}", bed.log());
    // A supervisor with another runtime directory may share the state directory.
    let mut other = bed.command(&["run", "-c"]);
    let file = bed.write(
        "other.yaml",
        "version: 1\nworkers:\n  b: { command: [\"true\"], restart: never, critical: true }\n",
    );
    other.arg(file).env("RUNTIME_DIRECTORY", bed.path("run2"));
    let ended = other.output().expect("it runs");
    assert!(
        !crate::harness::text(&ended.stderr).contains("another supervisor"),
        "{}",
        crate::harness::text(&ended.stderr)
    );
    assert_eq!(state_locks(&bed).len(), 2);
    supervisor.stop();
}

#[test]
fn an_order_to_stop_outlives_a_death_and_with_remember_an_orderly_end() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        up: { command: [sleep, 1d] }\n  \
                a: { command: [sleep, 1d] }\n  b: { command: [sleep, 1d], autostart: remember }\n";
    let supervisor = bed.start(yaml);
    let before = supervisor.wait_running();
    supervisor.client.stop(&["a".into(), "b".into()], true).expect("stopped");
    kill(before.supervisor.pid, Signal::SIGKILL);
    let after = supervisor.wait_successor(before.supervisor.pid);
    assert!(["a", "b"].iter().all(|name| find(&after, name).stopped), "{after:?}");
    supervisor.stop();
    let next = bed.start(yaml);
    let started = next.wait_phase("a", "running");
    assert_eq!((started.restarts, started.stopped), (0, false), "a new run is no restart");
    assert_eq!((next.worker("up").restarts, next.worker("up").generation), (0, 2));
    let remembered = next.worker("b");
    assert_eq!((remembered.phase.as_str(), remembered.stopped), ("idle", true));
    next.client.start(&["b".into()], true).expect("started");
    next.stop();
}

#[test]
fn what_was_counted_stays_counted_and_what_was_open_is_recorded_over_a_death() {
    let bed = Bed::new();
    // A directory in place of its log: its output is lost.
    std::fs::create_dir_all(bed.path("logs/w.log")).expect("a directory");
    let flag = bed.path("flag").display().to_string();
    let yaml = format!(
        "version: 1\ndefaults: {{ ready: {{ after: 0s }} }}\nworkers:\n  \
         w: {{ command: [sh, -c, 'while :; do echo 0123456789; sleep 0.01; done'] }}\n  \
         f: {{ command: [sh, -c, '[ -e {flag} ] && exec sleep 1d; touch {flag}; exit 3'], \
         restart: {{ backoff: {{ initial: 1h, max: 1h }} }} }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait("output to be lost", |supervisor| {
        (supervisor.worker("w").lost_output > 100).then_some(())
    });
    let before = supervisor.wait("f to wait", |supervisor| {
        let status = supervisor.client.status().ok()?;
        (find(&status, "f").phase == "backoff").then_some(status)
    });
    kill(before.supervisor.pid, Signal::SIGKILL);
    let after = supervisor.wait_successor(before.supervisor.pid);
    supervisor.client.start(&["f".into()], true).expect("started");
    let (lost_before, lost) = (find(&before, "w").lost_output, find(&after, "w").lost_output);
    assert!(lost >= lost_before, "{lost_before} before, {lost} after");
    let incident = supervisor.wait("its incident", |supervisor| {
        supervisor.incidents().into_iter().find(|incident| incident.worker.as_deref() == Some("f"))
    });
    assert_eq!(
        (incident.id, incident.ending.exit_code, incident.lost.len()),
        (1, Some(3), 1),
        "{incident:?}"
    );
    assert!(incident.recovered_us.is_some() && !incident.supervisor_died, "{incident:?}");
    // The file counts all of the loss, also what was lost before the death.
    std::fs::remove_dir(bed.path("logs/w.log")).expect("out of the way");
    let output = supervisor.wait_output("w", "bytes of w lost here]");
    let mark =
        output.lines().find_map(|line| line.strip_prefix("[supervisord-rs: ")).expect("a mark");
    let marked: u64 = mark.split(' ').next().and_then(|count| count.parse().ok()).expect("a count");
    assert!(marked >= lost_before, "{marked} marked of {lost_before}");
    supervisor.stop();
}

/// Its last lines are gone with the predecessor: none are waited for, since this supervisor may die
/// too before they do not come.
#[test]
fn what_a_predecessor_had_opened_is_on_record_as_soon_as_all_are_back() {
    let bed = Bed::new();
    let directory = bed.directory.path().display();
    let yaml = format!(
        "version: 1\nworkers:\n  w:\n    command: [sh, -c, '[ -e {directory}/died ] && exec sleep 1d; \
         touch {directory}/died; exit 3']\n    ready: {{ exec: [test, -e, {directory}/go], every: \
         20ms, timeout: 1h }}\n    restart: {{ backoff: {{ initial: 0s, jitter: 0 }} }}\n"
    );
    let supervisor = bed.start(&yaml);
    let before = supervisor.wait("it to start again", |supervisor| {
        let status = supervisor.client.status().ok()?;
        let worker = find(&status, "w");
        (worker.generation == 2 && worker.phase == "starting").then_some(status)
    });
    kill(before.supervisor.pid, Signal::SIGKILL);
    let after = supervisor.wait_successor(before.supervisor.pid);
    assert_eq!((find(&after, "w").generation, find(&after, "w").pid), {
        let worker = find(&before, "w");
        (2, worker.pid)
    });
    std::fs::write(bed.path("go"), "").expect("a file");
    supervisor.wait_phase("w", "running");
    let all = supervisor.incidents();
    let known = all.iter().any(|incident| incident.worker.as_deref() == Some("w"));
    assert!(known, "{all:?}");
    supervisor.stop();
}

#[test]
fn an_incident_that_waits_for_its_last_lines_is_on_record_after_a_death_and_once() {
    let bed = Bed::new();
    // Its log is a full pipe, and a write to it hangs: the last lines do not come, and the incident
    // waits for them.
    let fifo = bed.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let _reader = std::fs::File::options().read(true).write(true).open(&fifo).expect("open");
    let dies = "yes | head -c 120000; exit 3";
    let yaml = format!(
        "version: 1\ndefaults: {{ ready: {{ after: 0s }} }}\nworkers:\n  \
         w: {{ command: [sh, -c, \"[ -e {0}/died ] && exec sleep 1d; touch {0}/died; {dies}\"], \
         restart: {{ backoff: {{ initial: 0s, jitter: 0 }} }}, logs: {{ stdout: {1} }} }}\n",
        bed.directory.path().display(),
        fifo.display(),
    );
    let supervisor = bed.start(&yaml);
    let before = supervisor.wait("it to come back", |supervisor| {
        let status = supervisor.client.status().ok()?;
        let worker = find(&status, "w");
        (worker.generation == 2 && worker.phase == "running").then_some(status)
    });
    kill(before.supervisor.pid, Signal::SIGKILL);
    let after = successor(&supervisor, &before);
    let of_worker = |supervisor: &Supervisor<'_>| {
        let all = supervisor.incidents().into_iter();
        all.filter(|incident| incident.worker.as_deref() == Some("w")).collect::<Vec<_>>()
    };
    let incident =
        supervisor.wait("its incident", |supervisor| of_worker(supervisor).first().cloned());
    assert_eq!(
        (incident.generation, incident.ending.exit_code),
        (Some(1), Some(3)),
        "{incident:?}"
    );
    assert!(incident.recovered_us.is_some() && !incident.supervisor_died, "{incident:?}");
    // The next supervisor does not write a recorded incident again.
    kill(after.supervisor.pid, Signal::SIGKILL);
    successor(&supervisor, &after);
    let path = bed.path("state/incidents.jsonl");
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    supervisor.wait("the second death to be on record", |_| {
        (lines().matches("\"supervisor_died\":true").count() == 2).then_some(())
    });
    assert_eq!(lines().matches("\"worker\":\"w\"").count(), 1, "{}", lines());
    supervisor.stop();
}

#[test]
fn what_a_cell_itself_has_lost_stays_counted_over_a_death() {
    let bed = Bed::new();
    // A directory in place of its log: its output is lost.
    std::fs::create_dir_all(bed.path("logs/cell-c.log")).expect("a directory");
    let yaml = "version: 1\nsupervisor: { fault_injection: allow }\nworkers:\n  \
         a: { worker: ticker, isolation: thread, cell: c, on_panic: contain }\n";
    let supervisor = bed.start(yaml);
    let before = supervisor.wait_running();
    let host = before.workers[0].pid.expect("it runs");
    // Like a library in the cell that writes to standard output directly.
    let mut output = std::fs::File::options()
        .write(true)
        .open(format!("/proc/{host}/fd/1"))
        .expect("its standard output");
    std::io::Write::write_all(&mut output, &[b'x'; 1000]).expect("a pipe");
    let before = supervisor.wait("a loss", |supervisor| {
        let status = supervisor.client.status().ok()?;
        (status.supervisor.lost_output >= 1000).then_some(status)
    });
    kill(before.supervisor.pid, Signal::SIGKILL);
    let after = successor(&supervisor, &before);
    assert!(after.supervisor.lost_output >= 1000, "{}", after.supervisor.lost_output);
    // The file counts all of the loss too.
    std::fs::remove_dir(bed.path("logs/cell-c.log")).expect("out of the way");
    std::io::Write::write_all(&mut output, b"more\n").expect("a pipe");
    supervisor.wait("the mark", |_| {
        let text = std::fs::read_to_string(bed.path("logs/cell-c.log")).ok()?;
        text.contains("1000 bytes of cell c lost here]").then_some(())
    });
    supervisor.stop();
}

#[test]
fn what_an_incident_lost_is_known_to_the_successor_that_settles_it() {
    let bed = Bed::new();
    let yaml = "version: 1\nsupervisor: { fault_injection: allow }\nworkers:\n  \
        w: { worker: ticker, isolation: process, restart: { backoff: { initial: 1h, max: 1h } } \
        }\n  \
        c: { command: [sh, -c, 'until [ -e go ]; do sleep 0.01; done; exit 1'], cwd: ., ready: { \
        after: 0s }, restart: never }\n";
    let supervisor = bed.start(yaml);
    let before = supervisor.wait_progress(None);
    supervisor.client.inject("w", "segfault").expect("allowed");
    let open = supervisor.wait("the open incident", |supervisor| {
        supervisor.client.incidents_and_open(10).ok()?.into_iter().find(|record| record.open)
    });
    let lost = open.work.in_flight_lost.expect("its board tells");
    assert!(open.work.done > Some(0), "{open:?}");
    kill(before.supervisor.pid, Signal::SIGKILL);
    supervisor.wait_successor(before.supervisor.pid);
    supervisor.client.start(&["w".into()], false).expect("ordered");
    let settled = supervisor.wait("the incident", |supervisor| {
        let all = supervisor.client.incidents(100).ok()?;
        all.into_iter().find(|record| record.id == open.id)
    });
    assert_eq!(settled.work.in_flight_lost, Some(lost), "{settled:?}");
    assert_eq!(settled.work.done, open.work.done, "{settled:?}");
    let words = format!(", {lost} units of work lost");
    assert!(settled.sentence.contains(&words), "{}", settled.sentence);
    // A command counts no work.
    bed.write("go", "");
    let record = supervisor.wait("its incident", |supervisor| {
        let all = supervisor.client.incidents(100).ok()?;
        all.into_iter().find(|record| record.worker.as_deref() == Some("c"))
    });
    assert_eq!(record.work.in_flight_lost, Some(0), "{record:?}");
    supervisor.stop();
}

/// As in a container that is suspended: whatever waits for something then has waited in vain, and
/// nothing follows from that.
#[test]
fn a_pause_of_everything_at_any_moment_of_a_succession_costs_no_worker() {
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
                w: { instances: 8, command: [sleep, 1d] }\n  \
                t: { worker: ticker, isolation: process }\n";
    let beds: Vec<Bed> = (0..6).map(|_| Bed::new()).collect();
    let running: Vec<_> = beds
        .iter()
        .map(|bed| {
            let supervisor = bed.start(yaml);
            let before = supervisor.wait_running();
            (supervisor, before)
        })
        .collect();
    let mut all = Vec::new();
    for ((supervisor, before), moment) in running.iter().zip(0..) {
        kill(before.supervisor.pid, Signal::SIGKILL);
        let at = std::time::Instant::now() + moment * std::time::Duration::from_millis(15);
        while std::time::Instant::now() < at {
            std::hint::spin_loop();
        }
        // Twice: one may just be born.
        for _ in 0..2 {
            for pid in supervisor.bed.processes() {
                let pid = nix::unistd::Pid::from_raw(pid);
                let _ = nix::sys::signal::kill(pid, Signal::SIGSTOP);
                all.push(pid);
            }
        }
    }
    // The pause is the subject of the test: it is longer than what any step of it waits for.
    std::thread::sleep(std::time::Duration::from_secs(3));
    for pid in all {
        let _ = nix::sys::signal::kill(pid, Signal::SIGCONT);
    }
    for (supervisor, before) in running {
        let after = successor(&supervisor, &before);
        let pids = |status: &StatusReport| {
            let of = |worker: &WorkerStatus| (worker.pid, worker.generation);
            status.workers.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(pids(&after), pids(&before), "{}", supervisor.bed.log());
        supervisor.stop();
    }
}
