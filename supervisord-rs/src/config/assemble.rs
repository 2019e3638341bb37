//! The whole file: names become ids, instances are made, domains and groups are joined,
//! contradictions are found.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use supervision::spec::{
    Condition, DomainKind, DomainSpec, GroupSpec, RestartPolicy, Strategy, WorkerSpec,
};
use supervision::{DomainId, Spec, WorkerId};
use workers::Registry;

use super::Scale;
use super::diagnostics::Problem;
use super::foreign::Whose;
use super::instances::{self, INSTANCES_MAX, Template};
use super::nearest::{nearest, one_of};
use super::node::{Node, Value};
use super::pattern::Patterns;
use super::problems::{At, Problems};
use super::reader::{Cursor, Section};
use super::settings::{Isolation, Launch, Limits, Settings};
use super::sockets::Addresses;
use super::source::Source;
use super::worker::{self, Context, Identity};
use super::{cycles, dependencies, hooks, later, limits, logs, restart, supervisor};

/// Reads the whole tree. `None` when it is no mapping; else the problems say what is wrong.
pub(super) fn assemble(
    tree: &Node,
    source: &Source,
    registry: &Registry,
    scale: &Scale,
    problems: &Problems,
) -> Option<Settings> {
    let file = &source.path();
    let top = Cursor { node: tree, path: String::new(), problems };
    let known = ["version", "supervisor", "defaults", "cells", "groups", "workers", "hooks"];
    let section = top.section_of(Whose::Top, &known, &later::TOP)?;
    version(&section, tree, problems);
    let supervisor = supervisor::read(&section);
    let entries = entries(&section, source, scale, problems);
    keep_names_apart(&entries, problems);
    let names = names(&entries);
    let patterns = Patterns::default();
    let context = Context {
        file,
        registry,
        log_dir: &supervisor.settings.log_dir,
        fault_injection: supervisor.fault_injection,
        patterns: &patterns,
        names: &names,
    };
    let mut assembly = Assembly::new(&section, problems);
    for entry in &entries {
        assembly.entry(entry, context);
    }
    let groups = assembly.groups(&section, &names);
    // With problems before, ids may not be positions: the names are not complete.
    if assembly.workers.len()
        == entries.iter().map(|entry| entry.count.unwrap_or(1) as usize).sum::<usize>()
    {
        assembly.cycles(&entries);
        assembly.endless(&entries);
    }
    let Assembly { workers, mut launches, domains, templates, cell_limits, .. } = assembly;
    let spec = Spec {
        workers,
        groups,
        domains,
        shutdown_timeout: supervisor.shutdown_timeout,
        fault_injection: supervisor.fault_injection,
        start: supervisor.start,
    };
    let hooks = hooks::read(&section);
    logs::keep_lines_whole(&mut launches);
    Some(Settings {
        source: source.clone().into(),
        supervisor: supervisor.settings,
        spec,
        launches,
        cells: cell_limits,
        templates,
        hooks,
    })
}

fn version(section: &Section<'_>, tree: &Node, problems: &Problems) {
    match section.get("version") {
        Some(cursor) => {
            if let Some(version) = cursor.integer(0, i64::MAX).filter(|version| version.value != 1)
            {
                let message = format!("unknown version {}", version.value);
                cursor.refuse(message, "`version: 1`, the only one that this program reads");
            }
        }
        None => problems.push(
            Problem::new(
                String::new(),
                tree.span.start..tree.span.start + 1,
                "missing `version: 1`",
            )
            .help("write `version: 1` as the first line"),
        ),
    }
}

/// Places of a cycle that are marked beside the first.
const MARKS_MAX: usize = 20;

/// An entry of `workers:`, with `defaults:` under it.
struct Entry {
    name: At<String>,
    node: Node,
    /// `instances:`
    count: Option<u32>,
}

