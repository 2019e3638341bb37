//! A process writes over the words of what it shares with threads of the supervisor.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use workers::shared::{Error, Space};
use workers::{Context, Registry, WorkerError};

use crate::harness::Bed;
use crate::posix::name_of;
use crate::{Test, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[
    (
        "a_process_that_writes_over_a_lock_brings_down_no_thread_that_uses_it",
        a_process_that_writes_over_a_lock_brings_down_no_thread_that_uses_it,
    ),
    (
        "what_is_written_over_a_posix_semaphore_brings_down_no_thread_that_waits",
        what_is_written_over_a_posix_semaphore_brings_down_no_thread_that_waits,
    ),
];

/// Adds the workers of these tests.
pub(super) fn register(registry: Registry) -> Registry {
    registry
        .function("carrier", "has a mutex for a while, again and again; no args", carry)
        .function("scribbler", "writes over a mutex; no args", scribble)
        .function("gate-waiter", "asks for a permit, again and again; no args", wait_at_gate)
}

/// Goes on whatever it gets.
fn wait_at_gate(context: &Context, (): ()) -> Result<(), WorkerError> {
    let gate = context.semaphore("gate")?;
    context.ready();
    loop {
        match gate.acquire(&context.at_most(Duration::from_millis(5))) {
            Err(Error::GivenUp) => return Ok(()),
            permit => drop(permit),
        }
        context.progress(1);
        if !context.sleep(Duration::from_millis(1)) {
            return Ok(());
        }
    }
}

/// Takes what it gets, whatever the lock says of it.
fn carry(context: &Context, (): ()) -> Result<(), WorkerError> {
    let door = context.mutex("door")?;
    context.ready();
    loop {
        match door.lock(&context.at_most(Duration::from_millis(50))) {
            Ok(locked) => {
                let guard = locked.carry_on();
                let goes_on = context.sleep(Duration::from_millis(5));
                drop(guard);
                if !goes_on {
                    return Ok(());
                }
            }
            Err(Error::GivenUp) => return Ok(()),
            Err(_) => {}
        }
        context.progress(1);
        if !context.sleep(Duration::from_millis(1)) {
            return Ok(());
        }
    }
}

/// First words that leave it a mutex, then all of its page.
fn scribble(context: &Context, (): ()) -> Result<(), WorkerError> {
    let door = context.mutex("door")?;
    let page = std::fs::File::from(door.fd().try_clone_to_owned()?);
    for turn in 0_u64.. {
        let word = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ turn << 40;
        match turn % 4 {
            _ if turn > 400 => page.write_all_at(&[word as u8; 128], 4096)?,
            0 => page.write_all_at(&word.to_ne_bytes(), 4096)?,
            1 => page.write_all_at(&word.to_ne_bytes(), 4096 + 8)?,
            _ => page.write_all_at(&[word as u8; 40], 4096 + 24)?,
        }
        context.progress(1);
        if !context.sleep(Duration::from_millis(1)) {
            break;
        }
    }
    Ok(())
}

fn a_process_that_writes_over_a_lock_brings_down_no_thread_that_uses_it() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        "version: 1\nresources: { door: { kind: mutex } }\nworkers:\n  one: { worker: carrier, \
         isolation: thread, uses: [door] }\n  two: { worker: carrier, isolation: thread, uses: \
         [door] }\n  scribbler: { worker: scribbler, isolation: process, depends_on: [one, two], \
         uses: [door] }\n",
    );
    let before = supervisor.status().supervisor.pid;
    let is_beyond = |name: &str, count| supervisor.worker(name).progress >= Some(count);
    supervisor.wait("all of it to be written over", |_| is_beyond("scribbler", 600).then_some(()));
    let counts = ["one", "two"].map(|name| supervisor.worker(name).progress.unwrap_or_default());
    supervisor.wait("both to go on", |_| {
        (is_beyond("one", counts[0] + 10) && is_beyond("two", counts[1] + 10)).then_some(())
    });
    assert_eq!(supervisor.status().supervisor.pid, before);
    assert_eq!(supervisor.incidents().len(), 0);
    supervisor.stop();
}

/// All of its words: the number, how many wait, and what glibc takes for the kind of its futex.
fn what_is_written_over_a_posix_semaphore_brings_down_no_thread_that_waits() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        "version: 1\nresources: { gate: { kind: semaphore, by: posix, on_owner_death: lose, permits: \
         1 } }\nworkers: { waiter: { worker: gate-waiter, isolation: thread, uses: [gate] } }\n",
    );
    supervisor.wait_running();
    let before = supervisor.status().supervisor.pid;
    let name = name_of(&supervisor, "gate");
    let gate = std::fs::File::from(Space::Semaphore.find(&name).expect("it has a name"));
    for byte in [0x55, 0x80, 0xff, 0x01] {
        for number in [0, byte] {
            let mut words = [byte; 32];
            words[..8].fill(number);
            gate.write_all_at(&words, 0).expect("another program writes");
            let count = supervisor.worker("waiter").progress.unwrap_or_default();
            supervisor.wait("it to go on", |supervisor| {
                (supervisor.worker("waiter").progress >= Some(count + 5)).then_some(())
            });
        }
    }
    assert_eq!(supervisor.status().supervisor.pid, before);
    assert_eq!(supervisor.worker("waiter").generation, 1);
    assert_eq!(supervisor.incidents().len(), 0);
    supervisor.stop();
}
