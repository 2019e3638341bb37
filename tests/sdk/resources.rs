//! What workers share: the same code as a thread, in a cell and as a process, on the same things.

pub(super) mod foreign;
pub(super) mod incidents;
pub(super) mod lasting;
pub(super) mod owners;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use workers::shared::{Error, ReadLocked, Region, WriteLocked};
use workers::{Context, Registry, WorkerError};

use crate::harness::{Bed, Supervisor};
use crate::{PLACES, Test, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    (
        "orders_are_done_once_by_takers_in_every_isolation",
        orders_are_done_once_by_takers_in_every_isolation,
    ),
    (
        "what_a_dead_taker_had_is_done_by_another_and_its_permit_comes_back",
        what_a_dead_taker_had_is_done_by_another_and_its_permit_comes_back,
    ),
    ("a_wait_ends_with_the_order_to_stop", a_wait_ends_with_the_order_to_stop),
    (
        "a_worker_that_waits_for_a_resource_is_not_hung",
        a_worker_that_waits_for_a_resource_is_not_hung,
    ),
    (
        "what_is_not_in_uses_is_refused_with_what_to_write",
        what_is_not_in_uses_is_refused_with_what_to_write,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry
        .function("order-maker", "sends so many orders; args: count", make_orders)
        .function("order-taker", "does orders; args: fragile", take_orders)
        .function("readers", "reads and writes under a lock; no args", read_and_write)
        .function("waiter", "waits for a resource; args: kind", wait)
        .function("nosy", "asks for what it does not use; no args", nosy)
}

#[derive(Debug, Deserialize, Serialize)]
struct Order {
    number: u64,
}

#[derive(Deserialize)]
struct Count {
    count: u64,
}

/// A wait that ends by the order to stop is the end of the worker, and no failure.
fn unless_stopped(result: Result<(), WorkerError>) -> Result<(), WorkerError> {
    let is_stop =
        |error: &WorkerError| matches!(error.error().downcast_ref::<Error>(), Some(Error::GivenUp));
    result.or_else(|error| if is_stop(&error) { Ok(()) } else { Err(error) })
}

fn make_orders(context: &Context, args: Count) -> Result<(), WorkerError> {
    let jobs = context.queue("jobs")?;
    for number in 1..=args.count {
        jobs.send_value(&Order { number }, &context.until_stop())?;
        context.progress(1);
    }
    Ok(())
}

fn word(region: &Region, index: usize) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    region.read(index * 8, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn set(region: &Region, index: usize, value: u64) -> Result<(), Error> {
    region.write(index * 8, &value.to_ne_bytes())
}

#[derive(Deserialize)]
struct Taker {
    /// Sticks at its third order.
    #[serde(default)]
    fragile: bool,
}

/// Word 0 of the ledger: the sum of all orders; word 1: how many; word 2: how many are inside.
fn take_orders(context: &Context, args: Taker) -> Result<(), WorkerError> {
    unless_stopped(take(context, &args))
}

fn take(context: &Context, args: &Taker) -> Result<(), WorkerError> {
    let (jobs, gate) = (context.queue("jobs")?, context.semaphore("gate")?);
    let (door, ledger) = (context.mutex("door")?, context.region("ledger")?);
    let (fresh, price) = (context.condition("fresh")?, context.topic("price")?);
    context.ready();
    loop {
        let message = jobs.take(&context.until_stop())?;
        let order: Order = message.value()?;
        let permit = gate.acquire(&context.until_stop())?;
        if args.fragile && context.generation() == 1 && order.number == 3 {
            context.log_line("stuck");
            context.wait_for_stop();
        }
        let mut guard = door.lock(&context.until_stop())?.or_repair(|_| {});
        let (sum, count) = (word(&ledger, 0)?, word(&ledger, 1)?);
        guard.change(|| {
            set(&ledger, 0, sum + order.number)?;
            set(&ledger, 1, count + 1)
        })?;
        drop(guard);
        fresh.broadcast();
        price.publish_value(&order, &context.until_stop())?;
        message.acknowledge()?;
        drop(permit);
        context.log_line(format!(
            "done {} sum {} count {}",
            order.number,
            sum + order.number,
            count + 1
        ));
        context.progress(1);
    }
}

/// Word 0 and 1 are equal whenever no user writes.
fn read_and_write(context: &Context, (): ()) -> Result<(), WorkerError> {
    unless_stopped(read_or_write(context))
}

fn read_or_write(context: &Context) -> Result<(), WorkerError> {
    let (config, table) = (context.rw_lock("config")?, context.region("table")?);
    for turn in 0_u64.. {
        let wait = context.until_stop();
        if turn % 4 == 0 {
            let WriteLocked::Clean(mut guard) = config.write(&wait)? else {
                return Err("no user died".into());
            };
            let next = word(&table, 0)? + 1;
            guard.change(|| set(&table, 0, next).and_then(|()| set(&table, 1, next)))?;
        } else {
            let ReadLocked::Clean(_guard) = config.read(&wait)? else {
                return Err("no user died".into());
            };
            if word(&table, 0)? != word(&table, 1)? {
                return Err("half a change was read".into());
            }
        }
        context.progress(1);
    }
    Ok(())
}

fn orders_are_done_once_by_takers_in_every_isolation() {
    let bed = Bed::new();
    let mut yaml = String::from(
        "version: 1\nresources:\n  jobs: { kind: queue, capacity: 16, message: 64 }\n  gate: { \
         kind: semaphore, permits: 2 }\n  ledger: { kind: region, size: 64KiB, guarded_by: door \
         }\n  door: { kind: mutex }\n  fresh: { kind: condition, mutex: door }\n  config: { kind: \
         rw-lock }\n  table: { kind: region, size: 4KiB, guarded_by: config }\n  price: { kind: \
         topic, message: 64B }\nworkers:\n",
    );
    for (index, place) in PLACES.into_iter().enumerate() {
        yaml += &format!(
            "  maker{index}: {{ worker: order-maker, {place}, uses: [jobs], args: {{ count: 100 }} \
             }}\n  taker{index}: {{ worker: order-taker, {place}, args: {{}}, uses: [jobs, gate, \
             door, ledger, fresh, price] }}\n  reader{index}: {{ worker: readers, {place}, uses: \
             [config, table] }}\n"
        );
    }
    let supervisor = start(&bed, &yaml);
    for index in 0..3 {
        supervisor.wait_phase(&format!("maker{index}"), "finished");
    }
    let done = |supervisor: &Supervisor<'_>| -> u64 {
        (0..3).filter_map(|index| supervisor.worker(&format!("taker{index}")).progress).sum()
    };
    supervisor.wait("all orders to be done", |supervisor| (done(supervisor) >= 300).then_some(()));
    assert_eq!(done(&supervisor), 300);
    supervisor.wait("readers and writers in every isolation", |supervisor| {
        (0..3)
            .all(|index| supervisor.worker(&format!("reader{index}")).progress > Some(20))
            .then_some(())
    });
    assert_eq!(supervisor.incidents().len(), 0);
    supervisor.stop();
    let lines: String = (0..3).map(|index| bed.output(&format!("taker{index}"))).collect();
    assert!(lines.contains("sum 15150 count 300"), "{lines}");
}

/// A queue with one maker and two takers, of which one sticks with an order and a permit.
fn fragile(place: &str) -> String {
    let uses = "uses: [jobs, gate, door, ledger, fresh, price]";
    format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\nresources:\n  jobs: {{ kind: queue \
         }}\n  gate: {{ kind: semaphore, permits: 1 }}\n  ledger: {{ kind: region, size: 4KiB, \
         guarded_by: door }}\n  door: {{ kind: mutex }}\n  fresh: {{ kind: condition, mutex: door \
         }}\n  price: {{ kind: topic, message: 64B }}\nworkers:\n  taker: {{ worker: order-taker, \
         {place}, args: {{ fragile: true }}, on_panic: contain, restart: {{ backoff: {{ initial: \
         10ms }} }}, {uses} }}\n  maker: {{ worker: order-maker, args: {{ count: 5 }}, \
         depends_on: [taker], uses: [jobs] }}\n"
    )
}

