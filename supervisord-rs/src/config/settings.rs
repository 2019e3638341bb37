//! What a valid configuration means: policy for the machine ([`Spec`]), launch data for the
//! drivers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use supervision::{Capabilities, Spec};
use workers::run::OnPanic;

pub use super::instances::Template;
pub use super::limits::{CgroupLimits, IoLimit, Limits};
pub use super::probes::{Address, Check, Health, Probe, Ready};
use super::source::Source;

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
    pub surroundings: Surroundings,
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
    /// The limit of its heartbeat, which a `command:` gets as `WATCHDOG_USEC`.
    pub watchdog: Option<Duration>,
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

/// Where a worker runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// A thread of the supervisor.
    Thread,
    /// A thread of the child process with this name.
    Cell(String),
    /// A child process of its own.
    Process,
}

impl Isolation {
    /// What is true of a worker there.
    #[must_use]
    pub const fn capabilities(&self) -> &'static Capabilities {
        match self {
            Self::Thread => &Capabilities::THREAD,
            Self::Cell(_) => &Capabilities::CELL,
            Self::Process => &Capabilities::PROCESS,
        }
    }

    /// The name of the cell that it is in, if it is in one.
    #[must_use]
    pub fn cell(&self) -> Option<&str> {
        match self {
            Self::Cell(name) => Some(name),
            Self::Thread | Self::Process => None,
        }
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
pub struct Surroundings {
    /// Name or number of the user.
    pub user: Option<String>,
    /// Name or number of the group; the user's own where only a user is given.
    pub group: Option<String>,
    /// Supplementary groups; those that the user is in where only a user is given.
    pub groups: Option<Vec<String>>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// File mode creation mask.
    pub umask: Option<u32>,
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
    /// −20 to 19, getpriority(2).
    pub nice: Option<i32>,
    /// I/O priority as ioprio_set(2) takes it: class and level.
    pub io_priority: Option<i32>,
    /// −1000 to 1000, proc_pid_oom_score_adj(5).
    pub oom_score_adj: Option<i32>,
    /// Processors that it may run on.
    pub cpus: Vec<usize>,
    /// Whether it leads a session of its own, or only a process group of its own.
    pub own_session: bool,
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

/// One resource limit, setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    /// The kernel's number of the resource.
    pub resource: u32,
    /// What it is called in the configuration.
    pub name: &'static str,
    /// The soft limit; `u64::MAX` is none.
    pub soft: u64,
    /// The hard limit; `None`: as the soft one where that is higher than the present hard one, else
    /// unchanged.
    pub hard: Option<u64>,
}

/// How a `command:` is asked to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopMeans {
    /// The signal.
    pub signal: i32,
    /// Run first, with the worker's surroundings and `MAINPID`; the signal follows when it has
    /// ended.
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

/// Where the output of a worker goes, and what is done with it on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// Standard output.
    pub stdout: Sink,
    /// Standard error; `None`: where standard output goes, in the order of writing.
    pub stderr: Option<Sink>,
    /// When files are rotated.
    pub rotate: Rotate,
    /// Most bytes that all files of one stream take, rotated ones included.
    pub cap: Option<u64>,
    /// What each line gets.
    pub line: LineFormat,
}

impl Logs {
    /// The streams that pass through the supervisor, and where they go.
    pub fn captured(&self) -> impl Iterator<Item = (&'static str, &Sink)> {
        let all =
            [Some(("stdout", &self.stdout)), self.stderr.as_ref().map(|sink| ("stderr", sink))];
        let is_captured = |(_, sink): &(&str, &Sink)| !matches!(sink, Sink::Null | Sink::Inherit);
        all.into_iter().flatten().filter(is_captured)
    }
}

impl std::fmt::Display for Sink {
    /// A path, or the name that the configuration has for it.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Terminal => formatter.write_str("terminal"),
            Self::Journald => formatter.write_str("journald"),
            Self::Syslog => formatter.write_str("syslog"),
            Self::Null => formatter.write_str("null"),
            Self::Inherit => formatter.write_str("inherit"),
        }
    }
}

/// Where a stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// A file, rotated.
    File(PathBuf),
    /// The supervisor's own standard output, each line with the worker's name in front.
    Terminal,
    /// The journal of systemd, with the worker's name as a field.
    Journald,
    /// The local syslog, with the worker's name as the tag.
    Syslog,
    /// Nowhere.
    Null,
    /// The supervisor's own descriptor, directly: nothing is captured.
    Inherit,
}

/// When a file is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotate {
    /// When it has this many bytes; `None`: never for its size.
    pub size: Option<u64>,
    /// At each start of a period of this length (aligned to UTC); `None`: never for its age.
    pub every: Option<Duration>,
    /// Rotated files that are kept.
    pub keep: u32,
    /// Whether rotated files are compressed (gzip).
    pub compress: bool,
}

impl Default for Rotate {
    fn default() -> Self {
        Self {
            size: Some(default::ROTATE_SIZE),
            every: None,
            keep: default::ROTATE_KEEP,
            compress: false,
        }
    }
}

/// What a line gets on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineFormat {
    /// The wall time in front, RFC 3339 in UTC.
    pub timestamps: bool,
    /// The worker's name in front.
    pub prefix: bool,
    /// A JSON object with time, worker, stream and text, instead of the line as it is.
    pub json: bool,
    /// Written whole, because other workers write to the same file.
    pub whole: bool,
}

impl LineFormat {
    /// Whether lines have to be looked at.
    #[must_use]
    pub fn changes_lines(self) -> bool {
        self.timestamps || self.prefix || self.json || self.whole
    }
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
