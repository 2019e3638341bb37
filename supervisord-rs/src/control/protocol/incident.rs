//! What `GET /v1/incidents` answers: one incident, a line of `incidents.jsonl` too.

use serde::{Deserialize, Serialize};

use super::{EndingReport, ResourceLoss};

/// One incident: a line of `incidents.jsonl`, and `GET /v1/incidents`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct IncidentRecord {
    /// Counts up from 1.
    pub id: u64,
    /// Wall time of its detection.
    pub at: String,
    /// The culprit; `None` when it is unknown.
    pub worker: Option<String>,
    /// Its generation then.
    pub generation: Option<u64>,
    /// Its isolation.
    pub isolation: Option<String>,
    /// Whether that run was over, and a thread did it that it had left behind.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub left_behind: bool,
    /// The fault domain.
    pub domain: String,
    /// What went wrong.
    pub fault: FaultReport,
    /// How the worker or its domain ended.
    pub ending: EndingReport,
    /// Whether the supervisor itself died of it.
    pub supervisor_died: bool,
    /// Who was running just before.
    pub running: Vec<String>,
    /// Who was lost, as observed.
    pub lost: Vec<String>,
    /// Of these, who was restarted by us because its group or a dependency demands it.
    #[serde(default)]
    pub collateral: Vec<String>,
    /// Of these, who was not running again when it was settled.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub missing: Vec<String>,
    /// Who was not lost: the same incarnation still runs.
    pub survived: Vec<String>,
    /// Survivors that made no progress since, though they had before (silent victims).
    #[serde(default)]
    pub stalled: Vec<String>,
    /// From the fault to its detection; `None` when the moment of the fault is unknown.
    pub detected_us: Option<u64>,
    /// From the fault (or else from its detection) until everyone lost was running again; `None`:
    /// not (yet) so.
    pub recovered_us: Option<u64>,
    /// Work lost.
    pub work: WorkReport,
    /// What those that were lost had of what workers share, and what became of it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub resources: Vec<ResourceLoss>,
    /// The last lines that the culprit wrote.
    #[serde(default)]
    pub last_output: Vec<String>,
    /// Threads left behind, ... by this incident.
    #[serde(default)]
    pub leftovers: Vec<String>,
    /// How many launches failed in this way, one after the other; 1 for everything else.
    #[serde(default = "one")]
    pub count: u64,
    /// Whether a lost worker is not back yet, nor settled to stay down.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub open: bool,
    /// While it is open: milliseconds until the culprit is tried again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_in_ms: Option<u64>,
    /// The one line for people.
    pub sentence: String,
}

impl IncidentRecord {
    /// Whether it is that of a fault in this worker, and not one that followed. `after`: the newest
    /// that was known before the fault.
    #[must_use]
    pub fn is_of(&self, worker: &str, after: u64) -> bool {
        let is_in = |names: &[String]| names.iter().any(|name| name == worker);
        self.id > after && is_in(&self.lost) && !is_in(&self.collateral)
    }
}

const fn one() -> u64 {
    1
}

/// What went wrong.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FaultReport {
    /// The injected fault's name, or else the cause.
    pub kind: String,
    /// Whether it was injected.
    pub injected: bool,
}

/// Work done and lost, in the worker's own units.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WorkReport {
    /// Done by the lost workers before; `null`: it is not known.
    pub done: Option<u64>,
    /// Begun and not done when they were lost; `null`: it is not known.
    pub in_flight_lost: Option<u64>,
}

impl WorkReport {
    /// Units done, and begun and not done.
    #[must_use]
    pub fn of(work: Option<(u64, u64)>) -> Self {
        Self { done: work.map(|(done, _)| done), in_flight_lost: work.map(|(_, begun)| begun) }
    }

    /// Units done, and begun and not done, where both are known.
    #[must_use]
    pub fn known(&self) -> Option<(u64, u64)> {
        self.done.zip(self.in_flight_lost)
    }
}
