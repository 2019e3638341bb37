//! The worker trait.

use std::fmt;

use crate::context::Context;

/// A worker runs until it has an order to stop. The same code runs in every isolation.
pub trait Worker: Send {
    /// Does the work. Returns when it is done, or soon after [`Context::stop_requested`] has become
    /// true.
    ///
    /// # Errors
    /// The reason why it gives up: a failure, to which the restart policy applies.
    fn run(&mut self, context: &Context) -> Result<(), WorkerError>;
}

/// Why a worker gave up. Made from any error or text by `?` or `into`.
#[derive(Debug)]
pub struct WorkerError(String);

impl fmt::Display for WorkerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<String> for WorkerError {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for WorkerError {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<std::io::Error> for WorkerError {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<serde_json::Error> for WorkerError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}
