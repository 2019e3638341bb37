//! The whole file: names become ids, instances are made, domains and groups are joined,
//! contradictions are found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use supervision::spec::{DomainSpec, GroupSpec, Strategy, WorkerSpec};
use supervision::{Capabilities, DomainId, FaultDomain, Spec, WorkerId};

use super::Scale;
use super::code::Code;
use super::cycles::Waiting;
use super::entries::{self, Entry};
use super::foreign::Whose;
use super::instances;
use super::kinds::Kind;
use super::nearest::{nearest, one_of};
use super::node::Node;
use super::pattern::Patterns;
use super::problem::Problem;
use super::problems::{At, Problems};
use super::reader::{Cursor, Section};
use super::schema::key::{key, words};
use super::schema::{Key, Kind as Shape, Table};
use super::settings::{Launch, Limits, Settings, Template};
use super::sockets::Addresses;
use super::source::Source;
use super::users::Users;
use super::words::shortened;
use super::worker::{self, Context, Identity};
use super::{
    dependencies, hooks, later, limits, logs, program, resources, restart, sockets, supervisor,
};

/// The keys of a file.
pub(super) static TOP: Table = Table::of(&[&[&VERSION], &REST]).like(Whose::Top).later(&later::TOP);
/// The same where it stands in another file, whose version it has.
pub(super) static PART: Table =
    Table::of(&[&[&VERSION_OF_PART], &REST]).like(Whose::Top).later(&later::TOP);
static REST: [&Key; 7] = [
    &supervisor::SUPERVISOR,
    &entries::DEFAULTS,
    &CELLS,
    &resources::RESOURCES,
    &GROUPS,
    &entries::WORKERS,
    &hooks::HOOKS_OF_ALL,
];
static VERSION_OF_PART: Key =
    key("version", Shape::Number { low: 1, high: 1 }, "That of the file around it.").such_as("1");
pub(super) static VERSION: Key =
    key("version", Shape::Number { low: 1, high: 1 }, "The version of the language of the file.")
        .such_as("1")
        .needed();
static CELLS: Key = key(
    "cells",
    Shape::ByName("cell", &Shape::Either(&[Shape::Section(&CELL), Shape::Nothing])),
    "Child processes in which threads run. Where it is written, it lists each `cell:` of the file.",
)
.such_as("{ batch: { limits: { memory: 512MiB } } }");
static CELL: Table = Table::of(&[&[&limits::LIMITS_OF_CELL]]).later(&later::CELL);
static GROUPS: Key = key(
    "groups",
    Shape::ByName("group", &Shape::Section(&GROUP)),
    "Workers that restart together, and that a verb can name together.",
)
.or("{}")
.such_as("{ payments: { strategy: rest-for-one, workers: [db, api] } }");
static GROUP: Table = Table::of(&[&[&STRATEGY, &MEMBERS, &LIMIT, &ESCALATE]]);
static STRATEGY: Key = key(
    "strategy",
    Shape::Words(&words(&STRATEGIES)),
    "Who restarts when one has failed, as in OTP: that one, all, or that one and those after it.",
)
.or("one-for-one");
static MEMBERS: Key =
    key("workers", Shape::List(&Shape::Name), "Its members, in the order in which they start.")
        .such_as("[db, api]")
        .needed();
static LIMIT: Key = key(
    "limit",
    Shape::Section(&restart::LIMIT_OF_GROUP),
    "Restarts of all members together; beyond it the group is quarantined. No limit, where it is not \
     written.",
)
.such_as("{ restarts: 5, within: 60s }");
static ESCALATE: Key = key(
    "escalate",
    Shape::Boolean,
    "`true`: a group beyond its `limit:` ends the supervisor, with exit status 1.",
)
.or("false");

const STRATEGIES: [(&str, Strategy); 3] = [
    ("one-for-one", Strategy::OneForOne),
    ("one-for-all", Strategy::OneForAll),
    ("rest-for-one", Strategy::RestForOne),
];

