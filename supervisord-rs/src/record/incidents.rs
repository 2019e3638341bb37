//! The record of failures: what the machine decided, joined with what was observed.
//!
//! An incident is opened when the failure is seen and written when it is settled: `lost` and
//! `survived` are what was observed then (the same incarnation still lives, or not), not what was
//! expected.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use supervision::{Incarnation, Incident, IncidentId, Outcome, WorkerId};
use workers::fault::Fault;
use workers::runtime::board::monotonic_ns;

use super::culprit::{Outsider, Removed};
use super::evidence::Evidence;
use super::logs::Tail;
use super::sentence::sentence;
use super::wall_time::wall;
use super::words;
use crate::config::Launch;
use crate::control::protocol::{
    EndingReport, FaultReport, IncidentRecord, ResourceLoss, WorkReport,
};

/// What a death did to what workers share, as soon as it is known.
pub type Losses = Arc<OnceLock<Vec<ResourceLoss>>>;

/// Names that records use.
#[derive(Clone, Debug)]
pub struct Names {
    /// By worker.
    pub workers: Vec<Known>,
    /// By domain.
    pub domains: Vec<String>,
}

/// What records say of a worker.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// The label of its isolation, such as `thread`, `cell` or `process`.
    pub isolation: &'static str,
}

impl From<&Launch> for Known {
    fn from(launch: &Launch) -> Self {
        Self { name: launch.name.clone(), isolation: launch.isolation.capabilities().label }
    }
}

impl Names {
    /// A worker's name.
    #[must_use]
    pub fn worker(&self, worker: WorkerId) -> &str {
        &self.workers[worker.index()].name
    }
}

/// What was seen when an incident was opened, and is gone when it is settled.
#[derive(Debug)]
pub struct Opened {
    /// Wall time.
    pub at: SystemTime,
    /// When it was seen, in monotonic nanoseconds.
    pub seen_at: u64,
    /// When the fault struck, if known.
    pub struck_at: Option<u64>,
    /// Units done by those lost, and begun and not done.
    pub work: WorkReport,
    /// How it ended, in words.
    pub ending: EndingReport,
    /// Whether the run that did it was over, and had left a thread behind.
    pub is_past: bool,
    /// Who did it, if that one is not configured any more.
    pub removed: Option<Box<Removed>>,
    /// The last lines of the culprit, as soon as they have been taken.
    pub tail: Option<Tail>,
    /// What those lost had of what workers share, as soon as it is known.
    pub shared: Option<Losses>,
}

impl Opened {
    /// Joins what is known of everyone lost. `outsider`: who did it, if none of those.
    #[must_use]
    pub fn new(
        incident: &Incident,
        evidence: &BTreeMap<Incarnation, Evidence>,
        outsider: Option<Outsider>,
        now: u64,
    ) -> Self {
        let culprit = match &outsider {
            None => incident.culprit.and_then(|culprit| evidence.get(&culprit)),
            Some(outsider) => outsider.evidence(),
        };
        let concerned: BTreeSet<Incarnation> =
            incident.lost.iter().map(|loss| loss.incarnation).collect();
        let work_of = |one| evidence.get(one).and_then(Evidence::work);
        // Where that of one is not known, the sum is not.
        let work = concerned.iter().map(work_of).try_fold((0_u64, 0_u64), |(done, begun), one| {
            let one = one?;
            Some((done.saturating_add(one.0), begun.saturating_add(one.1)))
        });
        Self {
            at: SystemTime::now(),
            seen_at: evidence.values().map(|evidence| evidence.seen_at).min().unwrap_or(now),
            struck_at: culprit.and_then(|evidence| evidence.struck_at),
            work: WorkReport::of(work),
            ending: words::ending(
                incident.ending,
                culprit.and_then(|evidence| evidence.reading.as_ref()),
                match &outsider {
                    None => culprit.and_then(|evidence| evidence.message.as_deref()),
                    Some(outsider) => outsider.message(),
                },
            ),
            is_past: outsider.as_ref().is_some_and(Outsider::is_past),
            removed: match outsider {
                Some(Outsider::Removed(removed)) => Some(removed),
                Some(Outsider::Past(..) | Outsider::Stopper) | None => None,
            },
            tail: None,
            shared: None,
        }
    }
}

