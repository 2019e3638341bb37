//! Storms that failed are made shorter: candidates are run, and the shortest that still fails is
//! written as a scenario.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::campaign::{Campaign, Planned, Watcher};
use super::processes::interrupted;
use super::storm::schedule::draw;
use super::storm::shrink::Shrink;
use super::storm::written::written;
use super::verdict::{Failure, Report, Shrunk, Verdict};
use crate::config::scenario::script::Scenario;
use crate::config::scenario::storm::{Blows, Injection, Storm};

/// Runs for one storm, at most.
const RUNS_MAX: u32 = 200;
/// How often the shortest schedule is run for its rate of reproduction.
const RATE: u32 = 5;
/// Between two blows of a candidate, at most: what lay between them is left out.
const GAP_MAX: Duration = Duration::from_secs(2);
/// The end of the name of a file with a shrunk storm.
const SUFFIX: &str = ".shrunk.yaml";

/// A storm that failed, and how.
struct Found<'a> {
    number: usize,
    scenario: &'a Scenario,
    storm: &'a Storm,
    report: Report,
    failure: Failure,
    /// As far as it came.
    schedule: Vec<Injection>,
    seed: u64,
    of: usize,
}

impl Campaign<'_> {
    /// Makes the first failing storm of each scenario shorter, and notes it in its report.
    ///
    /// # Errors
    /// A process cannot be started.
    pub(super) fn shrink(
        &self,
        reports: &mut [Report],
        watcher: &mut dyn Watcher,
    ) -> io::Result<()> {
        if self.shrink_for.is_zero() {
            return Ok(());
        }
        for (number, scenario) in self.scenarios.iter().enumerate() {
            let mut own = reports.iter_mut().filter(|report| report.scenario == scenario.name);
            let found = own.find_map(|report| Some((found(number, scenario, report)?, report)));
            let Some((found, report)) = found.filter(|_| interrupted().is_none()) else { continue };
            let shrunk = Search::new(self, &found)?.run(watcher)?;
            if let Some(failure) = &mut report.failure {
                failure.shrunk = Some(shrunk);
            }
        }
        Ok(())
    }
}

/// The storm of a run that failed, if a seed has drawn it.
fn found<'a>(number: usize, scenario: &'a Scenario, report: &Report) -> Option<Found<'a>> {
    let failure = report.failure.clone().filter(|_| report.verdict == Verdict::Failed)?;
    let last = report.storms.len().checked_sub(1)?;
    let (storm, tally) = (*scenario.storms().get(last)?, &report.storms[last]);
    let (Blows::Drawn(lots), Some(seed)) = (&storm.blows, tally.seed) else { return None };
    let mut schedule = draw(seed, lots);
    let of = schedule.len();
    schedule.truncate(tally.up_to.max(1));
    let report = report.clone();
    Some(Found { number, scenario, storm, report, failure, schedule, seed, of })
}

/// The search for the shortest.
struct Search<'a> {
    campaign: &'a Campaign<'a>,
    found: &'a Found<'a>,
    directory: tempfile::TempDir,
    begun: Instant,
    runs: u32,
}

