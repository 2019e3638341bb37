//! One run of a scenario: step after step, in a bed of its own, to a verdict.

mod ending;
mod expecting;
mod load;
mod steady;
mod storming;
mod waiting;

pub(super) use ending::fail;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use workers::Registry;

use super::addresses;
use super::bed::Bed;
use super::disk::Disk;
use super::failure::TrialError;
use super::left_behind::SharedMemory;
use super::limits::Patience;
use super::mark::Mark;
use super::setting::WrittenFault;
use super::storm::schedule;
use super::storm::sometimes::Reached;
use super::strike::Strike;
use super::verdict::{Moment, Report, StormReport, Unmet};
use crate::config::scenario::script::{Action, Configuration, Filling, Order, Scenario, Step};
use crate::config::scenario::storm::{Blows, Injection, Storm, Whom};
use crate::config::{Adaptation, PrivateAddress, Scale, Source};
use crate::control::client::{ClientError, MANY_INCIDENTS};
use crate::control::protocol::{Done, SignalName, WorkerStatus};
use crate::process_table::is_alive;
use crate::service_manager::OWN;

use storming::reached;

/// For an order beyond its own limit, and for a reload.
const ANSWER: Duration = Duration::from_secs(30);
/// For a process to die of SIGKILL.
const DEATH: Duration = Duration::from_secs(10);

/// Why a run ends before its last step.
#[derive(Debug)]
pub(super) enum Stop {
    /// An expectation was not met.
    Unmet(Vec<Unmet>),
    /// Something was broken before the first fault.
    Unsteady(Unmet),
    /// It could not be made.
    Unfinished(String),
}

/// How a run is made.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Whether its directory stays.
    pub(crate) keep: bool,
    /// Whether no other run goes on, so that shared memory that is left is its own.
    pub(crate) is_alone: bool,
    /// Which run of its scenario it is, from 1.
    pub(crate) run: u32,
    /// The seed of its storms, whatever the file says.
    pub(crate) seed: Option<u64>,
    /// That of storms that have none.
    pub(crate) random: u64,
    /// What storms do instead of what they say, by their number.
    pub(crate) schedules: BTreeMap<usize, Vec<Injection>>,
}

/// A run.
pub(super) struct Run<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) bed: Bed,
    /// Its own disk, where a step fills that.
    disk: Option<Disk>,
    /// The configurations as they run here.
    adapted: Vec<Source>,
    /// The addresses that it has instead of those of `sockets:`.
    private: Vec<PrivateAddress>,
    /// The number of that in force.
    in_force: usize,
    pub(super) marks: BTreeMap<String, Mark>,
    pub(super) last_mark: Option<String>,
    /// When the last step began that breaks something.
    pub(super) disturbed: Option<Instant>,
    choice: Choice,
    /// Who hears how far it is.
    say: &'a dyn Fn(&Moment),
    /// The storms so far, and what was reached.
    storms: Vec<StormReport>,
    reached: BTreeSet<Reached>,
}

/// Runs a scenario once. `say`: hears of its directory, and of each step and storm.
pub(super) fn perform(
    scenario: &Scenario,
    registry: &Registry,
    choice: Choice,
    say: &dyn Fn(&Moment),
) -> Report {
    let begun = Instant::now();
    let (keep, before) = (choice.keep, choice.is_alone.then(SharedMemory::now));
    let mut report = Report::of(scenario, 1, 1);
    match check_addresses(scenario, registry).and_then(|()| Run::start(scenario, choice, say)) {
        Ok(mut run) => {
            say(&Moment::Directory(run.bed.path().to_path_buf()));
            if keep {
                run.bed.keep();
                report.directory = Some(run.bed.path().to_path_buf());
            }
            let found = run.steps();
            report.incidents = run.incidents();
            report.storms.append(&mut run.storms);
            report.reached = std::mem::take(&mut run.reached);
            if let Err((number, stop)) = found {
                run.stopped(number, stop, &mut report);
            }
            run.end(before.as_ref(), &mut report);
        }
        Err(stop) => fail(scenario, 0, stop, &mut report),
    }
    report.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    report
}

