//! `wait:`, until something is so.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::{Run, Stop};
use crate::config::Pattern;
use crate::config::scenario::script::{Phase, Until};
use crate::control::protocol::{StatusReport, WorkerStatus, is_meant};
use crate::drill::failure::TrialError;
use crate::drill::judge::is_in;
use crate::drill::mark;
use crate::drill::outcome::state;
use crate::drill::up::{is_struck_down, is_up, not_up};
use crate::drill::verdict::Unmet;
use crate::waiting::until;

/// Between two looks while only the time is waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits.
pub(super) fn wait(run: &mut Run<'_>, what: &Until, within: Duration) -> Result<(), Stop> {
    match what {
        Until::For(duration) => {
            let begun = Instant::now();
            let _ = until(*duration, PAUSE, || (begun.elapsed() >= *duration).then_some(()));
            Ok(())
        }
        Until::Running(names) => running(run, names.as_deref(), within),
        Until::Phase(phases) => each(run, within, "in its phase", |status| {
            phases.iter().find_map(|(name, phase)| not_in(status, name, *phase))
        }),
        Until::Progress(units) => {
            let first = run.bed.client.status().ok();
            each(run, within, "further", |status| {
                let before = first.as_ref().unwrap_or(status);
                units.iter().find_map(|(name, units)| behind(before, status, name, *units))
            })
        }
        Until::Log(lines) => log(run, lines, within),
    }
}

/// Until all that are to run do, or those that are named.
fn running(run: &mut Run<'_>, names: Option<&[String]>, within: Duration) -> Result<(), Stop> {
    let broken = run.scenario.already_broken.clone();
    let is_meant_here = move |worker: &WorkerStatus| match names {
        Some(names) => names.iter().any(|name| is_meant(worker, name)),
        None => !broken.iter().any(|name| is_meant(worker, name)),
    };
    let is_there = |worker: &WorkerStatus| match names {
        Some(_) => worker.phase == "running",
        None => is_up(worker),
    };
    let seen = RefCell::new("no supervisor answers".to_owned());
    let waited = run.bed.wait("all running", within, |bed| {
        let Ok(status) = bed.client.status() else { return Ok(None) };
        let mut missing = Vec::new();
        for worker in status.workers.iter().filter(|worker| is_meant_here(worker)) {
            if is_struck_down(worker) && names.is_none() {
                return Err(not_up(worker));
            }
            if !is_there(worker) {
                missing.push(format!("{} is {}", worker.name, state(worker)));
            }
        }
        *seen.borrow_mut() = missing.join("; ");
        Ok(missing.is_empty().then_some(()))
    });
    let seen = seen.into_inner();
    concluded(run, waited, "all running", within, &seen)
}

/// Until nothing is in the way, which `obstacle` names.
fn each(
    run: &mut Run<'_>,
    within: Duration,
    what: &str,
    obstacle: impl Fn(&StatusReport) -> Option<(String, String)>,
) -> Result<(), Stop> {
    let found = RefCell::new((what.to_owned(), "no supervisor answers".to_owned()));
    let waited = run.bed.wait(what, within, |bed| {
        let Ok(status) = bed.client.status() else { return Ok(None) };
        let obstacle = obstacle(&status);
        let is_over = obstacle.is_none();
        if let Some(obstacle) = obstacle {
            *found.borrow_mut() = obstacle;
        }
        Ok(is_over.then_some(()))
    });
    let (expected, seen) = found.into_inner();
    concluded(run, waited, &expected, within, &seen)
}

fn not_in(status: &StatusReport, name: &str, phase: Phase) -> Option<(String, String)> {
    let mut those = status.workers.iter().filter(|worker| is_meant(*worker, name)).peekable();
    let expected = format!("{name} {}", phase.word());
    if those.peek().is_none() {
        return Some((expected, format!("there is no {name}")));
    }
    let other = those.find(|worker| !is_in(worker, phase))?;
    Some((expected, format!("{} is {}", other.name, state(other))))
}

fn behind(
    before: &StatusReport,
    now: &StatusReport,
    name: &str,
    units: u64,
) -> Option<(String, String)> {
    let done = |worker: &WorkerStatus| {
        let past = before.workers.iter().find(|past| past.name == worker.name);
        let past = past.and_then(|past| past.progress).unwrap_or(0);
        worker.progress.unwrap_or(0).saturating_sub(past)
    };
    let expected = format!("{units} units of work of {name}");
    let mut those = now.workers.iter().filter(|worker| is_meant(*worker, name));
    let late = those.find(|worker| done(worker) < units)?;
    Some((expected, format!("{} has done {}", late.name, done(late))))
}

/// Until each has written a line that matches, since the last mark.
fn log(run: &mut Run<'_>, lines: &[(String, Pattern)], within: Duration) -> Result<(), Stop> {
    for (name, pattern) in lines {
        let mark = run.last_mark.as_ref().and_then(|mark| run.marks.get(mark));
        let waited = run.bed.wait("the line", within, |bed| {
            let lines = match mark {
                Some(mark) => mark.output(&bed.client, name),
                None => mark::read(&bed.client, name, &[]).map(|(lines, _)| lines),
            };
            let Ok(lines) = lines else { return Ok(None) };
            let has = lines.iter().any(|line| pattern.regex().is_match(line.as_bytes()));
            Ok(has.then_some(()))
        });
        let expected = format!("a line of {name} that matches `{}`", pattern.regex());
        let workers = run.bed.client.status().map(|status| status.workers).unwrap_or_default();
        let those = workers.iter().filter(|worker| is_meant(*worker, name));
        let states = those.map(|worker| format!("{} is {}", worker.name, state(worker)));
        let seen = format!("no such line; {}", states.collect::<Vec<_>>().join("; "));
        concluded(run, waited, &expected, within, &seen)?;
    }
    Ok(())
}

/// What is to be said of a wait that was in vain: before the first fault it is the scenario's.
fn concluded(
    run: &Run<'_>,
    waited: Result<(), TrialError>,
    expected: &str,
    within: Duration,
    seen: &str,
) -> Result<(), Stop> {
    waited.map_err(|error| match error {
        TrialError::Timeout { .. } => {
            let expected = format!("{expected} within {}", humantime::format_duration(within));
            match run.disturbed {
                None => Stop::Unsteady(Unmet::new(expected, seen)),
                Some(_) => Stop::Unmet(vec![Unmet::new(expected, seen)]),
            }
        }
        other => run.failed(&other),
    })
}
