//! `depends_on:`, and what a name of a worker stands for.

use std::collections::BTreeMap;

use supervision::WorkerId;
use supervision::spec::{Condition, Dependency};

use super::foreign::Whose;
use super::nearest::{nearest, one_of};
use super::node::Value;
use super::problem::Problem;
use super::problems::At;
use super::reader::{Cursor, Section};
use super::schema::key::{key, words};
use super::schema::{Key, Kind, Table};

pub(super) static DEPENDS_ON: Key = key(
    "depends_on",
    Kind::Either(&[
        Kind::ByName(
            "worker to wait for",
            &Kind::Either(&[Kind::Words(&words(&CONDITIONS)), Kind::Section(&TABLE)]),
        ),
        Kind::List(&Kind::Name),
    ]),
    "What it waits for before it starts, and stops before. A list means `ready`.",
)
.or("{}")
.such_as("{ db: ready }");
static TABLE: Table = Table::of(&[&[&IS, &SOFT]]).like(Whose::Dependency);
static IS: Key = key(
    "is",
    Kind::Words(&words(&CONDITIONS)),
    "What the other one has to be. `started`: it has been launched. `ready`: it runs. `finished`: it \
     has ended with success.",
)
.or("ready");
static SOFT: Key = key(
    "soft",
    Kind::Boolean,
    "`true`: the order of starting alone. The worker starts without one that is not on its way.",
)
.or("false");

const CONDITIONS: [(&str, Condition); 3] = [
    ("started", Condition::Started),
    ("ready", Condition::Ready),
    ("finished", Condition::Finished),
];

/// `{ db: ready }`, `{ cache: { is: ready, soft: true } }`, or `[db]` for what is most often meant:
/// ready.
pub(super) fn read(
    section: &Section<'_>,
    names: &BTreeMap<String, Vec<WorkerId>>,
) -> Vec<Dependency> {
    let Some(cursor) = section.get(&DEPENDS_ON) else { return Vec::new() };
    let is_list = matches!(cursor.node.value, Value::List(_));
    let mut found = Vec::new();
    if is_list {
        for name in cursor.strings().unwrap_or_default() {
            for &on in known(&name, names, &cursor) {
                found.push(Dependency { on, condition: Condition::Ready, soft: false });
            }
        }
        return found;
    }
    if cursor.is_scalar() {
        cursor
            .problems
            .push(cursor.wrong("a list such as [db], or a mapping such as { db: ready }"));
        return found;
    }
    for (name, value) in cursor.entries().unwrap_or_default() {
        let (condition, soft) = condition(&value);
        for &on in known(&name, names, &cursor) {
            found.push(Dependency { on, condition, soft });
        }
    }
    found
}

fn condition(cursor: &Cursor<'_>) -> (Condition, bool) {
    if matches!(cursor.node.value, Value::Map(_)) {
        let section = cursor.section(&TABLE);
        let condition = section.as_ref().and_then(|section| section.choice(&IS, &CONDITIONS));
        let soft = section.as_ref().and_then(|section| section.boolean(&SOFT));
        return (condition.unwrap_or(Condition::Ready), soft.unwrap_or(false));
    }
    let longer = "{ is: ready, soft: true }";
    let condition = cursor.choice_or(&CONDITIONS, Some(longer));
    (condition.map_or(Condition::Ready, |condition| condition.value), false)
}

/// The workers of a name; none, and a problem, for an unknown one.
pub(super) fn known<'a>(
    name: &At<String>,
    names: &'a BTreeMap<String, Vec<WorkerId>>,
    cursor: &Cursor<'_>,
) -> &'a [WorkerId] {
    if let Some(ids) = names.get(&name.value) {
        return ids;
    }
    let is_shown = !cursor.problems.is_full();
    let words = || names.keys().map(String::as_str);
    cursor.problems.push(Problem {
        expected: is_shown.then(|| one_of(words())),
        nearest: if is_shown { nearest(&name.value, words()) } else { None },
        ..name.problem(format!("unknown worker `{}`", name.value))
    });
    &[]
}
