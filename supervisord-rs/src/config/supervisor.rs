//! `supervisor:`: the supervisor's own part.

use std::path::PathBuf;
use std::time::Duration;

use supervision::spec::StartLimits;

use super::reader::{Cursor, Section};
use super::schema::key::{key, words};
use super::schema::{Key, Kind, Table};
use super::settings::{Echo, OnDeath, SupervisorSettings, default};
use super::{later, places, restart, world};
use crate::accounts;
use crate::service_manager::Custody;

/// What stands there.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) settings: SupervisorSettings,
    pub(super) fault_injection: bool,
    pub(super) shutdown_timeout: Duration,
    pub(super) start: StartLimits,
}

static RUNTIME_DIR: Key = key(
    "runtime_dir",
    Kind::Path,
    "Where the control socket, the lock and the black box are. Where it is not written: \
     `$RUNTIME_DIRECTORY`, else `$XDG_RUNTIME_DIR/supervisord-rs`, else `/run/supervisord-rs`; root \
     does not look at `$XDG_RUNTIME_DIR`. A change needs a new `run`.",
)
.such_as("/run/supervisord-rs");
static STATE_DIR: Key = key(
    "state_dir",
    Kind::Path,
    "Where `incidents.jsonl` and the second lock of the runtime directory are. Where it is not \
     written: `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/supervisord-rs`, else \
     `~/.local/state/supervisord-rs`; for root `$STATE_DIRECTORY`, else `/var/lib/supervisord-rs`.",
)
.such_as("/var/lib/supervisord-rs");
static LOG_DIR: Key = key(
    "log_dir",
    Kind::Path,
    "Where captured output goes. Where it is not written: `$LOGS_DIRECTORY`, else `log` in the \
     state directory; for root `$LOGS_DIRECTORY`, else `/var/log/supervisord-rs`.",
)
.such_as("/var/log/supervisord-rs");
static CONTROL: Key =
    key("control", Kind::Section(&CONTROL_TABLE), "Who may use the control socket.")
        .such_as("{ group: adm }");
static CONTROL_TABLE: Table = Table::of(&[&[&CONTROL_MODE, &CONTROL_GROUP]]).later(&later::CONTROL);
static CONTROL_MODE: Key = key(
    "mode",
    Kind::Mode,
    "Permission bits of the control socket. `0600` where it is not written, and `0660` with a \
     `group:`.",
)
.such_as("\"0660\"");
static CONTROL_GROUP: Key = key(
    "group",
    Kind::Text,
    "A group of this machine, by name or number, whose members may use the control socket too.",
)
.such_as("adm");
static FAULT_INJECTION: Key = key(
    "fault_injection",
    Kind::Words(&words(&INJECTION_WORDS)),
    "Whether `inject` and `inject:` commit faults.",
)
.or("deny");
static ON_DEATH: Key = key(
    "on_death",
    Kind::Words(&words(&ON_DEATH_WORDS)),
    "What becomes of workers when the supervisor dies. `keep`: process workers and cells outlive \
     it, and the next one adopts them. `kill`: they end with it.",
)
.or("keep");
static SHUTDOWN_TIMEOUT: Key =
    key("shutdown_timeout", Kind::Duration, "A shutdown that takes longer kills what is left.")
        .or("30s");
static START: Key = key(
    "start",
    Kind::Section(&START_TABLE),
    "How many workers start at a time, and how soon one after the other.",
)
.such_as("{ concurrency: 4 }");
static START_TABLE: Table = Table::of(&[&[&CONCURRENCY, &STAGGER]]);
static CONCURRENCY: Key = key(
    "concurrency",
    Kind::Number { low: 1, high: u32::MAX as i64 },
    "At most so many workers start at the same time. No limit where it is not written.",
)
.such_as("4");
static STAGGER: Key =
    key("stagger", Kind::Duration, "The least time between two launches.").or("0s");
static ECHO: Key = key(
    "echo",
    Kind::Words(&words(&ECHO_WORDS)),
    "Whether captured output is copied to the standard output of the supervisor. `auto`: if that is \
     a terminal. `always` is for containers.",
)
.or("auto");
static LOG_CAP: Key = key(
    "log_cap",
    Kind::Size,
    "The most bytes of all log files together. The oldest rotated files go first; where that is \
     not enough, the largest file is rotated early. No limit where it is not written.",
)
.such_as("10GiB");
static RESTART: Key = key(
    "restart",
    Kind::Section(&RESTART_TABLE),
    "How the guardian restarts the supervisor. The first restart within the window is immediate; \
     beyond the limit the guardian stops everything.",
)
.such_as("{ limit: { restarts: 10, within: 60s } }");
static RESTART_TABLE: Table = Table::of(&[&[&BACKOFF, &LIMIT]]);
static BACKOFF: Key = key(
    "backoff",
    Kind::Section(&restart::BACKOFF_OF_SUPERVISOR),
    "How long the guardian waits before a restart.",
)
.or("{ initial: 100ms, factor: 2, max: 5s, jitter: 0 }");
static LIMIT: Key = key(
    "limit",
    Kind::Section(&restart::LIMIT_OF_SUPERVISOR),
    "Beyond it the guardian stops everything.",
)
.or("{ restarts: 10, within: 60s }");
static WATCHDOG: Key = key(
    "watchdog",
    Kind::Either(&[Kind::Duration, Kind::Words(&["never"])]),
    "The guardian ends and replaces a supervisor that gives no sign of life for so long; `1s` or \
     more.",
)
.or("30s");

