//! The entries of `workers:`, with `defaults:` under each, and the names that they make.

use std::collections::BTreeMap;

use supervision::WorkerId;

use super::instances::{self, INSTANCES_MAX};
use super::node::{Node, Value};
use super::problems::{At, Problems};
use super::reader::{Cursor, Section};
use super::schema::key::key;
use super::schema::{Key, Kind};
use super::source::Source;
use super::{Scale, worker};

pub(super) static DEFAULTS: Key = key(
    "defaults",
    Kind::Either(&[Kind::Section(&worker::DEFAULTS), Kind::Nothing]),
    "Keys that every worker has, unless it has its own: mappings key by key, lists and values as a \
     whole.",
)
.such_as("{ restart: always }");
pub(super) static WORKERS: Key =
    key("workers", Kind::ByName("worker", &Kind::Section(&worker::TABLE)), "What runs, by name.")
        .such_as("{ db: { command: [redis-server] } }");

/// One of them.
pub(super) struct Entry {
    pub(super) name: At<String>,
    pub(super) node: Node,
    /// `instances:`
    pub(super) count: Option<u32>,
}

impl Entry {
    /// All of it.
    pub(super) fn cursor<'a>(&'a self, problems: &'a Problems) -> Cursor<'a> {
        Cursor { node: &self.node, path: self.name.path.clone(), problems }
    }

    /// The value of a key, if it is written.
    pub(super) fn below<'a>(
        &'a self,
        key: &'static Key,
        problems: &'a Problems,
    ) -> Option<Cursor<'a>> {
        let path = format!("{}.{}", self.name.path, key.name);
        Some(Cursor { node: self.node.get(key.name)?, path, problems })
    }
}

/// Reads them.
pub(super) fn read(
    top: &Section<'_>,
    source: &Source,
    scale: &Scale,
    problems: &Problems,
) -> Vec<Entry> {
    let defaults = top.get(&DEFAULTS).filter(|cursor| !cursor.node.is_null());
    if let Some(defaults) = &defaults {
        worker::check_defaults(defaults);
    }
    let written = top.get(&WORKERS).and_then(|cursor| cursor.entries()).unwrap_or_default();
    let entry = |(name, cursor): (At<String>, Cursor<'_>)| {
        if is_key_of_worker(&name.value, cursor.node) {
            let problem = name.problem(format!("`{}` is a key of a worker", name.value));
            problems.push(problem.help("indent it below the worker's name"));
            return None;
        }
        worker::check_name(&name, problems);
        let node = match &defaults {
            Some(defaults) => cursor.node.clone().over(defaults.node),
            None => cursor.node.clone(),
        };
        let node = match source.adaptation() {
            Some(adaptation) => adaptation.of_worker(&name.value, node),
            None => node,
        };
        let count = node.get(worker::INSTANCES.name).and_then(|count| {
            let path = format!("{}.instances", name.path);
            Cursor { node: count, path, problems }.integer(0, INSTANCES_MAX.into())
        });
        let count = count.and_then(|count| u32::try_from(count.value).ok());
        let scaled = scale.get(&name.value).copied().unwrap_or(0).min(INSTANCES_MAX);
        let count = count.map(|count| count.max(scaled));
        Some(Entry { name, node, count })
    };
    written.into_iter().filter_map(entry).collect()
}

/// A key that is not indented below the name of its worker: no worker has such a value.
fn is_key_of_worker(name: &str, node: &Node) -> bool {
    let is_worker = node.is_null() || matches!(node.value, Value::Map(_));
    !is_worker && worker::TABLE.key(name).is_some()
}

/// No worker has the name of an instance of another one, however many `scale` makes of it.
pub(super) fn keep_names_apart(entries: &[Entry], problems: &Problems) {
    let with_instances: BTreeMap<&str, &Entry> = entries
        .iter()
        .filter(|entry| entry.node.get(worker::INSTANCES.name).is_some())
        .map(|entry| (entry.name.value.as_str(), entry))
        .collect();
    for Entry { name, .. } in entries {
        let Some((base, _)) = instances::parts(&name.value) else { continue };
        let Some(other) = with_instances.get(base) else { continue };
        let message = format!("`{}` is the name of an instance of `{base}`", name.value);
        problems.push(
            name.problem(message)
                .beside(other.name.span.clone(), "its instances are numbered from 1")
                .help(format!("rename one of the two, such as `{base}-other`")),
        );
    }
}

/// Every name that workers go by: their own, and the one that instances share.
pub(super) fn names(entries: &[Entry]) -> BTreeMap<String, Vec<WorkerId>> {
    let mut names: BTreeMap<String, Vec<WorkerId>> = BTreeMap::new();
    let mut next = 0;
    for entry in entries {
        let base = &entry.name.value;
        let Some(count) = entry.count else {
            names.entry(base.clone()).or_default().push(WorkerId(next));
            next += 1;
            continue;
        };
        names.entry(base.clone()).or_default();
        for index in 1..=count {
            names.entry(base.clone()).or_default().push(WorkerId(next));
            names.entry(instances::name(base, index)).or_default().push(WorkerId(next));
            next += 1;
        }
    }
    names
}
