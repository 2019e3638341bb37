//! The workers that the machine keeps running: policy only. The daemon knows how to launch a
//! worker.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::capabilities::Capabilities;
use crate::id::{DomainId, FaultId, WorkerId};

/// Everything that the machine supervises.
///
/// *Units*: each `Duration` is monotonic time, on the clock whose `now` the machine is given. The
/// machine takes every length, and the configuration sets bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// In the order of the file; a [`WorkerId`] is a position here.
    pub workers: Vec<WorkerSpec>,
    /// Workers that are restarted together. A worker is in at most one group.
    pub groups: Vec<GroupSpec>,
    /// What dies together. Position 0 is always the supervisor's own process.
    pub domains: Vec<DomainSpec>,
    /// From the order to shut down until everything that still lives is killed. Zero: kill at once.
    pub shutdown_timeout: Duration,
    /// Whether injections are accepted at all. False refuses the command and ignores `injections`.
    pub fault_injection: bool,
    /// How many start at once, and how soon after each other.
    pub start: StartLimits,
}

impl Spec {
    /// What is true of a worker where it runs.
    #[must_use]
    pub fn capabilities(&self, worker: WorkerId) -> &'static Capabilities {
        self.domains[self.workers[worker.index()].domain.index()].capabilities
    }
}

/// How fast workers are launched: at the start of the supervisor, and when many have failed at
/// once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartLimits {
    /// At most so many are launching or starting at a time; `None`: no bound.
    pub concurrency: Option<u32>,
    /// At least so long between two launches. Zero: at once.
    pub stagger: Duration,
}

/// A fault domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainSpec {
    /// `supervisor`, the name of the cell, or the name of the worker whose process it is.
    pub name: String,
    /// What is true of every worker in it.
    pub capabilities: &'static Capabilities,
}

/// The policy of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSpec {
    /// Unique; what people call it.
    pub name: String,
    /// Where it runs.
    pub domain: DomainId,
    /// Whether it is started with the supervisor.
    pub autostart: bool,
    /// What happens after it ended.
    pub restart: Restart,
    /// When it counts as running.
    pub readiness: Readiness,
    /// What must hold before it is launched. Acyclic.
    pub depends_on: Vec<Dependency>,
    /// How it is stopped.
    pub stop: Stop,
    /// It is hung when its heartbeat is older than this; `None` or zero: never.
    pub heartbeat: Option<Duration>,
    /// What to do with a thread that does not answer. Processes are killed.
    pub on_hang: OnHang,
    /// Faults on schedule.
    pub injections: Vec<InjectionSpec>,
    /// Whether the supervisor ends when this one is down for good: finished, or quarantined without
    /// a slow retry.
    pub critical: bool,
}

/// What happens after a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Whether.
    pub policy: RestartPolicy,
    /// After how long.
    pub backoff: Backoff,
    /// How often at most; beyond it the worker is quarantined.
    pub limit: Limit,
    /// After running this long without a failure the attempts (and so the backoff) count from the
    /// start.
    pub reset_after: Duration,
    /// A quarantined worker is tried again after this long; `None`: only by hand.
    pub slow_retry: Option<Duration>,
    /// Endings that are no failure, besides exit code 0.
    pub success: Vec<Exit>,
    /// Endings after which another attempt is vain: the worker is quarantined at once, without a
    /// slow retry.
    pub never_on: Vec<Exit>,
}

/// An ending of a process, as a configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// This exit code.
    Code(i32),
    /// This signal.
    Signal(i32),
}

/// Which endings are followed by a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Every ending (OTP: permanent).
    Always,
    /// Every ending that is a failure (OTP: transient).
    OnFailure,
    /// None (OTP: temporary).
    Never,
}

/// The delay before attempt n (n = 0 first): `initial * factor^n`, at most `max`, changed by up to
/// ± `jitter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Delay before the first restart. Zero: at once.
    pub initial: Duration,
    /// Thousandths: 2000 doubles the delay at each attempt. At least 1000.
    pub factor_permille: u32,
    /// Upper bound of the delay, jitter included.
    pub max: Duration,
    /// Thousandths of the delay, 0 to 1000; the change is a hash of worker and attempt, not a
    /// random number.
    pub jitter_permille: u32,
}

impl Backoff {
    /// The delay before attempt `attempt` (0 first) of something that is no worker.
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        crate::restart::delay(self, crate::id::WorkerId(u32::MAX), attempt)
    }
}

/// At most `restarts` restarts within any window of `within`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Zero: the first failure quarantines.
    pub restarts: u32,
    /// Length of the window.
    pub within: Duration,
}

/// When a launched worker counts as running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// When it says so; if it has not within `timeout`, it is ended and the start has failed.
    Notified {
        /// From the launch.
        timeout: Duration,
    },
    /// When it has stayed up this long (for programs that cannot say so).
    After(Duration),
}

/// `depends_on: { db: ready }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The one depended on.
    pub on: WorkerId,
    /// What must hold of it before the dependent is launched.
    pub condition: Condition,
    /// An order of starting, not a need: one that does not come by itself as things stand is not
    /// waited for, and its end does not stop the dependent. That is one that has failed, is tried
    /// again later, was stopped or not asked to start, or itself waits for such a one.
    pub soft: bool,
}

/// A condition of a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It has been launched (starting or running).
    Started,
    /// It is running, and its readiness probe, if it has one, does not say otherwise.
    Ready,
    /// It has finished well.
    Finished,
}

/// How a worker is stopped: asked, then after `timeout` killed (a thread: abandoned, see
/// [`OnHang`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// From the order to the kill. Zero: kill at once.
    pub timeout: Duration,
}

/// What happens to a thread that does not answer, since a thread cannot be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnHang {
    /// It is left behind, counted and shown; a new thread takes its place.
    Abandon,
    /// Its whole fault domain ends and starts again.
    Recycle,
}

/// Workers that are restarted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// Unique among groups.
    pub name: String,
    /// Who else is restarted when one of them fails.
    pub strategy: Strategy,
    /// In order: `rest-for-one` restarts the failed one and those after it.
    pub workers: Vec<WorkerId>,
    /// Beyond it the whole group is quarantined. `None`: only the workers' own limits count.
    pub limit: Option<Limit>,
    /// Whether a group beyond its limit ends the supervisor (OTP: a supervisor that gives up ends
    /// itself).
    pub escalate: bool,
}

/// Who is restarted when one worker of a group fails (OTP's words).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Only the one that failed.
    OneForOne,
    /// All of them.
    OneForAll,
    /// The one that failed and those after it.
    RestForOne,
}

/// A fault on schedule. Schedules count from the moment a worker becomes running, again in each
/// incarnation; `times` counts over the whole life of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InjectionSpec {
    /// What to commit.
    pub fault: FaultId,
    /// The first time, after the worker became running.
    pub after: Duration,
    /// Again each time this long has passed; `None`: once in an incarnation.
    pub every: Option<Duration>,
    /// At most this often in all; `None`: no bound.
    pub times: Option<u32>,
    /// Thousandths, 0 to 1000: the chance that a due injection is committed, decided by a hash of
    /// `seed` and a counter.
    pub probability_permille: u32,
    /// The same seed gives the same decisions.
    pub seed: u64,
}