/// Whether a supervisor of these configurations finds its addresses free.
fn check_addresses(scenario: &Scenario, registry: &Registry) -> Result<(), Stop> {
    let unfinished = |why: String| Stop::Unfinished(format!("cannot choose addresses: {why}"));
    let directory = Path::new("/");
    let all = scenario.configurations.iter().map(|one| &one.settings);
    let private = addresses::private(all, directory);
    let private = private.map_err(|error| unfinished(error.to_string()))?;
    for one in &scenario.configurations {
        let adapted = one.source.clone().adapted(adaptation(directory, &private));
        let adapted = adapted.settings(registry, &Scale::new());
        let adapted = adapted.map_err(|wrong| unfinished(wrong.to_string()))?;
        addresses::check(&one.settings, &adapted)
            .map_err(|why| Stop::Unsteady(Unmet::new("addresses of its own", why)))?;
    }
    Ok(())
}

impl<'a> Run<'a> {
    /// Starts the supervisor.
    fn start(
        scenario: &'a Scenario,
        choice: Choice,
        say: &'a dyn Fn(&Moment),
    ) -> Result<Self, Stop> {
        let unfinished = |error: std::io::Error| Stop::Unfinished(format!("cannot begin: {error}"));
        let (mut adapted, mut private, mut disk) = (Vec::new(), Vec::new(), Ok(None));
        let shutdown = scenario.configurations.iter().map(|one| Patience(&one.settings).shutdown());
        let is_storm = !scenario.storms().is_empty();
        let bed = Bed::start(shutdown.max().unwrap_or_default(), is_storm, |path| {
            // Before anything is written there. The scenario's error is kept from the others.
            disk = scenario.fills().then(|| Disk::put_at(path)).transpose();
            let all = scenario.configurations.iter().map(|one| &one.settings);
            private = addresses::private(all, path)?;
            let adapt =
                |one: &Configuration| one.source.clone().adapted(adaptation(path, &private));
            adapted = scenario.configurations.iter().map(adapt).collect();
            Ok(adapted[0].clone())
        })
        .map_err(unfinished)?;
        Ok(Self {
            scenario,
            disk: disk.map_err(|error| {
                let seen = format!("{error}: run the drill as root, or leave out `fill:`");
                Stop::Unsteady(Unmet::new("a disk of its own, which `fill:` needs", seen))
            })?,
            bed,
            adapted,
            private,
            in_force: 0,
            marks: BTreeMap::new(),
            last_mark: None,
            disturbed: None,
            choice,
            say,
            storms: Vec::new(),
            reached: BTreeSet::new(),
        })
    }

