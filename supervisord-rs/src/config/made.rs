//! What comes of making a worker to see whether it can be made.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use workers::Registry;
use workers::runtime::arguments::{Place, Refused};

/// Making a worker may take so long: it only looks at its arguments.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// What comes of making a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Made {
    /// It can be made; these of its arguments it ignores.
    Well(Vec<Place>),
    /// It does not take these arguments.
    Refused(Refused),
    /// It panicked: where, and the message.
    Panicked(String),
    /// It did not answer within [`LIMIT`].
    Late,
    /// It ended its process: how.
    Died(String),
    /// It was not made: others have taken too long, or have ended too many processes.
    NotAsked,
    /// Nothing is known of it, and `check` tells nothing: the kind was given up before, or is
    /// believed.
    Unknown,
}

impl Made {
    /// Makes a worker here, and drops it.
    pub(super) fn of(registry: &Registry, kind: &str, args: &Json) -> Self {
        match registry.try_create(kind, args) {
            Some(Ok((_, ignored))) => Self::Well(ignored),
            Some(Err(refused)) => Self::Refused(refused),
            None => Self::Unknown,
        }
    }

    /// The same, of one that has not answered.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Panicked(said) => Self::Panicked(said.clone()),
            Self::Late => Self::Late,
            Self::Died(how) => Self::Died(how.clone()),
            Self::NotAsked => Self::NotAsked,
            Self::Well(_) | Self::Refused(_) | Self::Unknown => Self::Unknown,
        }
    }
}
