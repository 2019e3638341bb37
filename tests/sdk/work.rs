//! Functions as workers, and what becomes of the units of work that they begin.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use workers::{Context, Registry, WorkerError};

use crate::harness::Bed;
use crate::{PLACES, Test, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    (
        "units_that_an_error_or_a_panic_drops_are_lost",
        units_that_an_error_or_a_panic_drops_are_lost,
    ),
    (
        "units_that_fail_while_the_worker_goes_on_are_counted_and_not_in_flight",
        units_that_fail_while_the_worker_goes_on_are_counted_and_not_in_flight,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry.function("clerk", "begins units of work; args: units, end", clerk)
}

#[derive(serde::Deserialize)]
struct Args {
    units: u64,
    end: End,
}

/// A destructor that writes a line, after all units are dropped.
struct LastLine(Context);

impl Drop for LastLine {
    fn drop(&mut self) {
        self.0.log_line("closes");
        self.0.tick();
    }
}

/// What becomes of the units.
#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum End {
    Error,
    Panic,
    Thread,
    Failed,
}

fn clerk(context: &Context, args: Args) -> Result<(), WorkerError> {
    let _last_line = LastLine(context.clone());
    let units = context.begin(args.units);
    match args.end {
        End::Error => {
            std::fs::read("/nowhere/at-all")?;
        }
        End::Panic => panic!("with {} units", units.units()),
        End::Thread => {
            let packer = context.spawn("packer", move |_| {
                let _units = units;
                std::fs::read("/nowhere/at-all")
            })?;
            packer.join()??;
        }
        End::Failed => {
            units.fail();
            // As a runtime catches the panic of a task.
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let _units = context.begin(10);
                panic!("of one task");
            }));
            assert!(caught.is_err());
            let elsewhere = context.begin(100);
            std::thread::spawn(move || drop(elsewhere)).join().expect("it ends");
            let of_thread = context.begin(0x10_0000);
            let thread = context.spawn("thread", move |_| drop(of_thread))?;
            // Its error is passed over, and the worker goes on.
            thread.join()?;
            context.begin(1000).give_back();
            context.begin(10_000).done();
        }
    }
    while context.sleep(Duration::from_secs(1)) {}
    Ok(())
}

fn yaml(place: &str, end: &str) -> String {
    format!(
        "version: 1\nworkers:\n  a: {{ worker: clerk, args: {{ units: 5, end: {end} }}, {place}, \
         on_panic: contain, restart: {{ limit: {{ restarts: 0 }} }} }}\n"
    )
}

fn units_that_an_error_or_a_panic_drops_are_lost() {
    for place in PLACES {
        for end in ["error", "panic", "thread"] {
            let bed = Bed::new();
            let supervisor = start(&bed, &yaml(place, end));
            let incident = supervisor.wait_incident(0);
            assert_eq!(incident.work.in_flight_lost, Some(5), "{place}, {end}: {incident:?}");
            assert!(incident.sentence.contains("5 units of work lost"), "{}", incident.sentence);
            assert_eq!(supervisor.worker("a").failed, None, "{place}, {end}");
            supervisor.stop();
        }
    }
}

fn units_that_fail_while_the_worker_goes_on_are_counted_and_not_in_flight() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(&bed, &yaml(place, "failed"));
        let worker = supervisor.wait("its work", |supervisor| {
            Some(supervisor.worker("a")).filter(|worker| worker.progress == Some(10_000))
        });
        assert_eq!((worker.failed, worker.in_flight), (Some(115 + 0x10_0000), Some(0)), "{place}");
        assert_eq!(supervisor.worker("a").generation, 1, "{place}");
        supervisor.stop();
    }
}
