//! Many runs of scenarios, each in a process of its own, some at once, each bounded in time.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::bound::bound;
use super::left_behind::SharedMemory;
use super::processes::{Over, PAUSE, Processes, clear_away, interrupted};
use super::run::{Stop, fail};
use super::shard::Shard;
use super::storm::sometimes;
use super::verdict::{Moment, Report, Vacuous, Verdict};
use crate::config::scenario::{people, script::Scenario};

/// The hidden verb of a run's process.
pub(crate) const RUNNER: &str = "__drill";

/// What is run.
#[derive(Debug)]
pub(crate) struct Campaign<'a> {
    pub(crate) scenarios: &'a [Scenario],
    /// Instead of each scenario's own `repeat:`.
    pub(crate) repeat: Option<u32>,
    /// So many at once.
    pub(crate) jobs: usize,
    /// Whether the directories stay.
    pub(crate) keep: bool,
    /// The seed of storms, instead of those of their files.
    pub(crate) seed: Option<u64>,
    /// That of storms whose files have none.
    pub(crate) random: u64,
    /// The part of it that is made here.
    pub(crate) shard: Shard,
    /// How long at most it is tried to make a storm shorter that has failed. Zero: not at all.
    pub(crate) shrink_for: Duration,
}

/// Who hears how far it is.
pub(crate) trait Watcher {
    /// A run begins: its number among all, from 1, and how many there are.
    fn begins(&mut self, number: usize, all: usize, scenario: &Scenario);
    /// It begins a step. `left`: what is left of all, most likely.
    fn step(&mut self, number: usize, scenario: &Scenario, step: usize, left: Option<Duration>);
    /// It begins a storm that is drawn from this seed.
    fn storm(&mut self, scenario: &Scenario, seed: u64);
    /// A storm is made shorter: so many blows of so many are left after so many runs, and so long
    /// may it take yet.
    fn shrinks(&mut self, scenario: &Scenario, blows: (usize, usize), runs: u32, left: Duration);
    /// It is over. `left`: as above.
    fn over(&mut self, number: usize, all: usize, report: &Report, left: Option<Duration>);
}

/// How a campaign ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// In the order of the scenarios.
    pub(crate) reports: Vec<Report>,
    /// The signal that interrupted it.
    pub(crate) interrupted: Option<i32>,
    /// What is left of runs that had to be killed, and what runs that went on at once have left.
    pub(crate) left: Vec<String>,
    /// The scenarios that have held and never came where `sometimes:` says.
    pub(crate) vacuous: Vec<Vacuous>,
}

/// One that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) number: usize,
    pub(super) scenario: usize,
    pub(super) run: u32,
    pub(super) of: u32,
    /// A file with schedules for its storms, by their number.
    pub(super) schedules: Option<PathBuf>,
}

/// A run that goes on.
struct Course {
    planned: Planned,
    directory: Option<PathBuf>,
    step: usize,
    report: Option<Report>,
}

/// Those that go on.
type Courses = Processes<Course, Moment>;

