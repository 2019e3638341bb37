//! The same jobs on one processor and on all: what takes turns anyway, and what more processors
//! really make faster. With a picture of who ran when, and where.

mod job;
mod meaning;
mod timeline;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use workers::shared::{Holder, Mutex};

use crate::Bench;
use crate::axes::communication::copy;
use crate::axes::window;
use crate::figures::{Better, Entry, Measured, Place, Row, Table, Unit};
use crate::memory::in_words;
use crate::peer::{self, Peer};
use crate::pinning::ONE_CPU;
use crate::rounds::{Rounds, Sample, Samples, Taken};
use crate::statistics::amdahl;
use job::{KINDS, Kind, Stretch};
pub(super) use meaning::meaning;

/// What a peer does for this axis: some jobs from this monotonic time on. It answers with the time
/// of its end, and with when it ran.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    kind: Kind,
    jobs: usize,
    /// Of one job, in nanoseconds.
    length: u64,
    from: u64,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    at: u64,
    runs: Vec<Stretch>,
}

impl Job {
    pub(crate) fn run(self, given: Vec<OwnedFd>) -> Result<Value, String> {
        let fd = given.into_iter().next().ok_or("no lock")?;
        let here = Holder::this_thread().map_err(in_words)?;
        let lock = Mutex::open(fd, here).map_err(in_words)?;
        window::begin(self.from);
        let mut runs = Vec::new();
        for _ in 0..self.jobs {
            job::carry_out(self.kind, Duration::from_nanos(self.length), &lock, &mut runs)?;
        }
        serde_json::to_value(Done { at: window::now(), runs }).map_err(|error| error.to_string())
    }
}

/// A team's work, and when each of it ran.
struct Finished {
    ns: f64,
    from: u64,
    runs: Vec<Vec<Stretch>>,
}

/// See [`crate::axes`].
pub(super) fn measure(bench: &Bench<'_>, measured: &mut Measured) -> Result<(), String> {
    let cpus = bench.cpus.count();
    let team = (2 * cpus).min(8);
    let threads = Peer::start_many(Place::Thread, team)?;
    let processes = Peer::start_many(Place::Process, team)?;
    let title =
        |on: &str| format!("{team} workers with the same jobs, {on}: time until all are done");
    let limit = "none has to wait but for a CPU, for the lock, or for its own waits";
    let new = |name, on: &str| Table::new(name, &title(on), Unit::Nanoseconds, Better::Less, limit);
    let mut one = new("one-cpu", "one CPU");
    let mut all = new("all-cpus", &format!("{cpus} CPUs"));
    let mut speed_up = Table::new(
        "speed-up",
        &format!("So much faster on {cpus} CPUs than on one"),
        Unit::Times,
        Better::More,
        "Amdahl's bound",
    );
    for kind in KINDS {
        let taken = of_kind(bench, kind, [&threads, &processes])?;
        let plan = Plan { kind, team, jobs: jobs(bench), length: job::LENGTH };
        let (first, last) = (Samples::known(plan.least(1)), Samples::known(plan.least(cpus)));
        one.rows.push(Row::new(kind.name()).with(&first, &taken[0], &taken[2]));
        if cpus == 1 {
            continue;
        }
        all.rows.push(Row::new(kind.name()).with(&last, &taken[1], &taken[3]));
        let bound = Samples::known(plan.least(1) / plan.least(cpus));
        let ratio = |at: usize| ratio(&taken[at], &taken[at + 1]);
        speed_up.rows.push(Row::new(kind.name()).with(&bound, &ratio(0), &ratio(2)));
    }
    if cpus == 1 {
        let mut row = Row::new("all jobs");
        (row.thread, row.process) = (Entry::untaken(ONE_CPU), Entry::untaken(ONE_CPU));
        all.rows.push(row.clone());
        speed_up.rows.push(row);
    }
    measured.tables.extend([speed_up, one, all]);
    measured.timelines = timeline::all(bench, [&threads, &processes])?;
    Ok(())
}

