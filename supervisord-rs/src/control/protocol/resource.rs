//! What workers share, as it is now, and what a death did to it.

use serde::{Deserialize, Serialize};

/// What the dead had of a resource: in an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLoss {
    /// Its name.
    pub resource: String,
    /// `queue`, `semaphore`, ...
    pub kind: String,
    /// `lock`, `lock-within-change`, `permit`, `reader`, `message` (taken and not acknowledged),
    /// `half-message`, `byte` (of memory with a name).
    pub had: String,
    /// How many.
    pub count: u64,
    /// What became of it: `to-repair`, `poisoned`, `continued`, `made-again`, `released`,
    /// `delivered-again`, `dropped`, `lost`, `cut-off`.
    pub then: String,
    /// How long the dead had the lock while others waited, or it was looked at: at least.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held_ms: Option<u64>,
}

/// A resource as it is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceStatus {
    /// Its name.
    pub name: String,
    /// `queue`, `semaphore`, ...
    pub kind: String,
    /// What has it, if that is not the memory that this product lays out: of a queue `pipe`,
    /// `socket` or `mqueue`, of a semaphore or a region `posix`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<String>,
    /// `process` or `machine`.
    pub scope: String,
    /// The workers that have it in their `uses:`.
    pub users: Vec<String>,
    /// Whether it was made: the launch of the first user does that.
    pub made: bool,
    /// Where root and the supervisor's own user may open it, in this machine's `/proc`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// Its name of POSIX, once it is made: for sem_open(3), shm_open(3) or mq_open(3).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub posix_name: Option<String>,
    /// Who has it now, once for each permit.
    pub holders: Vec<HolderReport>,
    /// How long its only owner has it, at least.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held_ms: Option<u64>,
    /// Who waits for it now.
    pub waiters: Vec<HolderReport>,
    /// Of a queue.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub messages: Option<MessagesReport>,
    /// Permits that are gone with those that held them: of a semaphore of POSIX, since it was made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lost_permits: Option<u64>,
    /// Whether a death has left it so that all get an error.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub poisoned: bool,
}

/// A thread that has a resource, or waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderReport {
    /// Its worker; none where it is not known, as of a further thread of a cell.
    pub worker: Option<String>,
    /// Its process, where that lives.
    pub pid: Option<u32>,
    /// The thread.
    pub tid: u32,
}

/// The messages of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagesReport {
    /// To be taken.
    pub ready: u64,
    /// Taken, and not acknowledged.
    pub taken: u64,
    /// At most.
    pub capacity: u64,
}
