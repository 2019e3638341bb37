//! Does nothing, and costs nothing: for measurements of idle workers.

use crate::context::Context;
use crate::error::WorkerError;
use crate::worker::Worker;

/// Waits for the order to stop. It takes no arguments.
#[derive(Debug)]
pub(super) struct Sleeper;

impl Worker for Sleeper {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        context.ready();
        context.wait_for_stop();
        Ok(())
    }
}
