//! `scale`: more or fewer instances of a worker, and only the difference is touched.

use std::collections::BTreeMap;

use supervision::spec::DomainSpec;
use supervision::{Command, DomainId, Event, Extension, FaultDomain, GroupId, WorkerId};

use super::goal::Goal;
use super::unanswered::Pending;
use super::waiters::{Wait, limit};
use crate::config::Launch;
use crate::config::instances::INSTANCES_MAX;
use crate::control::protocol::{Done, Failure, ScaleRequest};
use crate::control::request::{Answer, Peer};
use crate::daemon::Daemon;
use crate::daemon::view::View;

/// The instances of a worker, by number.
type Instances = BTreeMap<u32, WorkerId>;

impl Daemon {
    pub(in crate::daemon) fn order_scale(
        &mut self,
        request: &ScaleRequest,
        peer: Peer,
        answer: Answer<Done>,
    ) {
        let ScaleRequest { worker: base, instances: wanted, wait, timeout_ms } = request;
        // Before anything is added: what the machine refuses must not be there afterwards.
        if self.machine.is_shutting_down() {
            return drop(answer.send(Err(super::shutting_down())));
        }
        let before = self.view().instances(base);
        let room = self.black_box.room(self.names.workers.len());
        let added = match self.view().added(base, *wanted, &before, room) {
            Ok(added) => added,
            Err(failure) => return drop(answer.send(Err(failure))),
        };
        self.log_order("scale", &format!("{base} {wanted}"), peer);
        let known = before.iter().map(|(number, id)| (*number, *id));
        let (kept, surplus): (Vec<_>, Vec<_>) = known.partition(|(number, _)| number <= wanted);
        let is_retired = |id: &WorkerId| self.machine.worker(*id).is_some_and(|view| view.retired);
        let revived: Vec<WorkerId> = kept.iter().map(|(_, id)| *id).filter(is_retired).collect();
        let surplus: Vec<WorkerId> =
            surplus.into_iter().map(|(_, id)| id).filter(|id| !is_retired(id)).collect();
        let new = self.add(base, added);
        let touched: Vec<WorkerId> = revived.iter().copied().chain(new).collect();
        let instances = if *wanted == 1 { "instance" } else { "instances" };
        let message = format!(
            "scale {base}: {wanted} {instances}, {} more, {} fewer",
            touched.len(),
            surplus.len()
        );
        let start = touched.clone();
        let touched: Vec<(WorkerId, Goal)> =
            touched.into_iter().map(|id| (id, self.view().to_come_up(id))).collect();
        if !start.is_empty() {
            let request = self.unanswered.number();
            self.turn(Some(Event::Command { request, command: Command::Start(start) }));
        }
        let limit = limit(*timeout_ms);
        let mut aims: Vec<(WorkerId, Goal)> =
            surplus.iter().map(|id| (*id, self.view().to_go_down(*id))).collect();
        aims.extend(touched);
        let wait = wait.then_some(Wait { aims, limit });
        let pending = Pending { answer, message, wait, subject: base.clone(), is_silent: false };
        self.order(Command::Retire(surplus), pending);
    }

    /// Tells everyone who has to know of the new ones, the machine last.
    fn add(
        &mut self,
        base: &str,
        added: Vec<(supervision::spec::WorkerSpec, Launch)>,
    ) -> Vec<WorkerId> {
        if added.is_empty() {
            return Vec::new();
        }
        let sibling = self.view().instances(base).into_values().next();
        let spec = self.machine.spec();
        let group = sibling.and_then(|sibling| {
            let position = spec.groups.iter().position(|group| group.workers.contains(&sibling))?;
            Some((GroupId(u32::try_from(position).ok()?), spec.groups[position].name.clone()))
        });
        let mut extension = Extension::default();
        let mut launches = Vec::new();
        let mut ids = Vec::new();
        for (mut spec, mut launch) in added {
            let id = WorkerId(u32::try_from(self.names.workers.len()).unwrap_or(u32::MAX));
            spec.domain = self.view().domain_for(&launch, &mut extension);
            if let Some((group, name)) = &group {
                extension.members.push((*group, id));
                launch.group.clone_from(name);
            }
            self.black_box.add(id.index(), &launch.name);
            self.names.workers.push((&launch).into());
            self.histories.add();
            self.observers.hooks.add_worker(launch.hooks.clone());
            // A wait for the others includes it.
            extension.dependencies.extend(self.view().dependencies_on(sibling, id));
            launches.push((spec.domain, launch));
            extension.workers.push(spec);
            ids.push(id);
        }
        self.names.domains.extend(extension.domains.iter().map(|domain| domain.name.clone()));
        self.incidents.rename(self.names.clone());
        self.drivers.extend(&launches, &extension.domains);
        self.turn(Some(Event::Extend(extension)));
        ids
    }
}

