//! How workers take turns on one processor: how long a turn is, how fair the shares are, how long
//! one that wakes up waits; and what nice, policy and slice change.

mod meaning;
mod worker;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use workers::runtime::scheduling::{Policy, Scheduling};

use crate::Bench;
use crate::axes::window;
use crate::figures::{Better, Entry, Measured, Place, Row, Table, Unit};
use crate::peer::{self, Peer};
use crate::rounds::{Rounds, Sample, Samples, Taken, until_seen};
use crate::statistics::{jain, quantile, sorted};
pub(super) use meaning::meaning;
use worker::{Computed, compute, wake};

/// What a peer does for this axis, from one monotonic time to another one (nanoseconds).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    task: Task,
    scheduling: Scheduling,
    from: u64,
    to: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Task {
    /// Computes, and notices when it has the processor.
    Compute,
    /// Sleeps, and notices how late it wakes up.
    Wake,
}

impl Job {
    pub(crate) fn run(self) -> Result<Value, String> {
        self.scheduling.prepare().set().map_err(|refused| refused.to_string())?;
        window::begin(self.from);
        let value = match self.task {
            Task::Compute => serde_json::to_value(compute(self.to)),
            Task::Wake => serde_json::to_value(wake(self.to)),
        };
        value.map_err(|error| error.to_string())
    }
}

/// Workers that compute at the same time.
const TEAM: usize = 3;

fn policy(policy: Policy) -> Scheduling {
    Scheduling { policy: Some(policy), ..Scheduling::default() }
}

fn slice(slice: Duration) -> Scheduling {
    policy(Policy::Normal { slice: Some(slice) })
}

fn nice(nice: i32) -> Scheduling {
    Scheduling { nice: Some(nice), ..Scheduling::default() }
}

/// See [`crate::axes`].
pub(super) fn measure(bench: &Bench<'_>, measured: &mut Measured) -> Result<(), String> {
    measured.tables.extend(turns(bench));
    measured.tables.push(waking(bench));
    measured.tables.push(shares(bench));
    measured.notes.push(
        "`limits: { cpu_weight: }` shares a CPU between cgroups; it needs a cgroup that one may \
         write, and is not measured here."
            .to_owned(),
    );
    if let Ok(text) = std::fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled")
        && text.trim() == "1"
    {
        measured.notes.push(
            "The kernel shares its CPUs among sessions (autogroup): `nice` counts within one."
                .to_owned(),
        );
    }
    Ok(())
}

/// A team of workers, started for one turn: what it has set stays with it.
fn team(
    bench: &Bench<'_>,
    place: Place,
    members: &[(Task, Scheduling)],
    time: Duration,
) -> Result<Vec<Value>, String> {
    let peers = Peer::start_many(place, members.len())?;
    // They start first.
    let ready = time / 20 + Duration::from_millis(5);
    let from = window::now() + u64::try_from(ready.as_nanos()).unwrap_or(0);
    let to = from + u64::try_from(time.as_nanos()).unwrap_or(0);
    for (peer, (task, scheduling)) in peers.iter().zip(members) {
        let job = Job { task: *task, scheduling: scheduling.clone(), from, to };
        peer.order(peer::Job::TimeSlicing(job), &bench.cpus.first(), &[])?;
    }
    peers.iter().map(Peer::answer).collect()
}

/// What each of a team has computed.
fn computed(answers: Vec<Value>) -> Result<Vec<Computed>, String> {
    let one =
        |value| serde_json::from_value(value).map_err(|error: serde_json::Error| error.to_string());
    answers.into_iter().map(one).collect()
}

fn time(bench: &Bench<'_>) -> Duration {
    bench.effort.pick(Duration::from_millis(100), Duration::from_millis(500))
}

fn rounds(bench: &Bench<'_>) -> usize {
    bench.effort.pick(3, 7)
}

/// How long turns are, with the slices that one can ask for; and how fair the shares are.
fn turns(bench: &Bench<'_>) -> [Table; 2] {
    let settings = [
        ("the kernel's own slice", Scheduling::INHERITED),
        ("slice: 0.1 ms", slice(Duration::from_micros(100))),
        ("slice: 100 ms", slice(Duration::from_millis(100))),
    ];
    let mut lengths = Table::new(
        "slices",
        &format!("{TEAM} workers compute on one CPU: how long each runs before another one does"),
        Unit::Nanoseconds,
        Better::Neither,
        "the tick of the timer, which ends slices",
    );
    let mut fairness = Table::new(
        "fairness",
        "How equal their shares are (Jain's index: 1 is equal)",
        Unit::Times,
        Better::More,
        "equal shares",
    );
    let tick = tick();
    for (name, scheduling) in settings {
        let both = [Place::Thread, Place::Process].map(|place| {
            let members = vec![(Task::Compute, scheduling.clone()); TEAM];
            of_team(bench, place, &members, 0.2 / 3.0)
        });
        for (statistic, at) in [("median", 0), ("of 10 turns 9 are shorter", 1), ("longest", 2)] {
            let mut row = Row::new(format!("{name}: {statistic}"));
            row.limit = Entry::of(&tick);
            let [thread, process] =
                both.each_ref().map(|turns| part(turns, |turn| turn.lengths[at]));
            row.thread = Entry::beside(&thread, None);
            (row.cell, row.process) = (Entry::as_thread(), Entry::beside(&process, None));
            lengths.rows.push(row);
        }
        let [thread, process] = both.each_ref().map(|turns| part(turns, |turn| turn.fairness));
        let row = Row::new(name);
        fairness.rows.push(row.with(&Samples::known(1.0), &thread, &process));
    }
    [lengths, fairness]
}