/// What is to be done by a team.
struct Plan {
    kind: Kind,
    team: usize,
    jobs: usize,
    length: Duration,
}

impl Plan {
    /// The least time that it can take on so many processors, in nanoseconds.
    fn least(&self, cpus: usize) -> f64 {
        let each = self.jobs as f64 * self.length.as_nanos() as f64;
        let computing = each * self.kind.computing() * self.team as f64;
        let parallel = computing / (cpus.min(self.team) as f64);
        let bound = match self.kind.serial() {
            serial if serial > 0.0 => computing / amdahl(serial, cpus.min(self.team)),
            _ => parallel,
        };
        // No worker is done before its own work is.
        bound.max(each)
    }
}

/// How many jobs each worker has.
fn jobs(bench: &Bench<'_>) -> usize {
    bench.effort.pick(2, 6)
}

/// Threads on one processor and on all, then processes.
fn of_kind(bench: &Bench<'_>, kind: Kind, teams: [&[Peer]; 2]) -> Result<[Taken; 4], String> {
    let (one, all) = (bench.cpus.first(), bench.cpus.all());
    let mut rounds = Rounds::default();
    let one = &one;
    for team in teams {
        for cpus in [&one[..], all] {
            rounds.add(move || {
                let done = work(team, kind, jobs(bench), cpus)?;
                Ok(Sample::of(done.ns))
            });
        }
    }
    let count = bench.effort.pick(3, 7);
    let mut taken = rounds.run(bench, count, 0.95 / KINDS.len() as f64).into_iter();
    Ok([0; 4].map(|_| taken.next().unwrap_or_else(|| Err("not measured".to_owned()))))
}

/// A team does its jobs on these processors.
fn work(team: &[Peer], kind: Kind, jobs: usize, cpus: &[usize]) -> Result<Finished, String> {
    let here = Holder::this_thread().map_err(in_words)?;
    let lock = Mutex::create(here).map_err(in_words)?;
    let fd = copy(&lock.fd())?;
    let (from, _) = window::next(Duration::ZERO);
    let length = u64::try_from(job::LENGTH.as_nanos()).unwrap_or(u64::MAX);
    for peer in team {
        let job = peer::Job::Parallelism(Job { kind, jobs, length, from });
        peer.order(job, cpus, &[fd.as_fd()])?;
    }
    let mut finished = Finished { ns: 0.0, from, runs: Vec::new() };
    for peer in team {
        let done: Done = peer.answer()?;
        finished.ns = finished.ns.max(done.at.saturating_sub(from) as f64);
        finished.runs.push(done.runs);
    }
    Ok(finished)
}

/// One time in another one, round by round.
fn ratio(one: &Taken, other: &Taken) -> Taken {
    let (one, other) = (one.as_ref()?, other.as_ref()?);
    let pairs = one.values.iter().zip(&other.values);
    Ok(Samples { values: pairs.map(|(one, other)| one / other).collect(), tails: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_time_is_that_of_the_longest_way() {
        let plan = |kind| Plan { kind, team: 4, jobs: 2, length: Duration::from_nanos(100) };
        // Waits overlap, whatever the processors are.
        assert!((plan(Kind::Waiting).least(1) - 200.0).abs() < 1e-6);
        assert!((plan(Kind::Computing).least(1) - 800.0).abs() < 1e-6);
        assert!((plan(Kind::Computing).least(2) - 400.0).abs() < 1e-6);
        // Half of it waits, which the others' work fills.
        assert!((plan(Kind::Mixed).least(1) - 400.0).abs() < 1e-6);
        assert!((plan(Kind::Mixed).least(2) - 200.0).abs() < 1e-6);
        // A quarter goes one after the other: Amdahl's 1.6 on two.
        assert!((plan(Kind::Locked).least(2) - 500.0).abs() < 1e-6);
    }
}