impl Opened {
    /// Of an incident that a predecessor had opened: what it had seen is gone, but for when it was.
    fn by_predecessor(incident: &Incident) -> Self {
        let now = Duration::from_nanos(monotonic_ns());
        let seen_at = u64::try_from(incident.opened.as_nanos()).unwrap_or(u64::MAX);
        let wall = SystemTime::now();
        let at = wall.checked_sub(now.saturating_sub(incident.opened)).unwrap_or(wall);
        // A run that lived then was lost itself.
        let is_lost = |who: Incarnation| incident.lost.iter().any(|loss| loss.incarnation == who);
        let is_past = incident.culprit.is_some_and(|culprit| !is_lost(culprit));
        Self { at, is_past, ..Self::new(incident, &BTreeMap::new(), None, seen_at) }
    }
}

/// The open incidents, and how they become records.
#[derive(Debug)]
pub struct Incidents {
    names: Names,
    open: BTreeMap<IncidentId, Opened>,
}

impl Incidents {
    /// None is open yet.
    #[must_use]
    pub fn new(names: Names) -> Self {
        Self { names, open: BTreeMap::new() }
    }

    /// Notes what was seen at the opening.
    pub fn open(&mut self, id: IncidentId, opened: Opened) {
        self.open.insert(id, opened);
    }

    /// What was seen at the opening of one that is open.
    #[must_use]
    pub fn opened(&self, id: IncidentId) -> Option<&Opened> {
        self.open.get(&id)
    }

    /// Goes on with one that a predecessor had opened; `ending`: how it ended, where that is known
    /// in words; `work`: what was lost with it, where that is known; `tail`: its last lines.
    pub fn resume(
        &mut self,
        incident: &Incident,
        ending: Option<EndingReport>,
        work: Option<(u64, u64)>,
        tail: Option<Tail>,
    ) {
        let mut opened = Opened { tail, ..Opened::by_predecessor(incident) };
        opened.ending = ending.unwrap_or(opened.ending);
        opened.work = work.map_or(opened.work, |work| WorkReport::of(Some(work)));
        self.open.entry(incident.id).or_insert(opened);
    }

    /// Settles an incident: `is_live` says whether an incarnation still lives, `is_stalled` whether
    /// it has stopped giving signs of life.
    pub fn settle(
        &mut self,
        incident: &Incident,
        is_live: impl Fn(Incarnation) -> bool,
        is_stalled: impl Fn(Incarnation) -> bool,
    ) -> (IncidentRecord, Option<Tail>, Option<Losses>) {
        let nanos = |at: Duration| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let mut opened =
            self.open.remove(&incident.id).unwrap_or_else(|| Opened::by_predecessor(incident));
        let (tail, shared) = (opened.tail.take(), opened.shared.take());
        let mut record = self.draft(incident, &opened, is_live);
        let recovered =
            incident.lost.iter().all(|loss| matches!(loss.outcome, Outcome::Recovered { .. }));
        let origin = opened.struck_at.unwrap_or(opened.seen_at);
        record.recovered_us = incident
            .closed
            .filter(|_| recovered && !incident.lost.is_empty())
            // The machine hears of what has come at a moment before its next judgement.
            .map(|closed| nanos(closed).max(opened.seen_at).saturating_sub(origin) / 1000);
        let missing = incident.lost.iter();
        record.missing = missing
            .filter(|loss| !matches!(loss.outcome, Outcome::Recovered { .. }))
            .map(|loss| self.names.worker(loss.incarnation.worker).to_owned())
            .collect();
        // Of all workers, each time that one fails.
        let survived: HashSet<&str> = record.survived.iter().map(String::as_str).collect();
        let stalled = incident
            .running
            .iter()
            .filter(|one| survived.contains(self.names.worker(one.worker)) && is_stalled(**one));
        record.stalled = stalled.map(|one| self.names.worker(one.worker).to_owned()).collect();
        record.sentence = sentence(&record);
        (record, tail, shared)
    }

