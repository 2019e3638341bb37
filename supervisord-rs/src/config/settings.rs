//! What a valid configuration means: policy for the machine ([`Spec`]), launch data for the
//! drivers.

mod for_steps;
mod limits;
mod logs;
pub mod probes;
mod resources;
mod template;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use supervision::Spec;
use workers::runtime::run::OnPanic;
use workers::runtime::scheduling::Scheduling;

pub use self::for_steps::ForSteps;
pub use self::limits::{CgroupLimits, IoLimit, Limits, ResourceLimit};
pub use self::logs::{LineFormat, Logs, Rotate, Sink};
pub use self::probes::{Address, Check, Health, Probe, Ready};
pub(super) use self::resources::ResourcesByName;
pub use self::resources::{
    Carrier, Declared, LOCK_READERS, Mechanism, OnOwnerDeath, QUEUE_USERS, Resource, ResourceKind,
    Scope,
};
pub use self::template::Template;
pub use super::isolation::Isolation;
use super::source::Source;

/// The lowest number of a socket that a worker is passed, sd_listen_fds(3).
pub const FIRST_SOCKET: i32 = 3;
/// The numbers of all descriptors that a command is handed lie below this.
pub const COMMAND_NUMBERS: i32 = 64;

/// A whole, valid configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it was made of.
    pub source: Arc<Source>,
    /// The supervisor's own part.
    pub supervisor: SupervisorSettings,
    /// Policy: what the machine keeps running.
    pub spec: Spec,
    /// How each worker is launched; the position is its `WorkerId`.
    pub launches: Vec<Launch>,
    /// The limits of cells that have any, by name.
    pub cells: BTreeMap<String, Limits>,
    /// Workers with `instances:`, by the name that stands in the file: how to make one more.
    pub templates: BTreeMap<String, Template>,
    /// Commands that are run when something happens to any worker.
    pub hooks: Vec<Hook>,
    /// What workers share.
    pub resources: Vec<Declared>,
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
    /// Whether captured output is shown on the supervisor's standard output too.
    pub echo: Echo,
    /// What becomes of process workers when the supervisor dies.
    pub on_death: OnDeath,
    /// What the guardian does when the supervisor dies or hangs.
    pub custody: crate::service_manager::Custody,
    /// Most bytes that all log files together take; the oldest rotated ones go first.
    pub log_cap: Option<u64>,
}

/// `supervisor.echo`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Where standard output is a terminal.
    Auto,
    /// Always, as containers want it.
    Always,
    /// Never.
    Never,
}

/// What becomes of process workers when the supervisor dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDeath {
    /// They run on, and the next supervisor adopts them: where a guardian or service manager keeps
    /// the descriptors meanwhile.
    #[default]
    Keep,
    /// They end with it.
    Kill,
}

impl std::fmt::Display for OnDeath {
    /// As it is written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Kill => "kill",
        })
    }
}

/// How one worker is launched.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its name; of an instance: `api.3`.
    pub name: String,
    /// The name that stands in the file.
    pub base: String,
    /// Its number among its instances, from 1; `None` without `instances:`.
    pub instance: Option<u32>,
    /// The group that it is in; its base name where it is in none.
    pub group: String,
    /// Where it runs.
    pub isolation: Isolation,
    /// What it runs.
    pub program: Program,
    /// Who it is and what surrounds it (processes only).
    pub execution: ExecutionEnvironment,
    /// What the thread sets that runs registered code, where it does not inherit it.
    pub scheduling: Scheduling,
    /// What a panic ends (threads of the SDK).
    pub on_panic: OnPanic,
    /// How a `command:` is asked to stop. SDK workers are asked through their board.
    pub stop: StopMeans,
    /// What runs to its end before each launch (processes only).
    pub start_before: Option<Vec<String>>,
    /// What has it read its own configuration again (commands only).
    pub reload_signal: Option<i32>,
    /// How it tells that it is ready.
    pub ready: Ready,
    /// How its health is watched while it runs.
    pub health: Health,
    /// Sockets that are opened for it and passed to it.
    pub sockets: Vec<SocketSpec>,
    /// Where its output goes.
    pub logs: Logs,
    /// Commands that are run when something happens to it.
    pub hooks: Vec<Hook>,
    /// Whether it stays down in a new run when a person stopped it in the last one (`autostart:
    /// remember`).
    pub remembers_stop: bool,
    /// Bytes of the stack of its thread (registered code only); `None`: the default of std.
    pub stack_size: Option<usize>,
    /// The limit of its heartbeat: a `command:` gets it as `WATCHDOG_USEC`, registered code asks
    /// for it.
    pub watchdog: Option<Duration>,
    /// What it shares with others, and is handed.
    pub uses: Vec<Arc<Resource>>,
}

impl Launch {
    /// Its streams that pass through the supervisor, and where they go.
    pub fn captured(&self) -> impl Iterator<Item = (&'static str, &Sink)> {
        self.logs.captured()
    }
}

/// The file of incidents in `state_dir`.
pub(crate) const INCIDENTS: &str = "incidents.jsonl";