impl Campaign<'_> {
    /// Runs everything.
    ///
    /// # Errors
    /// A process cannot be started.
    pub(crate) fn run(&self, watcher: &mut dyn Watcher) -> io::Result<Outcome> {
        let before = self.is_parallel().then(SharedMemory::now);
        let mut reports = self.make(self.plan(), watcher)?;
        self.shrink(&mut reports, watcher)?;
        // What one shard has not reached, another one may have.
        let is_all = interrupted().is_none() && self.shard == Shard::WHOLE;
        let vacuous = if is_all { vacuous(self.scenarios, &reports) } else { Vec::new() };
        let left = clear_away().into_iter();
        let left = left.chain(before.iter().flat_map(SharedMemory::left)).collect();
        Ok(Outcome { reports, interrupted: interrupted(), left, vacuous })
    }

    /// Makes these runs; the reports are in their order.
    pub(super) fn make(
        &self,
        mut planned: VecDeque<Planned>,
        watcher: &mut dyn Watcher,
    ) -> io::Result<Vec<Report>> {
        let all = planned.iter().map(|one| one.number).max().unwrap_or(0);
        let mut courses = Courses::new()?;
        let mut reports: Vec<(usize, Report)> = Vec::new();
        loop {
            if interrupted().is_some() {
                planned.clear();
                courses.tell_to_end();
            }
            while courses.count() < self.jobs.max(1)
                && let Some(next) = planned.pop_front()
            {
                watcher.begins(next.number, all, &self.scenarios[next.scenario]);
                self.start(next, &mut courses)?;
            }
            if courses.count() == 0 {
                break;
            }
            self.hear(&mut courses, &reports, planned.len(), watcher);
            courses.keep_in_time();
            for over in courses.take_over() {
                let (number, report) = (over.state.planned.number, self.report(over));
                reports.push((number, report));
                let left = self.left(&courses, &reports, planned.len());
                let report = reports.last().map(|(_, report)| report);
                report.into_iter().for_each(|one| watcher.over(number, all, one, left));
            }
        }
        reports.sort_by_key(|(number, _)| *number);
        Ok(reports.into_iter().map(|(_, report)| report).collect())
    }

    fn start(&self, planned: Planned, courses: &mut Courses) -> io::Result<()> {
        let scenario = &self.scenarios[planned.scenario];
        let mut arguments: Vec<OsString> = vec![RUNNER.into(), scenario.file.clone().into()];
        let mut add = |text: String| arguments.push(text.into());
        add(format!("--campaign={}", std::process::id()));
        add(format!("--run={}", planned.run));
        add(format!("--random={}", self.random));
        self.keep.then(|| add("--keep".to_owned()));
        self.is_parallel().then(|| add("--beside-others".to_owned()));
        self.seed.into_iter().for_each(|seed| add(format!("--seed={seed}")));
        if let Some(file) = &planned.schedules {
            arguments.extend(["--schedules".into(), file.clone().into()]);
        }
        let course = Course { planned, directory: None, step: 0, report: None };
        courses.start(course, bound(scenario), arguments)
    }

    /// Whether several runs may go on at once: then it is looked at the end what shared memory they
    /// have left, since nothing says whose it is.
    pub(super) fn is_parallel(&self) -> bool {
        self.jobs > 1
    }

    fn plan(&self) -> VecDeque<Planned> {
        let mut planned = VecDeque::new();
        for (scenario, one) in self.scenarios.iter().enumerate() {
            let of = self.repeat.unwrap_or(one.repeat);
            let one = |run| Planned { number: 0, scenario, run, of, schedules: None };
            planned.extend((1..=of).map(one));
        }
        for (index, planned) in planned.iter_mut().enumerate() {
            planned.number = index + 1;
        }
        planned.retain(|planned| self.shard.has(planned.number));
        planned
    }

    /// Takes what the runs have said meanwhile.
    fn hear(
        &self,
        courses: &mut Courses,
        done: &[(usize, Report)],
        planned: usize,
        watcher: &mut dyn Watcher,
    ) {
        let left = self.left(courses, done, planned);
        let mut wait = PAUSE;
        while let Some((course, moment)) = courses.hear(wait) {
            wait = Duration::ZERO;
            let scenario = &self.scenarios[course.planned.scenario];
            match moment {
                Moment::Directory(path) => course.directory = Some(path),
                Moment::Step(step) => {
                    course.step = step;
                    watcher.step(course.planned.number, scenario, step, left);
                }
                Moment::Seed(seed) => watcher.storm(scenario, seed),
                Moment::Over(report) => course.report = Some(*report),
            }
        }
    }

    /// What is left, by what the runs took so far.
    fn left(
        &self,
        courses: &Courses,
        done: &[(usize, Report)],
        planned: usize,
    ) -> Option<Duration> {
        let took = done.iter().map(|(_, report)| Duration::from_millis(report.took_ms));
        time_left(took, courses.ages(), planned, self.jobs)
    }

    /// What came of a run whose process has ended.
    fn report(&self, over: Over<Course>) -> Report {
        let Course { planned, directory, step, report } = over.state;
        let scenario = &self.scenarios[planned.scenario];
        let mut report = report.unwrap_or_else(|| {
            let mut report = Report::of(scenario, planned.run, planned.of);
            report.took_ms = u64::try_from(over.took.as_millis()).unwrap_or(u64::MAX);
            fail(scenario, step, Stop::Unfinished(over.why), &mut report);
            report
        });
        (report.run, report.of) = (planned.run, planned.of);
        // A run that was killed leaves its directory to its guardian, and that may be dead.
        if let Some(directory) = directory.filter(|_| over.was_told && !self.keep) {
            let _ = std::fs::remove_dir_all(directory);
        }
        report
    }
}

/// The scenarios all of whose runs have held, and of whose `sometimes:` none has reached all.
pub(crate) fn vacuous(scenarios: &[Scenario], reports: &[Report]) -> Vec<Vacuous> {
    let mut vacuous = Vec::new();
    for scenario in scenarios {
        let runs = || reports.iter().filter(|one| one.scenario == scenario.name);
        if runs().any(|run| run.verdict != Verdict::Held) {
            continue;
        }
        let reached: Vec<_> = runs().flat_map(|run| &run.reached).collect();
        let launches = scenario.configurations.iter().flat_map(|one| &one.settings.launches);
        let launches: Vec<_> = launches.collect();
        let missing = sometimes::missing(&scenario.sometimes, &reached, |worker, name| {
            let mut those = launches.iter().filter(|launch| launch.name == *worker);
            name == "all" || worker == name || those.any(|one| people::is_meant(one, name))
        });
        let Some(first) = missing.first() else { continue };
        vacuous.push(Vacuous {
            scenario: scenario.name.clone(),
            file: scenario.file.clone(),
            line: first.line,
            missing: missing.iter().map(|one| sometimes::describe(one)).collect(),
            runs: runs().count(),
        });
    }
    vacuous
}

/// What is left, by what those that are done took: `ages` are those of the ones that go on. `None`:
/// it is not known, or nothing is left.
pub(super) fn time_left(
    took: impl ExactSizeIterator<Item = Duration>,
    ages: impl Iterator<Item = Duration>,
    planned: usize,
    jobs: usize,
) -> Option<Duration> {
    let count = u32::try_from(took.len()).ok().filter(|count| *count > 0)?;
    let mean = took.sum::<Duration>() / count;
    let ages: Vec<Duration> = ages.collect();
    if ages.is_empty() && planned == 0 {
        return None;
    }
    let rest = mean.saturating_mul(u32::try_from(planned).unwrap_or(u32::MAX));
    let begun = ages.into_iter().map(|age| mean.saturating_sub(age));
    let all = begun.fold(rest, Duration::saturating_add);
    Some(all / u32::try_from(jobs.max(1)).unwrap_or(1))
}
