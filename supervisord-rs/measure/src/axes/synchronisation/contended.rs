//! Two workers want the same at the same time; and two that wait for each other in turns.

use std::sync::{Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Job;
use super::primitive::{Primitive, Thing, borrowed};
use crate::Bench;
use crate::axes::window;
use crate::figures::{Better, Row, Table, Unit};
use crate::peer::{self, Peer};
use crate::pinning::pin;
use crate::rounds::{Rounds, Sample};

const ALL: [Primitive; 4] =
    [Primitive::Mutex, Primitive::Read, Primitive::Write, Primitive::Semaphore];
/// Ids of what is contended; those below are of another table.
const IDS: usize = 100;
/// Turns of two that wait for each other.
const TURNS: [usize; 2] = [50, 20_000];

/// How often it could be used in this time.
pub(super) fn use_it(thing: &Thing, from: u64, to: u64) -> Result<u64, String> {
    let mut failed = Ok(());
    let count = window::count(from, to, || {
        if let Err(why) = thing.once() {
            failed = Err(why);
        }
    });
    failed.map(|()| count)
}

/// The figures.
pub(super) fn tables(bench: &Bench<'_>, peers: [&[Peer]; 2]) -> Result<[Table; 2], String> {
    Ok([both_at_once(bench, peers)?, in_turns(bench, peers)?])
}

/// The processors of two workers: two, or one.
fn cpus(bench: &Bench<'_>) -> [Vec<usize>; 2] {
    let first = bench.cpus.first();
    let second = bench.cpus.second().unwrap_or_else(|_| first.clone());
    [first, second]
}

fn both_at_once(bench: &Bench<'_>, peers: [&[Peer]; 2]) -> Result<Table, String> {
    let cpus = &cpus(bench);
    let place = if cpus[0] == cpus[1] { "one CPU" } else { "two CPUs" };
    let mut table = Table::new(
        "contended",
        &format!("Wanted by two workers all the time, {place}: time for each use"),
        Unit::Nanoseconds,
        Better::Less,
        "the standard library's, between two threads",
    );
    let time = bench.effort.time * 3;
    let mut rounds = Rounds::default();
    let mut cases = Vec::new();
    for (at, primitive) in ALL.into_iter().enumerate() {
        let bare = match bare(primitive) {
            Some(bare) => rounds.add(move || {
                let work = bare.as_ref();
                std::thread::scope(|scope| {
                    let (from, to) = window::next(time);
                    let both = [0, 1].map(|index: usize| {
                        let cpu = &cpus[index];
                        scope.spawn(move || {
                            pin(cpu)?;
                            Ok::<_, String>(window::count(from, to, work))
                        })
                    });
                    let counts = both.map(|one| one.join().unwrap_or(Err("ended".to_owned())));
                    let mut all = 0;
                    for count in counts {
                        all += count?;
                    }
                    Ok(Sample::of(window::each(from, to, all)))
                })
            }),
            None => rounds.add_untaken("the standard library has none"),
        };
        let mut both = [0; 2];
        for (index, pair) in both.iter_mut().zip(peers) {
            // Each pair has its own.
            let fds = Thing::create(primitive)?.descriptors()?;
            for peer in pair {
                let job = Job::Open { id: IDS + at, primitive };
                peer.ask::<Value>(peer::Job::Synchronisation(job), &[], &borrowed(&fds))?;
            }
            *index = rounds.add(move || contend(pair, IDS + at, time, cpus));
        }
        cases.push((primitive, bare, both));
    }
    let taken = rounds.run(bench, bench.effort.rounds, 0.25);
    for (primitive, bare, [thread, process]) in cases {
        let row = Row::new(primitive.name());
        table.rows.push(row.with(&taken[bare], &taken[thread], &taken[process]));
    }
    Ok(table)
}

/// Both for so long; nanoseconds for each use.
fn contend(
    pair: &[Peer],
    id: usize,
    time: Duration,
    cpus: &[Vec<usize>; 2],
) -> Result<Sample, String> {
    let (from, to) = window::next(time);
    for (peer, cpu) in pair.iter().zip(cpus) {
        peer.order(peer::Job::Synchronisation(Job::Contend { id, from, to }), cpu, &[])?;
    }
    let mut all = 0;
    for peer in pair {
        all += peer.answer::<u64>()?;
    }
    Ok(Sample::of(window::each(from, to, all)))
}

/// What two threads contend for without the SDK.
fn bare(primitive: Primitive) -> Option<Box<dyn Fn() + Send + Sync>> {
    Some(match primitive {
        Primitive::Mutex => {
            let mutex = Mutex::new(7_u64);
            Box::new(move || drop(std::hint::black_box(&mutex).lock()))
        }
        Primitive::Read => {
            let lock = RwLock::new(7_u64);
            Box::new(move || drop(std::hint::black_box(&lock).read()))
        }
        Primitive::Write => {
            let lock = RwLock::new(7_u64);
            Box::new(move || drop(std::hint::black_box(&lock).write()))
        }
        Primitive::Semaphore | Primitive::Condition | Primitive::Queue | Primitive::Topic => {
            return None;
        }
    })
}

fn in_turns(bench: &Bench<'_>, peers: [&[Peer]; 2]) -> Result<Table, String> {
    let mut table = Table::new(
        "turns",
        "Two workers wait for each other by a mutex and a condition: time for each turn",
        Unit::Nanoseconds,
        Better::Less,
        "the standard library's, between two threads",
    );
    let time = bench.effort.time;
    let here = &bench.cpus.first();
    let there = [("one CPU", Ok(here.clone())), ("two CPUs", bench.cpus.second())];
    for (at, (name, there)) in there.into_iter().enumerate() {
        let mut row = Row::new(name);
        let there = match there {
            Ok(there) => there,
            Err(why) => {
                let untaken = || crate::figures::Entry::untaken(&why);
                (row.thread, row.process) = (untaken(), untaken());
                table.rows.push(row);
                continue;
            }
        };
        let there = &there;
        let mut rounds = Rounds::default();
        let bare = rounds.add(move || bare_turns(time, here, there));
        let mut both = [0; 2];
        for (index, pair) in both.iter_mut().zip(peers) {
            let thing = Thing::create(Primitive::Condition)?;
            let (id, peer) = (IDS * 2 + at, &pair[0]);
            let job = Job::Open { id, primitive: Primitive::Condition };
            let fds = thing.descriptors()?;
            peer.ask::<Value>(peer::Job::Synchronisation(job), &[], &borrowed(&fds))?;
            *index = rounds.add(move || {
                let some = |count: usize| -> Result<f64, String> {
                    pin(here)?;
                    let job = Job::Alternate { id, count };
                    peer.order(peer::Job::Synchronisation(job), there, &[])?;
                    let begun = Instant::now();
                    thing.alternate(0, count)?;
                    peer.answer::<Value>()?;
                    Ok(begun.elapsed().as_nanos() as f64 / (2 * count) as f64)
                };
                let count = time.as_nanos() as f64 / (2.0 * some(TURNS[0])?);
                Ok(Sample::of(some((count as usize).clamp(TURNS[0], TURNS[1]))?))
            });
        }
        let taken = rounds.run(bench, bench.effort.rounds, 0.1);
        table.rows.push(row.with(&taken[bare], &taken[both[0]], &taken[both[1]]));
    }
    Ok(table)
}

/// The same by the standard library.
fn bare_turns(time: Duration, here: &[usize], there: &[usize]) -> Result<Sample, String> {
    let (whose, changed) = (Mutex::new(0_usize), Condvar::new());
    let turns = |own: usize, count: usize| {
        for _ in 0..count {
            let Ok(guard) = whose.lock() else { return };
            let Ok(mut guard) = changed.wait_while(guard, |whose| *whose != own) else { return };
            *guard = 1 - own;
            changed.notify_one();
        }
    };
    pin(here)?;
    let some = |count: usize| {
        std::thread::scope(|scope| {
            let begun = Instant::now();
            scope.spawn(|| {
                let _ = pin(there);
                turns(1, count);
            });
            turns(0, count);
            begun
        })
        .elapsed()
        .as_nanos() as f64
            / (2 * count) as f64
    };
    let count = time.as_nanos() as f64 / (2.0 * some(TURNS[0]));
    Ok(Sample::of(some((count as usize).clamp(TURNS[0], TURNS[1]))))
}
