//! What a valid configuration means: policy for the machine ([`Spec`]), launch data for the drivers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use supervision::Spec;
use workers::run::OnPanic;

/// A whole, valid configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file it was read from, as given.
    pub file: PathBuf,
    /// The supervisor's own part.
    pub supervisor: SupervisorSettings,
    /// Policy: what the machine keeps running.
    pub spec: Spec,
    /// How each worker is launched; the position is its `WorkerId`.
    pub launches: Vec<Launch>,
}

/// `supervisor:`
#[derive(Clone, Debug)]
pub struct SupervisorSettings {
    /// Sockets, lock, black box.
    pub runtime_dir: PathBuf,
    /// Incidents.
    pub state_dir: PathBuf,
    /// Captured output.
    pub log_dir: PathBuf,
    /// Permission bits of the control socket.
    pub control_mode: u32,
    /// Group that owns the control socket; `None`: the supervisor's own.
    pub control_group: Option<String>,
}

/// How one worker is launched.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub isolation: Isolation,
    /// What it runs.
    pub program: Program,
    /// Added to the supervisor's own environment (processes only).
    pub env: BTreeMap<String, String>,
    /// Working directory (processes only); `None`: the supervisor's.
    pub cwd: Option<PathBuf>,
    /// What a panic ends (threads of the SDK).
    pub on_panic: OnPanic,
    /// The signal that asks a `command:` to stop. SDK workers are asked through their board.
    pub stop_signal: i32,
    /// The file that its stdout goes to.
    pub stdout: PathBuf,
    /// The file that its stderr goes to; the same path as `stdout` merges them.
    pub stderr: PathBuf,
}

/// Where a worker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// A thread of the supervisor.
    Thread,
    /// A thread of the child process with this name.
    Cell(String),
    /// A child process of its own.
    Process,
}

/// What a worker runs.
#[derive(Clone, Debug)]
pub enum Program {
    /// An executable with its arguments; the first word is looked up in `PATH` unless it has a slash.
    Command(Vec<String>),
    /// Registered code.
    Worker {
        /// The name that it is registered by.
        kind: String,
        /// Its arguments; an object.
        args: serde_json::Value,
    },
}

/// Defaults that people meet; all of them stand in `docs/configuration.md` and `config/reference.yaml`.
pub mod default {
    use super::Duration;

    /// `supervisor.shutdown_timeout`.
    pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
    /// `stop.timeout`, as supervisord's `stopwaitsecs`.
    pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);
    /// `ready.timeout` for SDK workers.
    pub const READY_TIMEOUT: Duration = Duration::from_secs(30);
    /// `ready.after` for commands, as supervisord's `startsecs`.
    pub const READY_AFTER: Duration = Duration::from_secs(1);
}
