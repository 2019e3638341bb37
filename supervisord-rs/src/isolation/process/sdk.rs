//! SDK code in a process of its own: a host with one worker, whose order lies ready when it comes.

use std::os::fd::AsFd;
use std::sync::Arc;

use supervision::Incarnation;

use crate::config::Launch;
use crate::isolation::contract::means::launching::death_signal;
use crate::isolation::contract::{Means, Progress};
use crate::isolation::host;
use crate::isolation::launch::failed::Result;

pub(super) fn launch(
    means: &mut Means,
    incarnation: Incarnation,
    launch: &Arc<Launch>,
) -> Result<Progress> {
    let domain = means.registry[incarnation.worker].domain;
    let sdk = means.own_board(incarnation, &launch.name)?;
    let outputs = means.outputs(incarnation.worker, launch)?;
    let poke = means.poke(domain)?;
    let process_tree = means.process_tree(domain, &launch.execution.limits)?;
    let is_kept =
        means.is_kept(incarnation.worker) && means.keep_wake(incarnation, &launch.name, &sdk);
    let mut outfit = means.outfit(
        host::PROGRAM.into(),
        host::argv(&launch.name),
        launch,
        (domain, &process_tree),
    );
    outfit.parent_death_signal = death_signal(is_kept);
    let (way, theirs) = host::way()?;
    let order = means.registry[incarnation.worker].order(incarnation);
    host::order(way.as_fd(), &order, true, &sdk, outputs.stdout.as_fd())?;
    outfit.take_outputs(launch, outputs)?;
    outfit.take_way(theirs, &poke)?;
    means.mirror(incarnation, &sdk);
    means.settle(incarnation, sdk);
    means.expect(domain, incarnation, outfit, process_tree, Some(way));
    Ok(Progress::OnItsWay)
}
