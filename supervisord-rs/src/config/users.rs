//! The users of each resource, together: whether they can share it, and what its death does to
//! them.

use std::collections::BTreeSet;
use std::sync::Arc;

use supervision::spec::{GroupSpec, Strategy, WorkerSpec};
use supervision::{DomainId, FaultDomain, WorkerId};

use super::entries::Entry;
use super::memory::shown;
use super::problems::{At, Problems};
use super::resources::Written;
use super::settings::{Declared, Launch, OnOwnerDeath, Resource, ResourceKind, Scope};
use super::uses;

/// All that may use one: the entries of the file, and the workers that they make.
pub(super) struct Users<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) workers: &'a [WorkerSpec],
    pub(super) launches: &'a [Launch],
    pub(super) problems: &'a Problems,
}

impl Users<'_> {
    /// Checks them, and gives each resource its scope.
    pub(super) fn check(&self, all: &[Written]) -> Vec<Declared> {
        for entry in self.entries {
            self.check_entry(entry, all);
        }
        let declared = all.iter().filter_map(|written| {
            let resource = Arc::clone(written.resource.as_ref()?);
            let is_scope_written = written.scope.is_some();
            Some(Declared { scope: self.scope(written), is_scope_written, resource })
        });
        declared.collect()
    }

    /// Of one worker of an entry all others are copies.
    fn launch_of(&self, entry: &Entry) -> Option<&Launch> {
        self.launches.iter().find(|launch| launch.base == entry.name.value)
    }

    fn check_entry(&self, entry: &Entry, all: &[Written]) {
        let Some(launch) = self.launch_of(entry) else { return };
        let Some(cursor) = entry.below(&uses::USES, self.problems) else { return };
        let names = cursor.strings().unwrap_or_default();
        let at = |name: &str| names.iter().find(|written| written.value == name);
        for resource in &launch.uses {
            let Some(place) = at(&resource.name) else { continue };
            if let Some(missing) = self.missing(resource, launch, all) {
                let is_region = matches!(resource.kind, ResourceKind::Region { .. });
                let what = if is_region { "is guarded by" } else { "goes with" };
                let message = format!(
                    "`{}` {what} `{missing}`, which this worker does not use",
                    resource.name
                );
                let list: Vec<&str> = names.iter().map(|name| name.value.as_str()).collect();
                let help = format!("write `uses: [{}, {missing}]`", list.join(", "));
                self.problems.push(place.problem(message).help(help));
            }
            self.check_limit(resource, launch, place);
        }
    }

    /// What it needs beside a resource, and does not use.
    fn missing<'b>(
        &self,
        resource: &'b Resource,
        launch: &Launch,
        all: &[Written],
    ) -> Option<&'b str> {
        let needs = resource.needs()?;
        let is_known = all.iter().any(|one| one.name.value == needs);
        (is_known && !launch.uses.iter().any(|one| one.name == needs)).then_some(needs)
    }

    /// Its memory counts as that of the cgroup that writes to it first (cgroups(7)).
    fn check_limit(&self, resource: &Resource, launch: &Launch, place: &At<String>) {
        let limit = launch.execution.limits.cgroup.memory;
        if let Some(limit) = limit.filter(|limit| resource.bytes() > *limit) {
            let message = format!(
                "`{}` may take {}, and `limits:` of this worker allow {} of memory",
                resource.name,
                shown(resource.bytes()),
                shown(limit)
            );
            let help = "what a worker writes to first counts as its own: raise the limit, or make \
                        the resource smaller";
            self.problems.push(place.problem(message).help(help));
        }
    }

    /// Its users, by position.
    fn of(&self, name: &str) -> impl Iterator<Item = usize> {
        let uses = move |launch: &Launch| launch.uses.iter().any(|one| one.name == name);
        (0..self.launches.len()).filter(move |index| uses(&self.launches[*index]))
    }

    fn scope(&self, written: &Written) -> Scope {
        let name = &written.name.value;
        let users: Vec<usize> = self.of(name).collect();
        if users.is_empty() && written.resource.is_some() {
            let help = format!("write `uses: [{name}]` in the entry of each worker that shares it");
            self.problems.warn(written.name.problem("no worker uses it").help(help));
        }
        let domains: BTreeSet<DomainId> =
            users.iter().map(|user| self.workers[*user].domain).collect();
        // Each instance that `scale` adds has a process of its own.
        let is_scaled = users.iter().any(|user| {
            let launch = &self.launches[*user];
            launch.instance.is_some()
                && launch.isolation.capabilities().fault_domain == FaultDomain::Own
        });
        let is_narrow = domains.len() <= 1 && !is_scaled;
        match &written.scope {
            Some(scope) if scope.value == Scope::Process && !is_narrow => {
                let message = format!(
                    "`scope: process`, and `{name}` is used in several processes: {}",
                    self.places(&users)
                );
                let help = "write `scope: machine` or leave it out, or run them in one cell: \
                            memory of one process is not that of another";
                self.problems.push(scope.problem(message).help(help));
                Scope::Machine
            }
            Some(scope) => scope.value,
            None if is_narrow => Scope::Process,
            None => Scope::Machine,
        }
    }

    /// Each of them, with where it runs.
    fn places(&self, users: &[usize]) -> String {
        const SHOWN: usize = 8;
        let place = |user: &usize| {
            let launch = &self.launches[*user];
            match launch.isolation.cell() {
                Some(cell) => format!("{} (cell {cell})", launch.name),
                None => format!("{} ({})", launch.name, launch.isolation.capabilities().place),
            }
        };
        let shown: Vec<String> = users.iter().take(SHOWN).map(place).collect();
        let more = users.len().saturating_sub(SHOWN);
        let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
        format!("{}{rest}", shown.join(", "))
    }

    /// The users of what has `on_owner_death: restart-users` are one group: the failure of one
    /// restarts all.
    pub(super) fn groups(&self, all: &[Written], written: &[GroupSpec]) -> Vec<GroupSpec> {
        let mut groups: Vec<(GroupSpec, &str)> = Vec::new();
        for one in all {
            let Some(place) = one.on_owner_death.as_ref() else { continue };
            if place.value != OnOwnerDeath::RestartUsers {
                continue;
            }
            let name = one.name.value.as_str();
            let users: Vec<WorkerId> = self.of(name).map(id).collect();
            let shares = |(group, _): &&(GroupSpec, &str)| {
                group.workers.iter().any(|worker| users.contains(worker))
            };
            if let Some((other, of)) = groups.iter().find(shares) {
                if other.workers != users {
                    let message = format!(
                        "the users of `{name}` and those of `{of}` restart each other: they \
                         share some and not all, so that one failure could go round for ever"
                    );
                    let help = "have the same workers use both, or write another \
                                `on_owner_death:` for one of them";
                    self.problems.push(place.problem(message).help(help));
                }
                continue;
            }
            if let Some((worker, group)) = in_group(&users, written) {
                let message = format!(
                    "`{}` is in group `{}`, and `restart-users` makes the users of `{name}` a \
                     group: a worker is in one at most",
                    self.launches[worker.index()].name,
                    group.name
                );
                let help = "take it out of its group, or write another `on_owner_death:`";
                self.problems.push(place.problem(message).help(help));
                continue;
            }
            if users.len() > 1 {
                groups.push((group(name, users), name));
            }
        }
        groups.into_iter().map(|(group, _)| group).collect()
    }
}

fn in_group<'a>(users: &[WorkerId], groups: &'a [GroupSpec]) -> Option<(WorkerId, &'a GroupSpec)> {
    groups.iter().find_map(|group| {
        let worker = users.iter().find(|user| group.workers.contains(user))?;
        Some((*worker, group))
    })
}

fn group(name: &str, workers: Vec<WorkerId>) -> GroupSpec {
    GroupSpec {
        name: format!("users-of-{name}"),
        strategy: Strategy::OneForAll,
        workers,
        limit: None,
        escalate: false,
    }
}

/// A file of bounded size has far less than 2^32 workers.
fn id(position: usize) -> WorkerId {
    WorkerId(u32::try_from(position).unwrap_or(u32::MAX))
}
