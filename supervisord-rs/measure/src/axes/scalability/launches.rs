//! How long a launch takes until the worker works, and how many workers live and end in a second.

use std::process::Child;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Bench;
use crate::child::{self, Role};
use crate::figures::{Better, Entry, Place, Row, Table, Unit};
use crate::hosts::{Host, Sleeper};
use crate::peer::{self, Peer};
use crate::rounds::{Rounds, Sample, Samples, Taken};

/// Launches in one turn.
const AT_ONCE: [usize; 2] = [10, 30];

/// The time of each, and how many a second.
pub(super) fn tables(bench: &Bench<'_>) -> [Table; 2] {
    let limit = "a thread of the standard library; for processes this program when it ends at once";
    let mut ready = Table::new(
        "launch",
        "From the order until the worker works",
        Unit::Nanoseconds,
        Better::Less,
        limit,
    );
    let mut lives = Table::new(
        "launches",
        "Workers launched and ended in a second, one after the other",
        Unit::PerSecond,
        Better::More,
        limit,
    );
    let count = bench.effort.pick(AT_ONCE[0], AT_ONCE[1]);
    let taken = [false, true].map(|is_life| {
        let mut rounds = Rounds::default();
        rounds.add(move || bare_thread(count, is_life));
        rounds.add(move || bare_process(count, is_life));
        rounds.add(move || in_a_supervisor(count, is_life));
        rounds.add(move || in_a_cell(count, is_life));
        rounds.add(move || in_processes(count, is_life));
        rounds.run(bench, bench.effort.rounds, 0.07)
    });
    let [until_ready, whole] = taken;
    ready.rows.push(row("a launch", &until_ready));
    let rates: Vec<Taken> = whole.iter().map(|taken| Samples::map(taken, |ns| 1e9 / ns)).collect();
    lives.rows.push(row("lives", &rates));
    [ready, lives]
}

fn row(name: &str, taken: &[Taken]) -> Row {
    let mut row = Row::new(name);
    row.limit = Entry::of(&taken[0]);
    row.process_limit = Entry::of(&taken[1]);
    row.thread = Entry::beside(&taken[2], Some(&taken[0]));
    row.cell = Entry::beside(&taken[3], Some(&taken[0]));
    row.process = Entry::beside(&taken[4], Some(&taken[1]));
    row
}

/// Nanoseconds for each: until it is ready, or with its end.
fn each(
    count: usize,
    is_life: bool,
    mut start: impl FnMut() -> Result<Sleeper, String>,
) -> Result<Sample, String> {
    let mut sum = 0.0;
    for _ in 0..count {
        let begun = Instant::now();
        let sleeper = start()?;
        sleeper.await_ready()?;
        let ready = begun.elapsed();
        sleeper.stop()?;
        let time = if is_life { begun.elapsed() } else { ready };
        sum += time.as_nanos() as f64;
    }
    Ok(Sample::of(sum / count as f64))
}

/// What a peer does: it launches workers on threads of its own, as a supervisor does, and answers
/// with nanoseconds for each.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launches {
    count: usize,
    is_life: bool,
}

impl Launches {
    pub(crate) fn run(self) -> Result<Value, String> {
        // The first one brings more than itself.
        each(1, true, Sleeper::start_here)?;
        Ok(Value::from(each(self.count, self.is_life, Sleeper::start_here)?.value))
    }
}

/// In a process of its own, so that nothing that was measured before is in the way.
fn in_a_supervisor(count: usize, is_life: bool) -> Result<Sample, String> {
    let peer = Peer::start(Place::Process)?;
    let job = peer::Job::Launches(Launches { count, is_life });
    Ok(Sample::of(peer.ask(job, &[], &[])?))
}

fn in_a_cell(count: usize, is_life: bool) -> Result<Sample, String> {
    let host = Host::start()?;
    // It is there before its workers.
    let first = host.run(false)?;
    first.await_ready()?;
    let sample = each(count, is_life, || host.run(false));
    first.stop()?;
    sample
}

fn in_processes(count: usize, is_life: bool) -> Result<Sample, String> {
    let mut sum = 0.0;
    for _ in 0..count {
        let begun = Instant::now();
        let host = Host::start()?;
        let sleeper = host.run(true)?;
        sleeper.await_ready()?;
        let ready = begun.elapsed();
        sleeper.stop()?;
        host.await_end();
        let time = if is_life { begun.elapsed() } else { ready };
        sum += time.as_nanos() as f64;
    }
    Ok(Sample::of(sum / count as f64))
}

/// Until its first instruction, or with its end.
fn bare_thread(count: usize, is_life: bool) -> Result<Sample, String> {
    let mut sum = 0.0;
    for _ in 0..count {
        let begun = Instant::now();
        let thread = std::thread::Builder::new().spawn(move || begun.elapsed());
        let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        let first = thread.join().map_err(|_| "a thread has ended")?;
        let time = if is_life { begun.elapsed() } else { first };
        sum += time.as_nanos() as f64;
    }
    Ok(Sample::of(sum / count as f64))
}

/// With its end, which follows its beginning at once.
fn bare_process(count: usize, _is_life: bool) -> Result<Sample, String> {
    let mut sum = 0.0;
    for _ in 0..count {
        let begun = Instant::now();
        let mut process: Child = child::start(Role::Nothing, child::null()?)?;
        process.wait().map_err(|error| error.to_string())?;
        sum += begun.elapsed().as_nanos() as f64;
    }
    Ok(Sample::of(sum / count as f64))
}