pub(super) static SUPERVISOR: Key = key(
    "supervisor",
    Kind::Section(&TABLE),
    "The supervisor's own part: where it keeps what, and what it allows.",
)
.such_as("{ fault_injection: allow }");
static TABLE: Table = Table::of(&[&[
    &RUNTIME_DIR,
    &STATE_DIR,
    &LOG_DIR,
    &CONTROL,
    &FAULT_INJECTION,
    &ON_DEATH,
    &SHUTDOWN_TIMEOUT,
    &START,
    &ECHO,
    &LOG_CAP,
    &RESTART,
    &WATCHDOG,
]])
.later(&later::SUPERVISOR);

const INJECTION_WORDS: [(&str, bool); 2] = [("deny", false), ("allow", true)];
const ON_DEATH_WORDS: [(&str, OnDeath); 2] = [("keep", OnDeath::Keep), ("kill", OnDeath::Kill)];
const ECHO_WORDS: [(&str, Echo); 3] =
    [("auto", Echo::Auto), ("always", Echo::Always), ("never", Echo::Never)];

/// Reads it; everything has a default.
pub(super) fn read(top: &Section<'_>) -> Written {
    let section = top.get(&SUPERVISOR).and_then(|cursor| cursor.section(&TABLE));
    let section = section.as_ref();
    let directory = |key: &'static Key, otherwise: fn() -> PathBuf| {
        let written = section.and_then(|section| section.get(key));
        let path = written.as_ref().and_then(|cursor| {
            let path = cursor.problems.resolve(&cursor.path()?.value);
            if key.name == RUNTIME_DIR.name {
                world::check_runtime_dir(cursor, &path);
            }
            Some(path)
        });
        path.unwrap_or_else(otherwise)
    };
    let control = section
        .and_then(|section| section.get(&CONTROL))
        .and_then(|cursor| cursor.section(&CONTROL_TABLE));
    let control_group = control.as_ref().and_then(|control| group(&control.get(&CONTROL_GROUP)?));
    // A group that is named is to get in.
    let default_mode = if control_group.is_some() { 0o660 } else { 0o600 };
    let control_mode = control
        .as_ref()
        .and_then(|control| control.get(&CONTROL_MODE)?.mode())
        .map_or(default_mode, |mode| mode.value);
    let start = section
        .and_then(|section| section.get(&START))
        .and_then(|cursor| cursor.section(&START_TABLE));
    Written {
        settings: SupervisorSettings {
            runtime_dir: directory(&RUNTIME_DIR, places::runtime_dir),
            state_dir: directory(&STATE_DIR, places::state_dir),
            log_dir: directory(&LOG_DIR, places::log_dir),
            control_mode,
            control_group,
            echo: section
                .and_then(|section| section.choice(&ECHO, &ECHO_WORDS))
                .unwrap_or(Echo::Auto),
            on_death: section
                .and_then(|section| section.choice(&ON_DEATH, &ON_DEATH_WORDS))
                .unwrap_or_default(),
            custody: custody(section),
            log_cap: section.and_then(|section| section.size(&LOG_CAP)),
        },
        fault_injection: section
            .and_then(|section| section.choice(&FAULT_INJECTION, &INJECTION_WORDS))
            .unwrap_or(false),
        shutdown_timeout: section
            .and_then(|section| section.duration(&SHUTDOWN_TIMEOUT))
            .unwrap_or(default::SHUTDOWN_TIMEOUT),
        start: StartLimits {
            concurrency: start.as_ref().and_then(|start| start.count(&CONCURRENCY, 1)),
            stagger: start
                .as_ref()
                .and_then(|start| start.duration(&STAGGER))
                .unwrap_or(Duration::ZERO),
        },
    }
}

/// The supervisor cannot start without it.
fn group(cursor: &Cursor<'_>) -> Option<String> {
    let name = cursor.string()?.value;
    if accounts::group(&name).is_none() {
        let expected = "the name or number of a group of this machine";
        cursor.refuse(format!("unknown group `{name}`"), expected);
    }
    Some(name)
}

/// A loop says that it turns twice within this; less, and a machine that is merely busy ends its
/// supervisor.
const WATCHDOG_MIN: Duration = Duration::from_secs(1);

/// `restart:`, `watchdog:`, `shutdown_timeout:`: what the guardian does.
fn custody(section: Option<&Section<'_>>) -> Custody {
    let mut custody = Custody::default();
    let Some(section) = section else { return custody };
    let restart = section.get(&RESTART).and_then(|cursor| cursor.section(&RESTART_TABLE));
    if let Some(restart) = restart {
        if let Some(cursor) = restart.get(&BACKOFF) {
            restart::backoff(&cursor, &restart::BACKOFF_OF_SUPERVISOR, &mut custody.backoff);
        }
        if let Some(cursor) = restart.get(&LIMIT) {
            custody.limit = restart::limit(&cursor, &restart::LIMIT_OF_SUPERVISOR, custody.limit);
        }
    }
    if let Some(cursor) = section.get(&WATCHDOG) {
        if cursor.node.text() == Some("never") {
            custody.watchdog = None;
        } else if let Some(limit) = cursor.duration() {
            if limit.value < WATCHDOG_MIN {
                cursor.refuse(
                    "too short: a busy machine would end its supervisor",
                    "at least 1s, or `never`",
                );
            }
            custody.watchdog = Some(limit.value);
        }
    }
    if let Some(timeout) = section.duration(&SHUTDOWN_TIMEOUT) {
        custody.shutdown_timeout = timeout;
    }
    custody
}
