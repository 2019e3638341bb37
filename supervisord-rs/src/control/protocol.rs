//! What the control API speaks: the published shapes, version 1. Times called `_us` are
//! microseconds of monotonic time; those called `at` are RFC 3339 wall time in UTC.

mod answer;
mod check;
mod ending;
mod event;
mod incident;
mod logs;
mod names;
mod order;
mod outcome;
mod reload;
mod resource;
mod status;
mod turns;
mod usage;

pub use answer::{Done, Failure};
pub use check::CheckReport;
pub use ending::EndingReport;
pub use event::EventRecord;
pub use incident::{FaultReport, IncidentRecord, WorkReport};
pub use logs::{LogItem, LogLine, LogPosition, LogsRequest};
pub(crate) use names::{Named, is_meant};
pub use order::{
    AwaitRequest, InjectRequest, ReexecRequest, ScaleRequest, ShutdownRequest, SignalName,
    SignalRequest, WorkersRequest,
};
pub use outcome::OutcomeReport;
pub use reload::ReloadReport;
pub use resource::{HolderReport, MessagesReport, ResourceLoss, ResourceStatus};
pub use status::{HealthReport, StatusReport, SupervisorStatus, WorkerStatus};
pub use turns::{LoopReport, TurnCount};
pub use usage::{IoLimitReport, LimitsReport, Usage};

/// `error` of the answer to a reload of a file that is not valid (422).
pub const INVALID_CONFIGURATION: &str = "invalid-configuration";
/// `error` of the answer about an incident that there is not (404).
pub const UNKNOWN_INCIDENT: &str = "unknown-incident";

/// Version of these shapes; in every path (`/v1/...`).
pub const VERSION: u32 = 1;

/// How long an order with `wait` waits for its outcome when it does not say: longer than starts and
/// stops take, and an end for those that come to none.
pub const WAIT_DEFAULT: std::time::Duration = std::time::Duration::from_secs(300);
