//! Guardian and supervisor are killed in the same moment: workers may run on, and the next `run`
//! ends each of them before it starts another.
//!
//! `KILL_STORM=1000 cargo test -p supervisord-rs --test storms killed_together -- --nocapture`
//! has 1500 workers and twenty rounds; `KILL_STORM_SEED` replays the moments.

use std::time::{Duration, Instant};

use crate::harness::{Bed, EAGER, Supervisor, is_alive, kill_together};
use crate::kill_storm::number;
use crate::storm::Random;
use supervisord_rs::control::protocol::StatusReport;

/// For 1500 workers on a loaded machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Commands, SDK workers in processes and in cells. Each command holds a lock of its name as long
/// as it lives, and fails at once where another holds it.
fn configuration(bed: &Bed, workers: usize) -> String {
    let locks = bed.path("locks");
    std::fs::create_dir_all(&locks).expect("a directory");
    let exclusive =
        format!("exec flock -n -F -E 99 {}/$SUPERVISOR_PROCESS_NAME sleep 1d", locks.display());
    let sdk = workers / 20;
    let half = workers / 2 - sdk;
    let cells: String = (0..sdk)
        .map(|number| {
            let cell = number % 5;
            format!("  cell{number}: {{ worker: ticker, isolation: thread, cell: c{cell} }}\n")
        })
        .collect();
    format!(
        "version: 1\nsupervisor: {{ shutdown_timeout: 2m }}\n\
            defaults: {{ ready: {{ after: 0s }}, {EAGER} }}\nworkers:\n  \
         left: {{ instances: {half}, command: [sh, -c, {exclusive:?}] }}\n  \
         right: {{ instances: {half}, command: [sh, -c, {exclusive:?}] }}\n  \
         sdk: {{ instances: {sdk}, worker: ticker, isolation: process }}\n{cells}",
    )
}

fn all_run(supervisor: &Supervisor<'_>) -> StatusReport {
    supervisor.wait_for(LIMIT, "all to run", |supervisor| {
        let status = supervisor.client.status().ok()?;
        status.workers.iter().all(|worker| worker.phase == "running").then_some(status)
    })
}

/// What follows a dead one, whose workers live: to end them is what this run is for.
fn next_run<'a>(dead: Supervisor<'a>, yaml: &str) -> Supervisor<'a> {
    let bed = dead.bed;
    std::mem::forget(dead);
    bed.start(yaml)
}

#[test]
fn after_guardian_and_supervisor_are_killed_together_the_next_run_has_each_worker_once() {
    let _machine = crate::alone();
    let is_long = std::env::var_os("KILL_STORM").is_some();
    let (workers, rounds) = if is_long { (1500, 20) } else { (60, 6) };
    let seed = number("KILL_STORM_SEED", u64::from(std::process::id()));
    println!("KILL_STORM_SEED={seed}");
    let mut random = Random::new(seed);
    let bed = Bed::new();
    let yaml = configuration(&bed, workers);
    let begun = Instant::now();
    let mut supervisor = bed.start(&yaml);
    let mut before = all_run(&supervisor);
    let start = begun.elapsed();
    let (mut survivors, mut slowest) = (0, Duration::ZERO);
    for round in 0..rounds {
        if round % 3 == 2 {
            // In the middle of a start: one that follows the same kill.
            kill_together(&mut supervisor, random.chance(50));
            supervisor = next_run(supervisor, &yaml);
            std::thread::sleep(start.mul_f64(random.below(100) as f64 / 100.0));
            before = supervisor.status();
        }
        let old: Vec<i32> = before.workers.iter().filter_map(|worker| worker.pid).collect();
        kill_together(&mut supervisor, random.chance(50));
        survivors += old.iter().filter(|pid| is_alive(**pid)).count();
        let begun = Instant::now();
        supervisor = next_run(supervisor, &yaml);
        let after = all_run(&supervisor);
        slowest = slowest.max(begun.elapsed());
        assert_eq!(after.workers.len(), workers, "round {round}");
        let left: Vec<&i32> = old.iter().filter(|pid| is_alive(**pid)).collect();
        assert!(left.is_empty(), "round {round}: {left:?} run on; log:\n{}", bed.log());
        let by_itself: Vec<String> = supervisor
            .incidents()
            .into_iter()
            .filter(|incident| !incident.supervisor_died)
            .map(|incident| incident.sentence)
            .collect();
        assert!(by_itself.is_empty(), "round {round}: {by_itself:?}; log:\n{}", bed.log());
        before = after;
    }
    assert!(survivors > 0, "no worker outlived them: the next run had nothing to end");
    println!(
        "{workers} workers start in {start:?}; {rounds} deaths of guardian and supervisor \
            together: \
         {survivors} workers survived them, the next run has all within {slowest:?}"
    );
    supervisor.stop();
}
