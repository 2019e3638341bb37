//! Each primitive, used by one worker while no one else does.

use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex, RwLock};
use std::time::Duration;

use serde_json::Value;

use super::Job;
use super::primitive::{Primitive, Thing, VALUE, borrowed};
use crate::Bench;
use crate::figures::{Better, Row, Table, Unit};
use crate::peer::{self, Peer};
use crate::rounds::{Rounds, Sample, count_for, each};

const ALL: [Primitive; 7] = [
    Primitive::Mutex,
    Primitive::Read,
    Primitive::Write,
    Primitive::Semaphore,
    Primitive::Condition,
    Primitive::Queue,
    Primitive::Topic,
];

/// The figures.
pub(super) fn table(bench: &Bench<'_>, peers: [&Peer; 2]) -> Result<Table, String> {
    let mut table = Table::new(
        "uncontended",
        "Used by one worker at a time",
        Unit::Nanoseconds,
        Better::Less,
        "the standard library's, which only threads of one process can share and no death may \
         interrupt (semaphore: sem_post(3); topic: a copy)",
    );
    let (time, cpu) = (bench.effort.time / 2, &bench.cpus.first());
    let mut rounds = Rounds::default();
    let mut cases = Vec::new();
    for (at, primitive) in ALL.into_iter().enumerate() {
        let mut limit = bare(primitive);
        let bare = rounds.add(move || {
            crate::pinning::pin(cpu)?;
            let count = count_for(time / 2, |count| {
                (0..count).for_each(|_| limit());
                Ok(())
            })?;
            Ok(Sample::of(each(count, &mut limit)))
        });
        let thing = Thing::create(primitive)?;
        let fds = thing.descriptors()?;
        let mut both = [0; 2];
        for (index, peer) in both.iter_mut().zip(peers) {
            let job = peer::Job::Synchronisation(Job::Open { id: at, primitive });
            peer.ask::<Value>(job, &[], &borrowed(&fds))?;
            *index = rounds.add(move || repeat(peer, at, time, cpu));
        }
        cases.push((primitive, bare, both));
    }
    let taken = rounds.run(bench, bench.effort.rounds, 0.4);
    for (primitive, bare, [thread, process]) in cases {
        let row = Row::new(primitive.name());
        table.rows.push(row.with(&taken[bare], &taken[thread], &taken[process]));
    }
    Ok(table)
}

/// As often as fits into the time.
fn repeat(peer: &Peer, id: usize, time: Duration, cpu: &[usize]) -> Result<Sample, String> {
    let some = |count| {
        let job = Job::Repeat { id, count };
        peer.ask::<f64>(peer::Job::Synchronisation(job), cpu, &[])
    };
    let pilot = some(200)?;
    let count = (time.as_nanos() as f64 / pilot.max(0.1)) as usize;
    Ok(Sample::of(some(count.clamp(200, 10_000_000))?))
}

/// The same by what there is without the SDK.
fn bare(primitive: Primitive) -> Box<dyn FnMut()> {
    match primitive {
        Primitive::Mutex => {
            let mutex = Mutex::new(7_u64);
            Box::new(move || drop(std::hint::black_box(&mutex).lock()))
        }
        Primitive::Read | Primitive::Write => {
            let lock = RwLock::new(7_u64);
            if primitive == Primitive::Read {
                Box::new(move || drop(std::hint::black_box(&lock).read()))
            } else {
                Box::new(move || drop(std::hint::black_box(&lock).write()))
            }
        }
        Primitive::Semaphore => {
            let semaphore = Posix::new();
            Box::new(move || semaphore.acquire_and_release())
        }
        Primitive::Condition => {
            let condition = Condvar::new();
            Box::new(move || std::hint::black_box(&condition).notify_one())
        }
        Primitive::Queue => {
            let (to, from) = channel::<[u8; 8]>();
            Box::new(move || {
                let _ = to.send([7; 8]);
                let _ = std::hint::black_box(from.recv());
            })
        }
        Primitive::Topic => {
            let (from, mut to) = ([7_u8; VALUE], [0_u8; VALUE]);
            Box::new(move || {
                to.copy_from_slice(std::hint::black_box(&from));
                std::hint::black_box(&mut to);
            })
        }
    }
}

/// A semaphore of the C library with one permit.
struct Posix(Box<std::cell::UnsafeCell<libc::sem_t>>);

impl Posix {
    fn new() -> Self {
        // SAFETY: zeros are valid until sem_init overwrites them.
        let semaphore = Box::new(std::cell::UnsafeCell::new(unsafe { std::mem::zeroed() }));
        // SAFETY: the standard library has no semaphore. It lies in a box, and so never moves.
        unsafe { libc::sem_init(semaphore.get(), 0, 1) };
        Self(semaphore)
    }

    fn acquire_and_release(&self) {
        // SAFETY: initialized above, and alive; one thread alone uses it, and has its permit.
        unsafe {
            libc::sem_wait(self.0.get());
            libc::sem_post(self.0.get());
        }
    }
}