fn what_a_dead_taker_had_is_done_by_another_and_its_permit_comes_back() {
    for (place, faults) in PLACES.into_iter().zip([
        &["panic"][..],
        &["panic", "abort"],
        &["panic", "abort", "segfault"],
    ]) {
        for fault in faults {
            let bed = Bed::new();
            let supervisor = start(&bed, &fragile(place));
            supervisor.wait_output("taker", "stuck");
            supervisor.wait_phase("taker", "running");
            supervisor.client.inject("taker", fault).expect("a fault");
            supervisor.wait_output("taker", "sum 15 count 5");
            supervisor.stop();
            let output = bed.output("taker");
            for number in 1..=5 {
                let line = format!("done {number} sum");
                assert_eq!(output.matches(&line).count(), 1, "{place} {fault}: {output}");
            }
        }
    }
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

fn wait(context: &Context, args: Kind) -> Result<(), WorkerError> {
    let wait = context.until_stop();
    context.ready();
    let says = || context.log_line(format!("waits for a {}", args.kind));
    let timed_out = |result: Result<(), Error>| matches!(result, Err(Error::TimedOut));
    let short = context.at_most(Duration::from_millis(60));
    let ended = match args.kind.as_str() {
        "queue" => {
            let jobs = context.queue("jobs")?;
            assert!(timed_out(jobs.take(&short).map(drop)), "a queue");
            says();
            jobs.take(&wait).map(drop)
        }
        "semaphore" => {
            let gate = context.semaphore("gate")?;
            let _all = gate.acquire(&wait)?;
            let own = context.at_most(Duration::from_millis(60));
            assert!(timed_out(gate.acquire(&own).map(drop)), "a semaphore");
            says();
            gate.acquire(&wait).map(drop)
        }
        "condition" => {
            let (door, fresh) = (context.mutex("door")?, context.condition("fresh")?);
            let guard = door.lock(&wait)?.carry_on();
            says();
            fresh.wait(&door, guard, &wait).map(drop)
        }
        _ => {
            says();
            context.topic("price")?.wait_after(0, &wait)
        }
    };
    let Err(Error::GivenUp) = ended else { return Err("the wait ended by itself".into()) };
    context.log_line("given up");
    Ok(())
}

const WAITS: &str = "resources:\n  jobs: { kind: queue }\n  gate: { kind: semaphore, permits: 1 \
    }\n  door: { kind: mutex }\n  fresh: { kind: condition, mutex: door }\n  price: { kind: topic \
    }\n";

fn a_wait_ends_with_the_order_to_stop() {
    for place in PLACES {
        let bed = Bed::new();
        let kinds = ["queue", "semaphore", "condition", "topic"];
        let mut yaml = format!("version: 1\n{WAITS}workers:\n");
        for kind in kinds {
            yaml += &format!(
                "  {kind}: {{ worker: waiter, {place}, args: {{ kind: {kind} }}, uses: [jobs, \
                 gate, door, fresh, price] }}\n"
            );
        }
        let supervisor = start(&bed, &yaml);
        for kind in kinds {
            supervisor.wait_output(kind, "waits for");
        }
        supervisor.wait_running();
        assert_eq!(supervisor.incidents().len(), 0);
        supervisor.stop();
        for kind in kinds {
            assert!(bed.output(kind).ends_with("given up\n"), "{place}: {}", bed.output(kind));
        }
    }
}

fn a_worker_that_waits_for_a_resource_is_not_hung() {
    let bed = Bed::new();
    let mut yaml = format!("version: 1\n{WAITS}workers:\n");
    for (index, place) in PLACES.into_iter().enumerate() {
        yaml += &format!(
            "  w{index}: {{ worker: waiter, {place}, args: {{ kind: queue }}, heartbeat: 3s, uses: \
             [jobs] }}\n"
        );
    }
    yaml += "  clock: { worker: ticker, args: { interval: 100ms } }\n";
    let supervisor = start(&bed, &yaml);
    supervisor.wait_running();
    // Three times what a hang would take.
    supervisor.wait("nine seconds", |supervisor| {
        (supervisor.worker("clock").progress >= Some(90)).then_some(())
    });
    for index in 0..3 {
        let worker = supervisor.worker(&format!("w{index}"));
        assert_eq!((worker.generation, worker.phase.as_str()), (1, "running"));
    }
    assert_eq!(supervisor.incidents().len(), 0);
    supervisor.stop();
}

fn nosy(context: &Context, (): ()) -> Result<(), WorkerError> {
    context.log_line(context.queue("other").expect_err("not used").to_string());
    context.log_line(context.mutex("jobs").expect_err("a queue").to_string());
    // As often as it likes, and on other threads.
    let _twice = [context.queue("jobs")?, context.queue("jobs")?];
    let thread = context.spawn("further", |context| context.queue("jobs").map(drop))?;
    thread.join()??;
    context.wait_for_stop();
    Ok(())
}

fn what_is_not_in_uses_is_refused_with_what_to_write() {
    for place in PLACES {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nresources: {{ jobs: {{ kind: queue }}, other: {{ kind: queue }} \
                 }}\nworkers:\n  a: {{ worker: nosy, {place}, uses: [jobs] }}\n  b: {{ worker: \
                 sleeper, uses: [other] }}\n"
            ),
        );
        supervisor.wait_running();
        let text = supervisor.wait_output("a", "needed");
        assert!(
            text.contains(
                "no resource `other` is here (this worker uses jobs): write `uses: [other]`"
            ),
            "{place}: {text}"
        );
        assert_eq!(supervisor.incidents().len(), 0);
        supervisor.stop();
    }
}
