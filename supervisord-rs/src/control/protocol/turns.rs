//! How long the supervisor's loop is held at a time.

use serde::{Deserialize, Serialize};

/// The turns of the supervisor's loop since its start: what it does between two looks at its
/// sources. Nothing in it waits, so they are short; a long one is a bug, or the machine ran
/// something else.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LoopReport {
    /// How many.
    pub turns: u64,
    /// Half of them took no longer.
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// The longest.
    pub longest_us: u64,
    /// What that one was spent on: `workers`, `signal`, `beside`, `request`, `deadline` or `tasks`.
    pub longest_in: String,
    /// 99 of 100 took no more of a processor's time: what the loop did itself. The rest of a turn's
    /// length is that of a machine which ran something else.
    #[serde(default)]
    pub cpu_p99_us: u64,
    /// The most.
    #[serde(default)]
    pub cpu_longest_us: u64,
    /// What that one was spent on.
    #[serde(default)]
    pub cpu_longest_in: String,
    /// How many were how long; the difference of two reports is what happened between them.
    pub histogram: Vec<TurnCount>,
}

/// Turns of about one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnCount {
    /// All took less than this, and not less than the one before.
    pub below_us: u64,
    /// How many.
    pub turns: u64,
}
