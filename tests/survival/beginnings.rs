//! What comes to a supervisor that is just being executed: a signal waits for it, and its
//! guardian's death leaves no worker without a supervisor.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Bed, DEADLINE, Supervisor, is_alive, kill};
use supervisord_rs::process_table::children_of;

/// Moments after the birth of a supervisor.
const MOMENTS: [u64; 4] = [0, 0, 1, 3];

/// A worker that prints a line when it gets TERM.
fn configuration() -> String {
    let polite = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    format!(
        "version: 1\ndefaults: {{ ready: {{ after: 0s }} }}\nworkers:\n  \
         polite: {{ command: [sh, -c, \"{polite}\"] }}\n"
    )
}

/// Kills the supervisor. Its guardian, and the successor so many milliseconds after its birth.
fn reborn(supervisor: &Supervisor<'_>, moment: u64) -> (i32, i32) {
    supervisor.wait_output("polite", "up");
    let status = supervisor.wait_running();
    let guardian = supervisor.child_pid();
    let old = status.supervisor.pid;
    // What the old one leaves comes to its guardian too.
    let before = [children_of(guardian), children_of(old)].concat();
    kill(old, Signal::SIGKILL);
    // The window is shorter than the harness's pause between two looks.
    let end = Instant::now() + DEADLINE;
    let born = loop {
        let is_launching = supervisor.bed.log().contains("starting it again");
        let new = children_of(guardian).into_iter().find(|pid| !before.contains(pid));
        if let Some(born) = new.filter(|_| is_launching) {
            break born;
        }
        assert!(Instant::now() < end, "no successor; log:\n{}", supervisor.bed.log());
        std::hint::spin_loop();
    };
    let at = Instant::now() + Duration::from_millis(moment);
    while Instant::now() < at {
        std::hint::spin_loop();
    }
    (guardian, born)
}

#[test]
fn a_guardian_that_dies_while_its_supervisor_is_born_leaves_no_worker_behind() {
    for moment in MOMENTS {
        let bed = Bed::new();
        let mut supervisor = bed.start(&configuration());
        let (guardian, _) = reborn(&supervisor, moment);
        kill(guardian, Signal::SIGKILL);
        supervisor.wait_exit();
        supervisor.wait("the end of everything", |_| bed.processes().is_empty().then_some(()));
        assert!(bed.output("polite").contains("bye"), "{moment} ms; log:\n{}", bed.log());
        assert!(!bed.log().contains("has its own guardian"), "{moment} ms; log:\n{}", bed.log());
    }
}

#[test]
fn a_signal_to_a_supervisor_that_is_born_is_carried_out() {
    for moment in MOMENTS {
        let bed = Bed::new();
        let mut supervisor = bed.start(&configuration());
        let (_, born) = reborn(&supervisor, moment);
        kill(born, Signal::SIGUSR1);
        kill(born, Signal::SIGTERM);
        assert_eq!(supervisor.wait_exit().code(), Some(0), "{moment} ms; log:\n{}", bed.log());
        assert!(bed.output("polite").contains("bye"), "{moment} ms; log:\n{}", bed.log());
        assert!(!is_alive(born) && bed.processes().is_empty(), "{moment} ms");
    }
}
