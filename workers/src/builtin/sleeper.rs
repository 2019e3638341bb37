//! Does nothing, and costs nothing: for measurements of idle workers.

use serde::Deserialize;

use crate::context::Context;
use crate::error::WorkerError;
use crate::worker::Worker;

/// `args:` of a sleeper: none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Args {}

/// Waits for the order to stop.
#[derive(Debug)]
pub(super) struct Sleeper;

impl Sleeper {
    pub(super) fn new(_args: Args) -> Result<Self, WorkerError> {
        Ok(Self)
    }
}

impl Worker for Sleeper {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        context.ready();
        context.wait_for_stop();
        Ok(())
    }
}
