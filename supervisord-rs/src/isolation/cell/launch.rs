//! How a worker gets into its cell, and how a cell comes up.

use std::os::fd::AsFd;
use std::sync::Arc;

use supervision::{DomainId, Incarnation};

use super::output;
use crate::config::settings::ExecutionEnvironment;
use crate::isolation::contract::means::launching::death_signal;
use crate::isolation::contract::{Means, Progress};
use crate::isolation::domain::Process;
use crate::isolation::host;
use crate::isolation::launch::failed::Result;
use crate::isolation::launch::from_io;
use crate::isolation::outfit::{Birthplace, Outfit, Whose};
use crate::stages;

const STDOUT: i32 = 1;
const STDERR: i32 = 2;

/// Into the cell if it is up; else that comes up first, once for all that wait for it.
pub(super) fn launch(means: &mut Means, incarnation: Incarnation) -> Result<Progress> {
    let domain = means.registry[incarnation.worker].domain;
    // One that has died and was not looked at yet would take no orders, again and again.
    means.reap(domain);
    if means.is_dying(domain) {
        means.underway.defer(incarnation);
        return Ok(Progress::OnItsWay);
    }
    let slot = &mut means.registry[domain];
    match (&slot.resident, &mut slot.expected) {
        (Some(_), _) => match enter(means, incarnation) {
            Err(failed) if means.is_lost_with_cell(domain, &failed) => {
                means.defer_until_gone(domain, incarnation);
                Ok(Progress::OnItsWay)
            }
            entered => entered.map(|()| Progress::Launched),
        },
        (None, Some(expected)) => {
            expected.members.push(incarnation);
            Ok(Progress::OnItsWay)
        }
        (None, None) => bring_up(means, domain, incarnation),
    }
}

/// Hands a worker to its cell, which is up.
pub(super) fn enter(means: &mut Means, incarnation: Incarnation) -> Result<()> {
    let domain = means.registry[incarnation.worker].domain;
    let launch = Arc::clone(&means.registry[incarnation.worker].launch);
    let sdk = means.own_board(incarnation, &launch.name)?;
    let outputs = means.outputs(incarnation.worker, &launch)?;
    let resident = means.registry[domain].resident.as_ref().expect("every caller has looked");
    let Process::Host(host) = &*resident.process else {
        unreachable!("a cell's process is a host: `bring_up` makes no other");
    };
    let order = means.registry[incarnation.worker].order(incarnation);
    host::order(host.way(), &order, false, &sdk, outputs.stdout.as_fd())?;
    let is_kept =
        means.is_kept(incarnation.worker) && means.keep_wake(incarnation, &launch.name, &sdk);
    means.mirror(incarnation, &sdk);
    means.settle(incarnation, sdk);
    means.commit(incarnation, is_kept);
    Ok(())
}

/// Has a launcher thread start the process of a cell.
fn bring_up(means: &mut Means, domain: DomainId, incarnation: Incarnation) -> Result<Progress> {
    let name = means.registry[domain].name.clone();
    let output = output::open(means, domain, &name)?;
    let poke = means.poke(domain)?;
    let limits = means.registry[domain].limits.clone().unwrap_or_default();
    let process_tree = means.process_tree(domain, &limits)?;
    // A cell has the supervisor's execution environment, but for its limits.
    let execution =
        ExecutionEnvironment { own_session: true, limits, ..ExecutionEnvironment::default() };
    let execution_of = Whose::Cell(Box::new(execution));
    let argv = host::argv(&format!("cell {name}"));
    let birthplace = Birthplace::of(&process_tree, means.newcomer(domain));
    let mut outfit =
        Outfit::new(host::PROGRAM.into(), argv, execution_of, &means.environment, birthplace);
    let is_kept = means.registry[domain].output.is_some_and(|output| {
        means.logs.keep(output, &format!("cell-{name}/stdout"), &means.store)
    }) && means.store.keep(&format!("cell-{name}/poke"), &[poke.as_fd()]);
    outfit.parent_death_signal = death_signal(is_kept);
    let (way, theirs) = host::way()?;
    let same = output.try_clone().map_err(|error| from_io(stages::PIPES, &error))?;
    outfit.descriptors.extend([(output, STDOUT), (same, STDERR)]);
    outfit.take_way(theirs, &poke)?;
    means.expect(domain, incarnation, outfit, process_tree, Some(way));
    Ok(Progress::OnItsWay)
}
