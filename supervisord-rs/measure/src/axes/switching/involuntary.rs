//! A worker that computes and is interrupted by another one that wakes up on its processor: what it
//! loses each time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use serde_json::Value;
use workers::runtime::scheduling::{Policy, Scheduling};

use super::{Job, Memory};
use crate::Bench;
use crate::figures::{Better, Row, Table, Unit};
use crate::peer::{self, Peer};
use crate::pinning::pin;
use crate::rounds::{Rounds, Sample, until_seen};
use crate::statistics::{quantile, sorted};

/// Between two wake-ups.
const EVERY: Duration = Duration::from_micros(300);
/// Shorter ones are no interruptions but slow readings of the clock.
const GAP_MIN_NS: f64 = 500.0;

/// Sleeps and wakes up so often.
pub(super) fn wake(memory: usize, every_ns: u64, count: usize) {
    let mut memory = Memory::new(memory);
    for _ in 0..count {
        std::thread::sleep(Duration::from_nanos(every_ns));
        memory.touch();
    }
}

/// What one interruption takes.
pub(super) fn table(bench: &Bench<'_>, peers: [&Peer; 2]) -> Result<Table, String> {
    let mut table = Table::new(
        "interruption",
        "What a computing worker loses to one that wakes up on its CPU: there and back",
        Unit::Nanoseconds,
        Better::Less,
        "the same timer, which wakes no one",
    )
    .over(Unit::Bytes);
    let cpu = &bench.cpus.first();
    let sizes: &[usize] = bench.effort.pick(&[0], &[0, 256 << 10]);
    let count = (bench.effort.time.as_micros() / EVERY.as_micros()) as usize * 2 + 20;
    for &size in sizes {
        let mut rounds = Rounds::default();
        let bare = rounds.add(move || gaps(cpu, || timer_alone(count)));
        let [thread, process] = peers.map(|peer| {
            rounds.add(move || {
                gaps(cpu, || {
                    let every_ns = u64::try_from(EVERY.as_nanos()).unwrap_or(u64::MAX);
                    let job = Job::Wake { memory: size, every_ns, count };
                    peer.ask::<Value>(peer::Job::Switching(job), cpu, &[]).map(drop)
                })
            })
        });
        let part = 0.3 / sizes.len() as f64;
        let taken = rounds.run(bench, bench.effort.rounds, part);
        let row = Row::new(super::with_memory(size)).at("interruption", size as f64);
        table.rows.push(row.with(&taken[bare], &taken[thread], &taken[process]));
    }
    Ok(table)
}

/// A timer fires, and nothing waits for it.
fn timer_alone(count: usize) -> Result<(), String> {
    let words = |error: nix::errno::Errno| format!("a timer: {}", error.desc());
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC).map_err(words)?;
    let every = Expiration::Interval(TimeSpec::from(EVERY));
    timer.set(every, TimerSetTimeFlags::empty()).map_err(words)?;
    std::thread::sleep(EVERY * u32::try_from(count).unwrap_or(u32::MAX));
    Ok(())
}

/// The typical gap in the time of a thread that computes on this processor, while this is done. The
/// thread gives way at once to all that wake up (`SCHED_IDLE`).
fn gaps(cpu: &[usize], during: impl Fn() -> Result<(), String>) -> Result<Sample, String> {
    until_seen(|| gaps_once(cpu, &during))?.ok_or_else(|| "no interruption was seen".to_owned())
}

fn gaps_once(
    cpu: &[usize],
    during: impl FnOnce() -> Result<(), String>,
) -> Result<Option<Sample>, String> {
    let is_over = AtomicBool::new(false);
    pin(cpu)?;
    std::thread::scope(|scope| {
        let hog = scope.spawn(|| -> Result<Vec<f64>, String> {
            let idle = Scheduling { policy: Some(Policy::Idle), ..Scheduling::default() };
            idle.prepare().set().map_err(|refused| refused.to_string())?;
            let mut found = Vec::new();
            let mut last = Instant::now();
            while !is_over.load(Ordering::Relaxed) {
                let now = Instant::now();
                let gap = (now - last).as_nanos() as f64;
                if gap > GAP_MIN_NS {
                    found.push(gap);
                }
                last = now;
            }
            Ok(found)
        });
        let done = during();
        is_over.store(true, Ordering::Relaxed);
        let found = hog.join().map_err(|_| "the computing thread has ended")?;
        done?;
        let found = sorted(&found?);
        let value = quantile(&found, 0.5);
        Ok(value.map(|value| Sample { value, tail: quantile(&found, 0.99) }))
    })
}
