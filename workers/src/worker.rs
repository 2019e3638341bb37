//! The worker trait.

use crate::context::Context;
use crate::error::WorkerError;

/// A worker runs until it has an order to stop. The same code runs in every isolation.
pub trait Worker: Send {
    /// Does the work. Returns when it is done, or soon after [`Context::stop_requested`] has become
    /// true.
    ///
    /// # Errors
    /// The reason why it gives up: a failure, to which the restart policy applies.
    fn run(&mut self, context: &Context) -> Result<(), WorkerError>;
}
