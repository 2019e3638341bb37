//! `expect:`: what is to be so.

use std::time::Duration;

use super::Reading;
use super::script::{Expectation, ExpectedIncident, Phase, Recorded, Supervisor};
use super::terms::{WITHIN, phase, within};
use crate::config::node::Value;
use crate::config::reader::{Cursor, Section};
use crate::config::schema::key::{key, words};
use crate::config::schema::{Key, Kind, Table};

/// What can be expected.
pub(super) static TABLE: Table = Table::of(&[&SAYING, &[&SINCE, &WITHIN]]);
/// What says something; the others say what that is about.
static SAYING: [&Key; 10] = [
    &LOST,
    &SUPERVISOR,
    &BACK,
    &WORK_LOST,
    &INCIDENT,
    &LOG,
    &NUMBERED,
    &SILENT_DAMAGE,
    &ADOPTED,
    &PHASE,
];
/// What compares with a mark.
static SINCE_MARK: [&Key; 8] =
    [&LOST, &SUPERVISOR, &BACK, &WORK_LOST, &INCIDENT, &NUMBERED, &SILENT_DAMAGE, &ADOPTED];
static LOST: Key = key(
    "lost",
    Kind::OneOrMore(&Kind::Name),
    "Who may be hurt, and is. Everyone else keeps process, generation and progress.",
)
.such_as("[api]");
static SUPERVISOR: Key = key(
    "supervisor",
    Kind::Either(&[Kind::Words(&words(&ENDS)), Kind::Section(&ENDED_TABLE)]),
    "Whether the supervisor lives, has died and has a successor, or has ended.",
)
.such_as("alive");
static ENDED_TABLE: Table = Table::of(&[&[&ENDED]]);
static ENDED: Key =
    key("ended", Kind::Number { low: 0, high: 255 }, "The exit status with which it has ended.")
        .such_as("3");
static BACK: Key = key("back", Kind::Section(&BACK_TABLE), "All that were lost run again in time.")
    .such_as("{ within: 2s }");
static BACK_TABLE: Table = Table::of(&[&[&BACK_WITHIN]]);
static BACK_WITHIN: Key =
    key("within", Kind::Duration, "From the fault on.").such_as("2s").needed();
static WORK_LOST: Key = key(
    "work_lost",
    Kind::Section(&WORK_LOST_TABLE),
    "How many units of work the incident counts as lost.",
)
.such_as("{ at_most: 1 }");
static WORK_LOST_TABLE: Table = Table::of(&[&[&AT_MOST]]);
static AT_MOST: Key =
    key("at_most", Kind::Number { low: 0, high: i64::MAX }, "Units of work.").such_as("1").needed();
static INCIDENT: Key = key(
    "incident",
    Kind::Either(&[Kind::Words(&["none"]), Kind::Section(&OF_INCIDENT)]),
    "What the incident says; `none`: there is no incident.",
)
.such_as("{ worker: api, fault: segfault, injected: true }");
static LOG: Key =
    key("log", Kind::ByName("worker", &Kind::Pattern), "Its output has a line that matches.")
        .such_as("{ api: listening }");
static NUMBERED: Key = key(
    "numbered",
    Kind::ByName("worker", &Kind::Pattern),
    "The first group of the pattern is a number that goes up by one from line to line: none is lost.",
)
.such_as("{ api: 'line ([0-9]+)' }");
static SILENT_DAMAGE: Key =
    key("silent_damage", Kind::Words(&["none"]), "No worker was hurt without an incident.")
        .such_as("none");
static ADOPTED: Key =
    key("adopted", Kind::OneOrMore(&Kind::Name), "These have run on under another supervisor.")
        .such_as("[api, db]");
static PHASE: Key = key(
    "phase",
    Kind::ByName("worker", &Kind::Words(&words(&Phase::WORDS))),
    "These are in this phase.",
)
.such_as("{ api: quarantined }");
static SINCE: Key = key(
    "since",
    Kind::Text,
    "The mark that is compared with. The last one, where it is not written.",
)
.such_as("before");

/// What an incident can be asked for.
static OF_INCIDENT: Table = Table::of(&[&[
    &WORKER,
    &FAULT,
    &INJECTED,
    &CAUSE_KNOWN,
    &SIGNAL,
    &EXIT,
    &SUPERVISOR_DIED,
    &INCIDENT_LOST,
]]);
static WORKER: Key = key("worker", Kind::Name, "Who has failed.").such_as("api");
static FAULT: Key =
    key("fault", Kind::Text, "What has happened, as the incident names it.").such_as("segfault");
static INJECTED: Key =
    key("injected", Kind::Boolean, "Whether the incident knows that it was injected.")
        .such_as("true");
static CAUSE_KNOWN: Key =
    key("cause_known", Kind::Boolean, "Whether the incident knows the cause.").such_as("true");
static SIGNAL: Key = key("signal", Kind::Signal, "The signal that ended it.").such_as("SEGV");
static EXIT: Key = key("exit", Kind::Number { low: 0, high: 255 }, "The exit status.").such_as("1");
static SUPERVISOR_DIED: Key =
    key("supervisor_died", Kind::Boolean, "Whether the supervisor has died with it.")
        .such_as("false");
static INCIDENT_LOST: Key =
    key("lost", Kind::OneOrMore(&Kind::Name), "Who was lost, as the incident says.")
        .such_as("[api]");

const ENDS: [(&str, Supervisor); 3] =
    [("alive", Supervisor::Alive), ("died", Supervisor::Died), ("ended", Supervisor::Ended(None))];

