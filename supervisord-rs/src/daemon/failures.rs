//! Incidents on their way to the record: opened with what is seen now, settled by the machine,
//! written when the last lines of their culprit are there.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use supervision::{Incarnation, Incident, Outcome, Phase};
use workers::runtime::board::monotonic_ns;

use super::Daemon;
use super::drafts::Draft;
use crate::called::as_typed;
use crate::control::protocol::IncidentRecord;
use crate::record::culprit::Outsider;
use crate::record::event::What;
use crate::record::evidence::Evidence;
use crate::record::incidents::Opened;
use crate::record::logs::{TAIL_TIMEOUT, Tail};
use crate::record::sentence::{open_sentence, sentence};
use crate::record::words;

impl Daemon {
    pub(super) fn on_incident_opened(&mut self, incident: &Incident) {
        let now = monotonic_ns();
        let drivers = &mut self.drivers;
        let mut evidence: BTreeMap<Incarnation, Evidence> = BTreeMap::new();
        let concerned = incident.lost.iter().map(|loss| loss.incarnation).chain(incident.culprit);
        for incarnation in concerned {
            if let Some(found) = drivers.evidence_or_now(incarnation) {
                evidence.insert(incarnation, found);
            }
        }
        let outsider = drivers.take_outsider(incident.domain, incident.culprit);
        if let Some(run) = outsider.as_ref().and_then(Outsider::run) {
            let note = self.black_box.note(run.worker.index());
            note.set_blamed(incident.id.0, run.generation);
        }
        let mut opened = Opened::new(incident, &evidence, outsider, now);
        opened.tail = incident.culprit.and_then(|culprit| drivers.tail(culprit.worker));
        let lost = incident.lost.iter().map(|loss| loss.incarnation.worker);
        let ended = lost.chain(incident.culprit.map(|culprit| culprit.worker));
        opened.shared = drivers.release_shared(ended, incident.domain == supervision::DomainId(0));
        if incident.supervisor_died {
            // The guardian saw it; its delay before the next start is not part of the detection.
            // The death itself is not the moment of the fault: a supervisor that hung was ended.
            let died_at = self.predecessor.take_death().filter(|&at| at <= opened.seen_at);
            opened.seen_at = died_at.unwrap_or(opened.seen_at);
        }
        let black_box = &self.black_box;
        if let Some((who, work)) = incident.begins_with().zip(opened.work.known()) {
            black_box.note(who.worker.index()).set_incident_work(incident.id.0, work);
        }
        black_box.set_last_incident(incident.id.0);
        // One that is settled as soon as it is opened has its record then.
        let is_open = self.machine.open_incidents().any(|open| open.id == incident.id);
        self.incidents.open(incident.id, opened);
        let record = is_open.then(|| self.open_incident(incident));
        let Some(opened) = self.incidents.opened(incident.id) else { return };
        let (names, ending, record) = (&self.names, &opened.ending, record.as_ref());
        let what = What::IncidentOpened { incident, ending, names, record };
        self.observers.tell(names, incident.culprit, what);
    }

    /// Those that are open, oldest first.
    pub(super) fn open_incidents(&self) -> Vec<IncidentRecord> {
        self.machine.open_incidents().map(|incident| self.open_incident(incident)).collect()
    }