/// Reads the whole tree. `None` when it is no mapping; else the problems say what is wrong.
pub(super) fn assemble(
    tree: &Node,
    source: &Source,
    code: &Code<'_>,
    scale: &Scale,
    problems: &Problems,
) -> Option<Settings> {
    let file = &source.path();
    let top = Cursor { node: tree, path: String::new(), problems };
    let section = top.section(&TOP)?;
    version(&section, tree, problems);
    let supervisor = supervisor::read(&section);
    let entries = entries::read(&section, source, scale, problems);
    entries::keep_names_apart(&entries, problems);
    let names = entries::names(&entries);
    let resources = resources::read(&section, problems);
    let known_resources = Arc::new(resources::known(&resources));
    let patterns = Patterns::default();
    let context = Context {
        file,
        code,
        log_dir: &supervisor.settings.log_dir,
        fault_injection: supervisor.fault_injection,
        patterns: &patterns,
        names: &names,
        resources: &known_resources,
    };
    let mut assembly = Assembly::new(&section, problems);
    for entry in &entries {
        assembly.entry(entry, context);
    }
    let mut groups = assembly.groups(&section, &names);
    let mut declared = Vec::new();
    // With problems before, ids may not be positions: the names are not complete.
    if assembly.workers.len()
        == entries.iter().map(|entry| entry.count.unwrap_or(1) as usize).sum::<usize>()
    {
        let all = Waiting::new(&entries, &assembly.workers, &assembly.launches);
        all.report_cycles(problems);
        all.warn_of_endless(problems);
        let (workers, launches) = (&assembly.workers, &assembly.launches);
        let users = Users { entries: &entries, workers, launches, problems };
        declared = users.check(&resources);
        groups.extend(users.groups(&resources, &groups));
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
    let hooks = hooks::read(&section, &hooks::HOOKS_OF_ALL);
    logs::keep_lines_whole(&mut launches);
    Some(Settings {
        source: source.clone().into(),
        supervisor: supervisor.settings,
        spec,
        launches,
        cells: cell_limits,
        templates,
        hooks,
        resources: declared,
    })
}

/// `version: 1`, of a configuration or of a scenario.
pub(super) fn version(section: &Section<'_>, tree: &Node, problems: &Problems) {
    match section.get(&VERSION) {
        Some(cursor) => {
            let expected = "`version: 1`, the only one that this program reads";
            let written = cursor.node.text().filter(|_| !cursor.node.is_null());
            match written {
                Some(version) if version.parse() == Ok(1) => {}
                Some(version) => {
                    cursor.refuse(format!("unknown version {}", shortened(version)), expected);
                }
                None => cursor.problems.push(cursor.wrong(expected)),
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
        let cells = top.get(&CELLS).map(|cursor| {
            let entries = cursor.entries().unwrap_or_default();
            for (name, cell) in entries.iter().filter(|(_, cell)| !cell.node.is_null()) {
                let section = cell.section(&CELL);
                let written = section.and_then(|section| section.get(&limits::LIMITS_OF_CELL));
                if let Some(written) = written {
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
            domains: vec![DomainSpec {
                name: "supervisor".into(),
                capabilities: &Kind::of_supervisor().capabilities,
            }],
            by_cell: BTreeMap::new(),
            templates: BTreeMap::new(),
            addresses: Addresses::default(),
            problems,
        }
    }

    fn entry(&mut self, entry: &Entry, context: Context<'_>) {
        let base = &entry.name.value;
        let Some(count) = entry.count else {
            let cursor = entry.cursor(self.problems);
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
        let capabilities = launch.isolation.capabilities();
        spec.domain = match capabilities.fault_domain {
            FaultDomain::Supervisor => DomainId(0),
            FaultDomain::Shared => self.shared(&launch, entry),
            FaultDomain::Own => self.domain(launch.name.clone(), capabilities),
        };
        let written = entry.below(&sockets::SOCKETS, self.problems);
        if let Some(written) = written.filter(|_| !launch.sockets.is_empty()) {
            self.addresses.add(&written, &launch.base, &launch.sockets);
        }
        self.workers.push(spec);
        self.launches.push(launch);
    }

    fn report(&self, problem: Problem, expected: &str) {
        self.problems.push(problem.expected(expected));
    }

    fn shared(&mut self, launch: &Launch, entry: &Entry) -> DomainId {
        let cell = launch.isolation.cell().unwrap_or_default();
        let written = entry.below(&program::CELL, self.problems);
        let at = written.unwrap_or_else(|| entry.cursor(self.problems)).at(cell.to_owned());
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
        let id = self.domain(cell.to_owned(), launch.isolation.capabilities());
        self.by_cell.insert(cell.to_owned(), id);
        id
    }

    fn domain(&mut self, name: String, capabilities: &'static Capabilities) -> DomainId {
        self.domains.push(DomainSpec { name, capabilities });
        DomainId(u32::try_from(self.domains.len() - 1).unwrap_or(u32::MAX))
    }

    fn groups(
        &mut self,
        top: &Section<'_>,
        names: &BTreeMap<String, Vec<WorkerId>>,
    ) -> Vec<GroupSpec> {
        let entries = top.get(&GROUPS).and_then(|cursor| cursor.entries()).unwrap_or_default();
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
        let section = cursor.section(&GROUP)?;
        let mut workers = Vec::new();
        let list = section.get(&MEMBERS);
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
            strategy: section.choice(&STRATEGY, &STRATEGIES).unwrap_or(Strategy::OneForOne),
            workers,
            limit: section
                .get(&LIMIT)
                .map(|cursor| restart::limit(&cursor, &restart::LIMIT_OF_GROUP, restart::LIMIT)),
            escalate: section.boolean(&ESCALATE).unwrap_or(false),
        })
    }
}
