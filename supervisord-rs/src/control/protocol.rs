//! What the control API speaks: the published shapes, version 1. Times called `_us` are
//! microseconds of monotonic time; those called `at` are RFC 3339 wall time in UTC.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use super::outcome::OutcomeReport;
pub use super::reload::ReloadReport;
/// `error` of the answer to a reload of a file that is not valid (422).
pub const INVALID_CONFIGURATION: &str = "invalid-configuration";
/// `error` of the answer about an incident that there is not (404).
pub const UNKNOWN_INCIDENT: &str = "unknown-incident";

/// Version of these shapes; in every path (`/v1/...`).
pub const VERSION: u32 = 1;

/// How long an order with `wait` waits for its outcome when it does not say: longer than starts and
/// stops take, and an end for those that come to none.
pub const WAIT_DEFAULT: std::time::Duration = std::time::Duration::from_secs(300);

/// `GET /v1/status`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusReport {
    /// Of the supervisor itself.
    pub supervisor: SupervisorStatus,
    /// In the order of the configuration.
    pub workers: Vec<WorkerStatus>,
}

/// The supervisor itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SupervisorStatus {
    /// Its process.
    pub pid: i32,
    /// `running` or `stopping`.
    pub phase: String,
    /// Wall time of its start.
    pub started_at: String,
    /// The configuration file.
    pub config: String,
    /// How the file differs from the configuration in force, as far as it was looked at: after a
    /// death of the supervisor, and while something is missing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub config_differs: Option<String>,
    /// What the supervisor cannot do at present, and tries again.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub troubles: Vec<String>,
    /// The guardian's process, if there is one.
    pub guardian: Option<i32>,
    /// Version of the program.
    pub version: String,
    /// Whether `inject` is allowed.
    pub fault_injection: bool,
    /// Messages about older incarnations, dropped.
    pub stale_events: u64,
    /// Records lost because a disk or a reader was too slow.
    pub lost_records: u64,
    /// Bytes of workers' output lost, because what they go to took no writes or hung.
    #[serde(default)]
    pub lost_output: u64,
    /// Hooks dropped because too many waited.
    #[serde(default)]
    pub dropped_hooks: u64,
    /// How long the loop is held at a time.
    #[serde(rename = "loop", default)]
    pub turns: LoopReport,
    /// What the supervisor itself uses; with `?usage=true`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usage: Option<Usage>,
    /// Threads left behind, of all workers.
    pub abandoned_threads: u32,
    /// Workers with `instances:` by the name that these share, and how many each has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub instances: BTreeMap<String, usize>,
}

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

