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

/// `{ db: ready }`, `{ cache: { is: ready, soft: true } }`, or `[db]` for what is most often meant:
/// ready.
pub(super) fn read(
    section: &Section<'_>,
    names: &BTreeMap<String, Vec<WorkerId>>,
) -> Vec<Dependency> {
    let Some(cursor) = section.get("depends_on") else { return Vec::new() };
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
    const WORDS: [(&str, Condition); 3] = [
        ("started", Condition::Started),
        ("ready", Condition::Ready),
        ("finished", Condition::Finished),
    ];
    if matches!(cursor.node.value, Value::Map(_)) {
        let section = cursor.section_of(Whose::Dependency, &["is", "soft"], &[]);
        let condition = section.as_ref().and_then(|section| section.choice("is", &WORDS));
        let soft = section.as_ref().and_then(|section| section.boolean("soft"));
        return (condition.unwrap_or(Condition::Ready), soft.unwrap_or(false));
    }
    let longer = "{ is: ready, soft: true }";
    let condition = cursor.choice_or(&WORDS, Some(longer));
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
