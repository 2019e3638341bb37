//! What it takes to hand a message to another worker: by which carrier, how long, on one processor
//! or across two; and what of that is copying, waking up and serialising.

mod carrier;
mod costs;
mod meaning;
mod stream;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Bench;
use crate::figures::{Better, Entry, Measured, Place, Row, Table, Unit};
use crate::peer::{self, Peer};
use crate::pinning::pin;
use crate::rounds::{Rounds, Sample};
use crate::statistics::{quantile, sorted};
use crate::words::shown;
use carrier::{CARRIERS, Carrier, Ends};
pub(super) use carrier::{copy, queue};
pub(super) use meaning::meaning;

/// Messages in a turn, at least and at most.
const COUNTS: [usize; 2] = [10, 20_000];

/// What a peer does for this axis.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Opens its end of a carrier, for the orders that follow.
    Open { id: usize, carrier: Carrier, size: usize },
    /// Sends back so many messages.
    Echo { id: usize, count: usize },
    /// Takes so many messages, and answers at the end.
    Take { id: usize, count: usize },
}

/// The open ends of a peer.
#[derive(Debug, Default)]
pub(crate) struct Kept(BTreeMap<usize, Ends>);

impl Job {
    pub(crate) fn run(self, given: Vec<OwnedFd>, kept: &mut Kept) -> Result<Value, String> {
        match self {
            Self::Open { id, carrier, size } => {
                kept.0.insert(id, Ends::open(carrier, size, given)?);
            }
            Self::Echo { id, count } => {
                let ends = kept.0.get_mut(&id).ok_or("no such carrier")?;
                for _ in 0..count {
                    ends.take()?;
                    ends.send()?;
                }
            }
            Self::Take { id, count } => {
                let ends = kept.0.get_mut(&id).ok_or("no such carrier")?;
                for _ in 0..count {
                    ends.take()?;
                }
            }
        }
        Ok(Value::Null)
    }
}

/// One carrier for one length between this thread and a peer.
struct Line<'a> {
    peer: &'a Peer,
    id: usize,
    ends: Ends,
}

impl<'a> Line<'a> {
    fn open(peer: &'a Peer, id: usize, carrier: Carrier, size: usize) -> Result<Self, String> {
        let (ends, theirs) = Ends::make(carrier, size)?;
        let given: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        let job = peer::Job::Communication(Job::Open { id, carrier, size });
        peer.ask::<Value>(job, &[], &given)?;
        Ok(Self { peer, id, ends })
    }

    /// Round trips for about so long: the median, and what 99 of 100 do not exceed.
    fn trips(&mut self, time: Duration, cpus: &Placement) -> Result<Sample, String> {
        let pilot = self.some_trips(COUNTS[0], cpus)?;
        let each = pilot.iter().sum::<f64>() / pilot.len().max(1) as f64;
        let times = self.some_trips(count(time, each), cpus)?;
        let times = sorted(&times);
        let value = quantile(&times, 0.5).ok_or("no round trip")?;
        Ok(Sample { value, tail: quantile(&times, 0.99) })
    }

    fn some_trips(&mut self, count: usize, cpus: &Placement) -> Result<Vec<f64>, String> {
        pin(&cpus.here)?;
        let job = peer::Job::Communication(Job::Echo { id: self.id, count });
        self.peer.order(job, &cpus.there, &[])?;
        let mut times = Vec::with_capacity(count);
        let mut begun = Instant::now();
        for _ in 0..count {
            self.ends.send()?;
            self.ends.take()?;
            let now = Instant::now();
            times.push((now - begun).as_nanos() as f64);
            begun = now;
        }
        self.peer.answer::<Value>()?;
        // The first one waits until the peer has read its order.
        times.remove(0);
        Ok(times)
    }
}

/// How many things fit into the time.
fn count(time: Duration, each_ns: f64) -> usize {
    ((time.as_nanos() as f64 / each_ns.max(1.0)) as usize).clamp(COUNTS[0], COUNTS[1])
}

/// Where the two sides run.
#[derive(Clone, Debug)]
struct Placement {
    name: &'static str,
    here: Vec<usize>,
    there: Vec<usize>,
}

