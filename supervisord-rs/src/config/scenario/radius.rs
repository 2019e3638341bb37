//! Whom a fault can take along: what the catalogue, the fault domains, the groups and what workers
//! share promise together.

use std::collections::BTreeSet;

use supervision::spec::{OnHang, RestartPolicy, Spec, Strategy};
use supervision::{FaultDomain, WorkerId};
use workers::fault::{Blast, Fault, Injection, Moment};
use workers::runtime::run::OnPanic;

use crate::config::settings::{Launch, OnDeath, Program, Settings};
use crate::config::uses::missing_for;

/// Whom a fault can take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Radius {
    /// Workers, by their number.
    pub(crate) workers: BTreeSet<usize>,
    /// Whether the supervisor's own process ends.
    pub(crate) supervisor: bool,
}

/// Of a fault in a worker.
pub(crate) fn of_fault(settings: &Settings, victim: usize, fault: Injection) -> Radius {
    let launch = &settings.launches[victim];
    let capabilities = launch.isolation.capabilities();
    let blast = blast(settings, victim, fault.fault);
    if blast == Blast::NotPossible {
        return Radius::default();
    }
    let is_domain = blast == Blast::Domain
        // A leak ends what has a limit of memory, and that is all of a cell.
        || fault.fault == Fault::Leak && !capabilities.is_of_supervisor();
    if is_domain && capabilities.is_of_supervisor() {
        return of_supervisor(settings);
    }
    let mut workers = BTreeSet::new();
    if is_domain {
        workers.extend(of_domain(&settings.spec, victim));
    } else if blast != Blast::Silent {
        workers.insert(victim);
    }
    // What comes of a lock or a message is decided by those that share it.
    if missing_for(fault.fault, &[]).is_some() {
        let shares = |other: &Launch| {
            let mut own = launch.uses.iter();
            own.any(|one| other.uses.iter().any(|two| one.name == two.name))
        };
        let sharing = settings.launches.iter().enumerate();
        workers.extend(sharing.filter(|(_, other)| shares(other)).map(|(at, _)| at));
    }
    Radius { workers: with_groups(&settings.spec, workers), supervisor: false }
}

/// Of the death of the supervisor.
pub(crate) fn of_supervisor(settings: &Settings) -> Radius {
    let takes_all = settings.supervisor.on_death == OnDeath::Kill;
    let ends = |launch: &Launch| takes_all || !launch.isolation.capabilities().outlives_supervisor;
    let all = settings.launches.iter().enumerate();
    let lost = all.filter(|(_, launch)| ends(launch)).map(|(at, _)| at).collect();
    Radius { workers: with_groups(&settings.spec, lost), supervisor: true }
}

/// Who shares its fault domain, itself among them.
pub(crate) fn of_domain(spec: &Spec, victim: usize) -> impl Iterator<Item = usize> {
    let domain = spec.workers[victim].domain;
    (0..spec.workers.len()).filter(move |at| spec.workers[*at].domain == domain)
}

/// These, and whom groups restart with one of them.
pub(crate) fn with_groups(spec: &Spec, mut lost: BTreeSet<usize>) -> BTreeSet<usize> {
    for group in &spec.groups {
        let at = |worker: &WorkerId| worker.index();
        let first = group.workers.iter().position(|worker| lost.contains(&at(worker)));
        let Some(first) = first else { continue };
        match group.strategy {
            Strategy::OneForOne => {}
            Strategy::OneForAll => lost.extend(group.workers.iter().map(at)),
            Strategy::RestForOne => lost.extend(group.workers[first..].iter().map(at)),
        }
    }
    lost
}

/// What the catalogue says of it where the worker lives.
fn blast(settings: &Settings, victim: usize, fault: Fault) -> Blast {
    let (launch, entry) = (&settings.launches[victim], fault.entry());
    if launch.isolation.capabilities().fault_domain == FaultDomain::Own {
        return entry.process;
    }
    let blast = match launch.on_panic {
        OnPanic::Contain => entry.shared_contain,
        OnPanic::Abort => entry.shared,
    };
    let is_recycled = settings.spec.workers[victim].on_hang == OnHang::Recycle;
    let is_hung = matches!(fault, Fault::Hang | Fault::BusyLoop | Fault::Vanish);
    if is_recycled && is_hung { Blast::Domain } else { blast }
}

/// Why no storm can strike this worker with this fault; `None`: one can.
pub(crate) fn obstacle(settings: &Settings, victim: usize, fault: Injection) -> Option<String> {
    misfit(settings, victim, fault.fault).or_else(|| vain(settings, victim, fault))
}

/// Why the fault is none in this worker: what the reader of `inject:` says of it too.
fn misfit(settings: &Settings, victim: usize, kind: Fault) -> Option<String> {
    let launch = &settings.launches[victim];
    let name = &launch.name;
    let is_command = matches!(launch.program, Program::Command(_));
    let of_supervisor = launch.isolation.capabilities().is_of_supervisor();
    if is_command && kind.signal().is_none() {
        return Some(format!("{name} is a command, which commits no fault itself"));
    }
    if of_supervisor && kind.is_order() {
        return Some(format!("in {name}, a thread of the supervisor, it stops everything"));
    }
    if let Some(needed) = missing_for(kind, &launch.uses).filter(|_| !is_command) {
        return Some(format!("it strikes a {needed}, and {name} uses none"));
    }
    None
}

/// Why a fault that the worker can have shows nothing in a storm.
pub(crate) fn vain(settings: &Settings, victim: usize, fault: Injection) -> Option<String> {
    let (launch, kind) = (&settings.launches[victim], fault.fault);
    let name = &launch.name;
    let of_supervisor = launch.isolation.capabilities().is_of_supervisor();
    if kind.moment() != Moment::Now {
        return Some("it waits for a stop or a launch, which no storm orders".to_owned());
    }
    if blast(settings, victim, kind) == Blast::NotPossible {
        return Some(format!("{name} cannot have it where it runs"));
    }
    let is_hung = matches!(kind, Fault::Hang | Fault::BusyLoop | Fault::Vanish);
    let is_stopped = kind == Fault::SignalStop && !of_supervisor;
    let is_domain_watched = || of_domain(&settings.spec, victim).any(|at| is_watched(settings, at));
    if is_hung && !is_watched(settings, victim) || is_stopped && !is_domain_watched() {
        return Some(format!("no `heartbeat:` and no liveness probe of {name} would show it"));
    }
    let radius = of_fault(settings, victim, fault);
    let ends = |at: &&usize| settings.spec.workers[**at].critical;
    let critical = radius.workers.iter().find(ends)?;
    Some(format!("it takes {}, whose end is that of everything", settings.launches[*critical].name))
}

/// Whether a worker that does nothing more is noticed.
fn is_watched(settings: &Settings, at: usize) -> bool {
    let heartbeat = settings.spec.workers[at].heartbeat;
    heartbeat.is_some_and(|limit| !limit.is_zero())
        || settings.launches[at].health.liveness.is_some()
}

/// Whether it comes back after a failure.
pub(crate) fn comes_back(spec: &Spec, at: usize) -> bool {
    spec.workers[at].restart.policy != RestartPolicy::Never
}
