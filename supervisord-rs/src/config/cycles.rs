//! Workers that wait for ever: for each other, or for the end of one that never ends.

use std::collections::BTreeMap;
use std::ops::Range;

use supervision::spec::{Condition, RestartPolicy, WorkerSpec};

use super::dependencies;
use super::entries::Entry;
use super::node::Value;
use super::problem::Problem;
use super::problems::Problems;
use super::settings::Launch;

/// Places of a cycle that are marked beside the first.
const MARKS_MAX: usize = 20;

/// All that may wait: what each waits for, and where that is written.
pub(super) struct Waiting<'a> {
    entries: BTreeMap<&'a str, &'a Entry>,
    workers: &'a [WorkerSpec],
    launches: &'a [Launch],
}

impl<'a> Waiting<'a> {
    /// Of a file: its entries, and the workers that they make.
    pub(super) fn new(
        entries: &'a [Entry],
        workers: &'a [WorkerSpec],
        launches: &'a [Launch],
    ) -> Self {
        let entries = entries.iter().map(|entry| (entry.name.value.as_str(), entry)).collect();
        Self { entries, workers, launches }
    }

    /// Each cycle is named in full, once, and marked at each of its dependencies.
    pub(super) fn report_cycles(&self, problems: &Problems) {
        for cycle in find(self.workers) {
            let names: Vec<&str> =
                cycle.iter().map(|&index| self.workers[index].name.as_str()).collect();
            let mut places = cycle.windows(2).filter_map(|pair| {
                let (from, on) = (&self.launches[pair[0]].base, pair[1]);
                let entry = self.entries.get(from.as_str())?;
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
            problems
                .push(shown.fold(problem, |problem, (_, span, label)| problem.beside(span, label)));
        }
    }

    /// A worker that is always brought back is never finished: what waits for that never starts.
    pub(super) fn warn_of_endless(&self, problems: &Problems) {
        for (spec, launch) in self.workers.iter().zip(self.launches) {
            let endless = spec.depends_on.iter().filter(|dependency| {
                let on = &self.workers[dependency.on.index()];
                dependency.condition == Condition::Finished
                    && on.restart.policy == RestartPolicy::Always
            });
            for on in endless.map(|dependency| &self.launches[dependency.on.index()].base) {
                let entry = self.entries.get(launch.base.as_str());
                let Some(written) =
                    entry.and_then(|entry| entry.below(&dependencies::DEPENDS_ON, problems))
                else {
                    continue;
                };
                let message =
                    format!("`{on}` is never finished: its `restart: always` brings it back");
                let help =
                    format!("write `restart: on-failure` for `{on}`, or wait for it to be `ready`");
                written.warn(message, &help);
            }
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

/// Every cycle of dependencies, in full: the first is named again at the end.
fn find(workers: &[WorkerSpec]) -> Vec<Vec<usize>> {
    let mut state = vec![Visit::Never; workers.len()];
    (0..workers.len())
        .filter_map(|start| visit(start, workers, &mut state, &mut Vec::new()))
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    Never,
    Open,
    Done,
}

/// Follows dependencies; a worker met again on the way is a cycle. Not recursive: a chain may be as
/// long as the file.
fn visit(
    start: usize,
    workers: &[WorkerSpec],
    state: &mut [Visit],
    path: &mut Vec<usize>,
) -> Option<Vec<usize>> {
    if state[start] != Visit::Never {
        return None;
    }
    let mut next = vec![0];
    path.push(start);
    state[start] = Visit::Open;
    let mut found = None;
    while let (Some(&worker), Some(position)) = (path.last(), next.last_mut()) {
        let Some(dependency) = workers[worker].depends_on.get(*position) else {
            state[worker] = Visit::Done;
            path.pop();
            next.pop();
            continue;
        };
        *position += 1;
        let on = dependency.on.index();
        match state[on] {
            Visit::Never => {
                state[on] = Visit::Open;
                path.push(on);
                next.push(0);
            }
            Visit::Open if found.is_none() => {
                let begin = path.iter().position(|&index| index == on).unwrap_or(0);
                found = Some(path[begin..].iter().copied().chain([on]).collect());
            }
            Visit::Open | Visit::Done => {}
        }
    }
    found
}
