//! One suite for all ten, in each isolation.

#[path = "../../../harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::{Bed, EAGER};

const CRATES: [&str; 10] = [
    "c-library",
    "channel-pipeline",
    "child-spawner",
    "event-loop",
    "forker",
    "panic-hook",
    "rayon-pool",
    "thread-locals",
    "tokio-server",
    "tracing-user",
];

/// The place of each worker, by its name in messages.
const PLACES: [(&str, &str); 3] = [
    ("thread", "isolation: thread, on_panic: contain"),
    ("cell", "isolation: thread, cell: box, on_panic: contain"),
    ("process", "isolation: process, on_panic: contain"),
];

/// Restarts of each worker in each isolation: a leak of one descriptor, thread or mapping in ten
/// restarts is seen.
const RESTARTS: u64 = 150;
/// Another number of them.
const RESTARTS_OF: &str = "WORKER_CRATES_RESTARTS";

fn yaml(place: &str, args: &str, restart: &str) -> String {
    let entry = |name: &str| {
        format!(
            "  {name}: {{ worker: {name}, {place}, args: {args}, heartbeat: 4s, stop: {{ timeout: \
             30s }}, {restart} }}\n"
        )
    };
    let workers: String = CRATES.into_iter().map(entry).collect();
    format!("version: 1\nsupervisor: {{ fault_injection: allow }}\nworkers:\n{workers}")
}

#[test]
fn each_works_and_speaks_and_stops_when_it_is_told_to() {
    for (isolation, place) in PLACES {
        let bed = Bed::new();
        let supervisor = bed.start(&yaml(place, "{}", EAGER));
        for name in CRATES {
            supervisor.wait_phase(name, "running");
            supervisor.wait("its work", |supervisor| {
                supervisor.worker(name).progress.filter(|units| *units > 2)
            });
            // What it has written comes into its file by another thread than its progress.
            let log = supervisor.wait_output(name, &format!("{name} is up"));
            assert!(!log.contains("not by default"), "{isolation}: {log}");
        }
        for name in CRATES {
            let begun = Instant::now();
            supervisor.client.stop(&[name.into()], true).expect("an order to stop");
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(20), "{isolation}: {name} took {took:?} to stop");
        }
        let incidents = supervisor.incidents();
        assert!(incidents.is_empty(), "{isolation}: {incidents:?}");
        let left = supervisor.status().supervisor.abandoned_threads;
        assert_eq!(left, 0, "{isolation}: threads left behind");
        supervisor.stop();
    }
}

#[test]
fn each_comes_back_from_a_panic_and_no_other_is_disturbed() {
    for (isolation, place) in PLACES {
        let bed = Bed::new();
        let supervisor = bed.start(&yaml(place, "{}", EAGER));
        for name in CRATES {
            supervisor.wait_phase(name, "running");
        }
        let mut known = 0;
        for (before, name) in CRATES.into_iter().enumerate() {
            supervisor.client.inject(name, "panic").expect("a fault");
            let incident = supervisor.wait_incident(known);
            known = incident.id;
            assert_eq!(incident.lost, [name], "{isolation}: {}", incident.sentence);
            supervisor.wait("another incarnation", |supervisor| {
                let worker = supervisor.worker(name);
                (worker.phase == "running" && worker.generation == 2).then_some(())
            });
            let twice = CRATES.iter().filter(|name| supervisor.worker(name).generation == 2);
            assert_eq!(twice.count(), before + 1, "{isolation}: {name}");
        }
        supervisor.stop();
    }
}

/// What a process has.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    threads: usize,
    descriptors: usize,
    mappings: usize,
    bytes: usize,
}

impl Holdings {
    fn of(pid: i32) -> Self {
        let count = |name: &str| std::fs::read_dir(format!("/proc/{pid}/{name}")).unwrap().count();
        let text = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        let status = text("status");
        let kibibytes = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .expect("anonymous memory");
        Self {
            threads: count("task"),
            descriptors: count("fd"),
            mappings: text("maps").lines().count(),
            bytes: kibibytes.parse::<usize>().unwrap() * 1024,
        }
    }
}

#[test]
fn restarts_leave_nothing_behind() {
    let restarts = std::env::var(RESTARTS_OF).map_or(RESTARTS, |text| text.parse().unwrap());
    for (isolation, place) in PLACES {
        let bed = Bed::new();
        let restart = "restart: { policy: always, backoff: { initial: 0s, jitter: 0 }, limit: { \
                       restarts: 1000000, within: 60s } }";
        let supervisor = bed.start(&yaml(place, "{ units: 1 }", restart));
        let names = CRATES.map(str::to_owned);
        // At rest: nothing is half-way up or down.
        let rounds = |restarts: u64| -> Vec<(&str, Holdings)> {
            let begun: BTreeMap<_, _> =
                CRATES.map(|name| (name, supervisor.worker(name).generation)).into();
            for name in CRATES {
                supervisor.wait_for(Duration::from_secs(1800), "restarts", |supervisor| {
                    let worker = supervisor.worker(name);
                    assert_ne!(worker.phase, "quarantined", "{isolation}: {name}");
                    (worker.generation >= begun[name] + restarts).then_some(())
                });
            }
            let cell = supervisor.worker(CRATES[0]).pid.filter(|_| isolation == "cell");
            supervisor.client.stop(&names, true).expect("an order to stop");
            let mut all = vec![("supervisor", Holdings::of(supervisor.status().supervisor.pid))];
            all.extend(cell.map(|cell| ("cell", Holdings::of(cell))));
            supervisor.client.start(&names, false).expect("an order to start");
            all
        };
        // What is made once is made, and what has a bound, such as the incidents in memory, is
        // full.
        let before = rounds(restarts.min(2000));
        let begun = Instant::now();
        let after = rounds(restarts);
        let took = begun.elapsed();
        for ((process, before), (_, after)) in before.into_iter().zip(after) {
            println!(
                "{isolation}: {restarts} restarts of each in {took:?}: {process} {before:?} {after:?}"
            );
            let slack = 10 + usize::try_from(restarts).unwrap() / 10;
            assert!(after.threads <= before.threads + 5, "{isolation}, {process}: threads");
            assert!(
                after.descriptors <= before.descriptors + slack.min(20),
                "{isolation}, {process}: descriptors"
            );
            assert!(
                after.mappings <= before.mappings + slack.min(40),
                "{isolation}, {process}: mappings"
            );
            assert!(after.bytes <= before.bytes + (2 << 20), "{isolation}, {process}: memory");
        }
        supervisor.stop();
    }
}