fn entries(top: &Section<'_>, source: &Source, scale: &Scale, problems: &Problems) -> Vec<Entry> {
    let defaults = top.get("defaults").filter(|cursor| !cursor.node.is_null());
    if let Some(defaults) = &defaults {
        worker::check_defaults(defaults);
    }
    let written = top.get("workers").and_then(|cursor| cursor.entries()).unwrap_or_default();
    let entry = |(name, cursor): (At<String>, Cursor<'_>)| {
        worker::check_name(&name, problems);
        let node = match &defaults {
            Some(defaults) => cursor.node.clone().over(defaults.node),
            None => cursor.node.clone(),
        };
        let node = match source.adaptation() {
            Some(adaptation) => adaptation.of_worker(&name.value, node),
            None => node,
        };
        let count = node.get("instances").and_then(|count| {
            let path = format!("workers.{}.instances", name.value);
            Cursor { node: count, path, problems }.integer(0, INSTANCES_MAX.into())
        });
        let count = count.and_then(|count| u32::try_from(count.value).ok());
        let scaled = scale.get(&name.value).copied().unwrap_or(0).min(INSTANCES_MAX);
        let count = count.map(|count| count.max(scaled));
        Entry { name, node, count }
    };
    written.into_iter().map(entry).collect()
}

/// No worker has the name of an instance of another one, however many `scale` makes of it.
fn keep_names_apart(entries: &[Entry], problems: &Problems) {
    let with_instances: BTreeMap<&str, &Entry> = entries
        .iter()
        .filter(|entry| entry.node.get("instances").is_some())
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
fn names(entries: &[Entry]) -> BTreeMap<String, Vec<WorkerId>> {
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

struct Assembly<'a> {
    /// `None`: no `cells:` is written, and any name is one.
    cells: Option<BTreeSet<String>>,
    cell_limits: BTreeMap<String, Limits>,
    workers: Vec<WorkerSpec>,
    launches: Vec<Launch>,
    domains: Vec<DomainSpec>,
    by_cell: BTreeMap<String, DomainId>,
    templates: BTreeMap<String, Template>,
    addresses: Addresses,
    problems: &'a Problems,
}

impl<'a> Assembly<'a> {
    fn new(top: &Section<'_>, problems: &'a Problems) -> Self {
        let mut cell_limits = BTreeMap::new();
        let cells = top.get("cells").map(|cursor| {
            let entries = cursor.entries().unwrap_or_default();
            for (name, cell) in entries.iter().filter(|(_, cell)| !cell.node.is_null()) {
                let section = cell.section(&["limits"], &later::CELL);
                if let Some(written) = section.and_then(|section| section.get("limits")) {
                    cell_limits.insert(name.value.clone(), limits::read(&written));
                }
            }
            entries.into_iter().map(|(name, _)| name.value).collect()
        });
        Self {
            cells,
            cell_limits,
            workers: Vec::new(),
            launches: Vec::new(),
            domains: vec![DomainSpec { name: "supervisor".into(), kind: DomainKind::Supervisor }],
            by_cell: BTreeMap::new(),
            templates: BTreeMap::new(),
            addresses: Addresses::default(),
            problems,
        }
    }

    fn entry(&mut self, entry: &Entry, context: Context<'_>) {
        let base = &entry.name.value;
        let Some(count) = entry.count else {
            let cursor = Cursor {
                node: &entry.node,
                path: entry.name.path.clone(),
                problems: self.problems,
            };
            // Where nothing is written below it, the name is what people see.
            let identity = Identity { name: base.clone(), base: base.clone(), instance: None };
            if let Some(read) = worker::read(&cursor, identity, context) {
                self.add(read, entry);
            }
            return;
        };
        self.templates.insert(base.clone(), Template::new(base, entry.node.clone(), context));
        for index in 1..=count {
            if let Some(read) = instances::read(base, index, &entry.node, context, self.problems) {
                self.add(read, entry);
            }
        }
    }

    fn add(&mut self, (mut spec, launch): (WorkerSpec, Launch), entry: &Entry) {
        spec.domain = match &launch.isolation {
            Isolation::Thread => DomainId(0),
            Isolation::Cell(cell) => self.cell(cell, entry),
            Isolation::Process => self.domain(launch.name.clone(), DomainKind::Process),
        };
        if let Some(node) = entry.node.get("sockets").filter(|_| !launch.sockets.is_empty()) {
            let path = format!("{}.sockets", entry.name.path);
            let written = Cursor { node, path, problems: self.problems };
            self.addresses.add(&written, &launch.base, &launch.sockets);
        }
        self.workers.push(spec);
        self.launches.push(launch);
    }

    fn report(&self, problem: Problem, expected: &str) {
        self.problems.push(problem.expected(expected));
    }

    fn cell(&mut self, cell: &str, entry: &Entry) -> DomainId {
        let cursor =
            Cursor { node: &entry.node, path: entry.name.path.clone(), problems: self.problems };
        let written = match &entry.node.value {
            Value::Map(_) => entry.node.get("cell").map(|node| Cursor {
                node,
                path: format!("{}.cell", entry.name.path),
                problems: self.problems,
            }),
            Value::Scalar { .. } | Value::List(_) => None,
        };
        let at = written.unwrap_or(cursor).at(cell.to_owned());
        if let Some(cells) = self.cells.as_ref().filter(|cells| !cells.contains(cell)) {
            let is_shown = !self.problems.is_full();
            let words = || cells.iter().map(String::as_str);
            self.problems.push(Problem {
                expected: is_shown.then(|| one_of(words())),
                nearest: if is_shown { nearest(cell, words()) } else { None },
                ..at.problem(format!("unknown cell `{cell}`"))
            });
        }
        if let Some(&id) = self.by_cell.get(cell) {
            return id;
        }
        worker::check_name(&at, self.problems);
        let id = self.domain(cell.to_owned(), DomainKind::Cell);
        self.by_cell.insert(cell.to_owned(), id);
        id
    }

    fn domain(&mut self, name: String, kind: DomainKind) -> DomainId {
        self.domains.push(DomainSpec { name, kind });
        DomainId(u32::try_from(self.domains.len() - 1).unwrap_or(u32::MAX))
    }

    fn groups(
        &mut self,
        top: &Section<'_>,
        names: &BTreeMap<String, Vec<WorkerId>>,
    ) -> Vec<GroupSpec> {
        let entries = top.get("groups").and_then(|cursor| cursor.entries()).unwrap_or_default();
        let mut groups: Vec<GroupSpec> = Vec::new();
        let mut members = BTreeMap::new();
        for (name, cursor) in entries {
            if let Some(group) = self.group(&name, &cursor, names, &mut members) {
                groups.push(group);
            }
        }
        groups
    }

    fn group(
        &mut self,
        name: &At<String>,
        cursor: &Cursor<'_>,
        names: &BTreeMap<String, Vec<WorkerId>>,
        members: &mut BTreeMap<WorkerId, String>,
    ) -> Option<GroupSpec> {
        const STRATEGIES: [(&str, Strategy); 3] = [
            ("one-for-one", Strategy::OneForOne),
            ("one-for-all", Strategy::OneForAll),
            ("rest-for-one", Strategy::RestForOne),
        ];
        let section = cursor.section(&["strategy", "workers", "limit", "escalate"], &[])?;
        let mut workers = Vec::new();
        let list = section.get("workers");
        for member in list.as_ref().and_then(|list| list.strings()).unwrap_or_default() {
            for &id in dependencies::known(&member, names, cursor) {
                match members.get(&id) {
                    Some(first) if *first != name.value => {
                        let message = format!("`{}` is already in group `{first}`", member.value);
                        self.report(member.problem(message), "each worker in at most one group");
                    }
                    Some(_) => {}
                    None => {
                        members.insert(id, name.value.clone());
                        workers.push(id);
                    }
                }
                if let Some(launch) = self.launches.get_mut(id.index()) {
                    launch.group.clone_from(&name.value);
                }
            }
        }
        if list.is_none_or(|list| list.list().is_none_or(|members| members.is_empty())) {
            self.report(name.problem("this group has no workers"), "`workers: [one, two]`");
        }
        Some(GroupSpec {
            name: name.value.clone(),
            strategy: section.choice("strategy", &STRATEGIES).unwrap_or(Strategy::OneForOne),
            workers,
            limit: section.get("limit").map(|cursor| restart::limit(&cursor, restart::LIMIT)),
            escalate: section.boolean("escalate").unwrap_or(false),
        })
    }

    /// A worker that is always brought back is never finished: what waits for that never starts.
    fn endless(&self, entries: &[Entry]) {
        for (spec, launch) in self.workers.iter().zip(&self.launches) {
            let endless = spec.depends_on.iter().filter(|dependency| {
                let on = &self.workers[dependency.on.index()];
                dependency.condition == Condition::Finished
                    && on.restart.policy == RestartPolicy::Always
            });
            for on in endless.map(|dependency| &self.launches[dependency.on.index()].base) {
                let entry = entries.iter().find(|entry| entry.name.value == launch.base);
                let Some(written) = entry.and_then(|entry| entry.node.get("depends_on")) else {
                    continue;
                };
                let path = format!("workers.{}.depends_on", launch.base);
                let cursor = Cursor { node: written, path, problems: self.problems };
                let message =
                    format!("`{on}` is never finished: its `restart: always` brings it back");
                let help =
                    format!("write `restart: on-failure` for `{on}`, or wait for it to be `ready`");
                cursor.warn(message, &help);
            }
        }
    }

    /// Each cycle is named in full, once, and marked at each of its dependencies.
    fn cycles(&self, entries: &[Entry]) {
        for cycle in cycles::find(&self.workers) {
            let names: Vec<&str> =
                cycle.iter().map(|&index| self.workers[index].name.as_str()).collect();
            let mut places = cycle.windows(2).filter_map(|pair| {
                let (from, on) = (&self.launches[pair[0]].base, pair[1]);
                let entry = entries.iter().find(|entry| entry.name.value == *from)?;
                Some((
                    entry,
                    self.place_of(entry, on),
                    format!("`{from}` waits for `{}`", self.workers[on].name),
                ))
            });
            let Some((entry, span, _)) = places.next() else { continue };
            let is_soft = cycle.windows(2).any(|pair| {
                let mut dependencies = self.workers[pair[0]].depends_on.iter();
                dependencies.any(|one| one.on.index() == pair[1] && one.soft)
            });
            let help = match cycle.as_slice() {
                [_, _] => "remove this dependency: a worker cannot wait for itself",
                _ if is_soft => {
                    "remove one of these dependencies: a soft one is an order of starting too, \
                     and this one has no beginning"
                }
                _ => "remove one of these dependencies: none of these workers could start",
            };
            let path = format!("{}.depends_on", entry.name.path);
            let message = format!("dependency cycle: {}", names.join(" → "));
            let problem = Problem::new(path, span, message).help(help);
            let shown = places.take(MARKS_MAX);
            self.problems
                .push(shown.fold(problem, |problem, (_, span, label)| problem.beside(span, label)));
        }
    }

    /// Where an entry names a worker, or its group, as a dependency.
    fn place_of(&self, entry: &Entry, on: usize) -> Range<usize> {
        let (launch, name) = (&self.launches[on], &self.workers[on].name);
        let names = [name.as_str(), launch.base.as_str(), launch.group.as_str()];
        let written = entry.node.get("depends_on");
        let item = match written.map(|written| &written.value) {
            Some(Value::List(items)) => items
                .iter()
                .find(|item| item.text().is_some_and(|text| names.contains(&text)))
                .map(|item| item.span.clone()),
            Some(Value::Map(entries)) => entries
                .iter()
                .find(|entry| names.contains(&entry.key.as_str()))
                .map(|entry| entry.key_span.clone()),
            _ => None,
        };
        item.or_else(|| written.map(|node| node.span.clone()))
            .unwrap_or_else(|| entry.name.span.clone())
    }
}
