//! What a dead owner leaves to the next one, and to all users: `on_owner_death`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use workers::shared::{Error, Locked};
use workers::{Context, Registry, WorkerError};

use super::{Taker, set, word};
use crate::harness::Bed;
use crate::{PLACES, Test, start};

/// For `main`.
pub(crate) const TESTS: &[Test] = &[
    (
        "what_a_dead_owner_left_is_answered_as_the_file_says",
        what_a_dead_owner_left_is_answered_as_the_file_says,
    ),
    (
        "all_users_restart_and_the_memory_is_as_at_first_where_the_file_says_so",
        all_users_restart_and_the_memory_is_as_at_first_where_the_file_says_so,
    ),
    (
        "a_thread_left_behind_within_a_change_never_reaches_what_is_made_after_it",
        a_thread_left_behind_within_a_change_never_reaches_what_is_made_after_it,
    ),
];

/// Adds the workers of these tests.
pub(crate) fn register(registry: Registry) -> Registry {
    registry
        .function("holder", "has a mutex within a change; no args", hold)
        .function("locker", "locks a mutex again and again; no args", lock)
        .function("stubborn", "changes a ledger and does not end; args: go, gone", stay_within)
        .function("bank", "counts in a ledger; args: fragile", bank)
}

/// Dies within a change at its first life, if ordered to.
fn hold(context: &Context, (): ()) -> Result<(), WorkerError> {
    let door = context.mutex("door")?;
    if context.generation() > 1 {
        context.wait_for_stop();
        return Ok(());
    }
    let mut guard = door.lock(&context.until_stop())?.carry_on();
    guard.change(|| {
        context.log_line("within a change");
        context.wait_for_stop();
    });
    Ok(())
}

fn lock(context: &Context, (): ()) -> Result<(), WorkerError> {
    let door = context.mutex("door")?;
    context.ready();
    loop {
        match door.lock(&context.until_stop()) {
            Ok(Locked::Clean(_guard)) => context.log_line("clean"),
            Ok(Locked::OwnerDied(recovery)) => {
                context.log_line(format!("torn: {}", recovery.is_torn()));
                drop(recovery.repaired());
            }
            Err(Error::GivenUp) => return Ok(()),
            Err(error) => context.log_line(error.to_string()),
        }
        if !context.sleep(Duration::from_millis(20)) {
            return Ok(());
        }
    }
}

fn what_a_dead_owner_left_is_answered_as_the_file_says() {
    let answers =
        [("repair", "torn: true"), ("poison", "poisoned: its owner died"), ("continue", "clean")];
    for ((policy, words), place) in answers.into_iter().zip(PLACES.into_iter().cycle()).chain(
        // Each of them in each isolation would tell no more.
        [(answers[1], PLACES[2])],
    ) {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nsupervisor: {{ fault_injection: allow }}\nresources: {{ door: {{ \
                 kind: mutex, on_owner_death: {policy} }} }}\nworkers:\n  holder: {{ worker: \
                 holder, {place}, on_panic: contain, uses: [door] }}\n  locker: {{ worker: \
                 locker, {place}, uses: [door], autostart: false }}\n"
            ),
        );
        supervisor.wait_output("holder", "within a change");
        supervisor.wait_phase("holder", "running");
        supervisor.client.start(&["locker".into()], true).expect("started");
        assert_eq!(bed.output("locker"), "", "{policy} {place}");
        supervisor.client.inject("holder", "panic").expect("a fault");
        supervisor.wait_output("locker", words);
        if policy == "repair" {
            supervisor.wait_output("locker", "torn: true\nclean\n");
        }
        supervisor.stop();
        let first = bed.output("locker").lines().next().map(str::to_owned);
        assert!(first.is_some_and(|line| line.starts_with(words)), "{policy} {place}");
    }
}