impl SupervisorSettings {
    /// The record of incidents.
    #[must_use]
    pub fn incidents(&self) -> PathBuf {
        self.state_dir.join(INCIDENTS)
    }
}

/// What a worker runs.
#[derive(Clone, Debug)]
pub enum Program {
    /// An executable with its arguments; the first word is looked up in `PATH` unless it has a
    /// slash.
    Command(Vec<String>),
    /// Registered code.
    Worker {
        /// The name that it is registered by.
        kind: String,
        /// Its arguments; an object.
        args: serde_json::Value,
    },
}

/// Who a process is, and what surrounds it. `None` and empty: as the supervisor.
#[derive(Clone, Debug, Default)]
pub struct ExecutionEnvironment {
    /// Name or number of the user.
    pub user: Option<String>,
    /// Name or number of the group; the user's own where only a user is given.
    pub group: Option<String>,
    /// Supplementary groups; those that the user is in where only a user is given.
    pub groups: Option<Vec<String>>,
    /// What of the supervisor's environment it inherits.
    pub inherit_env: InheritEnv,
    /// Files of `NAME=value` lines, read at each launch; later ones win.
    pub env_files: Vec<PathBuf>,
    /// Added to the environment; wins over files.
    pub env: BTreeMap<String, String>,
    /// Variable → source: the content is passed in memory, and the variable is the path to read it
    /// at (`/dev/fd/N`).
    pub secrets: BTreeMap<String, SecretSource>,
    /// Limits of its process, and of the cgroup that it and its descendants share.
    pub limits: Limits,
    /// Whether it leads a session of its own, or only a process group of its own.
    pub own_session: bool,
    /// When it gets a processor, and which, from its birth on; its threads inherit it.
    pub scheduling: Scheduling,
    /// What one step of its launch alone acts on: directory, I/O priority, ...
    pub for_steps: ForSteps,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file, read at each launch.
    File(PathBuf),
    /// A descriptor from the process that starts the supervisor, read once.
    Descriptor(i32),
}

/// What a process inherits of the supervisor's environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum InheritEnv {
    /// Everything that is not meant for the supervisor alone.
    #[default]
    All,
    /// Only these names.
    Only(Vec<String>),
}

/// How a `command:` is asked to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopMeans {
    /// The signal.
    pub signal: i32,
    /// Run first, with the worker's execution environment and `MAINPID`; the signal follows when it
    /// has ended.
    pub command: Option<Vec<String>>,
    /// Whether only the main process is asked, and its children are left to it until the time is
    /// over.
    pub main_only: bool,
}

/// A socket that the supervisor opens and a worker serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSpec {
    /// As written; also its identity: workers that name the same one share it.
    pub listen: String,
    /// Where.
    pub address: Address,
    /// What kind.
    pub kind: SocketKind,
    /// In `LISTEN_FDNAMES`.
    pub name: String,
    /// Permission bits of a Unix socket.
    pub mode: u32,
    /// Owner of a Unix socket.
    pub user: Option<String>,
    /// Group of a Unix socket.
    pub group: Option<String>,
    /// Longest queue of connections that are not accepted yet.
    pub backlog: i32,
}

/// The kinds of sockets, socket(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// TCP, or a Unix stream.
    Stream,
    /// UDP, or Unix datagrams.
    Datagram,
    /// Unix sequenced packets.
    Seqpacket,
}

/// A command that is run when something happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// On what.
    pub on: Vec<HookEvent>,
    /// What is run, with the event as JSON on its standard input.
    pub command: Vec<String>,
    /// It is killed after this long.
    pub timeout: Duration,
}

/// What a hook can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookEvent {
    /// An incident was opened.
    Failed,
    /// Everyone lost in an incident is back.
    Recovered,
    /// No further attempt by itself.
    Quarantined,
    /// It has become running.
    Running,
    /// It ended and was not to come back: stopped or finished.
    Stopped,
    /// A probe says that it is not to be depended on.
    Unready,
}

/// Defaults that people meet; all of them stand in `docs/configuration.md` and
/// `config/reference.yaml`.
pub mod default {
    use super::Duration;

    /// `supervisor.shutdown_timeout`.
    pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
    /// `stop.timeout`, as supervisord's `stopwaitsecs`.
    pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);
    /// `ready.timeout` for workers that say when they are ready, or are asked.
    pub const READY_TIMEOUT: Duration = Duration::from_secs(30);
    /// `ready.after` for commands, as supervisord's `startsecs`.
    pub const READY_AFTER: Duration = Duration::from_secs(1);
    /// `logs.rotate.size`, as supervisord's `stdout_logfile_maxbytes`.
    pub const ROTATE_SIZE: u64 = 50 * 1024 * 1024;
    /// `logs.rotate.keep`, as supervisord's `stdout_logfile_backups`.
    pub const ROTATE_KEEP: u32 = 10;
    /// `hooks.timeout`.
    pub const HOOK_TIMEOUT: Duration = Duration::from_secs(10);
    /// `sockets.backlog`, as listen(2) caps it since Linux 5.4 (`somaxconn`).
    pub const BACKLOG: i32 = 4096;
}
