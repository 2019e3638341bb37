//! What probes leave behind in other sessions ends with them: in every isolation, across a death of
//! the supervisor, and when their worker stops.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::process_trees::{families, sleepers, start};
use crate::harness::{Supervisor, kill};

/// Waits until so many probes have begun.
fn probes(supervisor: &Supervisor<'_>, wanted: usize) {
    let asked = supervisor.bed.path("asked");
    supervisor.wait("more probes", |_| {
        let text = std::fs::read_to_string(&asked).unwrap_or_default();
        (text.lines().count() >= wanted).then_some(())
    });
}

/// A worker whose probe, `script`, first says in a file that it has begun.
fn yaml(supervisor_place: &str, worker: &str, script: &str) -> String {
    format!(
        "version: 1\nworkers:\n  w:\n    {worker}\n    {supervisor_place}\n    health: {{ liveness: \
         {{ exec: [sh, -c, 'echo >> {{asked}}; {script}'], every: 20ms, timeout: 10s }} }}\n"
    )
}

#[test]
fn what_a_probe_leaves_in_another_session_ends_with_it_in_every_isolation() {
    for place in ["isolation: thread", "isolation: thread\n    cell: box", "isolation: process"] {
        for (how, bed) in families() {
            let asked = bed.path("asked").display().to_string();
            let text = yaml(place, "worker: ticker", "setsid sleep 40405 & exit 0");
            let supervisor = start(&bed, how, &text.replace("{asked}", &asked));
            probes(&supervisor, 20);
            // Of the last ones.
            supervisor
                .wait("those of earlier probes to end", |_| (sleepers("40405") <= 2).then_some(()));
            supervisor.client.stop(&["w".into()], true).expect("stopped");
            supervisor.wait("nothing is left", |_| (sleepers("40405") == 0).then_some(()));
            supervisor.stop();
        }
    }
}

#[test]
fn a_probe_in_flight_when_the_supervisor_dies_ends_with_it() {
    for (how, bed) in families() {
        let asked = bed.path("asked").display().to_string();
        let script = "setsid sleep 40406 & exec sleep 40406";
        let text = yaml("isolation: process", "worker: ticker", script);
        let supervisor = start(&bed, how, &text.replace("{asked}", &asked));
        let worker = supervisor.wait_phase("w", "running");
        for round in 1..=3 {
            probes(&supervisor, round);
            supervisor.wait("what the probe starts", |_| (sleepers("40406") >= 2).then_some(()));
            let before = supervisor.status().supervisor.pid;
            kill(before, Signal::SIGKILL);
            supervisor.wait_successor(before);
            assert_eq!(supervisor.wait_phase("w", "running").pid, worker.pid, "it was adopted");
            probes(&supervisor, round + 1);
            supervisor.wait("that of one probe", |_| (sleepers("40406") <= 2).then_some(()));
        }
        let begun = Instant::now();
        supervisor.client.stop(&["w".into()], true).expect("stopped");
        assert!(begun.elapsed() < Duration::from_secs(9), "{how}: {:?}", begun.elapsed());
        supervisor.stop();
        bed.wait(&format!("{how}: nothing of a probe"), || (sleepers("40406") == 0).then_some(()));
    }
}

/// A probe that is born as its worker stops is not asked to: it is killed, with what it has started
/// in another session, and the worker has stopped in time.
#[test]
fn what_a_probe_starts_around_a_stop_does_not_hold_it_up() {
    for (how, bed) in families() {
        let asked = bed.path("asked").display().to_string();
        let script = "(trap \"\" TERM; setsid sleep 40407) & exit 0";
        let command = "command: [sleep, 1d]\n    stop: { timeout: 1m }";
        let text = yaml("", command, script).replace("every: 20ms", "every: 1ms");
        let supervisor = start(&bed, how, &text.replace("{asked}", &asked));
        for round in 1..=8 {
            supervisor.wait_phase("w", "running");
            probes(&supervisor, round * 3);
            let begun = Instant::now();
            supervisor.client.stop(&["w".into()], true).expect("stopped");
            assert!(begun.elapsed() < Duration::from_secs(20), "{how}: {:?}", begun.elapsed());
            assert!(supervisor.incidents().is_empty(), "{how}: {:?}", supervisor.incidents());
            supervisor.client.start(&["w".into()], false).expect("started");
        }
        supervisor.stop();
    }
}
