//! What a reload will do to each worker, from the configuration in force and the file.

use std::collections::{BTreeMap, BTreeSet};

use supervision::spec::{Condition, WorkerSpec};
use supervision::{DomainId, WorkerId};

use crate::config::{Launch, Settings};
use crate::control::protocol::ReloadReport;
use crate::daemon::Daemon;
use crate::daemon::succession;

impl Daemon {
    /// Compares what runs with what the file says.
    pub(super) fn reload_report(&self, settings: &Settings) -> ReloadReport {
        let new: BTreeMap<&str, (&Launch, usize)> = settings
            .launches
            .iter()
            .enumerate()
            .map(|(index, launch)| (launch.name.as_str(), (launch, index)))
            .collect();
        let mut report = ReloadReport {
            config: self.settings.source.file.display().to_string(),
            ..ReloadReport::default()
        };
        let mut known = BTreeSet::new();
        for worker in self.all_workers() {
            let ours = self.drivers.launch_of(worker);
            let name = ours.name.clone();
            known.insert(name.clone());
            let is_live = self.machine.worker(worker).is_some_and(|view| view.phase.is_live());
            let Some(&(theirs, index)) = new.get(name.as_str()) else {
                // Of a worker with instances, those beyond the number in the file stay.
                let is_scaled = settings.templates.contains_key(&ours.base);
                let list = match (is_scaled, is_live) {
                    (true, _) => &mut report.kept,
                    (false, true) => &mut report.stopped,
                    (false, false) => &mut report.removed,
                };
                list.push(name);
                continue;
            };
            let is_same_launch = succession::plan(ours) == succession::plan(theirs);
            let policy = &self.machine.spec().workers[worker.index()];
            let is_same_policy = policy_of(policy, &self.machine.spec().workers)
                == policy_of(&settings.spec.workers[index], &settings.spec.workers);
            let list = if !is_same_launch && is_live {
                &mut report.restarted
            } else if is_live && ours.isolation.capabilities().is_of_supervisor() {
                &mut report.threads
            } else if !is_same_launch
                || !is_same_policy
                || ours.reload_signal != theirs.reload_signal
                || ours.start_before != theirs.start_before
            {
                &mut report.changed
            } else {
                &mut report.kept
            };
            list.push(name);
        }
        let was_there: BTreeSet<&str> =
            self.every_worker().map(|worker| self.names.worker(worker)).collect();
        for (launch, spec) in settings.launches.iter().zip(&settings.spec.workers) {
            if !known.contains(&launch.name) {
                // What `scale` has taken away stays away: its memo says so to the successor.
                let is_scaled = launch.instance.is_some() && was_there.contains(&*launch.name);
                let list = match spec.autostart {
                    _ if is_scaled => &mut report.scaled_away,
                    true => &mut report.started,
                    false => &mut report.changed,
                };
                list.push(launch.name.clone());
            }
        }
        report
    }
}

/// What the machine does with a worker, by names: ids are those of one file.
fn policy_of(
    spec: &WorkerSpec,
    all: &[WorkerSpec],
) -> (WorkerSpec, Vec<(String, Condition, bool)>) {
    let name =
        |id: WorkerId| all.get(id.index()).map_or_else(String::new, |spec| spec.name.clone());
    let mut dependencies: Vec<(String, Condition, bool)> = spec
        .depends_on
        .iter()
        .map(|dependency| (name(dependency.on), dependency.condition, dependency.soft))
        .collect();
    dependencies.sort_by(|one, other| one.0.cmp(&other.0));
    let own = WorkerSpec { domain: DomainId(0), depends_on: Vec::new(), ..spec.clone() };
    (own, dependencies)
}
