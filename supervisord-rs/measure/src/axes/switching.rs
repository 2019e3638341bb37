//! What it takes to go from one worker to another on one processor: by its own will (it waits) or
//! against it (another one wakes up), with more or less memory that both use.

mod involuntary;
mod meaning;

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Bench;
use crate::figures::{Better, Entry, Measured, Place, Row, Table, Unit};
use crate::peer::{self, Peer};
use crate::pinning::pin;
use crate::rounds::{Rounds, Sample, Samples, Taken, count_for, each};
use crate::words::shown;
pub(super) use meaning::meaning;

/// What a peer does for this axis.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Takes a token, uses its memory, and passes the token on, so often.
    Pass { memory: usize, count: usize },
    /// Wakes up so often, uses its memory, and sleeps again.
    Wake { memory: usize, every_ns: u64, count: usize },
}

impl Job {
    pub(crate) fn run(self, given: Vec<OwnedFd>) -> Result<Value, String> {
        match self {
            Self::Pass { memory, count } => {
                let mut given = given.into_iter();
                let mut next = || given.next().ok_or("a pipe is missing");
                let (mut from, mut to) = (PipeReader::from(next()?), PipeWriter::from(next()?));
                let mut memory = Memory::new(memory);
                for _ in 0..count {
                    take(&mut from)?;
                    memory.touch();
                    give(&mut to)?;
                }
            }
            Self::Wake { memory, every_ns, count } => involuntary::wake(memory, every_ns, count),
        }
        Ok(Value::Null)
    }
}

/// Memory that a worker uses between two switches.
#[derive(Debug)]
pub(crate) struct Memory(Vec<u8>);

impl Memory {
    pub(crate) fn new(size: usize) -> Self {
        Self(vec![1; size])
    }

    /// Changes a byte of each cache line.
    #[inline]
    pub(crate) fn touch(&mut self) {
        for byte in self.0.iter_mut().step_by(64) {
            *byte = byte.wrapping_add(1);
        }
        std::hint::black_box(&mut self.0);
    }
}

fn take(from: &mut PipeReader) -> Result<(), String> {
    from.read_exact(&mut [0; 4]).map_err(|error| format!("no token came: {error}"))
}

fn give(to: &mut PipeWriter) -> Result<(), String> {
    to.write_all(&[1; 4]).map_err(|error| format!("no one takes the token: {error}"))
}

/// See [`crate::axes`].
pub(super) fn measure(bench: &Bench<'_>, measured: &mut Measured) -> Result<(), String> {
    const KIB: usize = 1 << 10;
    let sizes: &[usize] = bench
        .effort
        .pick(&[0, 64 * KIB, 1024 * KIB], &[0, 16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB]);
    let (thread, process) = (Peer::start(Place::Thread)?, Peer::start(Place::Process)?);
    let mut hops = Table::new(
        "hop",
        "A token through a pipe to another worker, one CPU",
        Unit::Nanoseconds,
        Better::Less,
        "one thread that writes the pipe, reads it and uses its memory: no switch",
    )
    .over(Unit::Bytes);
    let mut switches = Table::new(
        "switch",
        "The switch alone: the way of a token, less its limit (next table)",
        Unit::Nanoseconds,
        Better::Less,
        "none: it is a difference",
    )
    .over(Unit::Bytes);
    for &size in sizes {
        let [bare, thread, process] =
            voluntary(bench, size, &thread, &process, 0.7 / sizes.len() as f64)?;
        let name = with_memory(size);
        let row = Row::new(name.clone()).at("hop", size as f64);
        hops.rows.push(row.with(&bare, &thread, &process));
        let mut row = Row::new(name).at("switch", size as f64);
        row.thread = Entry::of(&Samples::minus(&thread, &bare));
        row.cell = Entry::as_thread();
        row.process = Entry::of(&Samples::minus(&process, &bare));
        switches.rows.push(row);
    }
    measured.tables.extend([switches, hops]);
    measured.tables.push(involuntary::table(bench, [&thread, &process])?);
    if let Err(why) = counters_are_there() {
        measured.notes.push(format!("Cache and TLB misses could not be counted: {why}."));
    }
    Ok(())
}

/// The bare loop, then the hop between threads and between processes.
fn voluntary(
    bench: &Bench<'_>,
    size: usize,
    thread: &Peer,
    process: &Peer,
    part: f64,
) -> Result<[Taken; 3], String> {
    let (cpu, time) = (&bench.cpus.first(), bench.effort.time);
    let mut rounds = Rounds::default();
    let (mut from, mut to) = pipe()?;
    let mut memory = Memory::new(size);
    let bare = rounds.add(move || {
        pin(cpu)?;
        let mut hop = || {
            give(&mut to)?;
            take(&mut from)?;
            memory.touch();
            Ok(())
        };
        let count = count_for(time / 2, |count| (0..count).try_for_each(|_| hop()))?;
        Ok(Sample::of(each(count, || drop(hop()))))
    });
    let mut add = |peer| -> Result<usize, String> {
        let mut ring = Ring::new(size)?;
        Ok(rounds.add(move || ring.hops(peer, cpu, time)))
    };
    let (thread, process) = (add(thread)?, add(process)?);
    let mut taken = rounds.run(bench, bench.effort.rounds, part).into_iter();
    debug_assert_eq!((bare, thread, process), (0, 1, 2));
    Ok([0; 3].map(|_| taken.next().unwrap_or_else(|| Err("not measured".to_owned()))))
}

/// Two pipes, between this thread and a peer.
struct Ring {
    to: PipeWriter,
    from: PipeReader,
    theirs: (PipeReader, PipeWriter),
    memory: Memory,
    size: usize,
}

impl Ring {
    fn new(size: usize) -> Result<Self, String> {
        let ((there, to), (from, back)) = (pipe()?, pipe()?);
        Ok(Self { to, from, theirs: (there, back), memory: Memory::new(size), size })
    }

    /// What one hop takes, of as many as fit into the time.
    fn hops(&mut self, peer: &Peer, cpu: &[usize], time: Duration) -> Result<Sample, String> {
        let pilot = self.some(peer, cpu, 20)?;
        let count = (time.as_nanos() as f64 / (2.0 * pilot)).clamp(20.0, 20_000.0) as usize;
        Ok(Sample::of(self.some(peer, cpu, count)?))
    }

    fn some(&mut self, peer: &Peer, cpu: &[usize], count: usize) -> Result<f64, String> {
        pin(cpu)?;
        let job = peer::Job::Switching(Job::Pass { memory: self.size, count: count + 1 });
        let given: [BorrowedFd<'_>; 2] = [self.theirs.0.as_fd(), self.theirs.1.as_fd()];
        peer.order(job, cpu, &given)?;
        // The first one waits until the peer is there.
        give(&mut self.to)?;
        take(&mut self.from)?;
        let mut failed = Ok(());
        let trip = each(count, || {
            if failed.is_ok() {
                self.memory.touch();
                failed = give(&mut self.to).and_then(|()| take(&mut self.from));
            }
        });
        failed?;
        peer.answer::<Value>()?;
        Ok(trip / 2.0)
    }
}

fn pipe() -> Result<(PipeReader, PipeWriter), String> {
    std::io::pipe().map_err(|error| format!("a pipe: {error}"))
}

fn with_memory(size: usize) -> String {
    if size == 0 {
        "no memory used".to_owned()
    } else {
        format!("{} used by each", shown(size as f64, Unit::Bytes))
    }
}

fn counters_are_there() -> Result<(), String> {
    crate::machine::counters()
}