impl Reading<'_> {
    /// Reads it.
    pub(super) fn expectation(&self, cursor: &Cursor<'_>) -> Option<Expectation> {
        let section = cursor.section(&TABLE)?;
        if !SAYING.iter().any(|key| section.has(key) || section.means(key)) {
            cursor.refuse("this expects nothing", "at least one of: lost, back, incident, phase");
        }
        let people = self.people();
        let pattern = |written: &Cursor<'_>| self.patterns.read(&written.string()?, written);
        let expectation = Expectation {
            since: self.since(cursor, &section).unwrap_or_default(),
            within: within(&section),
            lost: section.get(&LOST).and_then(|written| Some(people.all(&written.one_or_more()?))),
            supervisor: section.get(&SUPERVISOR).and_then(|written| supervisor(&written)),
            back: section.get(&BACK).and_then(|written| back(&written)),
            work_lost: section.get(&WORK_LOST).and_then(|written| at_most(&written)),
            incident: section.get(&INCIDENT).and_then(|written| self.recorded(&written)),
            log: section.get(&LOG).map_or_else(Vec::new, |written| people.each(&written, pattern)),
            numbered: section.get(&NUMBERED).map_or_else(Vec::new, |written| {
                people.each(&written, |cursor| {
                    let pattern = pattern(cursor)?;
                    if pattern.regex().captures_len() < 2 {
                        cursor.refuse("this has no group", "a pattern such as 'line ([0-9]+)'");
                        return None;
                    }
                    Some(pattern)
                })
            }),
            no_silent_damage: section
                .get(&SILENT_DAMAGE)
                .and_then(|written| written.choice(&[("none", ())]))
                .is_some(),
            adopted: section
                .get(&ADOPTED)
                .map_or_else(Vec::new, |written| people.at_least_one(&written)),
            phase: section
                .get(&PHASE)
                .map_or_else(Vec::new, |written| people.each(&written, phase)),
        };
        Some(expectation)
    }

    /// The mark that is compared with.
    fn since(&self, cursor: &Cursor<'_>, section: &Section<'_>) -> Option<String> {
        if let Some(written) = section.get(&SINCE) {
            let name = written.string()?;
            if !self.marks.contains(&name.value) {
                let known = if self.marks.is_empty() {
                    "a mark that stands before this step".to_owned()
                } else {
                    format!("one of: {}", self.marks.join(", "))
                };
                written.refuse(format!("no mark `{}` before this", name.value), &known);
            }
            return Some(name.value);
        }
        let needs = SINCE_MARK.iter().find(|key| section.has(key));
        match (needs, self.marks.last()) {
            (_, Some(last)) => Some(last.clone()),
            (Some(key), None) => {
                cursor.refuse_with(
                    format!("`{}:` compares with a mark, and there is none before this", key.name),
                    "write the step `- mark: before` before the fault",
                );
                None
            }
            (None, None) => None,
        }
    }

    fn recorded(&self, cursor: &Cursor<'_>) -> Option<Recorded> {
        if !matches!(cursor.node.value, Value::Map(_)) {
            let longer = "{ worker: NAME, fault: segfault, injected: true }";
            return cursor.choice_or(&[("none", ())], Some(longer)).map(|_| Recorded::Nothing);
        }
        let section = cursor.section(&OF_INCIDENT)?;
        if !OF_INCIDENT.keys().any(|key| section.has(key)) {
            cursor.refuse("this expects nothing of the incident", "such as `{ worker: NAME }`");
        }
        let people = self.people();
        let signal = section.string(&SIGNAL).map(|at| at.value.to_ascii_uppercase());
        let signal = signal.map(|name| format!("SIG{}", name.trim_start_matches("SIG")));
        let exit = section.get(&EXIT).and_then(|cursor| cursor.integer(0, 255));
        Some(Recorded::Incident(Box::new(ExpectedIncident {
            worker: section.get(&WORKER).and_then(|written| people.some(&written)),
            fault: section.string(&FAULT).map(|at| at.value),
            injected: section.boolean(&INJECTED),
            cause_known: section.boolean(&CAUSE_KNOWN),
            signal,
            exit: exit.and_then(|exit| i32::try_from(exit.value).ok()),
            supervisor_died: section.boolean(&SUPERVISOR_DIED),
            lost: section
                .get(&INCIDENT_LOST)
                .and_then(|written| Some(people.all(&written.one_or_more()?))),
        })))
    }
}

/// `alive`, `died`, `ended`, or `{ ended: STATUS }`.
fn supervisor(cursor: &Cursor<'_>) -> Option<Supervisor> {
    if matches!(cursor.node.value, Value::Map(_)) {
        let section = cursor.section(&ENDED_TABLE)?;
        let status = section.get(&ENDED).and_then(|cursor| cursor.integer(0, 255))?;
        return i32::try_from(status.value).ok().map(|status| Supervisor::Ended(Some(status)));
    }
    cursor.choice_or(&ENDS, Some("{ ended: 3 }")).map(|at| at.value)
}

/// `{ within: 2s }`
fn back(cursor: &Cursor<'_>) -> Option<Duration> {
    let section = cursor.section(&BACK_TABLE)?;
    if !section.has(&BACK_WITHIN) && !section.means(&BACK_WITHIN) {
        cursor.refuse("missing `within:`", "`{ within: 2s }`, from the fault on");
    }
    section.duration(&BACK_WITHIN)
}

/// `{ at_most: 3 }`
fn at_most(cursor: &Cursor<'_>) -> Option<u64> {
    let section = cursor.section(&WORK_LOST_TABLE)?;
    let Some(written) = section.get(&AT_MOST) else {
        cursor.refuse("missing `at_most:`", "`{ at_most: 3 }`, in units of work");
        return None;
    };
    written.integer(0, i64::MAX).and_then(|most| u64::try_from(most.value).ok())
}
