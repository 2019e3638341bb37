//! `expect:`: what is to be so.

use std::time::Duration;

use super::Reading;
use super::script::{Expectation, ExpectedIncident, Recorded, Supervisor};
use super::steps::{phase, within};
use crate::config::node::Value;
use crate::config::reader::{Cursor, Section};

/// What can be expected.
const KEYS: [&str; 12] = [
    "lost",
    "supervisor",
    "back",
    "work_lost",
    "incident",
    "log",
    "numbered",
    "silent_damage",
    "adopted",
    "phase",
    "since",
    "within",
];
/// The first of them say something; the others say what that is about.
const SAYING: usize = 10;
/// What compares with a mark.
const SINCE_MARK: [&str; 8] =
    ["lost", "supervisor", "back", "work_lost", "incident", "numbered", "silent_damage", "adopted"];
/// What an incident can be asked for.
const OF_INCIDENT: [&str; 8] =
    ["worker", "fault", "injected", "cause_known", "signal", "exit", "supervisor_died", "lost"];

impl Reading<'_> {
    /// Reads it.
    pub(super) fn expectation(&self, cursor: &Cursor<'_>) -> Option<Expectation> {
        let section = cursor.section(&KEYS, &[])?;
        if !KEYS[..SAYING].iter().any(|key| section.get(key).is_some() || section.means(key)) {
            cursor.refuse("this expects nothing", "at least one of: lost, back, incident, phase");
        }
        let people = self.people();
        let pattern = |written: &Cursor<'_>| self.patterns.read(&written.string()?, written);
        let expectation = Expectation {
            since: self.since(cursor, &section).unwrap_or_default(),
            within: within(&section),
            lost: section.get("lost").and_then(|written| Some(people.all(&written.one_or_more()?))),
            supervisor: section.get("supervisor").and_then(|written| supervisor(&written)),
            back: section.get("back").and_then(|written| back(&written)),
            work_lost: section.get("work_lost").and_then(|written| at_most(&written)),
            incident: section.get("incident").and_then(|written| self.recorded(&written)),
            log: section.get("log").map_or_else(Vec::new, |written| people.each(&written, pattern)),
            numbered: section.get("numbered").map_or_else(Vec::new, |written| {
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
                .get("silent_damage")
                .and_then(|written| written.choice(&[("none", ())]))
                .is_some(),
            adopted: section
                .get("adopted")
                .map_or_else(Vec::new, |written| people.at_least_one(&written)),
            phase: section
                .get("phase")
                .map_or_else(Vec::new, |written| people.each(&written, phase)),
        };
        Some(expectation)
    }

    /// The mark that is compared with.
    fn since(&self, cursor: &Cursor<'_>, section: &Section<'_>) -> Option<String> {
        if let Some(written) = section.get("since") {
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
        let needs = SINCE_MARK.iter().find(|key| section.get(key).is_some());
        match (needs, self.marks.last()) {
            (_, Some(last)) => Some(last.clone()),
            (Some(key), None) => {
                cursor.refuse_with(
                    format!("`{key}:` compares with a mark, and there is none before this"),
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
        let section = cursor.section(&OF_INCIDENT, &[])?;
        if !OF_INCIDENT.iter().any(|key| section.get(key).is_some()) {
            cursor.refuse("this expects nothing of the incident", "such as `{ worker: NAME }`");
        }
        let people = self.people();
        let signal = section.string("signal").map(|at| at.value.to_ascii_uppercase());
        let signal = signal.map(|name| format!("SIG{}", name.trim_start_matches("SIG")));
        let exit = section.get("exit").and_then(|cursor| cursor.integer(0, 255));
        Some(Recorded::Incident(Box::new(ExpectedIncident {
            worker: section.get("worker").and_then(|written| people.some(&written)),
            fault: section.string("fault").map(|at| at.value),
            injected: section.boolean("injected"),
            cause_known: section.boolean("cause_known"),
            signal,
            exit: exit.and_then(|exit| i32::try_from(exit.value).ok()),
            supervisor_died: section.boolean("supervisor_died"),
            lost: section.get("lost").and_then(|written| Some(people.all(&written.one_or_more()?))),
        })))
    }
}

/// `alive`, `died`, `ended`, or `{ ended: STATUS }`.
fn supervisor(cursor: &Cursor<'_>) -> Option<Supervisor> {
    if matches!(cursor.node.value, Value::Map(_)) {
        let section = cursor.section(&["ended"], &[])?;
        let status = section.get("ended").and_then(|cursor| cursor.integer(0, 255))?;
        return i32::try_from(status.value).ok().map(|status| Supervisor::Ended(Some(status)));
    }
    let words = [
        ("alive", Supervisor::Alive),
        ("died", Supervisor::Died),
        ("ended", Supervisor::Ended(None)),
    ];
    cursor.choice_or(&words, Some("{ ended: 3 }")).map(|at| at.value)
}

/// `{ within: 2s }`
fn back(cursor: &Cursor<'_>) -> Option<Duration> {
    let section = cursor.section(&["within"], &[])?;
    if section.get("within").is_none() && !section.means("within") {
        cursor.refuse("missing `within:`", "`{ within: 2s }`, from the fault on");
    }
    section.duration("within")
}

/// `{ at_most: 3 }`
fn at_most(cursor: &Cursor<'_>) -> Option<u64> {
    let section = cursor.section(&["at_most"], &[])?;
    let Some(written) = section.get("at_most") else {
        cursor.refuse("missing `at_most:`", "`{ at_most: 3 }`, in units of work");
        return None;
    };
    written.integer(0, i64::MAX).and_then(|most| u64::try_from(most.value).ok())
}