/// One worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its name.
    pub name: String,
    /// `idle`, `launching`, `starting`, `running`, `stopping`, `killing`, `backoff`, `quarantined`
    /// or `finished`.
    pub phase: String,
    /// `thread`, `cell` or `process`.
    pub isolation: String,
    /// The cell, for isolation `cell`.
    pub cell: Option<String>,
    /// The fault domain: `supervisor`, the cell's name or its own.
    pub domain: String,
    /// The process it runs in, while it lives.
    pub pid: Option<i32>,
    /// The thread it runs on, for SDK workers, while it lives.
    pub tid: Option<i32>,
    /// One more at each launch.
    pub generation: u64,
    /// Launches after the first.
    pub restarts: u64,
    /// Units of work done (SDK workers), over all generations that share a board.
    pub progress: Option<u64>,
    /// Units of work begun and not done (SDK workers).
    pub in_flight: Option<u64>,
    /// Wall time of its last change of phase.
    pub since: String,
    /// Milliseconds until it is tried again (backoff, slow retry).
    pub retry_in_ms: Option<u64>,
    /// Dependencies that it waits for.
    pub waits_for: Vec<String>,
    /// The dependency that has failed for good, so that it cannot start.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_vain: Option<String>,
    /// Whether a person stopped it.
    pub stopped: bool,
    /// Whether the supervisor is to keep it up, now or as soon as it can be.
    #[serde(default)]
    pub wanted: bool,
    /// In phase finished: whether it ended with success.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub succeeded: Option<bool>,
    /// Whether nothing is wrong with it: it runs, it has ended with success, or its last run did
    /// and the next one is to come.
    #[serde(default)]
    pub ok: bool,
    /// How its last incarnation ended, in words.
    pub ending: Option<EndingReport>,
    /// Number of its last incident.
    pub last_incident: Option<u64>,
    /// Threads of it left behind.
    pub abandoned: u32,
    /// The entry of the configuration that it comes from: its own name, or the one that instances
    /// share.
    #[serde(default)]
    pub base: String,
    /// The group it is in; its base where it is in none.
    #[serde(default)]
    pub group: String,
    /// Whether it is suspended.
    #[serde(default)]
    pub paused: bool,
    /// What its probes say; true where there is none, or none has said otherwise yet.
    #[serde(default)]
    pub health: HealthReport,
    /// What it says of itself (`STATUS=`, sd_notify(3)).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status_text: Option<String>,
    /// Whether it says that it is reloading.
    #[serde(default)]
    pub reloading: bool,
    /// The process that it calls its main one, where that is another than `pid`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub main_pid: Option<i32>,
    /// Bytes of its output that were lost.
    #[serde(default)]
    pub lost_output: u64,
    /// In phase killing: what is left of it, as `PID NAME STATE`.
    #[serde(default)]
    pub remains: Vec<String>,
    /// What it uses; with `?usage=true`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usage: Option<Usage>,
    /// The limits of its cgroup, for a thread in a cell the cell's; none where nothing is limited.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limits: Option<LimitsReport>,
    /// Where its standard output goes: a file, or `terminal`, `journald`, `syslog`, `null`,
    /// `inherit`.
    pub stdout: String,
    /// Where its standard error goes; mostly the same.
    pub stderr: String,
}

/// What probes say of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// Whether others may depend on it.
    pub ready: bool,
    /// Whether it is of any use.
    pub alive: bool,
}

impl Default for HealthReport {
    fn default() -> Self {
        Self { ready: true, alive: true }
    }
}

/// The limits and the usage of a worker's cgroup. `None`: no limit, or no counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsReport {
    /// Bytes beyond which it is ended (`memory.max`).
    pub memory: Option<u64>,
    /// Bytes beyond which it is slowed down (`memory.high`).
    pub memory_high: Option<u64>,
    /// Percent of one processor (`cpu.max`).
    pub cpu_percent: Option<u32>,
    /// Processes and threads (`pids.max`).
    pub pids: Option<u64>,
    /// Reading and writing, by block device (`io.max`).
    pub io: Vec<IoLimitReport>,
    /// Bytes of memory in use now (`memory.current`); all incarnations share the count.
    pub memory_current: Option<u64>,
    /// Most bytes of memory in use so far (`memory.peak`, Linux 5.19).
    pub memory_peak: Option<u64>,
}

/// What may be read and written of a block device in a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoLimitReport {
    /// The device, as configured.
    pub device: String,
    /// Bytes.
    pub read_bytes: Option<u64>,
    /// Bytes.
    pub write_bytes: Option<u64>,
    /// Operations.
    pub read_operations: Option<u64>,
    /// Operations.
    pub write_operations: Option<u64>,
}

/// What a worker uses, or the supervisor. A thread has only what the kernel keeps by thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time so far, in microseconds.
    pub cpu_us: u64,
    /// Memory with shared pages counted by share (PSS), in KiB; `None` where it may not be read.
    pub pss_kib: Option<u64>,
    /// Memory in RAM (RSS), in KiB.
    pub rss_kib: Option<u64>,
    /// Threads.
    pub threads: u64,
    /// Processes.
    pub processes: u64,
    /// Open descriptors.
    pub fds: Option<u64>,
    /// Context switches because it waited.
    pub voluntary_switches: u64,
    /// Context switches because its time was over.
    pub involuntary_switches: u64,
}