impl View<'_> {
    /// All instances that there are or were.
    fn instances(&self, base: &str) -> Instances {
        let known = |id: WorkerId| {
            let launch = self.drivers.launch_of(id);
            (launch.base == base).then_some((launch.instance?, id))
        };
        self.every_worker().filter_map(known).collect()
    }

    /// What is to be launched of those that there have not been yet.
    fn added(
        &self,
        base: &str,
        wanted: u32,
        before: &Instances,
        room: usize,
    ) -> Result<Vec<(supervision::spec::WorkerSpec, Launch)>, Failure> {
        let refused = |message: String| Failure::new("refused", message);
        let Some(template) = self.settings.templates.get(base) else {
            let worker = self.resolve_one(base)?;
            let launch = self.drivers.launch_of(worker);
            if launch.instance.is_some() {
                let base = &launch.base;
                let message = format!(
                    "{} is one of the instances of {base}: `supervisord-rs scale {base} {wanted}` \
                     makes it {wanted} of them",
                    launch.name
                );
                return Err(refused(message));
            }
            return Err(refused(format!(
                "{base} has no instances: write `instances: 1` in its configuration, and it can be \
                 scaled"
            )));
        };
        if wanted > INSTANCES_MAX {
            return Err(refused(format!("at most {INSTANCES_MAX} instances")));
        }
        let missing: Vec<u32> =
            (1..=wanted).filter(|number| !before.contains_key(number)).collect();
        if missing.len() > room {
            return Err(refused(format!(
                "there is room for {room} more instances in this run of the supervisor: \
                 write the number in the configuration and start it again"
            )));
        }
        let names = self.names_by_id();
        let make = |number: u32| template.instantiate(number, self.drivers.registry(), &names);
        missing.into_iter().map(make).collect::<Result<_, _>>().map_err(refused)
    }

    fn names_by_id(&self) -> BTreeMap<String, Vec<WorkerId>> {
        let mut names: BTreeMap<String, Vec<WorkerId>> = BTreeMap::new();
        for id in self.every_worker() {
            let launch = self.drivers.launch_of(id);
            names.entry(launch.name.clone()).or_default().push(id);
            if launch.instance.is_some() {
                names.entry(launch.base.clone()).or_default().push(id);
            }
        }
        names
    }

    fn domain_for(&self, launch: &Launch, extension: &mut Extension) -> DomainId {
        let domains = &self.machine.spec().domains;
        let capabilities = launch.isolation.capabilities();
        match capabilities.fault_domain {
            FaultDomain::Supervisor => DomainId(0),
            FaultDomain::Shared => {
                let is_it = |domain: &DomainSpec| {
                    domain.capabilities == capabilities
                        && launch.isolation.cell() == Some(domain.name.as_str())
                };
                let known = domains.iter().position(is_it);
                known.and_then(|index| u32::try_from(index).ok()).map_or(DomainId(0), DomainId)
            }
            FaultDomain::Own => {
                let index = domains.len() + extension.domains.len();
                let domain = DomainSpec { name: launch.name.clone(), capabilities };
                extension.domains.push(domain);
                DomainId(u32::try_from(index).unwrap_or(u32::MAX))
            }
        }
    }

    fn dependencies_on(
        &self,
        sibling: Option<WorkerId>,
        id: WorkerId,
    ) -> Vec<(WorkerId, supervision::spec::Dependency)> {
        let workers = self.machine.spec().workers.iter().zip(self.every_worker());
        workers
            .filter_map(|(spec, dependent)| {
                let dependency =
                    spec.depends_on.iter().find(|dependency| Some(dependency.on) == sibling)?;
                Some((dependent, supervision::spec::Dependency { on: id, ..*dependency }))
            })
            .collect()
    }
}
