//! What more workers bring: work that is independent, behind one lock, over a queue, and work that
//! maps memory; and how many can be launched in a second.

mod launches;
mod load;
mod meaning;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Bench;
use crate::axes::window;
use crate::figures::{Better, Measured, Place, Row, Table, Unit};
use crate::peer::{self, Peer};
use crate::rounds::{Rounds, Sample, Samples};
pub(crate) use launches::Launches;
use load::{LOADS, Load, Shared, unit};
pub(super) use meaning::meaning;

/// What a peer does for this axis: works from this monotonic time to that one (nanoseconds), and
/// answers how many units it has done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    load: Load,
    from: u64,
    to: u64,
}

impl Job {
    pub(crate) fn run(self, given: Vec<OwnedFd>) -> Result<Value, String> {
        let mut work = self.load.open(given)?;
        let mut failed = Ok(());
        let count = window::count(self.from, self.to, || {
            if let Err(why) = work() {
                failed = Err(why);
            }
        });
        failed.map(|()| Value::from(count))
    }
}

/// From one worker to twice as many as processors; of many processors some steps.
fn steps(cpus: usize) -> Vec<usize> {
    let mut steps: Vec<usize> = (0..).map(|power| 1 << power).take_while(|&n| n < cpus).collect();
    steps.extend([cpus, cpus + cpus.div_ceil(2), 2 * cpus]);
    if cpus <= 4 {
        steps = (1..=2 * cpus).collect();
    }
    steps.sort_unstable();
    steps.dedup();
    steps
}

/// See [`crate::axes`].
pub(super) fn measure(bench: &Bench<'_>, measured: &mut Measured) -> Result<(), String> {
    let cpus = bench.cpus.count();
    let steps = steps(cpus);
    let most = steps.last().copied().unwrap_or(1);
    let threads = Peer::start_many(Place::Thread, most)?;
    let processes = Peer::start_many(Place::Process, most)?;
    let mut table = Table::new(
        "throughput",
        &format!(
            "Units of work a second, on {}",
            if cpus == 1 { "1 CPU".to_owned() } else { format!("{cpus} CPUs") }
        ),
        Unit::PerSecond,
        Better::More,
        "one bare loop, times the CPUs that can work at once (one, behind a lock)",
    )
    .over(Unit::Count);
    let part = 0.85 / (LOADS.len() * steps.len()) as f64;
    for load in LOADS {
        for &count in &steps {
            let taken = of_count(bench, load, [&threads[..count], &processes[..count]], part)?;
            let [bare, thread, process] = &taken;
            let at_once = if load.is_serial() { 1 } else { count.min(cpus) };
            let limit = Samples::map(bare, |rate| rate * at_once as f64);
            let name = format!("{}, {}", load.name(), workers(count));
            let row = Row::new(name).at(load.name(), count as f64);
            table.rows.push(row.with(&limit, thread, process));
        }
    }
    measured.tables.push(table);
    drop((threads, processes));
    measured.tables.extend(launches::tables(bench));
    Ok(())
}

fn workers(count: usize) -> String {
    if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") }
}

/// The bare loop, threads, processes: units a second.
fn of_count(
    bench: &Bench<'_>,
    load: Load,
    peers: [&[Peer]; 2],
    part: f64,
) -> Result<[crate::rounds::Taken; 3], String> {
    // Long beside the turns that workers take on a processor.
    let time = bench.effort.pick(Duration::from_millis(12), Duration::from_millis(50));
    let count = peers[0].len();
    let cpus = bench.cpus.all();
    let mut rounds = Rounds::default();
    let mut bare = load.bare();
    rounds.add(move || {
        let (from, to) = window::next(time);
        let count = window::count(from, to, &mut bare);
        Ok(Sample::of(1e9 / window::each(from, to, count)))
    });
    for team in peers {
        // Each team has its own.
        let shared = Shared::create(load, count)?;
        let fds = shared.descriptors()?;
        rounds.add(move || {
            let _ = &shared;
            let given: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            let (from, to) = window::next(time);
            for peer in team {
                peer.order(peer::Job::Scalability(Job { load, from, to }), cpus, &given)?;
            }
            let mut all = 0;
            for peer in team {
                all += peer.answer::<u64>()?;
            }
            Ok(Sample::of(1e9 / window::each(from, to, all)))
        });
    }
    bench.cpus.release();
    let mut taken = rounds.run(bench, bench.effort.rounds, part).into_iter();
    Ok([0; 3].map(|_| taken.next().unwrap_or_else(|| Err("not measured".to_owned()))))
}

/// For the bare loop.
fn bare_unit() {
    unit();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_at_twice_the_processors_and_are_few() {
        assert_eq!(steps(1), [1, 2]);
        assert_eq!(steps(2), [1, 2, 3, 4]);
        assert_eq!(steps(6), [1, 2, 4, 6, 9, 12]);
        assert_eq!(steps(64), [1, 2, 4, 8, 16, 32, 64, 96, 128]);
    }
}