    fn open_incident(&self, incident: &Incident) -> IncidentRecord {
        let is_live = |incarnation| self.drivers.is_live(incarnation);
        let mut record = self.incidents.open_record(incident, is_live);
        // The culprit; where it is unknown, the first lost worker.
        let missed = incident.lost.iter().find(|loss| loss.outcome == Outcome::Pending);
        let is_lost = |who: &Incarnation| incident.lost.iter().any(|loss| loss.incarnation == *who);
        let culprit = incident.culprit.filter(is_lost);
        let who = culprit.or(missed.map(|loss| loss.incarnation));
        let view = who.and_then(|who| self.machine.worker(who.worker));
        let now = self.now();
        let retry = view.as_ref().and_then(|view| view.retry_at);
        record.retry_in_ms =
            retry.map(|at| u64::try_from(at.saturating_sub(now).as_millis()).unwrap_or(u64::MAX));
        let next = view.map(|view| match (view.phase, record.retry_in_ms) {
            (_, Some(ms)) => format!("next attempt in {}", words::span(ms)),
            (Phase::Idle, None) if !view.waits_for.is_empty() => {
                let names = view.waits_for.iter().map(|on| self.names.worker(*on));
                format!("waits for {}", names.collect::<Vec<_>>().join(", "))
            }
            (Phase::Idle, None) => "starts again".to_owned(),
            (Phase::Quarantined, None) => {
                let name = who.map(|who| self.names.worker(who.worker)).unwrap_or_default();
                let text = format!("now quarantined: `supervisord-rs start {name}` starts it");
                as_typed(&text).into_owned()
            }
            (phase, None) => format!("now {}", words::phase(phase)),
        });
        record.sentence = open_sentence(&record, next.as_deref());
        record
    }

    pub(super) fn on_incident_closed(&mut self, incident: &Incident) {
        self.resume_incident(incident);
        let drivers = &self.drivers;
        let now = self.now();
        let machine = &self.machine;
        let is_stalled = |incarnation: Incarnation| {
            let limit = machine.spec().workers[incarnation.worker.index()].heartbeat;
            let reading = drivers.reading(incarnation.worker);
            limit.zip(reading).is_some_and(|(limit, reading)| {
                let is_late = |last| {
                    let lost = machine.time_lost_since(Duration::from_nanos(last));
                    Duration::from_nanos(monotonic_ns().saturating_sub(last)) > limit + lost
                };
                reading.working.is_some_and(is_late) && now > limit
            })
        };
        if self.observers.incidents.settled.has(incident.id) {
            // A predecessor wrote it, and was no more before it remembered that.
            self.background.on_recorded()(incident.id);
            return;
        }
        let is_live = |incarnation| drivers.is_live(incarnation);
        let (record, tail, shared) = self.incidents.settle(incident, is_live, is_stalled);
        let recovered =
            incident.lost.iter().all(|loss| matches!(loss.outcome, Outcome::Recovered { .. }));
        let until = now.saturating_add(TAIL_TIMEOUT);
        let draft = Draft {
            record,
            culprit: incident.culprit,
            recovered,
            // One that a predecessor had opened may have none to come: another run writes there.
            tail: tail.unwrap_or_else(|| Tail::new(OnceLock::from(Vec::new()))),
            shared,
            until,
        };
        // What concerns the supervisor's own threads is written at once: the next fault in one is
        // its end.
        let waits = incident.domain != supervision::DomainId(0)
            && (draft.tail.get().is_none() || !draft.knows_losses());
        if waits {
            self.drafts.add(draft);
        } else {
            self.write_incident(draft);
        }
    }

    /// Writes those whose last lines have come, or have not come in time; until `end`, and the rest
    /// in the next turn. `None`: all, at the very end.
    pub(super) fn write_settled(&mut self, end: Option<Duration>) {
        let now = end.is_some().then(|| self.now());
        let mut from = 0;
        while let Some(at) = self.drafts.due_from(from, now) {
            if end.is_some_and(|end| self.now() > end) {
                self.pace.break_off();
                return;
            }
            from = at;
            let draft = self.drafts.take(at);
            self.write_incident(draft);
        }
    }

    fn write_incident(&mut self, draft: Draft) {
        let Draft { mut record, culprit, recovered, tail, shared, .. } = draft;
        record.last_output = tail.get().cloned().unwrap_or_default();
        if let Some(losses) = shared.as_ref().and_then(|shared| shared.get()) {
            record.resources.clone_from(losses);
            record.sentence = sentence(&record);
        }
        self.emit(culprit, What::IncidentSettled { record: &Arc::new(record), recovered });
    }
}