    fn steps(&mut self) -> Result<(), (usize, Stop)> {
        for (index, step) in self.scenario.steps.iter().enumerate() {
            (self.say)(&Moment::Step(index + 1));
            self.step(step).map_err(|stop| (index + 1, stop))?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), Stop> {
        let breaks = match &step.action {
            Action::Inject { .. }
            | Action::Storm(_)
            | Action::Kill(_)
            | Action::Signal { .. }
            | Action::Fill(Filling::Full) => true,
            Action::Order(..)
            | Action::Reload(..)
            | Action::Fill(Filling::Room)
            | Action::Scale { .. }
            | Action::Wait(..)
            | Action::Mark(_)
            | Action::Load(_)
            | Action::Expect(_) => false,
        };
        if breaks {
            if self.disturbed.is_none() {
                self.check_steady()?;
            }
            self.disturbed = Some(Instant::now());
        }
        match &step.action {
            Action::Wait(until, within) => waiting::wait(self, until, *within),
            Action::Mark(name) => self.mark(name),
            Action::Inject { worker, fault, configuration } => {
                self.inject(worker, fault, *configuration)
            }
            Action::Storm(storm) => storming::storm(self, storm),
            Action::Expect(expectation) => expecting::expect(self, expectation),
            Action::Load(load) => load::load(self, load),
            Action::Kill(whom) => self.kill(*whom),
            Action::Signal { workers, signal } => {
                let done = self.bed.client.signal_all(workers, SignalName::Number(*signal));
                ordered(&format!("the signal {signal} to {}", workers.join(" ")), done)
            }
            Action::Order(order, workers, within) => self.order(*order, workers, *within),
            Action::Reload(number, within) => self.reload(*number, *within),
            Action::Fill(filling) => self.fill(*filling),
            Action::Scale { worker, instances, within } => {
                let patient = self.bed.client.clone_with(Some(*within));
                let done = patient.scale(worker, *instances, true);
                ordered(&format!("{instances} instances of {worker}"), done)
            }
        }
    }

    /// What a storm does in this run, and the seed that it is drawn from.
    fn schedule(&self, storm: &Storm) -> (Option<u64>, Vec<Injection>) {
        if let Some(schedule) = self.choice.schedules.get(&storm.number) {
            return (None, schedule.clone());
        }
        match &storm.blows {
            Blows::Written(schedule) => (None, schedule.clone()),
            Blows::Drawn(lots) => {
                let Choice { seed, random, run, .. } = self.choice;
                let seed = schedule::of_run(seed.or(lots.seed).unwrap_or(random), run);
                (self.say)(&Moment::Seed(seed));
                (Some(seed), schedule::draw(seed, lots))
            }
        }
    }

    /// For `sometimes:`, where there is any: how a worker was when something struck.
    fn note(&mut self, fault: &str, worker: &WorkerStatus) {
        if !self.scenario.sometimes.is_empty() {
            self.reached.extend(reached(fault, worker));
        }
    }

    fn mark(&mut self, name: &str) -> Result<(), Stop> {
        let written = self.scenario.steps.iter().flat_map(|step| names_in_logs(&step.action));
        let written: BTreeSet<String> = written.collect();
        let mark = Mark::take(&mut self.bed, &written).map_err(|error| self.failed(&error))?;
        self.marks.insert(name.to_owned(), mark);
        self.last_mark = Some(name.to_owned());
        Ok(())
    }

    /// What a trial's error means for a scenario: before the first fault it is the scenario's.
    pub(super) fn failed(&self, error: &TrialError) -> Stop {
        let (expected, seen) = match error {
            TrialError::Timeout { what, limit, .. } => (
                what.clone(),
                format!("nothing of it within {}", humantime::format_duration(*limit)),
            ),
            TrialError::Ended { status, .. } => {
                ("a supervisor that goes on".to_owned(), format!("it ended for good ({status})"))
            }
            TrialError::NotUp { worker, .. } => (format!("{worker} up"), error.to_string()),
            TrialError::Refused(why) => ("the order carried out".to_owned(), why.clone()),
            TrialError::Setup(error) => return Stop::Unfinished(error.to_string()),
        };
        match self.disturbed {
            None => Stop::Unsteady(Unmet::new(expected, seen)),
            Some(_) => Stop::Unmet(vec![Unmet::new(expected, seen)]),
        }
    }

    fn inject(&mut self, worker: &str, fault: &str, configuration: usize) -> Result<(), Stop> {
        let scenario = self.scenario;
        let settings = &scenario.configurations[configuration].settings;
        let number = settings.launches.iter().position(|launch| launch.name == worker);
        let number = number.expect("the reader has looked for it");
        let fault: WrittenFault = fault.parse().expect("the reader has looked for it");
        let status = self.bed.wait("an answer", ANSWER, |bed| Ok(bed.client.status().ok()));
        let status = status.map_err(|error| self.failed(&error))?;
        let Some(victim) = status.workers.iter().find(|one| one.name == worker) else {
            return Err(Stop::Unmet(vec![Unmet::new(format!("{worker} running"), "it is gone")]));
        };
        let known = self.bed.client.incidents_and_open(MANY_INCIDENTS).unwrap_or_default();
        let known = known.iter().map(|one| one.id).max().unwrap_or(0);
        self.note(fault.kind().name(), victim);
        let patience = Patience(settings);
        let strike = Strike { patience, number, victim, fault: &fault, brings_on: false, known };
        match strike.commit(&mut self.bed, |_| {}) {
            // A worker that is critical ends everything.
            Ok(()) | Err(TrialError::Ended { .. }) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn kill(&mut self, whom: Whom) -> Result<(), Stop> {
        if let Ok(status) = self.bed.client.status() {
            status.workers.iter().for_each(|worker| self.note(whom.word(), worker));
        }
        match whom {
            Whom::Guardian => {
                self.bed.kill_guardian().map_err(|error| Stop::Unfinished(error.to_string()))
            }
            Whom::Supervisor => {
                let status = self.bed.wait("an answer", ANSWER, |bed| Ok(bed.client.status().ok()));
                let pid = status.map_err(|error| self.failed(&error))?.supervisor.pid;
                // 0 and -1 are not one process (kill(2)), and 1 is no supervisor.
                assert!(pid > 1, "a supervisor is a process");
                let killed = kill(Pid::from_raw(pid), Signal::SIGKILL);
                killed.map_err(|errno| Stop::Unfinished(format!("cannot kill {pid}: {errno}")))?;
                let dead = self.bed.wait("the death of the supervisor", DEATH, |_| {
                    Ok((!is_alive(pid)).then_some(()))
                });
                dead.map_err(|error| self.failed(&error))
            }
        }
    }

    fn order(&mut self, order: Order, workers: &[String], within: Duration) -> Result<(), Stop> {
        let patient = self.bed.client.clone_with(Some(within));
        let (word, done) = match order {
            Order::Start => ("start", patient.start(workers, true)),
            Order::Stop => ("stop", patient.stop(workers, true)),
            Order::Restart => ("restart", patient.restart(workers, true)),
            Order::Pause => ("pause", patient.pause(workers)),
            Order::Resume => ("resume", patient.resume(workers)),
        };
        ordered(&format!("{word} {}", workers.join(" ")), done)
    }

    fn fill(&mut self, filling: Filling) -> Result<(), Stop> {
        let disk = self.disk.as_ref().expect("a scenario that fills one has one");
        let done = match filling {
            Filling::Full => disk.fill(),
            Filling::Room => disk.clear(),
        };
        done.map_err(|error| Stop::Unfinished(format!("cannot fill the disk: {error}")))
    }

    fn reload(&mut self, number: usize, within: Duration) -> Result<(), Stop> {
        let configured = self.bed.configure(&self.adapted[number]);
        configured.map_err(|error| Stop::Unfinished(format!("cannot reload: {error}")))?;
        self.in_force = number;
        let patient = self.bed.client.clone_with(Some(within.saturating_add(ANSWER)));
        ordered("the reload", patient.reexec(Some(Path::new(OWN)), None))
    }
}

/// What a scenario changes in its configurations: places and addresses.
pub(super) fn adaptation(directory: &Path, private: &[PrivateAddress]) -> Adaptation {
    Adaptation {
        directory: directory.to_owned(),
        compared: None,
        watchdog: None,
        addresses: private.to_vec(),
    }
}

/// Whose output a step asks for.
fn names_in_logs(action: &Action) -> Vec<String> {
    let (first, second) = match action {
        Action::Wait(crate::config::scenario::script::Until::Log(lines), _) => (lines, None),
        Action::Expect(expectation) => (&expectation.log, Some(&expectation.numbered)),
        Action::Load(load) => {
            return load.steps.iter().flat_map(|step| names_in_logs(&step.action)).collect();
        }
        Action::Wait(..)
        | Action::Mark(_)
        | Action::Inject { .. }
        | Action::Storm(_)
        | Action::Kill(_)
        | Action::Signal { .. }
        | Action::Order(..)
        | Action::Reload(..)
        | Action::Fill(_)
        | Action::Scale { .. } => return Vec::new(),
    };
    first.iter().chain(second.into_iter().flatten()).map(|(name, _)| name.clone()).collect()
}

/// An order that was not carried out is a promise that was not kept.
fn ordered(what: &str, done: Result<Done, ClientError>) -> Result<(), Stop> {
    done.map(drop).map_err(|error| Stop::Unmet(vec![Unmet::new(what, error.to_string())]))
}
