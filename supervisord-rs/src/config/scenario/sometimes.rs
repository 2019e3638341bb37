//! `sometimes:`: what a campaign must have reached at least once.

use std::collections::BTreeSet;

use workers::fault::Fault;

use super::Reading;
use super::script::{Action, Phase, Sometimes, Step};
use super::storm::{Blow, Blows, Choice};
use super::terms::phase;
use crate::config::kinds;
use crate::config::nearest::{nearest, one_of};
use crate::config::problem::Problem;
use crate::config::reader::Cursor;
use crate::config::schema::key::{key, words};
use crate::config::schema::{Key, Kind, Table};

pub(super) static SOMETIMES: Key = key(
    "sometimes",
    Kind::List(&Kind::Section(&TABLE)),
    "What all runs together must have reached at least once: a campaign that never did has shown \
     nothing, and fails.",
)
.such_as("[{ fault: segfault, isolation: cell }]");
static TABLE: Table = Table::of(&[&[&FAULT, &WORKER, &ISOLATION, &PHASE]]);
static FAULT: Key = key("fault", Kind::Text, "A fault that a step of this scenario commits.")
    .such_as("segfault")
    .needed();
static WORKER: Key = key("worker", Kind::Name, "In this worker.").such_as("api");
static ISOLATION: Key =
    key("isolation", Kind::Words(&["thread", "cell", "process"]), "In a worker of this isolation.")
        .such_as("cell");
static PHASE: Key =
    key("phase", Kind::Words(&words(&Phase::WORDS)), "While the worker was in this phase.")
        .such_as("running");

impl Reading<'_> {
    /// Reads them. `steps`: of the scenario, which must be able to reach each.
    pub(super) fn sometimes(&self, list: &Cursor<'_>, steps: &[Step]) -> Option<Vec<Sometimes>> {
        let mut kinds = BTreeSet::new();
        steps.iter().for_each(|step| collect(&step.action, &mut kinds));
        let items = list.list()?;
        Some(items.iter().filter_map(|cursor| self.one_of_sometimes(cursor, &kinds)).collect())
    }

    fn one_of_sometimes(&self, cursor: &Cursor<'_>, kinds: &BTreeSet<String>) -> Option<Sometimes> {
        let section = cursor.section(&TABLE)?;
        let worker = section.get(&WORKER).and_then(|written| self.people().some(&written));
        let words = kinds::ALL.map(|kind| (kind.name(), kind.name()));
        let isolation = section.choice(&ISOLATION, &words);
        let phase = section.get(&PHASE).and_then(|written| phase(&written));
        let Some(written) = section.get(&FAULT) else {
            if !section.means(&FAULT) {
                cursor.refuse("missing `fault:`", "`fault: NAME`, one that a step of this commits");
            }
            return None;
        };
        let fault = written.string()?;
        if !kinds.contains(&fault.value) {
            let is_known = Fault::all().any(|known| known.name() == fault.value);
            let message = if is_known {
                format!("no step commits `{}`, so that it cannot be reached", fault.value)
            } else {
                format!("unknown fault `{}`", fault.value)
            };
            written.problems.push(Problem {
                nearest: nearest(&fault.value, kinds.iter().map(String::as_str)),
                expected: Some(one_of(kinds.iter().map(String::as_str))),
                ..fault.problem(message)
            });
            return None;
        }
        let line = self.line(cursor.node.span.start);
        Some(Sometimes { line, fault: fault.value, worker, isolation, phase })
    }
}

/// What steps can commit, by name.
fn collect(action: &Action, kinds: &mut BTreeSet<String>) {
    let bare = |fault: &str| fault.split(':').next().unwrap_or(fault).to_owned();
    match action {
        Action::Inject { fault, .. } => drop(kinds.insert(bare(fault))),
        Action::Kill(whom) => drop(kinds.insert(whom.word().to_owned())),
        Action::Load(load) => load.steps.iter().for_each(|step| collect(&step.action, kinds)),
        Action::Storm(storm) => match &storm.blows {
            Blows::Drawn(lots) => kinds.extend(lots.choices.iter().map(|choice| match choice {
                Choice::Fault { fault, .. } => bare(fault),
                Choice::Kill(whom) => whom.word().to_owned(),
            })),
            Blows::Written(schedule) => {
                kinds.extend(schedule.iter().map(|one| Blow::kind(&one.blow).to_owned()));
            }
        },
        Action::Wait(..)
        | Action::Mark(_)
        | Action::Expect(_)
        | Action::Signal { .. }
        | Action::Order(..)
        | Action::Reload(..)
        | Action::Fill(_)
        | Action::Scale { .. } => {}
    }
}
