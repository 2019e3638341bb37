//! `storm:`, struck and watched: blow after blow at its moment, and a look at everyone meanwhile.

mod striking;
mod watching;

pub(super) use striking::reached;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Run, Stop};
use crate::config::scenario::radius;
use crate::config::scenario::storm::{Blow, Injection, Invariant, Storm, Whom};
use crate::config::settings::Settings;
use crate::control::protocol::StatusReport;
use crate::drill::limits::Patience;
use crate::drill::mark::Mark;
use crate::drill::storm::attribution::{self, Told};
use crate::drill::storm::history::{History, Policy};
use crate::drill::storm::schedule;
use crate::drill::up::is_up;
use crate::drill::verdict::{StormReport, Unmet};
use crate::waiting::until;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(8);
/// Between two looks once all has been struck.
const SETTLING: Duration = Duration::from_millis(50);
/// A blow whose victim does not come as far as it is to waits so long, and strikes as it is.
const PATIENCE: Duration = Duration::from_secs(2);
/// After the last blow: what comes of it takes its time to be seen.
const CALM: Duration = Duration::from_millis(500);

/// A storm that goes on.
struct Storming<'r, 'a> {
    run: &'r mut Run<'a>,
    storm: &'r Storm,
    settings: &'a Settings,
    schedule: Vec<Injection>,
    /// When it began. What is no part of it is taken out.
    begun: Instant,
    history: History,
    /// Who worked when it began.
    moving: BTreeSet<String>,
    /// The incidents of it.
    incidents: BTreeMap<u64, Told>,
    /// The newest before it.
    known: u64,
    incidents_read: Instant,
    table_read: Instant,
    /// Blows that are due, and wait for their victim.
    armed: Vec<Armed>,
    /// The supervisor that was killed last.
    killed: Option<i32>,
    /// All as they were last seen.
    last: Option<StatusReport>,
    /// What an earlier supervision has broken: that before the guardian was killed.
    broken: Vec<(Invariant, String)>,
    tally: StormReport,
}

/// A blow that is due.
#[derive(Clone, Copy, Debug)]
struct Armed {
    /// Its number in the schedule.
    number: usize,
    since: Duration,
    /// The progress of the victim to wait for.
    target: Option<u64>,
}

/// Has the storm strike, waits until all is calm, and judges.
pub(super) fn storm(run: &mut Run<'_>, storm: &Storm) -> Result<(), Stop> {
    let (seed, schedule) = run.schedule(storm);
    let tally = StormReport {
        seed,
        schedule: schedule::mark(&schedule),
        blows: schedule.len(),
        ..StormReport::default()
    };
    let mark = Mark::take(&mut run.bed, &BTreeSet::new()).map_err(|error| run.failed(&error))?;
    let settings = &run.scenario.configurations[storm.configuration].settings;
    let begun = Instant::now();
    let first = watching::sight(&mark.status, Duration::ZERO);
    let mut storming = Storming {
        history: History::new(first, policies(settings), storm.within),
        run,
        storm,
        settings,
        schedule,
        begun,
        moving: mark.moving,
        incidents: BTreeMap::new(),
        known: mark.known,
        incidents_read: begun,
        table_read: begun,
        armed: Vec::new(),
        killed: None,
        last: Some(mark.status),
        broken: Vec::new(),
        tally,
    };
    let went = storming.strike_all();
    if went.is_ok() && !storming.is_broken() {
        storming.settle();
    }
    storming.judge();
    let Storming { broken, tally, run, .. } = storming;
    run.storms.push(tally);
    run.disturbed = Some(Instant::now());
    went?;
    let invariants = &storm.invariants;
    let broken = broken.into_iter().filter(|(one, _)| invariants.contains(one));
    let unmet: Vec<Unmet> = broken.map(|(one, seen)| Unmet::new(one.expected(), seen)).collect();
    if unmet.is_empty() { Ok(()) } else { Err(Stop::Unmet(unmet)) }
}

/// What the configuration lets become of each worker.
fn policies(settings: &Settings) -> BTreeMap<String, Policy> {
    let spec = &settings.spec;
    let of = |at: usize| {
        let own = spec.workers[at].restart.limit.restarts;
        let is_in = |members: &[supervision::WorkerId]| members.iter().any(|id| id.index() == at);
        let groups = spec.groups.iter().filter(|group| is_in(&group.workers));
        let group = groups.filter_map(|group| group.limit).map(|limit| limit.restarts).min();
        let restarts = u64::from(own.min(group.unwrap_or(u32::MAX)));
        let with = radius::with_groups(spec, radius::of_domain(spec, at).collect());
        let with = with.into_iter().map(|at| settings.launches[at].name.clone()).collect();
        Policy { comes_back: radius::comes_back(spec, at), restarts, with }
    };
    let names = settings.launches.iter().map(|launch| launch.name.clone());
    names.enumerate().map(|(at, name)| (name, of(at))).collect()
}

impl Storming<'_, '_> {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Whether something is broken that the storm is to show.
    fn is_broken(&self) -> bool {
        let is_asked = |invariant: Invariant| self.storm.invariants.contains(&invariant);
        self.broken.iter().any(|(invariant, _)| is_asked(*invariant))
            || self.history.broken().any(|(invariant, _)| is_asked(invariant))
    }

