//! What workers share: the same code as a thread, in a cell and as a process, on the same things.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use workers::shared::{Error, Locked, ReadLocked, Region, WriteLocked};
use workers::{Context, Registry, WorkerError};

use crate::harness::{Bed, Supervisor, repository};
use crate::{PLACES, Test, command, start};

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
    (
        "one_death_is_one_incident_of_the_one_that_died",
        one_death_is_one_incident_of_the_one_that_died,
    ),
    ("an_incident_names_no_losses_of_others", an_incident_names_no_losses_of_others),
    (
        "an_incident_says_what_the_dead_had_and_status_who_has_it",
        an_incident_says_what_the_dead_had_and_status_who_has_it,
    ),
    ("a_program_in_c_shares_a_mutex_and_memory", a_program_in_c_shares_a_mutex_and_memory),
    ("what_a_pipe_loses_is_in_the_incident", what_a_pipe_loses_is_in_the_incident),
    ("a_shell_uses_what_workers_share", a_shell_uses_what_workers_share),
    ("a_command_has_descriptors_and_their_names", a_command_has_descriptors_and_their_names),
    (
        "a_killed_supervisor_leaves_resources_as_they_were",
        a_killed_supervisor_leaves_resources_as_they_were,
    ),
    (
        "a_reload_makes_anew_what_has_another_definition_and_keeps_the_rest",
        a_reload_makes_anew_what_has_another_definition_and_keeps_the_rest,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry
        .function("order-maker", "sends so many orders; args: count", make_orders)
        .function("order-taker", "does orders; args: fragile", take_orders)
        .function("readers", "reads and writes under a lock; no args", read_and_write)
        .function("waiter", "waits for a resource; args: kind", wait)
        .function("holder", "has a mutex within a change; no args", hold)
        .function("locker", "locks a mutex again and again; no args", lock)
        .function("nosy", "asks for what it does not use; no args", nosy)
        .function("adds", "adds to two words of a ledger; no args", adds)
        .function("stubborn", "changes a ledger and does not end; args: go, gone", stay_within)
        .function("bank", "counts in a ledger; args: fragile", bank)
        .function("peeper", "waits for a byte of a region; no args", peep)
        .function("rememberer", "counts its incarnations in a region; no args", remember)
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

/// Word 0 and 1 are equal whenever nobody writes.
fn read_and_write(context: &Context, (): ()) -> Result<(), WorkerError> {
    unless_stopped(read_or_write(context))
}

fn read_or_write(context: &Context) -> Result<(), WorkerError> {
    let (config, table) = (context.rw_lock("config")?, context.region("table")?);
    for turn in 0_u64.. {
        let wait = context.until_stop();
        if turn % 4 == 0 {
            let WriteLocked::Clean(mut guard) = config.write(&wait)? else {
                return Err("nobody died".into());
            };
            let next = word(&table, 0)? + 1;
            guard.change(|| set(&table, 0, next).and_then(|()| set(&table, 1, next)))?;
        } else {
            let ReadLocked::Clean(_guard) = config.read(&wait)? else {
                return Err("nobody died".into());
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
        Locked::OwnerDied(_) => return Err("no one is told, all are restarted".into()),
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

fn one_death_is_one_incident_of_the_one_that_died() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        "version: 1\nsupervisor: { fault_injection: allow }\nresources: { door: { kind: mutex, \
         on_owner_death: restart-users } }\nworkers:\n  dies: { worker: holder, uses: [door] }\n  \
         one: { worker: locker, depends_on: { dies: started }, uses: [door] }\n  two: { worker: \
         locker, depends_on: { dies: started }, uses: [door] }\n",
    );
    supervisor.wait_output("dies", "within a change");
    supervisor.wait_phase("dies", "running");
    supervisor.wait("two that wait", |supervisor| {
        (supervisor.status().resources.first()?.waiters.len() == 2).then_some(())
    });
    supervisor.client.inject("dies", "signal-kill").expect("a fault");
    let incident = supervisor.wait_incident(0);
    supervisor.wait_output("one", "clean");
    supervisor.wait_output("two", "clean");
    assert_eq!(incident.worker.as_deref(), Some("dies"), "{}", incident.sentence);
    let had: Vec<&str> = incident.resources.iter().map(|one| one.had.as_str()).collect();
    assert_eq!(had, ["lock-within-change"], "{}", incident.sentence);
    let incidents = supervisor.incidents();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    supervisor.stop();
}

fn an_incident_names_no_losses_of_others() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        "version: 1\nsupervisor: { fault_injection: allow }\nresources: { door: { kind: mutex } \
         }\nworkers:\n  leaves: { worker: holder, isolation: thread, cell: box, uses: [door] }\n  \
         dies: { worker: sleeper, uses: [door] }\n",
    );
    supervisor.wait_output("leaves", "within a change");
    supervisor.wait_phase("leaves", "running");
    // It is not noticed: there is no heartbeat.
    supervisor.client.inject("leaves", "vanish").expect("a fault");
    for turn in 1..=2 {
        supervisor.wait("the next run", |supervisor| {
            (supervisor.worker("dies").generation == turn).then_some(())
        });
        supervisor.wait_running();
        supervisor.client.inject("dies", "abort").expect("a fault");
        let incident = supervisor.wait("an incident", |supervisor| {
            supervisor.incidents().into_iter().find(|one| one.id == turn)
        });
        assert_eq!(incident.worker.as_deref(), Some("dies"));
        assert!(incident.resources.is_empty(), "{}", incident.sentence);
    }
    supervisor.stop();
}

fn an_incident_says_what_the_dead_had_and_status_who_has_it() {
    let bed = Bed::new();
    let supervisor = start(&bed, &fragile(PLACES[2]));
    supervisor.wait_output("taker", "stuck");
    supervisor.wait_phase("taker", "running");
    let status = supervisor.wait("a permit and a message", |supervisor| {
        let status = supervisor.status();
        let jobs = status.resources.iter().find(|one| one.name == "jobs")?;
        (jobs.messages?.taken == 1).then_some(status)
    });
    let gate = status.resources.iter().find(|one| one.name == "gate").expect("it is shown");
    assert_eq!(
        (gate.kind.as_str(), gate.scope.as_str(), gate.made),
        ("semaphore", "process", true)
    );
    assert_eq!(gate.users, ["taker"]);
    assert_eq!(gate.holders.len(), 1);
    assert_eq!(gate.holders[0].worker.as_deref(), Some("taker"));
    let output = command(&bed, &["status"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("gate")).unwrap_or_default();
    assert!(line.contains("semaphore") && line.contains("taker"), "{text}");
    supervisor.client.inject("taker", "abort").expect("a fault");
    let incident = supervisor.wait_incident(0);
    let had: Vec<String> = incident
        .resources
        .iter()
        .map(|one| format!("{} {} {} {}", one.resource, one.count, one.had, one.then))
        .collect();
    assert_eq!(had, ["jobs 1 message delivered-again", "gate 1 permit released"]);
    let words = "1 message of jobs delivered again, 1 permit of gate back";
    assert!(incident.sentence.contains(words), "{}", incident.sentence);
    supervisor.wait_output("taker", "sum 15 count 5");
    supervisor.stop();

    for (place, fault) in PLACES.into_iter().zip(["panic", "panic", "abort"]) {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nsupervisor: {{ fault_injection: allow }}\nresources: {{ door: {{ \
                 kind: mutex }} }}\nworkers:\n  holder: {{ worker: holder, {place}, on_panic: \
                 contain, uses: [door] }}\n  locker: {{ worker: locker, {place}, uses: [door], \
                 depends_on: {{ holder: started }} }}\n"
            ),
        );
        supervisor.wait_output("holder", "within a change");
        supervisor.wait_phase("holder", "running");
        let door = supervisor.wait("one that has it and one that waits", |supervisor| {
            let door = supervisor.status().resources.into_iter().next()?;
            (door.waiters.len() == 1 && door.held_ms > Some(0)).then_some(door)
        });
        let name = |holders: &[supervisord_rs::control::protocol::HolderReport]| {
            holders.first().and_then(|holder| holder.worker.clone())
        };
        assert_eq!(name(&door.holders).as_deref(), Some("holder"), "{place}");
        assert_eq!(name(&door.waiters).as_deref(), Some("locker"), "{place}");
        supervisor.client.inject("holder", fault).expect("a fault");
        let incident = supervisor.wait_incident(0);
        let [door] = incident.resources.as_slice() else {
            panic!("{place}: {}", incident.sentence);
        };
        assert!(door.had.starts_with("lock") && door.then == "to-repair", "{place}: {door:?}");
        assert!(incident.sentence.contains("door was held"), "{}", incident.sentence);
        supervisor.wait_output("locker", "torn: true\nclean\n");
        supervisor.stop();
    }
}

