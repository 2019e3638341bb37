//! What an incarnation begins with where it needs more than each of them does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::shared::OnOwnerDeath;

/// How an incarnation ended; see [`Context::previous_ending`](crate::Context::previous_ending).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PreviousEnding {
    /// Which run it was, from 1.
    pub generation: u64,
    /// Why, in a word, as `status --json` has it: `segfault`, `panic`, `hang`, `requested`, ...
    pub cause: String,
    /// A panic message, or an error.
    pub message: Option<String>,
}

impl PreviousEnding {
    /// One of this run.
    #[must_use]
    pub fn new(generation: u64, cause: String, message: Option<String>) -> Self {
        Self { generation, cause, message }
    }
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Briefing {
    /// Bytes of its thread's stack; the default of std without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_size: Option<usize>,
    /// How the one before it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_ending: Option<PreviousEnding>,
    /// What follows when the owner of a resource dies, where that is not to repair it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub on_owner_death: BTreeMap<String, OnOwnerDeath>,
}

impl Briefing {
    /// Nothing to tell.
    pub const NONE: Self =
        Self { stack_size: None, previous_ending: None, on_owner_death: BTreeMap::new() };

    /// Whether there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::NONE
    }
}
