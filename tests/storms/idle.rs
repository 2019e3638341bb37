//! An idle supervisor costs nothing: no timer, no poll, no wake-up.

use std::time::{Duration, Instant};

use crate::harness::{Bed, proc_threads};

#[test]
fn a_hundred_idle_workers_cause_no_wake_up_in_ten_seconds() {
    let _machine = crate::alone();
    let mut yaml = "version: 1\nworkers:\n".to_owned();
    for worker in 0..100 {
        yaml.push_str(&format!("  w{worker}: {{ worker: sleeper }}\n"));
    }
    let bed = Bed::new();
    let supervisor = bed.start(&yaml);
    let status = supervisor.wait_running();
    let guardian = status.supervisor.guardian.expect("a guardian");
    let switches = || {
        let both = [status.supervisor.pid, guardian];
        both.map(|pid| {
            proc_threads(pid, "voluntary_ctxt_switches")
                + proc_threads(pid, "nonvoluntary_ctxt_switches")
        })
    };
    // The test's own question is the last event that wakes it: the supervisor has finished with it
    // when a second passes without a wake-up, however busy the machine is.
    let (mut before, mut calm, begun) = (switches(), Instant::now(), Instant::now());
    while calm.elapsed() < Duration::from_secs(1) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it wakes up again and again");
        std::thread::sleep(Duration::from_millis(100));
        let now = switches();
        if now != before {
            (before, calm) = (now, Instant::now());
        }
    }
    // The measurement itself: the documentation claims ten seconds.
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(switches(), before, "wake-ups of supervisor and guardian in 10 s");
    supervisor.stop();
}
