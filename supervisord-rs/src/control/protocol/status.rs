//! What `GET /v1/status` answers: the supervisor, and each worker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{EndingReport, LimitsReport, LoopReport, ResourceStatus, Usage};

/// `GET /v1/status`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusReport {
    /// Of the supervisor itself.
    pub supervisor: SupervisorStatus,
    /// In the order of the configuration.
    pub workers: Vec<WorkerStatus>,
    /// What they share, in the order of the configuration.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub resources: Vec<ResourceStatus>,
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
    /// Threads left behind that have not ended yet, of all workers.
    pub abandoned_threads: u32,
    /// Signals whose disposition in the supervisor's process a thread worker has changed; the
    /// supervisor has put back its own.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub changed_signals: Vec<String>,
    /// Limits of the supervisor's process that a thread worker has lowered (`RLIMIT_NOFILE`, ...);
    /// the supervisor has put them back, as far as it has the right to.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub changed_limits: Vec<String>,
    /// What a thread worker has changed of who the supervisor's process is: `user`, `group`,
    /// `groups`; the supervisor has changed it back, as far as it has the right to.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub changed_identity: Vec<String>,
    /// Processes that thread workers, or workers of cells, have started and that have outlived the
    /// thread or the process that started them, so that it is not known whose they are: number,
    /// name, cell. They end with their fault domain.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub stray_processes: Vec<String>,
    /// Workers with `instances:` by the name that these share, and how many each has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub instances: BTreeMap<String, usize>,
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
    /// Units of work that failed or were dropped while the worker went on (SDK workers), over all
    /// generations that share a board.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failed: Option<u64>,
    /// Wall time of its last change of phase.
    pub since: String,
    /// Milliseconds until it is tried again (backoff, slow retry).
    pub retry_in_ms: Option<u64>,
    /// Dependencies that it waits for.
    pub waits_for: Vec<String>,
    /// The dependency that has failed for good, so that it cannot start.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_vain: Option<String>,
    /// Whether it waits for what does not come without another order: for one that has failed for
    /// good, was stopped or was not asked to start, however far away.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub blocked: bool,
    /// What it waits for, in words; none where it waits for nothing, or in vain.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waits_why: Option<String>,
    /// The soft dependencies that it was started without.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub without: Vec<String>,
    /// Whether a person stopped it.
    pub stopped: bool,
    /// Whether it starts with the supervisor.
    #[serde(default = "yes")]
    pub autostart: bool,
    /// In phase quarantined: why, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quarantine: Option<String>,
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
    /// Threads of this run, as far as the SDK knows them: that which runs the worker, and those that
    /// it has started or made its own. 0: it does not run, or is a command.
    #[serde(default)]
    pub own_threads: u32,
    /// Threads of it that earlier runs have left behind and that have not ended yet.
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
    /// In a cell: the signals whose handlers a worker of it has changed, and that were put back.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub changed_signals: Vec<String>,
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

impl WorkerStatus {
    /// Whether there is an incarnation of it, which may be on its way up or down.
    #[must_use]
    pub fn is_live(&self) -> bool {
        let live = ["launching", "starting", "running", "stopping", "killing"];
        live.contains(&self.phase.as_str())
    }

    /// Whether the incarnation of an earlier status has ended, and that was no failure.
    #[must_use]
    pub fn has_ended_well_since(&self, before: &Self) -> bool {
        (self.generation > before.generation || !self.is_live())
            && self.last_incident == before.last_incident
    }
}

fn yes() -> bool {
    true
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
