//! The picture: which worker ran when, on which processor.

use super::job::{Kind, Stretch};
use super::{Finished, work};
use crate::Bench;
use crate::figures::{Lane, Place, Run, Timeline};
use crate::peer::Peer;

/// Workers in a picture.
const WORKERS: usize = 4;
/// Jobs of each.
const JOBS: usize = 3;

/// Jobs that wait and compute, as threads and as processes, on one processor and on all.
pub(super) fn all(bench: &Bench<'_>, teams: [&[Peer]; 2]) -> Result<Vec<Timeline>, String> {
    let one = bench.cpus.first();
    let all = bench.cpus.all();
    let mut timelines = Vec::new();
    for (team, place) in teams.into_iter().zip([Place::Thread, Place::Process]) {
        let team = &team[..team.len().min(WORKERS)];
        for cpus in [&one[..], all] {
            let done = work(team, Kind::Mixed, JOBS, cpus)?;
            timelines.push(timeline(done, place, cpus.len()));
            if all.len() == 1 {
                break;
            }
        }
    }
    Ok(timelines)
}

fn timeline(done: Finished, place: Place, cpus: usize) -> Timeline {
    let kind = match place {
        Place::Thread | Place::Cell => "threads",
        Place::Process => "processes",
    };
    let on = if cpus == 1 { "one CPU".to_owned() } else { format!("{cpus} CPUs") };
    let since = |at: u64| at.saturating_sub(done.from) as f64;
    let run = |stretch: &Stretch| Run {
        cpu: stretch.cpu,
        from: since(stretch.from),
        to: since(stretch.to),
    };
    let lanes = done.runs.iter().enumerate().map(|(at, runs)| Lane {
        worker: format!("worker {}", at + 1),
        runs: runs.iter().filter(|stretch| stretch.to > stretch.from).map(run).collect(),
    });
    Timeline {
        title: format!("Jobs that wait and compute in turns, {kind} on {on}"),
        place,
        cpus,
        length: done.ns,
        lanes: lanes.collect(),
    }
}
