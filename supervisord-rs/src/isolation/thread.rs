//! SDK code on a thread of the supervisor: it shares everything, and a fatal fault in it ends the
//! supervisor.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use supervision::{LaunchFailure, LaunchStage};
use workers::Registry;
use workers::endowment::Endowment;
use workers::run::{IncarnationPlan, OnPanic};

use super::launch::{become_foreign, failure};
use super::live::Sdk;

/// Starts the thread. It ends by itself, when it stops; it is not joined, since one that hangs
/// would hang us.
pub(super) fn launch(
    sdk: &Sdk,
    order: &Order<'_>,
    registry: &Registry,
    poke: &Arc<OwnedFd>,
    output: OwnedFd,
) -> Result<(), LaunchFailure> {
    let wake = sdk.wake.copy().map_err(|error| from_io(LaunchStage::Board, &error))?;
    let plan = IncarnationPlan {
        name: order.name.to_owned(),
        kind: order.kind.to_owned(),
        generation: order.generation,
        args: order.args.clone(),
        on_panic: order.on_panic,
        mapping: Arc::clone(&sdk.page.mapping),
        page: sdk.page.number,
        poke: Arc::clone(poke),
        wake,
        output,
        endowment: Endowment::default(),
        at_end: None,
    };
    become_foreign();
    workers::run::spawn(plan, registry)
        .map(drop)
        .map_err(|error| from_io(LaunchStage::Thread, &error))
}

/// What SDK code is to run, and how: the same for thread, cell and process.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) name: &'a str,
    pub(super) kind: &'a str,
    pub(super) generation: u64,
    pub(super) args: &'a serde_json::Value,
    pub(super) on_panic: OnPanic,
}

/// An error of std as a failed stage.
pub(super) fn from_io(stage: LaunchStage, error: &std::io::Error) -> LaunchFailure {
    failure(stage, error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}
