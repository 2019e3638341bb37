//! The trials of a matrix: interleaved, so that what changes meanwhile strikes all cells; each in a
//! process of its own, some at once.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Matrix, Plan};
use crate::drill::campaign::time_left;
use crate::drill::left_behind::SharedMemory;
use crate::drill::limits::Patience;
use crate::drill::outcome::Trial;
use crate::drill::processes::{PAUSE, Processes, clear_away, end_with, interrupted};
use crate::drill::progress::Progress;
use crate::drill::setting::Setting;
use crate::drill::subject::Subject;
use crate::drill::trial;

/// The hidden verb of a trial's process.
pub(crate) const TRIAL: &str = "__trial";

/// Where a matrix says how far it is.
pub(crate) trait Watcher {
    /// A trial is over: how many are, of how many; what it was; why it could not be finished, or
    /// what differs; what is left of all, most likely.
    fn over(&mut self, done: (usize, usize), what: &str, wrong: &[String], left: Option<Duration>);
}

/// What a trial says: what came of it, or why it could not be finished.
#[derive(Debug, Serialize, Deserialize)]
struct Told(Result<Box<Trial>, String>);

/// A trial that goes on.
struct Course {
    cell: usize,
    told: Option<Told>,
}

/// Makes all trials.
///
/// # Errors
/// A process cannot be started, or the machine cannot be described.
pub(crate) fn run(plan: &Plan, watcher: &mut dyn Watcher) -> Result<Matrix, String> {
    let mut matrix = plan.matrix()?;
    let started = |error: io::Error| format!("cannot start a trial: {error}");
    // Nothing says whose shared memory it is that a trial leaves: it is looked at the end.
    let (begun, before) = (Instant::now(), SharedMemory::now());
    let possible = |cell: &usize| matrix.cells[*cell].impossible.is_none();
    let cells: Vec<usize> = (0..matrix.cells.len()).filter(possible).collect();
    let mut planned: VecDeque<usize> = (0..plan.repeat).flat_map(|_| cells.clone()).collect();
    let all = planned.len();
    let limit = Patience(plan.subject.settings()).whole(plan.subject.victim());
    let mut courses = Processes::new().map_err(started)?;
    let mut took: Vec<Duration> = Vec::new();
    loop {
        if interrupted().is_some() {
            planned.clear();
            courses.tell_to_end();
        }
        while courses.count() < plan.jobs.max(1)
            && let Some(cell) = planned.pop_front()
        {
            let course = Course { cell, told: None };
            courses
                .start(course, limit, arguments(&matrix.cells[cell].setting))
                .map_err(started)?;
        }
        if courses.count() == 0 {
            break;
        }
        let mut wait = PAUSE;
        while let Some((course, told)) = courses.hear(wait) {
            (wait, course.told) = (Duration::ZERO, Some(told));
        }
        courses.keep_in_time();
        for over in courses.take_over() {
            took.push(over.took);
            let cell = &mut matrix.cells[over.state.cell];
            let known = cell.differs.len();
            let mut unfinished = Vec::new();
            match over.state.told.map_or(Err(over.why), |told| told.0) {
                Ok(trial) => cell.take(*trial, &matrix.worker),
                Err(why) => unfinished.push(why),
            }
            let wrong = [&cell.differs[known..], &unfinished[..]].concat();
            cell.unfinished.extend(unfinished);
            let left = time_left(took.iter().copied(), courses.ages(), planned.len(), plan.jobs);
            let what = plan.subject.describe(&cell.setting);
            watcher.over((took.len(), all), &what, &wrong, left);
        }
    }
    matrix.left = clear_away();
    matrix.left.extend(before.left());
    matrix.interrupted = interrupted();
    matrix.seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    Ok(matrix)
}

fn arguments(setting: &Setting) -> Vec<String> {
    let mut arguments = vec![TRIAL.to_owned(), setting.fault.to_string()];
    arguments.push(setting.isolation.name().to_owned());
    arguments.push(format!("--matrix={}", std::process::id()));
    arguments.extend(setting.contain.then(|| "--contain".to_owned()));
    arguments
}

/// One trial of the built-in configuration, for the process `matrix`: it says on standard output
/// what came of it, and ends when that does.
///
/// # Errors
/// It could not begin; why.
pub(crate) fn one(setting: &Setting, matrix: i32) -> Result<(), String> {
    end_with(matrix)?;
    let came = trial::run(&Subject::built_in(), setting, &Quiet);
    let told = Told(came.map(Box::new).map_err(|error| error.to_string()));
    let line = serde_json::to_string(&told).expect("texts and numbers");
    // A matrix that has gone needs no word.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    Ok(())
}

/// The matrix itself says how far it is.
struct Quiet;

impl Progress for Quiet {
    fn begins(&self, _index: usize, _count: usize, _subject: &str) {}
    fn takes_long(&self, _why: &str) {}
    fn failed(&self, _why: &str) {}
}
