//! A thousand workers on a small machine: started, all killed at once, all back, all stopped, and
//! nothing left.

use std::time::Duration;

use crate::harness::{Bed, EAGER, kill};
use nix::sys::signal::Signal;

const WORKERS: usize = 1000;

#[test]
fn a_thousand_workers_start_are_all_killed_come_back_and_stop() {
    let _machine = crate::alone();
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nsupervisor: {{ shutdown_timeout: 2m }}\ndefaults: {{ {EAGER} }}\nworkers:\n  \
         w: {{ instances: {WORKERS}, command: [sleep, 1d], ready: {{ after: 0s }} }}\n"
    );
    let supervisor = bed.start(&yaml);
    let limit = Duration::from_secs(300);
    let all_run = |generation: u64| {
        supervisor.wait_for(limit, "all to run", |supervisor| {
            let status = supervisor.client.status().ok()?;
            let are_up = status
                .workers
                .iter()
                .all(|worker| worker.phase == "running" && worker.generation == generation);
            are_up.then_some(status)
        })
    };
    let before = all_run(1);
    assert_eq!(before.workers.len(), WORKERS);
    let pids: Vec<i32> = before.workers.iter().filter_map(|worker| worker.pid).collect();
    for pid in &pids {
        kill(*pid, Signal::SIGKILL);
    }
    let after = all_run(2);
    assert_eq!(after.supervisor.pid, before.supervisor.pid);
    assert!(after.workers.iter().zip(&before.workers).all(|(new, old)| new.pid != old.pid));
    supervisor.wait_for(limit, "a thousand incidents", |supervisor| {
        (supervisor.incidents().len() == WORKERS).then_some(())
    });
    supervisor.client.stop(&["all".into()], true).expect("stopped");
    assert!(pids.iter().all(|pid| !crate::harness::is_alive(*pid)));
    let left = after
        .workers
        .iter()
        .filter_map(|worker| worker.pid)
        .filter(|pid| crate::harness::is_alive(*pid))
        .count();
    assert_eq!(left, 0, "stopped means gone");
    supervisor.stop();
}