impl<'a> Search<'a> {
    fn new(campaign: &'a Campaign<'a>, found: &'a Found<'a>) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("supervisord-rs-shrinking-").tempdir()?;
        Ok(Self { campaign, found, directory, begun: Instant::now(), runs: 0 })
    }

    fn run(mut self, watcher: &mut dyn Watcher) -> io::Result<Shrunk> {
        let (count, of) = (self.found.schedule.len(), self.found.of);
        let all: Vec<usize> = (0..count).collect();
        let mut shrink = Shrink::new(count);
        // Whether it fails again at all, in two of three runs.
        let (failed, tried) = self.rate(&all, 3, watcher)?;
        if failed < 2 {
            let trouble = Some("it does not fail in two of three runs".to_owned());
            let runs = self.runs;
            return Ok(Shrunk {
                blows: count,
                of,
                runs,
                failed,
                tried,
                trouble,
                ..Shrunk::default()
            });
        }
        while self.is_in_time()
            && let Some(candidate) = shrink.candidate().map(<[usize]>::to_vec)
        {
            for failed in self.tries(&candidate, self.at_once(), shrink.kept().len(), watcher)? {
                // A second answer may have come after the decision.
                if shrink.candidate() == Some(&candidate[..]) {
                    shrink.hear(failed);
                }
            }
        }
        let is_shortest = self.is_in_time();
        let kept = shrink.kept().to_vec();
        let (failed, tried) = self.rate(&kept, RATE, watcher)?;
        let mut shrunk =
            Shrunk { blows: kept.len(), of, runs: self.runs, failed, tried, ..Shrunk::default() };
        if !is_shortest {
            shrunk.trouble = Some("the time was over before all had been tried".to_owned());
        }
        let file = beside(&self.found.scenario.file);
        match std::fs::write(&file, self.text(&kept, &shrunk)) {
            Ok(()) => shrunk.file = Some(file),
            Err(error) => {
                shrunk.trouble = Some(format!("cannot write {}: {error}", file.display()))
            }
        }
        Ok(shrunk)
    }

    fn is_in_time(&self) -> bool {
        self.runs < RUNS_MAX
            && self.begun.elapsed() < self.campaign.shrink_for
            && interrupted().is_none()
    }

    /// Two runs are needed in any case: both at once, where several may go on.
    fn at_once(&self) -> u32 {
        if self.campaign.is_parallel() { 2 } else { 1 }
    }

    /// Of how many runs of this schedule how many fail; at least one, at most so many.
    fn rate(
        &mut self,
        candidate: &[usize],
        most: u32,
        watcher: &mut dyn Watcher,
    ) -> io::Result<(u32, u32)> {
        let (mut failed, mut tried) = (0, 0);
        while tried < most
            && interrupted().is_none()
            && (tried == 0 || self.is_in_time() || most == RATE)
        {
            for one in self.tries(candidate, 1, candidate.len(), watcher)? {
                failed += u32::from(one);
                tried += 1;
            }
            if most == 3 && (failed == 2 || tried - failed == 2) {
                break;
            }
        }
        Ok((failed, tried))
    }

    /// Runs a candidate so often. Whether each failed as the storm did.
    fn tries(
        &mut self,
        candidate: &[usize],
        count: u32,
        kept: usize,
        watcher: &mut dyn Watcher,
    ) -> io::Result<Vec<bool>> {
        let left = self.campaign.shrink_for.saturating_sub(self.begun.elapsed());
        watcher.shrinks(self.found.scenario, (kept, self.found.of), self.runs, left);
        let file = self.directory.path().join("schedules.json");
        let schedules = BTreeMap::from([(self.found.storm.number, self.schedule(candidate))]);
        std::fs::write(&file, serde_json::to_vec(&schedules)?)?;
        let planned: VecDeque<Planned> = (1..=count)
            .map(|run| Planned {
                number: usize::try_from(run).unwrap_or(1),
                scenario: self.found.number,
                run: self.found.report.run,
                of: 1,
                schedules: Some(file.clone()),
            })
            .collect();
        self.runs += count;
        let reports = self.campaign.make(planned, &mut Silent)?;
        Ok(reports.iter().map(|report| self.is_same(report)).collect())
    }

    /// Whether a run failed at the same place, with something of what failed there.
    fn is_same(&self, report: &Report) -> bool {
        let Some(failure) = &report.failure else { return false };
        let expected = |one: &Failure| -> Vec<String> {
            one.unmet.iter().map(|unmet| unmet.expected.clone()).collect()
        };
        let known = expected(&self.found.failure);
        report.verdict == Verdict::Failed
            && failure.step == self.found.failure.step
            && expected(failure).iter().any(|one| known.contains(one))
    }

    /// The blows of a candidate at their own moments, but for long pauses.
    fn schedule(&self, candidate: &[usize]) -> Vec<Injection> {
        let is_whole = candidate.len() == self.found.schedule.len();
        let mut due = Duration::ZERO;
        let moments: Vec<Duration> = self
            .found
            .schedule
            .iter()
            .map(|one| {
                due += one.after;
                due
            })
            .collect();
        let mut before = Duration::ZERO;
        let one = |&number: &usize| {
            let gap = moments[number].saturating_sub(before);
            before = moments[number];
            let after = if is_whole { gap } else { gap.min(GAP_MAX) };
            Injection { after, ..self.found.schedule[number].clone() }
        };
        candidate.iter().map(one).collect()
    }

    fn text(&self, kept: &[usize], shrunk: &Shrunk) -> String {
        let Found { scenario, storm, failure, seed, of, .. } = self.found;
        let mut comment = vec![
            format!(
                "The shortest schedule found that fails: {} of the {of} blows of {}, seed {seed}.",
                kept.len(),
                scenario.file.file_name().unwrap_or_default().display()
            ),
            format!(
                "It failed in {} of {} runs, after a search of {} runs.",
                shrunk.failed, shrunk.tried, shrunk.runs
            ),
        ];
        comment.extend(shrunk.trouble.clone());
        for unmet in &failure.unmet {
            comment.push(format!("expected: {}", unmet.expected));
            comment.push(format!("seen:     {}", unmet.seen));
        }
        written(scenario, storm, &self.schedule(kept), &comment)
    }
}

/// `storm.shrunk.yaml` beside `storm.yaml`, where its relative paths lead to the same files.
fn beside(file: &Path) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!("{stem}{SUFFIX}"))
}

/// Of the runs of candidates only how far the search is matters.
struct Silent;

impl Watcher for Silent {
    fn begins(&mut self, _: usize, _: usize, _: &Scenario) {}
    fn step(&mut self, _: usize, _: &Scenario, _: usize, _: Option<Duration>) {}
    fn storm(&mut self, _: &Scenario, _: u64) {}
    fn shrinks(&mut self, _: &Scenario, _: (usize, usize), _: u32, _: Duration) {}
    fn over(&mut self, _: usize, _: usize, _: &Report, _: Option<Duration>) {}
}
