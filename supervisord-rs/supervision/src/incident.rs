//! The record of one failure, as far as the machine knows it.

use alloc::vec::Vec;
use core::time::Duration;

use crate::ending::Ending;
use crate::id::{DomainId, FaultId, Incarnation, IncidentId};

/// One failure: one death (of a worker or of a whole fault domain), one launch that failed, or one
/// hang.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Its number.
    pub id: IncidentId,
    /// Where.
    pub domain: DomainId,
    /// Whether the supervisor itself died, and a successor found that.
    pub supervisor_died: bool,
    /// Whose doing, as far as known.
    pub culprit: Option<Incarnation>,
    /// How the culprit, or else the domain, ended.
    pub ending: Ending,
    /// The fault ordered for the culprit shortly before, if any.
    pub injected: Option<FaultId>,
    /// How many launches have failed in this way, one after the other; 1 for everything else.
    pub count: u64,
    /// When the machine was told (for one inherited from a dead supervisor: zero).
    pub opened: Duration,
    /// When the last one lost was running again, or it was settled that it will not come back by
    /// itself.
    pub closed: Option<Duration>,
    /// Everyone who was running just before, the lost included.
    pub running: Vec<Incarnation>,
    /// Who was lost. Also workers that the machine itself restarted because of it (group,
    /// dependency).
    pub lost: Vec<Loss>,
}

impl Incident {
    /// The culprit; where it is unknown, the first that was lost.
    #[must_use]
    pub fn begins_with(&self) -> Option<Incarnation> {
        self.culprit.or_else(|| self.lost.first().map(|loss| loss.incarnation))
    }
}

/// One incarnation lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Who.
    pub incarnation: Incarnation,
    /// Whether the fault took it, or the machine did, as its group or a dependency demands.
    pub collateral: bool,
    /// What became of the worker.
    pub outcome: Outcome,
}

/// What became of a worker after a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not settled yet.
    Pending,
    /// Running again, as this generation, at this time.
    Recovered {
        /// The new incarnation.
        incarnation: Incarnation,
        /// When it was running.
        at: Duration,
    },
    /// It will not come back by itself: quarantined, finished, policy `never`, or stopped by a
    /// person.
    Down,
    /// It failed again before it was running; the next incident carries on.
    FailedAgain,
}
