//! The record of failures: what the machine decided, joined with what was observed.
//!
//! An incident is opened when the failure is seen and written when it is settled: `lost` and
//! `survived` are what was observed then (the same incarnation still lives, or not), not what was
//! expected.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use supervision::{Incarnation, Incident, IncidentId, Outcome, WorkerId};
use workers::board::monotonic_ns;
use workers::fault::Fault;

use super::events::wall;
use super::evidence::Evidence;
use super::logs::Tail;
use super::record_file::{self, Lines};
pub use super::record_file::{LeftOut, READ_MAX};
use super::sentence::sentence;
use super::words;
use crate::control::protocol::{EndingReport, FaultReport, IncidentRecord, WorkReport};

/// Incidents kept in memory for `incidents`; older ones are read from the file. Each names everyone
/// who was running.
const KEPT: usize = 100;

/// Names that records use.
#[derive(Clone, Debug)]
pub struct Names {
    /// By worker.
    pub workers: Vec<String>,
    /// By worker: `thread`, `cell` or `process`.
    pub isolations: Vec<&'static str>,
    /// By domain.
    pub domains: Vec<String>,
}

impl Names {
    /// A worker's name.
    #[must_use]
    pub fn worker(&self, worker: WorkerId) -> &str {
        &self.workers[worker.index()]
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
    /// The last lines of the culprit, as soon as they have been taken.
    pub tail: Option<Tail>,
}

impl Opened {
    /// Joins what is known of everyone lost.
    #[must_use]
    pub fn new(incident: &Incident, evidence: &BTreeMap<Incarnation, Evidence>, now: u64) -> Self {
        let culprit = incident.culprit.and_then(|culprit| evidence.get(&culprit));
        let lost = incident.lost.iter().map(|loss| loss.incarnation);
        let concerned: BTreeSet<Incarnation> = lost.chain(incident.culprit).collect();
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
                culprit.and_then(|evidence| evidence.message.as_deref()),
            ),
            tail: None,
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
        Self { at, ..Self::new(incident, &BTreeMap::new(), seen_at) }
    }
}

/// Reads settled incidents from the files that are not among the `known` numbers: the last `most`
/// that were written, in the order in which they were settled, which is not that of their numbers.
/// Skips a line that is not an incident. Reads nothing older. Blocks; for a thread beside the loop.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn read_others(
    path: &Path,
    known: &BTreeSet<u64>,
    most: usize,
) -> io::Result<Vec<IncidentRecord>> {
    let mut lines = record_file::newest_first(path)?;
    Ok(read_from(&mut lines, known, most))
}

/// The last `most` incidents of the files, and what the files have besides.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn read_last(path: &Path, most: usize) -> io::Result<(Vec<IncidentRecord>, LeftOut)> {
    let mut lines = record_file::newest_first(path)?;
    let records = read_from(&mut lines, &BTreeSet::new(), most);
    Ok((records, lines.left_out()))
}

fn read_from(lines: &mut Lines, known: &BTreeSet<u64>, most: usize) -> Vec<IncidentRecord> {
    let records = lines
        .filter_map(|line| serde_json::from_slice::<IncidentRecord>(&line).ok())
        .filter(|record| !known.contains(&record.id));
    let mut found: Vec<IncidentRecord> = records.take(most).collect();
    found.reverse();
    found
}

/// All incidents: those that are open, and the newest of those that are settled.
#[derive(Debug)]
pub struct Incidents {
    names: Names,
    open: BTreeMap<IncidentId, Opened>,
    settled: VecDeque<IncidentRecord>,
    path: Arc<Path>,
}

