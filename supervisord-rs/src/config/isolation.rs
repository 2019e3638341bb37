//! Where a worker runs.

use serde::{Deserialize, Serialize};
use supervision::Capabilities;

use super::kinds::Kind;

/// Where a worker runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// In which kind of isolation.
    pub kind: &'static Kind,
    /// The name of the cell, where the kind is shared.
    pub cell: Option<String>,
}

impl Isolation {
    /// What is true of a worker there.
    #[must_use]
    pub const fn capabilities(&self) -> &'static Capabilities {
        &self.kind.capabilities
    }

    /// The name of the cell that it is in, if it is in one.
    #[must_use]
    pub fn cell(&self) -> Option<&str> {
        self.cell.as_deref()
    }
}