    /// All blows, each at its moment, until something is broken.
    fn strike_all(&mut self) -> Result<(), Stop> {
        let (mut next, mut due) = (0, Duration::ZERO);
        while !self.is_broken() {
            let status = self.look();
            while let Some(injection) = self.schedule.get(next)
                && due + injection.after <= self.now()
            {
                due += injection.after;
                self.arm(next, status.as_ref());
                next += 1;
            }
            if next == self.schedule.len() && self.armed.is_empty() {
                break;
            }
            for number in self.take_ready(status.as_ref()) {
                self.tally.up_to = self.tally.up_to.max(number + 1);
                match self.schedule[number].blow.clone() {
                    Blow::Kill(Whom::Guardian) => self.kill_guardian()?,
                    blow => self.strike(&blow, status.as_ref()),
                }
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn arm(&mut self, number: usize, status: Option<&StatusReport>) {
        let Injection { progress, blow, .. } = &self.schedule[number];
        let target = match blow {
            Blow::Fault { worker, .. } if *progress > 0 => {
                let workers = status.into_iter().flat_map(|status| &status.workers);
                let mut victim = workers.filter(|one| one.name == *worker);
                victim.next().and_then(|victim| victim.progress).map(|done| done + progress)
            }
            Blow::Fault { .. } | Blow::Kill(_) => None,
        };
        self.armed.push(Armed { number, since: self.now(), target });
    }

    /// Those whose moment has come; the others wait on.
    fn take_ready(&mut self, status: Option<&StatusReport>) -> Vec<usize> {
        let now = self.now();
        let is_ready = |armed: &mut Armed| {
            let is_late = now.saturating_sub(armed.since) > PATIENCE;
            let Some(status) = status else { return is_late };
            let Some(target) = armed.target.filter(|_| !is_late) else { return true };
            let Blow::Fault { worker, .. } = &self.schedule[armed.number].blow else { return true };
            let victim = status.workers.iter().find(|one| one.name == *worker);
            // One that is down counts nothing: it is passed over.
            victim.is_none_or(|victim| {
                victim.phase != "running" || victim.progress.is_some_and(|done| done >= target)
            })
        };
        self.armed.extract_if(.., is_ready).map(|armed| armed.number).collect()
    }

    /// Waits until all are back and go on, or longer than they may take.
    fn settle(&mut self) {
        let begun = Instant::now();
        let mut earlier = None;
        while !self.is_broken() {
            let is_calm = begun.elapsed() > CALM;
            let status = self.look();
            let is_read = is_calm && self.read_all_incidents();
            if status.is_some() && is_read {
                let is_open = self.incidents.values().any(|one| one.open);
                let down = self.history.still_down().len();
                let earlier = earlier.get_or_insert_with(|| self.history.last().clone());
                let stalled = self.history.stalled(&self.moving, earlier);
                if down == 0 && stalled.is_empty() && !is_open {
                    return;
                }
                let is_late = begun.elapsed() > self.storm.within.max(CALM) * 2;
                if is_late && let Some(first) = stalled.first() {
                    let text = format!("{first} works no more, as it did before the storm");
                    self.broken.push((Invariant::Radius, text));
                }
                if is_late && is_open && down == 0 {
                    // What stays open is judged as it is.
                    return;
                }
            }
            std::thread::sleep(SETTLING);
        }
    }

    /// What the incidents tell, at the end of one supervision.
    fn judge(&mut self) {
        self.read_all_incidents();
        if self.is_broken() {
            // What comes of the last blows has not been waited for.
            self.history.forgive_since(Duration::ZERO);
        }
        self.broken.extend(self.history.broken().map(|(one, text)| (one, text.clone())));
        // Where a supervisor is gone for good, so is what it would tell.
        if self.broken.iter().any(|(one, _)| *one == Invariant::Supervisor) {
            return;
        }
        let wrong = attribution::judge(&self.history.strikes, &self.incidents, self.history.deaths);
        self.broken.extend(wrong.into_iter().map(|text| (Invariant::Attribution, text)));
    }

    /// With both dead, workers would run on: the supervisor must have lived for a while.
    fn await_supervisor(&mut self) {
        while !self.is_broken() {
            let is_calm = self.now().saturating_sub(self.history.last_taker()) > CALM * 2;
            if self.look().is_some() && is_calm {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The guardian is killed: everything stops, nothing is left, and another one is started, as a
    /// service manager would.
    fn kill_guardian(&mut self) -> Result<(), Stop> {
        self.await_supervisor();
        if self.is_broken() {
            return Ok(());
        }
        let killed = self.now();
        self.note_reached(Whom::Guardian.word(), None);
        self.tally.struck += 1;
        let bed = &mut self.run.bed;
        bed.kill_guardian().map_err(|error| Stop::Unfinished(error.to_string()))?;
        let limit = Patience(self.settings).shutdown();
        if until(limit, PAUSE, || bed.ended()).is_none() {
            let limit = humantime::format_duration(limit);
            let text = format!("the guardian was killed, and not all had ended within {limit}");
            self.broken.push((Invariant::Supervisor, text));
            return Ok(());
        }
        self.history.forgive_since(killed.saturating_sub(self.storm.within));
        self.run.bed.start_again().map_err(|error| Stop::Unfinished(error.to_string()))?;
        let limit = Patience(self.settings).start();
        let status = self.run.bed.wait("the start of all workers", limit, |bed| {
            let Ok(status) = bed.client.status() else { return Ok(None) };
            Ok(status.workers.iter().all(is_up).then_some(status))
        });
        let status = status.map_err(|error| self.run.failed(&error))?;
        // The next supervisor tells of a death that none lived to write down.
        self.judge();
        self.begun += self.now() - killed;
        let first = watching::sight(&status, self.now());
        self.history = History::new(first, policies(self.settings), self.storm.within);
        self.known = self.incidents.keys().max().copied().unwrap_or(self.known);
        self.incidents.clear();
        Ok(())
    }
}