impl Incidents {
    /// Reads back the newest of the file, if there is one. Skips a line that is not an incident.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn load(path: Arc<Path>, names: Names) -> io::Result<Self> {
        let settled = read_others(&path, &BTreeSet::new(), KEPT)?.into();
        Ok(Self { names, open: BTreeMap::new(), settled, path })
    }

    /// Without anything of the file.
    #[must_use]
    pub fn empty(path: Arc<Path>, names: Names) -> Self {
        Self { names, open: BTreeMap::new(), settled: VecDeque::new(), path }
    }

    /// Takes what the file has, where it could not be read before.
    pub fn recall(&mut self, earlier: Self) {
        let kept = std::mem::take(&mut self.settled);
        self.settled = earlier.settled;
        for record in kept {
            if !self.is_recorded(IncidentId(record.id)) {
                self.settled.push_back(record);
            }
        }
    }

    /// The highest number so far.
    #[must_use]
    pub fn last_id(&self) -> Option<u64> {
        self.settled.iter().map(|record| record.id).max()
    }

    /// Whether it is among the newest of the file, or was kept since.
    #[must_use]
    pub fn is_recorded(&self, id: IncidentId) -> bool {
        self.settled.iter().any(|record| record.id == id.0)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Arc<Path> {
        &self.path
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
    ) -> (IncidentRecord, Option<Tail>) {
        let nanos = |at: Duration| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let mut opened =
            self.open.remove(&incident.id).unwrap_or_else(|| Opened::by_predecessor(incident));
        let tail = opened.tail.take();
        let mut record = self.draft(incident, &opened, is_live);
        let recovered =
            incident.lost.iter().all(|loss| matches!(loss.outcome, Outcome::Recovered { .. }));
        let origin = opened.struck_at.unwrap_or(opened.seen_at);
        record.recovered_us = incident
            .closed
            .filter(|_| recovered && !incident.lost.is_empty())
            .map(|closed| nanos(closed).saturating_sub(origin) / 1000);
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
        (record, tail)
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
        let isolation = |culprit: Incarnation| self.names.isolations[culprit.worker.index()];
        IncidentRecord {
            id: incident.id.0,
            at: wall(opened.at),
            worker: incident.culprit.map(name),
            generation: incident.culprit.map(|culprit| culprit.generation.0),
            isolation: incident.culprit.map(isolation).map(str::to_owned),
            domain: self.names.domains[incident.domain.index()].clone(),
            fault: fault(incident),
            ending: opened.ending.clone(),
            supervisor_died: incident.supervisor_died,
            running: incident.running.iter().copied().map(name).collect(),
            lost: lost.clone().map(|loss| name(loss.incarnation)).collect(),
            collateral: lost
                .filter(|loss| loss.collateral)
                .map(|loss| name(loss.incarnation))
                .collect(),
            survived: survivors.map(name).collect(),
            detected_us: opened
                .struck_at
                .filter(|struck| *struck <= opened.seen_at)
                .map(|struck| opened.seen_at.saturating_sub(struck) / 1000),
            work: opened.work.clone(),
            leftovers: leftovers(incident),
            count: incident.count,
            ..IncidentRecord::default()
        }
    }

    /// Keeps a record that is complete.
    pub fn keep(&mut self, record: IncidentRecord) {
        self.settled.push_back(record);
        if self.settled.len() > KEPT {
            self.settled.pop_front();
        }
    }

    /// There are more workers than there were.
    pub fn rename(&mut self, names: Names) {
        self.names = names;
    }

    /// The newest settled ones that are in memory, oldest first.
    #[must_use]
    pub fn newest(&self, last: usize) -> Vec<IncidentRecord> {
        self.settled.iter().skip(self.settled.len().saturating_sub(last)).cloned().collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_memory_comes_from_the_file_whatever_the_order_of_the_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("incidents.jsonl");
        let line = |id: u64| {
            serde_json::to_string(&IncidentRecord { id, ..IncidentRecord::default() }).unwrap()
                + "\n"
        };
        // Incident 2 was settled last of all.
        let text: String = [1, 3, 4, 5, 2].into_iter().map(line).collect();
        std::fs::write(&path, text + "no record\n").unwrap();
        let ids = |known: &[u64], most| {
            let others = read_others(&path, &known.iter().copied().collect(), most).unwrap();
            others.iter().map(|record| record.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&[], usize::MAX), [1, 3, 4, 5, 2]);
        assert_eq!(ids(&[5, 2], usize::MAX), [1, 3, 4], "neither lost nor twice");
        assert_eq!(ids(&[5, 2], 2), [3, 4]);
    }
}
