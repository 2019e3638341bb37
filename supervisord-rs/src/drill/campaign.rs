//! Many runs of scenarios, each in a process of its own, some at once, each bounded in time.

mod running;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::left_behind::SharedMemory;
use super::run::{Stop, fail};
use super::storm::sometimes;
use super::verdict::{Moment, Report, Vacuous, Verdict};
use crate::config::scenario::{people, script::Scenario};
use crate::isolation::exits::orphans;
use crate::process_table::children;
use crate::waiting::until;

use running::{Running, take_over};

/// The hidden verb of a run's process.
pub(crate) const RUNNER: &str = "__drill";
/// For a run that was told to end to clear away what it has; then it is killed.
const CLEARING: Duration = Duration::from_secs(40);
/// Between two looks at the runs.
const PAUSE: Duration = Duration::from_millis(50);

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

/// A message of a run, by its number; `None`: it has no more.
type Message = (usize, Option<Said>);

enum Said {
    Moment(Moment),
    Complaint(String),
}

/// The signal that came, or 0.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static WATCHED: Once = Once::new();

impl Campaign<'_> {
    /// Runs everything.
    ///
    /// # Errors
    /// A process cannot be started.
    pub(crate) fn run(&self, watcher: &mut dyn Watcher) -> io::Result<Outcome> {
        // What a run that had to be killed leaves comes to this process, which finds it.
        nix::sys::prctl::set_child_subreaper(true)?;
        watch_signals();
        let before = self.is_parallel().then(SharedMemory::now);
        let mut reports = self.make(self.plan(), watcher)?;
        self.shrink(&mut reports, watcher)?;
        let vacuous = if interrupted().is_none() { self.vacuous(&reports) } else { Vec::new() };
        let processes = clear_away().into_iter().map(|pid| format!("process {pid}"));
        let left = processes.chain(before.iter().flat_map(SharedMemory::left)).collect();
        Ok(Outcome { reports, interrupted: interrupted(), left, vacuous })
    }

    /// Makes these runs; the reports are in their order.
    pub(super) fn make(
        &self,
        mut planned: VecDeque<Planned>,
        watcher: &mut dyn Watcher,
    ) -> io::Result<Vec<Report>> {
        let all = planned.len();
        let (sender, messages) = channel();
        let mut running: Vec<Running> = Vec::new();
        let mut reports: Vec<(usize, Report)> = Vec::new();
        loop {
            if interrupted().is_some() {
                planned.clear();
                running.iter_mut().for_each(Running::tell_to_end);
            }
            while running.len() < self.jobs.max(1)
                && let Some(next) = planned.pop_front()
            {
                watcher.begins(next.number, all, &self.scenarios[next.scenario]);
                running.push(self.start(next, &sender)?);
            }
            if running.is_empty() {
                break;
            }
            self.hear(&messages, &mut running, &reports, planned.len(), watcher);
            running.iter_mut().for_each(Running::keep_in_time);
            for over in take_over(&mut running) {
                let (number, report) = (over.planned.number, self.report(over));
                reports.push((number, report));
                let left = self.left(&running, &reports, planned.len());
                let report = reports.last().map(|(_, report)| report);
                report.into_iter().for_each(|one| watcher.over(number, all, one, left));
            }
        }
        reports.sort_by_key(|(number, _)| *number);
        Ok(reports.into_iter().map(|(_, report)| report).collect())
    }

    /// The scenarios all of whose runs have held, and of whose `sometimes:` none has reached all.
    fn vacuous(&self, reports: &[Report]) -> Vec<Vacuous> {
        let mut vacuous = Vec::new();
        for scenario in self.scenarios {
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
        planned
    }

    /// Takes what the runs have said meanwhile.
    fn hear(
        &self,
        messages: &Receiver<Message>,
        running: &mut [Running],
        done: &[(usize, Report)],
        planned: usize,
        watcher: &mut dyn Watcher,
    ) {
        let mut next = messages.recv_timeout(PAUSE).ok();
        while let Some((number, said)) = next {
            let left = self.left(running, done, planned);
            if let Some(run) = running.iter_mut().find(|run| run.planned.number == number) {
                match said {
                    Some(Said::Moment(Moment::Directory(path))) => run.directory = Some(path),
                    Some(Said::Moment(Moment::Step(step))) => {
                        run.step = step;
                        watcher.step(number, &self.scenarios[run.planned.scenario], step, left);
                    }
                    Some(Said::Moment(Moment::Seed(seed))) => {
                        watcher.storm(&self.scenarios[run.planned.scenario], seed);
                    }
                    Some(Said::Moment(Moment::Over(report))) => run.report = Some(*report),
                    Some(Said::Complaint(text)) => run.complaint = Some(text),
                    None => run.is_silent = true,
                }
            }
            next = messages.try_recv().ok();
        }
    }

    /// What is left, by what the runs took so far.
    fn left(
        &self,
        running: &[Running],
        done: &[(usize, Report)],
        planned: usize,
    ) -> Option<Duration> {
        if running.is_empty() && planned == 0 {
            return None;
        }
        let count = u32::try_from(done.len()).ok().filter(|count| *count > 0)?;
        let took = done.iter().map(|(_, report)| Duration::from_millis(report.took_ms));
        let mean = took.sum::<Duration>() / count;
        let begun = running.iter().map(|run| mean.saturating_sub(run.begun.elapsed()));
        let rest = mean.saturating_mul(u32::try_from(planned).unwrap_or(u32::MAX));
        let all = begun.fold(rest, Duration::saturating_add);
        Some(all / u32::try_from(self.jobs.max(1)).unwrap_or(1))
    }

    /// What came of a run whose process has ended.
    fn report(&self, over: Running) -> Report {
        let Running { planned, begun, limit, told, directory, step, report, complaint, .. } = over;
        let scenario = &self.scenarios[planned.scenario];
        let mut report = report.unwrap_or_else(|| {
            let why = match told {
                Some(_) if interrupted().is_some() => "it was interrupted".to_owned(),
                Some(_) => {
                    format!("it did not end within {}", humantime::format_duration(limit))
                }
                None => format!("its process ended: {}", complaint.unwrap_or_default().trim()),
            };
            let mut report = Report::of(scenario, planned.run, planned.of);
            report.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            fail(scenario, step, Stop::Unfinished(why), &mut report);
            report
        });
        (report.run, report.of) = (planned.run, planned.of);
        // A run that was killed leaves its directory to its guardian, and that may be dead.
        if let Some(directory) = directory.filter(|_| told.is_some() && !self.keep) {
            let _ = std::fs::remove_dir_all(directory);
        }
        report
    }
}

/// Ends what runs that had to be killed have left to this process. Who cannot be ended.
fn clear_away() -> Vec<i32> {
    let is_empty = || {
        orphans::reap(|_| false, |_| {}, None);
        children().is_empty().then_some(())
    };
    // Their guardians stop everything in order.
    if until(CLEARING, PAUSE, is_empty).is_some() { Vec::new() } else { orphans::kill_all().left }
}

/// The signal that has interrupted this process.
pub(super) fn interrupted() -> Option<i32> {
    Some(SIGNAL.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// From now on an interrupt ends the runs, and then this process.
fn watch_signals() {
    WATCHED.call_once(|| {
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT]) else { return };
        std::thread::spawn(move || {
            for signal in signals.forever() {
                SIGNAL.store(signal, Ordering::Relaxed);
            }
        });
    });
}