fn placements(bench: &Bench<'_>) -> Vec<Result<Placement, (&'static str, String)>> {
    let here = bench.cpus.first();
    let one = Placement { name: "one CPU", here: here.clone(), there: here.clone() };
    let two = bench.cpus.second().map(|there| Placement { name: "two CPUs", here, there });
    vec![Ok(one), two.map_err(|why| ("two CPUs", why))]
}

/// See [`crate::axes`].
pub(super) fn measure(bench: &Bench<'_>, measured: &mut Measured) -> Result<(), String> {
    let sizes: &[usize] = bench.effort.pick(&[8, 1 << 16], &[8, 1 << 10, 1 << 16, 1 << 20]);
    let (thread, process) = (Peer::start(Place::Thread)?, Peer::start(Place::Process)?);
    let mut latency = Table::new(
        "latency",
        "Round trip of a message",
        Unit::Nanoseconds,
        Better::Less,
        "a futex ping-pong between two threads: the message copied into shared memory and out, one \
         wake-up each way",
    )
    .over(Unit::Bytes);
    latency.rows.push(direct_call(bench));
    for placement in placements(bench) {
        match placement {
            Ok(placement) => {
                round_trips(bench, [&thread, &process], sizes, &placement, &mut latency);
            }
            Err((name, why)) => {
                let mut row = Row::new(format!("all carriers, {name}"));
                (row.thread, row.process) = (Entry::untaken(&why), Entry::untaken(&why));
                latency.rows.push(row);
            }
        }
    }
    measured.tables.push(latency);
    measured.tables.push(stream::table(bench, [&thread, &process], sizes));
    measured.tables.push(costs::table(bench, sizes));
    measured.notes.push(
        "In a cell workers are threads of one process; to others they are a process.".to_owned(),
    );
    Ok(())
}

/// A function that gets the address of the message: what only one address space has.
fn direct_call(bench: &Bench<'_>) -> Row {
    let mut rounds = Rounds::default();
    let called: fn(&[u8; 8]) -> u64 = |message| u64::from_le_bytes(*message).wrapping_add(1);
    rounds.add(move || {
        let message = std::hint::black_box([7_u8; 8]);
        let called = std::hint::black_box(called);
        Ok(Sample::of(crate::rounds::each(100_000, || {
            std::hint::black_box(called(std::hint::black_box(&message)));
        })))
    });
    let taken = rounds.run(bench, bench.effort.rounds, 0.01);
    let mut row = Row::new("direct call, 8 B").at("direct call", 8.0);
    (row.thread, row.cell) = (Entry::of(&taken[0]), Entry::as_thread());
    row.process = Entry::untaken("a function of another process cannot be called");
    row
}

/// Each carrier with each length, as thread and as process, on these processors.
fn round_trips(
    bench: &Bench<'_>,
    peers: [&Peer; 2],
    sizes: &[usize],
    placement: &Placement,
    table: &mut Table,
) {
    let time = bench.effort.time;
    let mut ids = 0;
    for &size in sizes {
        let mut rounds = Rounds::default();
        let mut cases = Vec::new();
        for carrier in CARRIERS {
            let both = peers.map(|peer| {
                ids += 1;
                let id = ids + if placement.name == "one CPU" { 0 } else { 1000 };
                let line = carrier.obstacle(size, placement.here == placement.there);
                match line.map_or_else(|| Line::open(peer, id, carrier, size), Err) {
                    Ok(mut line) => rounds.add(move || line.trips(time, placement)),
                    Err(why) => rounds.add_untaken(why),
                }
            });
            cases.push((carrier, both));
        }
        let part = 0.5 / (2 * sizes.len()) as f64;
        let taken = rounds.run(bench, bench.effort.rounds, part);
        let bare = cases.iter().find(|(carrier, _)| *carrier == Carrier::Futex);
        let Some(&(_, [bare, _])) = bare else { continue };
        for (carrier, [thread, process]) in cases {
            let series = format!("{}, {}", carrier.name(), placement.name);
            let name = format!("{}, {}, {}", carrier.name(), length(size), placement.name);
            let row = Row::new(name).at(&series, size as f64);
            table.rows.push(row.with(&taken[bare], &taken[thread], &taken[process]));
        }
    }
}

/// `8 B`, `64 KiB`.
fn length(size: usize) -> String {
    shown(size as f64, Unit::Bytes)
}