/// Says what it finds, and changes it; in its first life it sticks within its second change, if it
/// is to.
fn bank(context: &Context, args: Taker) -> Result<(), WorkerError> {
    let (door, ledger) = (context.mutex("door")?, context.region("ledger")?);
    let mut guard = match door.lock(&context.until_stop())? {
        Locked::Clean(guard) => guard,
        Locked::OwnerDied(_) => return Err("no owner learns of it, all are restarted".into()),
    };
    let found = word(&ledger, 0)?;
    guard.change(|| set(&ledger, 0, found + 1))?;
    let say = || context.log_line(format!("found {found}"));
    if args.fragile && context.generation() == 1 {
        // Within the change: the fault comes as soon as the test has read the line.
        guard.change(|| {
            say();
            context.wait_for_stop();
        });
    } else {
        say();
    }
    drop(guard);
    context.wait_for_stop();
    Ok(())
}

fn all_users_restart_and_the_memory_is_as_at_first_where_the_file_says_so() {
    for place in PLACES {
        let bed = Bed::new();
        let uses = "uses: [door, ledger], restart: { backoff: { initial: 10ms } }";
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nsupervisor: {{ fault_injection: allow }}\nresources:\n  door: {{ \
                 kind: mutex, on_owner_death: restart-users }}\n  ledger: {{ kind: region, size: \
                 1MiB, guarded_by: door }}\nworkers:\n  one: {{ worker: bank, args: {{}}, {uses} \
                 }}\n  two: {{ worker: bank, args: {{ fragile: true }}, {place}, on_panic: contain, \
                 depends_on: [one], {uses} }}\n  other: {{ worker: sleeper }}\n"
            ),
        );
        supervisor.wait_output("two", "found 1\n");
        supervisor.wait_phase("two", "running");
        supervisor.client.inject("two", "panic").expect("a fault");
        supervisor.wait("both lives to find what one has left", |_| {
            (bed.output("two").matches("found 1\n").count() == 2).then_some(())
        });
        supervisor.wait_running();
        assert_eq!(bed.output("one"), "found 0\nfound 0\n", "{place}");
        assert_eq!(supervisor.worker("other").generation, 1, "{place}");
        let incidents = supervisor.incidents();
        assert_eq!(incidents.len(), 1, "{place}: {incidents:?}");
        supervisor.stop();
    }
}

#[derive(Deserialize)]
struct Files {
    /// The first run ends its change when this is there,
    go: PathBuf,
    /// and makes this then.
    gone: PathBuf,
}

/// In its first life it sticks within a change and hears no order; in its next ones it has the lock
/// and says when what it guards is changed by another.
fn stay_within(context: &Context, args: Files) -> Result<(), WorkerError> {
    let (door, ledger) = (context.mutex("door")?, context.region("ledger")?);
    let mut guard = door.lock(&context.until_stop())?.carry_on();
    if context.generation() == 1 {
        guard.change(|| -> Result<(), WorkerError> {
            context.log_line("within");
            while !args.go.exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(set(&ledger, 0, 99)?)
        })?;
        drop(guard);
        std::fs::write(&args.gone, "")?;
        return Ok(());
    }
    context.log_line(format!("has it alone, found {}", word(&ledger, 0)?));
    guard.change(|| while !args.gone.exists() && context.sleep(Duration::from_millis(5)) {});
    context.log_line(format!("then {}", word(&ledger, 0)?));
    drop(guard);
    context.wait_for_stop();
    Ok(())
}

fn a_thread_left_behind_within_a_change_never_reaches_what_is_made_after_it() {
    for place in &PLACES[..2] {
        let bed = Bed::new();
        let (go, gone) = (bed.path("go"), bed.path("gone"));
        let (uses, args) = ("uses: [door, ledger]", format!("{{ go: {go:?}, gone: {gone:?} }}"));
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nsupervisor: {{ fault_injection: allow }}\nresources:\n  door: {{ \
                 kind: mutex, on_owner_death: restart-users }}\n  ledger: {{ kind: region, size: \
                 4KiB, guarded_by: door }}\nworkers:\n  stays: {{ worker: stubborn, args: {args}, \
                 {place}, stop: {{ timeout: 200ms }}, {uses} }}\n  dies: {{ worker: sleeper, \
                 {uses} }}\n"
            ),
        );
        supervisor.wait_output("stays", "within");
        supervisor.wait_running();
        supervisor.client.inject("dies", "abort").expect("a fault");
        supervisor.wait_output("stays", "has it alone, found 0");
        std::fs::write(&go, "").expect("written");
        supervisor.wait_output("stays", "then 0");
        supervisor.stop();
    }
}
