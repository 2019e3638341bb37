//! The supervisor dies: by a thread's fault, by SIGKILL, by its guardian's death. Nothing is left, nothing is doubled,
//! and the successor tells the story.

mod harness;

use std::os::unix::process::ExitStatusExt;

use harness::{Bed, find, kill, repository};
use nix::sys::signal::Signal;

fn configuration(name: &str) -> String {
    std::fs::read_to_string(repository(&format!("config/{name}.yaml")))
        .expect("a configuration of the repository")
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
    assert!(incident.detected_us > Some(0) && incident.recovered_us >= incident.detected_us, "{incident:?}");
    assert!(bed.log().contains("incident 1: segfault in b (thread of the supervisor)"), "{}", bed.log());
    assert!(next.status().workers.iter().all(|worker| worker.generation == 2), "generations go on");
    next.stop();
}

#[test]
fn a_supervisor_that_is_killed_is_replaced_and_nothing_runs_twice() {
    let bed = Bed::new();
    let supervisor = bed.start(&configuration("process"));
    let mut before = supervisor.wait_progress(None);
    for round in 1..=5 {
        kill(before.supervisor.pid, Signal::SIGKILL);
        let after = supervisor.wait("the successor", |supervisor| {
            let status = supervisor.client.status().ok()?;
            let is_next = status.supervisor.pid != before.supervisor.pid;
            (is_next && status.workers.iter().all(|worker| worker.phase == "running")).then_some(status)
        });
        let processes = bed.processes();
        assert_eq!(processes.len(), 6, "guardian, supervisor, four workers: {processes:?}");
        for worker in &before.workers {
            assert!(
                !processes.contains(&worker.pid.expect("it ran")),
                "{} outlived its supervisor",
                worker.name
            );
        }
        let incident = supervisor.wait_incident(round - 1);
        assert!(incident.supervisor_died && incident.lost == ["a", "b", "c", "d"], "{incident:?}");
        assert_eq!(incident.ending.signal.as_deref(), Some("SIGKILL"));
        assert_eq!(incident.worker, None, "nobody's doing that anybody knows");
        before = after;
    }
    supervisor.stop();
}

#[test]
fn the_guardians_death_ends_everything() {
    let bed = Bed::new();
    let mut supervisor = bed.start(&configuration("process"));
    supervisor.wait_progress(None);
    supervisor.child.kill().expect("our child");
    supervisor.wait_exit();
    supervisor
        .wait("everything to be gone", |supervisor| supervisor.bed.processes().is_empty().then_some(()));
}

#[test]
fn signals_are_passed_on_and_the_end_is_orderly() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let bed = Bed::new();
        let mut supervisor = bed.start(&configuration("mixed"));
        kill(supervisor.child.id() as i32, signal);
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
    let yaml = "version: 1\nsupervisor: { fault_injection: allow }\ndefaults:\n  isolation: thread\n  \
                restart: { backoff: { initial: 0s, jitter: 0 }, limit: { restarts: 3, within: 60s } }\nworkers:\n  \
                a: { worker: ticker }\n  b: { worker: ticker, inject: [ { fault: segfault, after: 20ms } ] }\n";
    let supervisor = bed.start(yaml);
    let status = supervisor.wait("quarantine", |supervisor| {
        let status = supervisor.client.status().ok()?;
        (find(&status, "b").phase == "quarantined").then_some(status)
    });
    supervisor
        .wait("a to go on alone", |supervisor| (supervisor.worker("a").phase == "running").then_some(()));
    assert_eq!(find(&status, "b").generation, 4);
    assert_eq!(supervisor.incidents().len(), 4);
    supervisor.stop();
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
