//! What a message through a pipe consists of, each part alone: copies, a wake-up, the system calls,
//! and what it takes to make bytes of a value and a value of bytes.

use std::io::{Read, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::carrier::own_pipe;
use super::length;
use crate::Bench;
use crate::figures::{Better, Entry, Place, Row, Table, Unit};
use crate::memory::{Shared, await_value, give};
use crate::pinning::pin;
use crate::rounds::{Rounds, Sample, count_for, each};

/// One entry of a value that is serialised: about 64 bytes as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Item {
    id: u64,
    name: String,
    amount: f64,
}

/// The parts of a message.
pub(super) fn table(bench: &Bench<'_>, sizes: &[usize]) -> Table {
    let mut table = Table::new(
        "parts",
        "Of a message one way, each part alone",
        Unit::Nanoseconds,
        Better::Less,
        "none: these are parts of the figures above",
    )
    .over(Unit::Bytes);
    let time = bench.effort.time;
    for &size in sizes {
        let here = bench.cpus.first();
        let mut rounds = Rounds::default();
        let parts = [
            ("two copies", rounds.add(move || copies(size, time))),
            ("system calls of a pipe, with its copies", rounds.add(move || calls(size, time))),
            ("JSON made and read", rounds.add(move || serialised(size, time))),
        ];
        let parts = parts.to_vec();
        let mut parts: Vec<_> = parts;
        if size == sizes[0] {
            let cpus = here.clone();
            parts.push(("wake-up on one CPU", rounds.add(move || woken(time, &cpus, &cpus))));
            let (cpus, other) = (here, bench.cpus.second());
            parts.push((
                "wake-up on another CPU",
                match other {
                    Ok(other) => rounds.add(move || woken(time, &cpus, &other)),
                    Err(why) => rounds.add_untaken(why),
                },
            ));
        }
        let taken = rounds.run(bench, bench.effort.rounds, 0.19 / sizes.len() as f64);
        for (name, index) in parts {
            let is_any = name.starts_with("wake-up");
            let mut row = if is_any {
                Row::new(format!("{name}, any length"))
            } else {
                Row::new(format!("{name}, {}", length(size))).at(name, size as f64)
            };
            row.thread = Entry::of(&taken[index]);
            (row.cell, row.process) = (Entry::as_thread(), Some(Entry::As(Place::Thread)));
            table.rows.push(row);
        }
    }
    table
}

/// Into what carries it, and out.
fn copies(size: usize, time: Duration) -> Result<Sample, String> {
    let (mut from, mut to) = (vec![7_u8; size], vec![0_u8; size]);
    let mut work = || {
        to.copy_from_slice(std::hint::black_box(&from));
        from.copy_from_slice(std::hint::black_box(&to));
    };
    let count = count_for(time / 4, |count| {
        (0..count).for_each(|_| work());
        Ok(())
    })?;
    Ok(Sample::of(each(count, work)))
}

/// A thread writes into a pipe and reads from it: no other thread wakes up.
fn calls(size: usize, time: Duration) -> Result<Sample, String> {
    let (mut reader, mut writer) = own_pipe(size)?;
    let mut message = vec![7_u8; size];
    let mut failed = None;
    let mut work = || {
        let both = writer.write_all(&message).and_then(|()| reader.read_exact(&mut message));
        if let Err(error) = both {
            failed = Some(error.to_string());
        }
    };
    let count = count_for(time / 4, |count| {
        (0..count).for_each(|_| work());
        Ok(())
    })?;
    let time = each(count, work);
    failed.map_or(Ok(Sample::of(time)), Err)
}

fn serialised(size: usize, time: Duration) -> Result<Sample, String> {
    let item = |id: usize| Item { id: id as u64, name: format!("item {id:010}"), amount: 0.25 };
    // A short one is the number alone.
    let items: Vec<Item> = (0..size / 48).map(item).collect();
    let failed = |error: serde_json::Error| error.to_string();
    let once = || -> Result<(), String> {
        if items.is_empty() {
            let text = serde_json::to_vec(&std::hint::black_box(1_234_567_u64)).map_err(failed)?;
            let number: u64 = serde_json::from_slice(&text).map_err(failed)?;
            std::hint::black_box(number);
        } else {
            let text = serde_json::to_vec(std::hint::black_box(&items)).map_err(failed)?;
            let read: Vec<Item> = serde_json::from_slice(&text).map_err(failed)?;
            std::hint::black_box(read);
        }
        Ok(())
    };
    once()?;
    let count = count_for(time / 4, |count| (0..count).try_for_each(|_| once()))?;
    Ok(Sample::of(each(count, || drop(once()))))
}

/// One way of a futex ping-pong without a message.
fn woken(time: Duration, here: &[usize], there: &[usize]) -> Result<Sample, String> {
    const LONG: Duration = Duration::from_secs(10);
    let memory = Shared::create(2, 0)?;
    let (ping, pong) = (memory.word(0), memory.word(1));
    pin(here)?;
    let count = (time.as_micros() as usize / 10).clamp(50, 5000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = pin(there);
            for _ in 0..count {
                if !await_value(ping, 1, LONG) {
                    return;
                }
                ping.store(0, std::sync::atomic::Ordering::Release);
                give(pong, 1);
            }
        });
        let trip = each(count, || {
            give(ping, 1);
            await_value(pong, 1, LONG);
            pong.store(0, std::sync::atomic::Ordering::Release);
        });
        Ok(Sample::of(trip / 2.0))
    })
}
