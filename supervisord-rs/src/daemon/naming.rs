//! From the names in an order to workers: who is meant, who is seen, and what to say of a name that
//! stands for none.

use std::collections::BTreeMap;

use supervision::{Machine, WorkerId};

use super::view::View;
use crate::control::protocol::Failure;
use crate::isolation::tree::process_tree::Member;
use crate::record::incidents::Names;

impl<'a> View<'a> {
    /// The workers that these names in an order stand for: workers, bases of instances, groups,
    /// all.
    pub(super) fn resolve(&self, verb: &str, names: &[String]) -> Result<Vec<WorkerId>, Failure> {
        let mut ids = Vec::new();
        let mut empty = None;
        for name in names {
            match name.strip_suffix(':') {
                _ if self.is_scaled_to_nothing(name) => empty = Some(name),
                _ if name == "all" => ids.extend(self.all_workers()),
                Some(name) => {
                    match self.machine.spec().groups.iter().find(|known| known.name == name) {
                        Some(group) => {
                            ids.extend(group.workers.iter().filter(|id| !self.is_retired(**id)))
                        }
                        None if self.instances_of(name).next().is_some() => {
                            ids.extend(self.instances_of(name))
                        }
                        None => return Err(unknown("group", name, &self.group_names())),
                    }
                }
                None if self.instances_of(name).next().is_some() => {
                    ids.extend(self.instances_of(name))
                }
                None => ids.push(self.resolve_one(name).map_err(|failure| {
                    match self.group_names().contains(&format!("{name}:")) {
                        true => is_group(verb, name),
                        false => failure,
                    }
                })?),
            }
        }
        if let Some(name) = empty.filter(|_| ids.is_empty()) {
            let message =
                format!("{name} has no instances; `supervisord-rs scale {name} 1` starts one");
            return Err(Failure::new("refused", message));
        }
        if names.iter().any(|name| name == "all") && ids.is_empty() {
            return Err(Failure::new("refused", "there are no workers".to_owned()));
        }
        if ids.is_empty() {
            let message = "name at least one worker, a group as `GROUP:`, or `all`".into();
            return Err(Failure::new("invalid", message));
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Whether this is a worker with `instances:` that has none at present.
    fn is_scaled_to_nothing(&self, name: &str) -> bool {
        let base = name.strip_suffix(':').unwrap_or(name);
        self.settings.templates.contains_key(base) && self.instances_of(base).next().is_none()
    }

    /// Workers with `instances:`, and how many each has.
    pub(super) fn scales(&self) -> BTreeMap<String, usize> {
        let count = |base: &String| (base.clone(), self.instances_of(base).count());
        self.settings.templates.keys().map(count).collect()
    }

    fn instances_of<'b>(self, base: &'b str) -> impl Iterator<Item = WorkerId> + use<'a, 'b> {
        self.all_workers().filter(move |id| {
            let launch = self.drivers.launch_of(*id);
            launch.instance.is_some() && launch.base == base
        })
    }

    pub(super) fn resolve_one(&self, name: &str) -> Result<WorkerId, Failure> {
        let found = self.all_workers().find(|id| self.names.worker(*id) == name);
        found.ok_or_else(|| {
            let known: Vec<String> =
                self.all_workers().map(|id| self.names.worker(id).to_owned()).collect();
            match self.instances_of(name).next() {
                // An order for one: which of them is meant is not for us to choose.
                Some(first) => Failure::new(
                    "unknown-worker",
                    format!(
                        "{name} has instances: name one of them, such as {}",
                        self.names.worker(first)
                    ),
                ),
                None => match self.first_of(name) {
                    Some((kind, member)) => Failure::new(
                        "unknown-worker",
                        format!("{name} is a {kind}: name one of its workers, such as {member}"),
                    ),
                    None => unknown("worker", name, &known),
                },
            }
        })
    }

    /// What a name stands for that is no worker's, and the first worker of it.
    fn first_of(&self, name: &str) -> Option<(&'static str, String)> {
        let group = name.strip_suffix(':').unwrap_or(name);
        let is_in_group = |id: &WorkerId| {
            self.group_names().contains(&format!("{group}:"))
                && self.drivers.launch_of(*id).group == group
        };
        let is_in_cell = |id: &WorkerId| self.drivers.launch_of(*id).isolation.cell() == Some(name);
        let named = |id: WorkerId| self.names.worker(id).to_owned();
        let of_group = self.all_workers().find(is_in_group).map(|id| ("group", named(id)));
        of_group.or_else(|| self.all_workers().find(is_in_cell).map(|id| ("cell", named(id))))
    }

    /// Those that people see: all but instances that were scaled away and are gone.
    pub(super) fn all_workers(self) -> impl Iterator<Item = WorkerId> + use<'a> {
        self.every_worker().filter(move |id| !self.is_retired(*id))
    }

    fn is_retired(&self, id: WorkerId) -> bool {
        self.machine.worker(id).is_some_and(|view| view.retired && !view.phase.is_live())
    }

    pub(super) fn every_worker(&self) -> impl Iterator<Item = WorkerId> + use<> {
        every(self.names)
    }

    fn group_names(&self) -> Vec<String> {
        self.machine.spec().groups.iter().map(|group| format!("{}:", group.name)).collect()
    }
}

/// All workers, those too that people do not see.
pub(super) fn every(names: &Names) -> impl Iterator<Item = WorkerId> + use<> {
    (0..u32::try_from(names.workers.len()).unwrap_or(u32::MAX)).map(WorkerId)
}

/// The colon of a group is missing.
fn is_group(verb: &str, name: &str) -> Failure {
    Failure::new("unknown-worker", format!("{name} is a group: `{verb} {name}:`"))
}

fn unknown(what: &str, name: &str, known: &[String]) -> Failure {
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let message = format!("no {what} is called {name}; there are: {known}");
    Failure::new("unknown-worker", message)
}

/// The name of a worker's fault domain.
pub(super) fn fault_domain<'a>(names: &'a Names, machine: &Machine, worker: WorkerId) -> &'a str {
    &names.domains[machine.spec().workers[worker.index()].domain.index()]
}

/// A process of a worker's process tree.
pub(super) fn in_words(member: &Member) -> String {
    format!("{} {} {}", member.pid, member.name, member.state)
}
