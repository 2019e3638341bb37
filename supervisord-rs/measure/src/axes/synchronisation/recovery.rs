//! A worker dies with what it holds: how soon the next one has it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::Job;
use super::primitive::{Primitive, Thing, borrowed};
use crate::Bench;
use crate::child::{self, Role};
use crate::figures::{Better, Entry, Place, Row, Table, Unit};
use crate::peer::{self, Peer};
use crate::rounds::{Rounds, Sample};

const ALL: [(Primitive, &str); 5] = [
    (Primitive::Mutex, "mutex, locked by the dead one"),
    (Primitive::Write, "rw-lock, written by the dead one"),
    (Primitive::Read, "rw-lock, read by the dead one"),
    (Primitive::Semaphore, "semaphore, its only permit with the dead one"),
    (Primitive::Queue, "message, taken by the dead one"),
];
/// The next one waits already when the holder dies.
const BEFORE: Duration = Duration::from_millis(3);

/// The figures.
pub(super) fn table(bench: &Bench<'_>) -> Table {
    let mut table = Table::new(
        "recovery",
        "From the death of the owner until the next one has it",
        Unit::Nanoseconds,
        Better::Less,
        "the end of a process that holds nothing, as its parent sees it (waitpid)",
    );
    let count = bench.effort.pick(3, 9);
    let mut rounds = Rounds::default();
    let bare = rounds.add(seen_by_the_parent);
    let cases: Vec<_> = ALL
        .into_iter()
        .map(|(primitive, name)| {
            let thread = rounds.add(move || after_death(primitive, Place::Thread));
            let process = rounds.add(move || after_death(primitive, Place::Process));
            (name, thread, process)
        })
        .collect();
    let taken = rounds.run(bench, count, 0.15);
    for (name, thread, process) in cases {
        let row = Row::new(name).with(&taken[bare], &taken[thread], &taken[process]);
        table.rows.push(row);
    }
    let mut plain = Row::new("plain mutex of the C library in shared memory");
    let why = "for ever: every survivor waits for the dead (PTHREAD_MUTEX_STALLED)";
    (plain.thread, plain.cell) = (Entry::untaken(why), Entry::as_thread());
    plain.process = Entry::untaken(why);
    table.rows.push(plain);
    table
}

/// From SIGKILL to waitpid.
fn seen_by_the_parent() -> Result<Sample, String> {
    let (input, _ours) = std::os::unix::net::UnixStream::pair().map_err(|e| e.to_string())?;
    let mut idle = child::start(Role::Idle, std::os::fd::OwnedFd::from(input))?;
    std::thread::sleep(BEFORE);
    let begun = Instant::now();
    idle.kill().map_err(|error| error.to_string())?;
    idle.wait().map_err(|error| error.to_string())?;
    Ok(Sample::of(begun.elapsed().as_nanos() as f64))
}

/// A thread ends, or a process is killed, with what it holds, while this thread waits for it.
fn after_death(primitive: Primitive, place: Place) -> Result<Sample, String> {
    let thing = Thing::create(primitive)?;
    let fds = thing.descriptors()?;
    let mut peer = Peer::start(place)?;
    let open = peer::Job::Synchronisation(Job::Open { id: 0, primitive });
    peer.ask::<Value>(open, &[], &borrowed(&fds))?;
    thing.prepare()?;
    peer.ask::<Value>(peer::Job::Synchronisation(Job::Hold { id: 0 }), &[], &[])?;
    let died = std::thread::scope(|scope| -> Result<(Instant, Instant), String> {
        let killer = scope.spawn(move || -> Result<Instant, String> {
            std::thread::sleep(BEFORE);
            let died = Instant::now();
            if place == Place::Process {
                peer.kill()?;
            }
            // A thread ends by itself with its last order.
            drop(peer);
            Ok(died)
        });
        thing.inherit()?;
        let had = Instant::now();
        let died = killer.join().map_err(|_| "the killer has ended")??;
        Ok((died, had))
    })?;
    Ok(Sample::of(died.1.saturating_duration_since(died.0).as_nanos() as f64))
}
