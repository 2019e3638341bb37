//! What `GET /v1/events` answers: lines of JSON.

use serde::{Deserialize, Serialize};

/// One line: an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventRecord {
    /// Counts up from 1 in each supervisor; a gap is a loss, and `kind: lost` says how many.
    pub seq: u64,
    /// Wall time.
    pub at: String,
    /// Monotonic time since boot.
    pub monotonic_us: u64,
    /// `phase`, `incident-opened`, `incident`, `injected`, `command`, `lost`, ...
    pub kind: String,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub worker: Option<String>,
    /// Which run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub generation: Option<u64>,
    /// The rest, by kind.
    pub detail: serde_json::Value,
}
