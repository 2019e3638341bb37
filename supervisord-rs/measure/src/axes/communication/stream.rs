//! Messages one way, as many as there is room for: how much comes through.

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::carrier::Carrier;
use super::{Job, Line, Placement, count, length, placements};
use crate::Bench;
use crate::figures::{Better, Entry, Row, Table, Unit};
use crate::peer::{self, Peer};
use crate::pinning::pin;
use crate::rounds::{Rounds, Sample, Taken};

/// Those that have room for several messages.
const STREAMS: [Carrier; 4] = [Carrier::Ring, Carrier::Pipe, Carrier::Socket, Carrier::Mqueue];

impl Line<'_> {
    /// Messages for about so long: bytes a second.
    fn stream(&mut self, size: usize, time: Duration, cpus: &Placement) -> Result<Sample, String> {
        let pilot = self.some(super::COUNTS[0], cpus)?;
        let messages = count(time, pilot);
        let each = self.some(messages, cpus)?;
        Ok(Sample::of(size as f64 / each * 1e9))
    }

    /// Nanoseconds for each of so many messages.
    fn some(&mut self, messages: usize, cpus: &Placement) -> Result<f64, String> {
        pin(&cpus.here)?;
        let job = peer::Job::Communication(Job::Take { id: self.id, count: messages });
        self.peer.order(job, &cpus.there, &[])?;
        let begun = Instant::now();
        for _ in 0..messages {
            self.ends.send()?;
        }
        self.peer.answer::<Value>()?;
        Ok(begun.elapsed().as_nanos() as f64 / messages as f64)
    }
}

/// Where two CPUs are, there, else on one.
pub(super) fn table(bench: &Bench<'_>, peers: [&Peer; 2], sizes: &[usize]) -> Table {
    let places: Vec<Placement> = placements(bench).into_iter().flatten().collect();
    let place = places.last().expect("one CPU is always there");
    let mut table = Table::new(
        "throughput",
        &format!("Messages one way, {}", place.name),
        Unit::BytesPerSecond,
        Better::More,
        "two copies of the message and nothing else (memcpy)",
    )
    .over(Unit::Bytes);
    let time = bench.effort.time;
    for (at, &size) in sizes.iter().enumerate() {
        let mut rounds = Rounds::default();
        let bare = rounds.add(move || Ok(Sample::of(copied_twice(size, time))));
        let handed = rounds.add(move || handed_over(size, time, place));
        let mut cases = Vec::new();
        for (index, carrier) in STREAMS.into_iter().enumerate() {
            let mut side = 0;
            let both = peers.map(|peer| {
                side += 1;
                let id = 10_000 + at * 100 + index * 10 + side;
                let line = carrier.obstacle(size, false);
                match line.map_or_else(|| Line::open(peer, id, carrier, size), Err) {
                    Ok(mut line) => rounds.add(move || line.stream(size, time, place)),
                    Err(why) => rounds.add_untaken(why),
                }
            });
            cases.push((carrier, both));
        }
        let taken = rounds.run(bench, bench.effort.rounds, 0.3 / sizes.len() as f64);
        let bare = &taken[bare];
        table.rows.push(pointer(size, bare, &taken[handed]));
        for (carrier, [thread, process]) in cases {
            let row = Row::new(format!("{}, {}", carrier.name(), length(size)));
            let row = row.at(carrier.name(), size as f64);
            table.rows.push(row.with(bare, &taken[thread], &taken[process]));
        }
    }
    table
}

fn pointer(size: usize, bare: &Taken, taken: &Taken) -> Row {
    let series = "address handed over";
    let mut row = Row::new(format!("{series}, {}", length(size))).at(series, size as f64);
    row.limit = Entry::of(bare);
    row.thread = Entry::beside(taken, Some(bare));
    row.cell = Entry::as_thread();
    row.process = Entry::untaken("an address means nothing in another process");
    row
}

/// Bytes a second, if a message is nothing but two copies.
fn copied_twice(size: usize, time: Duration) -> f64 {
    let (mut from, mut to) = (vec![7_u8; size], vec![0_u8; size]);
    let mut copied = 0_usize;
    let begun = Instant::now();
    while begun.elapsed() < time {
        // Looking at the clock takes longer than a short copy.
        for _ in 0..(65536 / size).max(1) {
            to.copy_from_slice(std::hint::black_box(&from));
            from.copy_from_slice(std::hint::black_box(&to));
            copied += size;
        }
    }
    copied as f64 / begun.elapsed().as_nanos().max(1) as f64 * 1e9
}

/// A thread gives another one the address of a message that it has written; nothing is copied. The
/// memory comes back for the next one.
fn handed_over(size: usize, time: Duration, place: &Placement) -> Result<Sample, String> {
    pin(&place.here)?;
    std::thread::scope(|scope| {
        let (to, taken) = sync_channel::<Vec<u8>>(8);
        let (back, free) = sync_channel::<Vec<u8>>(16);
        scope.spawn(move || {
            let _ = pin(&place.there);
            for message in taken {
                if back.send(std::hint::black_box(message)).is_err() {
                    return;
                }
            }
        });
        let mut spare: Vec<Vec<u8>> = (0..8).map(|_| vec![0; size]).collect();
        let (begun, mut sent) = (Instant::now(), 0_usize);
        while begun.elapsed() < time {
            for _ in 0..8 {
                let next = spare.pop().or_else(|| free.recv().ok());
                let mut message = next.ok_or("the other thread has gone")?;
                message.fill(std::hint::black_box(7));
                to.send(message).map_err(|_| "the other thread has gone")?;
                sent += 1;
            }
        }
        let bytes = (sent * size) as f64;
        Ok(Sample::of(bytes / begun.elapsed().as_nanos().max(1) as f64 * 1e9))
    })
}