    /// One that is open, as far as it is known. Without its sentence.
    pub fn open_record(
        &self,
        incident: &Incident,
        is_live: impl Fn(Incarnation) -> bool,
    ) -> IncidentRecord {
        let mut record = match self.open.get(&incident.id) {
            Some(opened) => self.draft(incident, opened, is_live),
            None => self.draft(incident, &Opened::by_predecessor(incident), is_live),
        };
        record.open = true;
        record
    }

    /// What is known before it is settled.
    fn draft(
        &self,
        incident: &Incident,
        opened: &Opened,
        is_live: impl Fn(Incarnation) -> bool,
    ) -> IncidentRecord {
        let name = |incarnation: Incarnation| self.names.worker(incarnation.worker).to_owned();
        let is_lost = |incarnation: &Incarnation| {
            incident.lost.iter().any(|loss| loss.incarnation == *incarnation)
        };
        let survivors = incident.running.iter().copied();
        let survivors = survivors.filter(|one| !is_lost(one) && is_live(*one));
        let lost = incident.lost.iter();
        let removed = opened.removed.as_ref();
        let isolation = |culprit: Incarnation| self.names.workers[culprit.worker.index()].isolation;
        IncidentRecord {
            id: incident.id.0,
            at: wall(opened.at),
            worker: incident.culprit.map(name).or_else(|| Some(removed?.name.clone())),
            generation: incident
                .culprit
                .map(|culprit| culprit.generation.0)
                .or_else(|| Some(removed?.generation)),
            isolation: incident
                .culprit
                .map(isolation)
                .or_else(|| Some(removed?.isolation))
                .map(str::to_owned),
            left_behind: opened.is_past,
            domain: self.names.domains[incident.domain.index()].clone(),
            fault: fault(incident),
            ending: opened.ending.clone(),
            supervisor_died: incident.supervisor_died,
            running: incident.running.iter().copied().map(name).collect(),
            lost: each_once(lost.clone().map(|loss| name(loss.incarnation))),
            collateral: each_once(
                lost.filter(|loss| loss.collateral).map(|loss| name(loss.incarnation)),
            ),
            survived: survivors.map(name).collect(),
            detected_us: opened
                .struck_at
                .filter(|struck| *struck <= opened.seen_at)
                .map(|struck| opened.seen_at.saturating_sub(struck) / 1000),
            work: opened.work.clone(),
            resources: opened
                .shared
                .as_ref()
                .and_then(|shared| shared.get().cloned())
                .unwrap_or_default(),
            leftovers: leftovers(incident),
            count: incident.count,
            ..IncidentRecord::default()
        }
    }

    /// There are more workers than there were.
    pub fn rename(&mut self, names: Names) {
        self.names = names;
    }
}

/// In their order: one that is lost again before all is well is one worker.
fn each_once(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    names.filter(|name| seen.insert(name.clone())).collect()
}

fn fault(incident: &Incident) -> FaultReport {
    let known = incident.injected.and_then(|fault| Fault::from_code(fault.code));
    // Another version may have ordered one that this binary has no name for.
    let kind = known.map_or(words::cause(incident.ending.cause), |fault| fault.name());
    FaultReport { kind: kind.to_owned(), injected: incident.injected.is_some() }
}

fn leftovers(incident: &Incident) -> Vec<String> {
    let is_abandoned = matches!(incident.ending.status, supervision::Status::Abandoned);
    let is_left = is_abandoned && !incident.supervisor_died;
    is_left.then(|| "1 thread".to_owned()).into_iter().collect()
}