fn tick() -> Taken {
    let tick = nix::time::clock_getres(nix::time::ClockId::CLOCK_MONOTONIC_COARSE);
    let tick = tick.map_err(|error| error.desc().to_owned())?;
    Samples::known(Duration::from(tick).as_nanos() as f64)
}

/// One turn of a team.
struct Turn {
    /// Median, nine tenths, longest.
    lengths: [f64; 3],
    fairness: f64,
}

impl Turn {
    /// Nothing where no worker had two turns.
    fn of(computed: &[Computed]) -> Option<Self> {
        let lengths: Vec<f64> =
            computed.iter().flat_map(|one| one.turns.iter().map(|&ns| ns as f64)).collect();
        let lengths = sorted(&lengths);
        let at = |share| quantile(&lengths, share);
        let shares: Vec<f64> = computed.iter().map(|one| one.used as f64).collect();
        Some(Self { lengths: [at(0.5)?, at(0.9)?, at(1.0)?], fairness: jain(&shares)? })
    }
}

fn part(turns: &Result<Vec<Turn>, String>, of: impl Fn(&Turn) -> f64) -> Taken {
    let values = turns.as_ref()?.iter().map(of).collect();
    Ok(Samples { values, tails: Vec::new() })
}

fn of_team(
    bench: &Bench<'_>,
    place: Place,
    members: &[(Task, Scheduling)],
    share: f64,
) -> Result<Vec<Turn>, String> {
    let count = rounds(bench);
    let mut turns = Vec::new();
    for _ in 0..count {
        let turn = until_seen(|| {
            let computed = computed(team(bench, place, members, time(bench))?)?;
            Ok(Turn::of(&computed))
        })?;
        turns.push(turn.ok_or("no worker had two turns: the others waited all the time")?);
        bench.pace.advances(share / count as f64);
    }
    Ok(turns)
}

/// How late one wakes up beside those that compute.
fn waking(bench: &Bench<'_>) -> Table {
    let idle = policy(Policy::Idle);
    let batch = policy(Policy::Batch { slice: None });
    let short = slice(Duration::from_micros(100));
    let inherited = Scheduling::INHERITED;
    let settings = [
        ("all alike", inherited.clone(), inherited.clone()),
        ("its slice: 0.1 ms", short, inherited.clone()),
        ("those that compute: batch", inherited.clone(), batch),
        ("those that compute: nice 19", inherited.clone(), nice(19)),
        ("those that compute: idle", inherited, idle),
    ];
    let mut table = Table::new(
        "wake-up",
        "How late a worker wakes up beside two that compute on its CPU",
        Unit::Nanoseconds,
        Better::Less,
        "the same with the CPU for itself",
    );
    let mut rounds = Rounds::default();
    let late = |place, members: Vec<(Task, Scheduling)>| {
        move || -> Result<Sample, String> {
            let sample = until_seen(|| {
                let first = team(bench, place, &members, time(bench))?.into_iter().next();
                let late: Vec<f64> = serde_json::from_value(first.unwrap_or_default())
                    .map_err(|error| error.to_string())?;
                let late = sorted(&late);
                let value = quantile(&late, 0.5);
                Ok(value.map(|value| Sample { value, tail: quantile(&late, 0.99) }))
            })?;
            sample.ok_or_else(|| "it never woke up".to_owned())
        }
    };
    let alone = rounds.add(late(Place::Thread, vec![(Task::Wake, Scheduling::INHERITED)]));
    let mut cases = Vec::new();
    for (name, own, others) in settings {
        let [thread, process] = [Place::Thread, Place::Process].map(|place| {
            let other = (Task::Compute, others.clone());
            rounds.add(late(place, vec![(Task::Wake, own.clone()), other.clone(), other]))
        });
        cases.push((name, thread, process));
    }
    let taken = rounds.run(bench, self::rounds(bench), 0.45);
    for (name, thread, process) in cases {
        table.rows.push(Row::new(name).with(&taken[alone], &taken[thread], &taken[process]));
    }
    table
}

/// Which part of the processor one has beside another one.
fn shares(bench: &Bench<'_>) -> Table {
    // The weights of the kernel: 1024 for nice 0, 335 for nice 5, 3 for `idle` (sched(7)).
    let settings = [
        ("nice 0 beside nice 0", nice(0), 0.5),
        ("nice 5 beside nice 0", nice(5), 335.0 / (1024.0 + 335.0)),
        ("batch beside normal", policy(Policy::Batch { slice: None }), 0.5),
        ("idle beside normal", policy(Policy::Idle), 3.0 / (1024.0 + 3.0)),
    ];
    let mut table = Table::new(
        "shares",
        "Its share of a CPU that another worker wants too",
        Unit::Share,
        Better::Neither,
        "by their weights (sched(7))",
    );
    let mut rounds = Rounds::default();
    let mut cases = Vec::new();
    for (name, own, weight) in settings {
        let both = [Place::Thread, Place::Process].map(|place| {
            let members =
                vec![(Task::Compute, own.clone()), (Task::Compute, Scheduling::INHERITED)];
            rounds.add(move || {
                let computed = computed(team(bench, place, &members, time(bench))?)?;
                let [own, other] = [0, 1].map(|at: usize| computed[at].used as f64);
                Ok(Sample::of(own / (own + other).max(1.0)))
            })
        });
        cases.push((name, weight, both));
    }
    let taken = rounds.run(bench, self::rounds(bench), 0.35);
    for (name, weight, [thread, process]) in cases {
        let limit = Samples::known(weight);
        table.rows.push(Row::new(name).with(&limit, &taken[thread], &taken[process]));
    }
    table
}