/// How an incarnation ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndingReport {
    /// `exited`, `signal`, `returned`, `failed`, `panicked`, `abandoned`, `not-launched` or
    /// `unknown`.
    pub status: String,
    /// Why: `segfault`, `panic`, `hang`, `requested`, ...
    pub cause: String,
    /// For `exited`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// For `signal`: its name (`SIGSEGV`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<String>,
    /// Whether a core was dumped.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub core_dumped: bool,
    /// `si_code` by name, where a handler saw it (`SEGV_MAPERR`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// `si_addr`, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// For `not-launched`: the step that failed (`exec`, `directory`, `user`, ...).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stage: Option<String>,
    /// For `not-launched`: the error of that step by name (`ENOENT`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub errno: Option<String>,
    /// A panic message, an error, or what to do about a launch that failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
}

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
    /// Done by the lost workers before.
    pub done: u64,
    /// Begun and not done when they were lost.
    pub in_flight_lost: u64,
}

/// One event of `GET /v1/events` (JSON lines).
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

/// `POST /v1/start`, `/v1/stop`, `/v1/restart`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WorkersRequest {
    /// Names; `all` alone means every worker; a group's name with a colon (`payments:`) means its
    /// workers.
    pub workers: Vec<String>,
    /// Whether to answer only when the order is carried out, has failed, or is superseded by a
    /// later one.
    #[serde(default)]
    pub wait: bool,
    /// How long to wait at most, in milliseconds; 300 000 when it is left out. The order stands all
    /// the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
}

/// `POST /v1/scale`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScaleRequest {
    /// A worker with `instances:`.
    pub worker: String,
    /// How many there shall be.
    pub instances: u32,
    /// Whether to answer only when they are.
    #[serde(default)]
    pub wait: bool,
    /// See [`WorkersRequest::timeout_ms`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
}

/// `POST /v1/signal`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignalRequest {
    /// To whom: names, groups and instances as in [`WorkersRequest::workers`].
    #[serde(default)]
    pub workers: Vec<String>,
    /// The same for one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub worker: Option<String>,
    /// The signal's name (`HUP`, `SIGHUP`) or its number.
    pub signal: SignalName,
}

/// A signal by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SignalName {
    /// By number.
    Number(i32),
    /// By name, with or without `SIG`.
    Name(String),
}

/// `POST /v1/inject`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InjectRequest {
    /// In whom.
    pub worker: String,
    /// The fault as written: `segfault`, `exit:3`, `leak:64MiB`.
    pub fault: String,
}

/// `POST /v1/reexec`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReexecRequest {
    /// The binary of the next supervisor, an absolute path; the one that this was started from when
    /// it is left out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub binary: Option<std::path::PathBuf>,
    /// For it to be ready, in milliseconds; 30 000 when it is left out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
}

/// `POST /v1/shutdown`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ShutdownRequest {
    /// Kill instead of asking.
    #[serde(default)]
    pub now: bool,
}

/// Answer to a request that changes something.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// What was done, for people.
    pub message: String,
    /// With `wait`: the workers concerned, as they are now.
    #[serde(default)]
    pub workers: Vec<WorkerStatus>,
    /// Of an injected fault: whether it does its harm unnoticed, so that no incident comes of it.
    #[serde(default)]
    pub is_silent: bool,
    /// With `wait`: what came of the order in each worker that it touched.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub outcomes: Vec<OutcomeReport>,
    /// Of a reload: what it does to each worker.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reload: Option<ReloadReport>,
}

/// Answer to a request that was not carried out.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Failure {
    /// `unknown-worker` (404), `refused` (403), `not-running` (409), `invalid` (400),
    /// `shutting-down` (503), `busy` (503), `failed` (409), `superseded` (409), `timed-out` (504),
    /// `unknown-incident` (404), `invalid-configuration` (422).
    pub error: String,
    /// What is wrong and what to do about it.
    pub message: String,
    /// With `wait`: what came of the order in each worker that it touched.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub outcomes: Vec<OutcomeReport>,
    /// Of an invalid configuration: its errors, as `check --json` has them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub problems: Vec<serde_json::Value>,
}

impl Failure {
    /// One that concerns no worker in particular.
    #[must_use]
    pub fn new(error: &str, message: String) -> Self {
        Self { error: error.to_owned(), message, outcomes: Vec::new(), problems: Vec::new() }
    }
}
