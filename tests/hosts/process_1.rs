//! Process 1 is ordered to end while it starts its workers, as `docker stop` may come at any time.
//!
//! `START_STORM=1500 cargo test -p supervisord-rs --test hosts process_1 -- --nocapture` starts
//! 1500 workers forty times.

use std::time::{Duration, Instant};

use crate::container::{as_init, init_of};
use crate::harness::skip::lacks_root;
use crate::harness::{Bed, holds, kill, until};
use nix::sys::signal::Signal;
use supervisord_rs::control::client::Client;

/// For 1500 workers on a loaded machine.
const LIMIT: Duration = Duration::from_secs(300);

fn configuration(workers: usize) -> String {
    let half = workers / 2;
    format!(
        "version: 1\nsupervisor: {{ shutdown_timeout: 2m }}\n\
            defaults: {{ ready: {{ after: 0s }} }}\nworkers:\n  \
         left: {{ instances: {half}, command: [sleep, 1d] }}\n  \
         right: {{ instances: {half}, command: [sleep, 1d] }}\n  \
         cell: {{ worker: ticker, isolation: thread, cell: c }}\n"
    )
}

/// Whether it blocks or catches TERM. Before that the kernel drops the signal: process 1 has no
/// default action. (unshare(1) blocks it too for a moment, before it executes the program.)
fn holds_term(pid: i32) -> Option<()> {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    if !program.ends_with("supervisord-rs") {
        return None;
    }
    holds(pid, Signal::SIGTERM)
}

/// How long process 1 takes until all workers run.
fn whole_start(yaml: &str) -> Duration {
    let bed = Bed::new();
    let begun = Instant::now();
    let unshare = as_init(&bed, yaml, &[]);
    let client = Client::new(&bed.path("run/control.sock"));
    let all_run = || {
        let status = client.status().ok()?;
        status.workers.iter().all(|worker| worker.phase == "running").then_some(())
    };
    until(LIMIT, all_run).unwrap_or_else(|| panic!("they do not all start: {}", bed.log()));
    let start = begun.elapsed();
    drop(unshare);
    bed.wait("the namespace to be gone", || bed.processes().is_empty().then_some(()));
    start
}

#[test]
fn process_1_that_is_ordered_to_end_at_any_moment_of_its_start_ends_in_order() {
    if lacks_root() {
        return;
    }
    let many = std::env::var("START_STORM").ok().map(|text| text.parse().expect("a number"));
    let (workers, rounds) = many.map_or((40, 8), |workers| (workers, 40));
    let yaml = configuration(workers);
    let start = whole_start(&yaml);
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let bed = Bed::new();
        let options: &[&str] = if round % 2 == 0 { &[] } else { &["--no-guardian"] };
        let mut unshare = as_init(&bed, &yaml, options);
        let init = bed.wait("process 1", || init_of(&unshare));
        bed.wait("TERM to be held or taken", || holds_term(init));
        // The subject: an order at any moment of the start.
        std::thread::sleep(start.mul_f64(f64::from(round) / f64::from(rounds)));
        let begun = Instant::now();
        kill(init, Signal::SIGTERM);
        let status = until(LIMIT, || unshare.0.try_wait().expect("our child"));
        let code = status.and_then(|status| status.code());
        assert_eq!(code, Some(0), "round {round} {options:?}: {}", bed.log());
        slowest = slowest.max(begun.elapsed());
        assert!(!bed.log().contains(" incident "), "round {round} {options:?}: {}", bed.log());
        assert_eq!(bed.processes(), Vec::<i32>::new(), "round {round} {options:?}");
    }
    println!(
        "{workers} workers start in {start:?}; {rounds} orders to end during that: the slowest \
            end took {slowest:?}"
    );
}
