//! What a reload will do to each worker, from the configuration in force and the file.

use std::collections::{BTreeMap, BTreeSet};

use supervision::spec::{Condition, WorkerSpec};
use supervision::{DomainId, WorkerId};

use crate::config::Settings;
use crate::control::protocol::ReloadReport;
use crate::daemon::recovery;
use crate::daemon::view::View;

/// What a reload does to a worker.
#[derive(Clone, Copy)]
enum Fate {
    Kept,
    Changed,
    Restarted,
    /// A thread of the supervisor ends with it, and is started again.
    Thread,
    Stopped,
    Removed,
    Started,
    ScaledAway,
}

impl View<'_> {
    /// Compares what runs with what the file says.
    pub(super) fn reload_report(&self, settings: &Settings) -> ReloadReport {
        let names = settings.launches.iter().enumerate();
        let positions: BTreeMap<&str, usize> =
            names.map(|(position, launch)| (launch.name.as_str(), position)).collect();
        let mut report = ReloadReport {
            config: self.settings.source.file.display().to_string(),
            ..ReloadReport::default()
        };
        let mut known = BTreeSet::new();
        for worker in self.all_workers() {
            let name = self.drivers.launch_of(worker).name.as_str();
            let fate = match positions.get(name) {
                Some(&position) => self.fate_of_named(worker, settings, position),
                None => self.fate_of_unnamed(worker, settings),
            };
            known.insert(name);
            list_of(&mut report, fate).push(name.to_owned());
        }
        let was_there: BTreeSet<&str> =
            self.every_worker().map(|worker| self.names.worker(worker)).collect();
        // A file with more instances than there ever were brings all of them (see `recovery`).
        let is_raised = |base: &str| {
            let ours = settings.launches.iter().filter(|launch| launch.base == base);
            ours.into_iter().any(|launch| !was_there.contains(&*launch.name))
        };
        for (launch, spec) in settings.launches.iter().zip(&settings.spec.workers) {
            if known.contains(launch.name.as_str()) {
                continue;
            }
            // What `scale` has taken away stays away: its checkpoint says so to the successor.
            let is_scaled = launch.instance.is_some()
                && was_there.contains(&*launch.name)
                && !is_raised(&launch.base);
            let fate = match spec.autostart {
                _ if is_scaled => Fate::ScaledAway,
                true => Fate::Started,
                false => Fate::Changed,
            };
            list_of(&mut report, fate).push(launch.name.clone());
        }
        self.name_dependents(&mut report, settings);
        report
    }

    /// Those that live and need one that is restarted, directly or by another, are restarted with
    /// it.
    fn name_dependents(&self, report: &mut ReloadReport, settings: &Settings) {
        let all = &settings.spec.workers;
        let mut with_them: BTreeSet<&str> = report.restarted.iter().map(String::as_str).collect();
        let needs_one = |spec: &WorkerSpec, with_them: &BTreeSet<&str>| {
            let mut needed = spec.depends_on.iter().filter(|dependency| {
                !dependency.soft && dependency.condition != Condition::Finished
            });
            needed.any(|dependency| with_them.contains(&*all[dependency.on.index()].name))
        };
        loop {
            let more: Vec<&WorkerSpec> = all
                .iter()
                .filter(|spec| !with_them.contains(&*spec.name) && needs_one(spec, &with_them))
                .collect();
            if more.is_empty() {
                break;
            }
            with_them.extend(more.into_iter().map(|spec| spec.name.as_str()));
        }
        let is_live: BTreeSet<&str> = self
            .all_workers()
            .filter(|worker| self.is_live(*worker))
            .map(|worker| self.names.worker(worker))
            .collect();
        let goes_along = |name: &String| with_them.contains(&**name) && is_live.contains(&**name);
        for list in [&mut report.kept, &mut report.changed] {
            report.dependents.extend(list.extract_if(.., |name| goes_along(name)));
        }
    }

    /// Of one that the file does not name. Of a worker with instances, those beyond the number in
    /// the file stay.
    fn fate_of_unnamed(&self, worker: WorkerId, settings: &Settings) -> Fate {
        let base = &self.drivers.launch_of(worker).base;
        let is_scaled = settings.templates.contains_key(base);
        // All of them are made of one entry: what another one of them tells, this one does too.
        let other =
            settings.launches.iter().find(|launch| launch.base == *base).and_then(|theirs| {
                let mut all = self.all_workers().map(|worker| self.drivers.launch_of(worker));
                Some((all.find(|ours| ours.name == theirs.name)?, theirs))
            });
        let has_changed = other.is_some_and(|(ours, theirs)| {
            recovery::fingerprint(ours) != recovery::fingerprint(theirs)
        });
        match (is_scaled, self.is_live(worker)) {
            (true, true) if has_changed => Fate::Restarted,
            (true, false) if has_changed => Fate::Changed,
            (true, _) => Fate::Kept,
            (false, true) => Fate::Stopped,
            (false, false) => Fate::Removed,
        }
    }

    /// Of one that stands in the file, at this position.
    fn fate_of_named(&self, worker: WorkerId, settings: &Settings, position: usize) -> Fate {
        let ours = self.drivers.launch_of(worker);
        let theirs = &settings.launches[position];
        let is_live = self.is_live(worker);
        let is_same_launch = recovery::fingerprint(ours) == recovery::fingerprint(theirs);
        let policy = &self.machine.spec().workers[worker.index()];
        let is_same_policy = policy_of(policy, &self.machine.spec().workers)
            == policy_of(&settings.spec.workers[position], &settings.spec.workers);
        if !is_same_launch && is_live {
            Fate::Restarted
        } else if is_live && !ours.isolation.capabilities().outlives_supervisor {
            Fate::Thread
        } else if !is_same_launch
            || !is_same_policy
            || ours.reload_signal != theirs.reload_signal
            || ours.start_before != theirs.start_before
        {
            Fate::Changed
        } else {
            Fate::Kept
        }
    }

    fn is_live(&self, worker: WorkerId) -> bool {
        self.machine.worker(worker).is_some_and(|view| view.phase.is_live())
    }
}

fn list_of(report: &mut ReloadReport, fate: Fate) -> &mut Vec<String> {
    match fate {
        Fate::Kept => &mut report.kept,
        Fate::Changed => &mut report.changed,
        Fate::Restarted => &mut report.restarted,
        Fate::Thread => &mut report.threads,
        Fate::Stopped => &mut report.stopped,
        Fate::Removed => &mut report.removed,
        Fate::Started => &mut report.started,
        Fate::ScaledAway => &mut report.scaled_away,
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
