//! An idle supervisor costs nothing: no poll, and no timer but that of its sign of life.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::harness::{Bed, proc_status};
use supervisord_rs::process_table::{task, thread_stat, threads};

/// How often each thread of these processes has been switched to another, by process and name.
fn switches(pids: &[i32]) -> BTreeMap<(i32, i32, String), u64> {
    let of_thread = |pid: i32, tid: i32| {
        let name = thread_stat(pid, tid)?.name_lossy();
        let path = task(pid, tid);
        let count = proc_status(&path, "voluntary_ctxt_switches")
            + proc_status(&path, "nonvoluntary_ctxt_switches");
        Some(((pid, tid, name), count))
    };
    let all = pids.iter().flat_map(|&pid| threads(pid).into_iter().map(move |tid| (pid, tid)));
    all.filter_map(|(pid, tid)| of_thread(pid, tid)).collect()
}

#[test]
fn a_hundred_idle_workers_cause_no_wake_up_in_ten_seconds() {
    let _machine = crate::alone();
    // Twice in this time it sends a sign of life to its guardian: not within the measurement.
    let mut yaml = "version: 1\nsupervisor: { watchdog: 10m }\nworkers:\n".to_owned();
    for worker in 0..100 {
        yaml.push_str(&format!("  w{worker}: {{ worker: sleeper }}\n"));
    }
    let bed = Bed::new();
    let supervisor = bed.start(&yaml);
    let status = supervisor.wait_running();
    let both = [status.supervisor.pid, status.supervisor.guardian.expect("a guardian")];
    // The test's own question is the last event that wakes it: the supervisor has finished with it
    // when a second passes without a wake-up, however busy the machine is.
    let (mut before, mut calm) = (switches(&both), Instant::now());
    supervisor.wait("a second without a wake-up", |_| {
        let now = switches(&both);
        if now != before {
            (before, calm) = (now, Instant::now());
        }
        (calm.elapsed() >= Duration::from_secs(1)).then_some(())
    });
    // The measurement itself: the documentation claims ten seconds.
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(switches(&both), before, "wake-ups of supervisor and guardian in 10 s");
    supervisor.stop();
}
