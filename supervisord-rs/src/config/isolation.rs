//! Where a worker runs.

use serde::{Deserialize, Serialize};
use supervision::Capabilities;

/// Where a worker runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// A thread of the supervisor.
    Thread,
    /// A thread of the child process with this name.
    Cell(String),
    /// A child process of its own.
    Process,
}

impl Isolation {
    /// What is true of a worker there.
    #[must_use]
    pub const fn capabilities(&self) -> &'static Capabilities {
        match self {
            Self::Thread => &Capabilities::THREAD,
            Self::Cell(_) => &Capabilities::CELL,
            Self::Process => &Capabilities::PROCESS,
        }
    }

    /// The name of the cell that it is in, if it is in one.
    #[must_use]
    pub fn cell(&self) -> Option<&str> {
        match self {
            Self::Cell(name) => Some(name),
            Self::Thread | Self::Process => None,
        }
    }
}