/// Adds 1 to both words whenever they are equal; says when it was told of a death.
fn adds(context: &Context, (): ()) -> Result<(), WorkerError> {
    unless_stopped(add(context))
}

fn add(context: &Context) -> Result<(), WorkerError> {
    let (door, ledger) = (context.mutex("door")?, context.region("ledger")?);
    context.ready();
    loop {
        let mut guard = match door.lock(&context.until_stop())? {
            Locked::Clean(guard) => guard,
            Locked::OwnerDied(recovery) => {
                context.log_line(format!("torn: {}", recovery.is_torn()));
                set(&ledger, 1, word(&ledger, 0)?)?;
                recovery.repaired()
            }
        };
        let (first, second) = (word(&ledger, 0)?, word(&ledger, 1)?);
        if first != second {
            return Err(format!("{first} is not {second}").into());
        }
        guard.change(|| {
            set(&ledger, 0, first + 1)?;
            context.tick();
            set(&ledger, 1, first + 1)
        })?;
        drop(guard);
        context.progress(1);
        if !context.sleep(Duration::from_millis(1)) {
            return Ok(());
        }
    }
}

fn a_program_in_c_shares_a_mutex_and_memory() {
    let bed = Bed::new();
    let (source, program) = (repository("tests/fixtures/ledger.c"), bed.path("ledger"));
    let compiled = std::process::Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-O2", "-I"])
        .args([repository("workers/include"), source, "-o".into(), program.clone()])
        .output()
        .expect("a compiler, as Rust itself needs one to link");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let restart = "restart: { policy: always, backoff: { initial: 50ms } }, uses: [door, ledger]";
    let supervisor = start(
        &bed,
        &format!(
            "version: 1\nsupervisor: {{ fault_injection: allow }}\nresources: {{ door: {{ kind: \
             mutex }}, ledger: {{ kind: region, size: 4KiB, guarded_by: door }} }}\nworkers:\n  \
             rust: {{ worker: adds, {restart} }}\n  c: {{ command: ['{0}'], {restart}, depends_on: \
             [rust] }}\n  dies: {{ command: ['{0}', die], autostart: false, restart: \
             never, uses: [door, ledger] }}\n",
            program.display()
        ),
    );
    supervisor.wait_output("c", "begun");
    // Each tells the other of its death within a change.
    supervisor.client.inject("rust", "die-within-change").expect("a fault");
    supervisor.wait("someone to mend it", |_| {
        (bed.output("c").contains("repaired") || bed.output("rust").contains("torn: true"))
            .then_some(())
    });
    let output = command(&bed, &["stop", "c"]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    supervisor.wait_phase("rust", "running");
    let before = bed.output("rust").matches("torn: true").count();
    let output = command(&bed, &["start", "dies", "--no-wait"]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    supervisor.wait_output("dies", "within a change");
    let output = command(&bed, &["signal", "dies", "KILL"]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    supervisor.wait("the worker to be told", |_| {
        (bed.output("rust").matches("torn: true").count() > before).then_some(())
    });
    let wrong = supervisor.incidents().into_iter().find(|one| one.sentence.contains("is not"));
    assert!(wrong.is_none(), "{wrong:?}");
    supervisor.stop();
}

/// The taker sticks at its third order, and dies: in a ring it is done again, else it is lost.
fn what_a_pipe_loses_is_in_the_incident() {
    for (carrier, place) in ["pipe", "socket", "mqueue"].into_iter().zip(PLACES) {
        let bed = Bed::new();
        let by = format!("kind: queue, by: {carrier}, delivery: at-most-once, message: 64");
        let supervisor = start(&bed, &fragile(place).replace("kind: queue", &by));
        supervisor.wait_output("taker", "stuck");
        // What lies in it outlives the supervisor; a thread with a message does not.
        let before = supervisor.status().supervisor.pid;
        assert!(before > 1);
        let killed = nix::unistd::Pid::from_raw(before);
        nix::sys::signal::kill(killed, nix::sys::signal::Signal::SIGKILL).expect("our own");
        supervisor.wait_successor(before);
        if place != PLACES[0] {
            let fault = if place == PLACES[2] { "abort" } else { "panic" };
            supervisor.wait_phase("taker", "running");
            supervisor.client.inject("taker", fault).expect("a fault");
        }
        supervisor.wait("an incident that says so", |supervisor| {
            let all = supervisor.incidents();
            all.iter().any(|one| one.sentence.contains("1 message of jobs lost")).then_some(())
        });
        // 1 + 2 + 4 + 5.
        supervisor.wait_output("taker", "sum 12 count 4");
        let said = command(&bed, &["resource", "send", "jobs", "x"]).output().expect("it runs");
        let why = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(why.contains(&format!("jobs is carried by: {carrier}")), "{why}");
        supervisor.stop();
    }
}

fn a_shell_uses_what_workers_share() {
    let bed = Bed::new();
    let program = std::env::current_exe().expect("this program");
    let supervisor = start(
        &bed,
        &format!(
            "version: 1\nresources: {{ jobs: {{ kind: queue, message: 64 }}, gate: {{ kind: \
             semaphore, permits: 1 }}, door: {{ kind: mutex }}, late: {{ kind: queue }}, memory: {{ \
             kind: region, size: 4KiB }} }}\nworkers:\n  user: {{ worker: sleeper, uses: [jobs, \
             gate, door] }}\n  sh: {{ command: [sh, -c, '\"$0\" resource send jobs \"from a \
             command\" --socket /none; exec sleep 1d', '{}'], uses: [jobs], depends_on: [user] \
             }}\n  py: {{ command: [python3, -c, 'import mmap, os, time; uses = dict(one.split(\"=\") \
             for one in os.environ[\"SUPERVISORD_RS_RESOURCES\"].split()); memory = \
             mmap.mmap(int(uses[\"memory\"]), 0); memory[8192:8193] = b\"x\"; time.sleep(9999)'], \
             uses: [memory] }}\n  b: {{ worker: peeper, uses: [memory] }}\n",
            program.display()
        ),
    );
    supervisor.wait_running();
    let verb = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["resource"].iter().chain(arguments).copied().collect();
        let output = command(&bed, &arguments).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let receive = ["receive", "jobs", "--timeout", "60s"];
    assert_eq!(verb(&receive), (Some(0), "from a command\n".into(), String::new()));
    assert_eq!(verb(&["send", "jobs", "one"]).0, Some(0));
    assert_eq!(verb(&["send", "jobs", "two"]).0, Some(0));
    let both = verb(&["receive", "jobs", "-n", "2", "--timeout", "60s"]);
    assert_eq!(both, (Some(0), "one\ntwo\n".into(), String::new()));
    let (code, _, why) = verb(&["receive", "jobs", "--timeout", "10ms"]);
    assert_eq!(
        (code, why.as_str()),
        (Some(1), "supervisord-rs: jobs: the wait has reached its deadline\n")
    );
    let (code, _, why) = verb(&["send", "jobs", &"x".repeat(65)]);
    assert!(code == Some(1) && why.contains("a message of 65 bytes; it takes at most 64"), "{why}");
    assert_eq!(verb(&["acquire", "gate", "--", "sh", "-c", "exit 3"]).0, Some(3));
    let (code, _, why) = verb(&["acquire", "gate", "--", "no-such-program"]);
    assert!(code == Some(127) && why.contains("cannot run no-such-program"), "{why}");
    assert_eq!(verb(&["acquire", "gate", "--", "/"]).0, Some(126));
    let (code, _, why) = verb(&["acquire", "jobs", "--", "true"]);
    assert!(code == Some(4) && why.contains("jobs is a queue: `acquire` is for"), "{why}");
    let (code, _, why) = verb(&["receive", "gate"]);
    assert_eq!(
        (code, why.as_str()),
        (Some(4), "supervisord-rs: gate: a semaphore, where a queue is needed\n")
    );
    let inside = verb(&["acquire", "door", "--", "echo", "inside"]);
    assert_eq!((inside.0, inside.1.as_str()), (Some(0), "inside\n"));
    let (code, shown, _) = verb(&["show"]);
    assert!(code == Some(0) && shown.contains("gate") && shown.contains("not made yet"), "{shown}");
    let (code, _, why) = verb(&["send", "late", "x"]);
    assert!(code == Some(1) && why.contains("late is not made yet"), "{why}");
    let (code, _, why) = verb(&["show", "jobbs"]);
    assert!(code == Some(4) && why.contains("there are: jobs, gate, door"), "{why}");
    let (code, said, _) = verb(&["release", "gate"]);
    assert_eq!((code, said.as_str()), (Some(0), "the dead had nothing\n"));
    // One that is killed with a permit: it comes back.
    let mut holder = command(&bed, &["resource", "acquire", "gate", "--", "cat"]);
    // What it runs ends with this end of its input.
    let mut holder = holder.stdin(std::process::Stdio::piped()).spawn().expect("it runs");
    supervisor.wait("a permit to be taken", |supervisor| {
        let gate = supervisor.status().resources.into_iter().find(|one| one.name == "gate")?;
        (gate.holders.len() == 1).then_some(())
    });
    holder.kill().expect("our child");
    holder.wait().expect("our child");
    let after = verb(&["acquire", "gate", "--timeout", "60s", "--", "echo", "back"]);
    assert_eq!((after.0, after.1.as_str()), (Some(0), "back\n"));
    supervisor.wait_output("b", "found x");
    supervisor.stop();
}

fn a_command_has_descriptors_and_their_names() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        "version: 1\nresources: { jobs: { kind: queue }, memory: { kind: region, size: 4KiB }, \
         price: { kind: topic } }\nworkers:\n  a: { command: [sh, -c, 'echo \
         \"$SUPERVISORD_RS_RESOURCES\"; readlink /proc/self/fd/4; ls /proc/self/fd | wc -l; printf \
         x | dd of=/proc/self/fd/4 bs=1 seek=8192 conv=notrunc 2> /dev/null; exec sleep 1d'], \
         sockets: [ { listen: '127.0.0.1:0' } ], uses: [memory, price] }\n  b: { worker: peeper, \
         depends_on: [a], uses: [memory] }\n",
    );
    supervisor.wait_output("b", "found x");
    supervisor.stop();
    let output = bed.output("a");
    // Standard streams, the socket, two resources, and the directory that `ls` reads.
    assert_eq!(output, "memory=4 price=5\n/memfd:supervisord-rs:region (deleted)\n7\n",);
}

/// Waits until a command has written to its memory.
fn peep(context: &Context, (): ()) -> Result<(), WorkerError> {
    let memory = context.region("memory")?;
    let mut byte = [0];
    while byte == [0] && context.sleep(Duration::from_millis(5)) {
        memory.read(0, &mut byte)?;
    }
    context.log_line(format!("found {}", char::from(byte[0])));
    context.wait_for_stop();
    Ok(())
}

/// Adds one to what it finds, and says so.
fn remember(context: &Context, (): ()) -> Result<(), WorkerError> {
    let memory = context.region("memory")?;
    // SAFETY: the memory begins at a page and has eight bytes at least; all who count there do so
    // by this atomic, and `memory` outlives it.
    let lives = unsafe { AtomicU64::from_ptr(memory.as_ptr().cast()) };
    // At once: others begin at the same time.
    let count = lives.fetch_add(1, Ordering::Relaxed) + 1;
    context.log_line(format!("life {count}"));
    context.wait_for_stop();
    Ok(())
}

fn remembers(size: &str, rest: &str) -> String {
    let workers: String = PLACES
        .into_iter()
        .enumerate()
        .map(|(index, place)| {
            format!("  w{index}: {{ worker: rememberer, {place}, uses: [memory] }}\n")
        })
        .collect();
    format!(
        "version: 1\nresources:\n  memory: {{ kind: region, size: {size} }}\n{rest}workers:\n\
         {workers}"
    )
}

/// The descriptors of resources that a process has open.
fn memfds(pid: i32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").flatten();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let names = links.map(|link| link.display().to_string());
    names.filter(|name| name.contains("memfd:supervisord-rs:region")).collect()
}

fn a_killed_supervisor_leaves_resources_as_they_were() {
    let bed = Bed::new();
    let supervisor = start(&bed, &remembers("4KiB", ""));
    supervisor.wait_running();
    supervisor.wait("three lives in one memory", |_| {
        let all: String = (0..3).map(|index| bed.output(&format!("w{index}"))).collect();
        ["life 1", "life 2", "life 3"].iter().all(|life| all.contains(life)).then_some(())
    });
    let before = supervisor.status().supervisor.pid;
    let killed = nix::unistd::Pid::from_raw(before);
    assert!(before > 1);
    nix::sys::signal::kill(killed, nix::sys::signal::Signal::SIGKILL).expect("our supervisor");
    supervisor.wait_successor(before);
    // The thread began again, and found what was there.
    supervisor.wait_output("w0", "life 4");
    supervisor.client.inject("w2", "exit").expect_err("not allowed");
    let output = command(&bed, &["restart", "w2"]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    supervisor.wait_output("w2", "life 5");
    supervisor.stop();
}

fn a_reload_makes_anew_what_has_another_definition_and_keeps_the_rest() {
    let bed = Bed::new();
    let supervisor = start(&bed, &remembers("4KiB", ""));
    supervisor.wait_running();
    let generation = |name: &str| supervisor.worker(name).generation;
    let reload = |yaml: &str| {
        bed.write("supervisord-rs.yaml", yaml);
        let before = supervisor.status().supervisor.pid;
        let output = command(&bed, &["reload"]).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        supervisor.wait_successor(before);
        supervisor.wait_running();
    };
    // Another one beside it: processes do not notice.
    reload(&remembers("4KiB", "  more: { kind: semaphore, permits: 1 }\n"));
    supervisor.wait_output("w0", "life 4");
    assert_eq!((generation("w1"), generation("w2")), (1, 1));
    // Larger: it is another one, and all of its users begin anew.
    reload(&remembers("8KiB", ""));
    let all = || -> String { (0..3).map(|index| bed.output(&format!("w{index}"))).collect() };
    supervisor.wait("a new memory", |_| {
        (all().matches("life 1\n").count() == 2 && all().matches("life 3\n").count() == 2)
            .then_some(())
    });
    assert_eq!((generation("w1"), generation("w2")), (2, 2));
    let inodes = |pid: i32| memfds(pid).len();
    // Of the first there is nothing left but in the cell, which maps it as long as it lives.
    let supervisor_pid = supervisor.status().supervisor.pid;
    supervisor.wait("the store and the supervisor to let go", |_| {
        (inodes(supervisor_pid) <= 3 && inodes(supervisor.child_pid()) == 1).then_some(())
    });
    let output = command(&bed, &["stop", "w0", "w1"]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    reload("version: 1\nworkers: { w2: { worker: sleeper } }\n");
    let supervisor_pid = supervisor.status().supervisor.pid;
    supervisor.wait("nothing of it to be left", |_| {
        (inodes(supervisor_pid) == 0 && inodes(supervisor.child_pid()) == 0).then_some(())
    });
    supervisor.stop();
}
