//! One worker of `workers:`: its keys, each read by the file that knows it, joined to policy and
//! launch data.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use supervision::Capabilities;
use supervision::spec::{Readiness, WorkerSpec};
use supervision::{DomainId, WorkerId};

use super::code::Code;
use super::foreign::Whose;
use super::pattern::Patterns;
use super::probes::{READY, READY_TABLE, READY_TIMEOUT};
use super::problems::{At, Problems};
use super::reader::{Cursor, Section};
use super::schema::key::{key, words};
use super::schema::{Key, Kind, Table};
use super::settings::{FIRST_SOCKET, Health, Isolation, Launch, Ready, ResourcesByName, default};
use super::{
    by_kind, dependencies, execution, hooks, injections, later, logs, probes, program, restart,
    scheduler, sockets, stop, uses, world,
};

/// Most instances of one worker.
pub(super) const INSTANCES_MAX: u32 = 1000;
/// Longest name of a worker: it is the name of a file and of a thread too.
const NAME_MAX: usize = 63;

/// Read with the entry, before it is a worker.
pub(super) static INSTANCES: Key = key(
    "instances",
    Kind::Number { low: 0, high: INSTANCES_MAX as i64 },
    "How many copies: `api.1`, `api.2`, ..., addressed together as `api`. In its texts `${instance}` \
     is the number, and `${name}` the name.",
)
.such_as("4");
static AUTOSTART: Key = key(
    "autostart",
    Kind::Words(&words(&AUTOSTART_WORDS)),
    "Whether it starts with the supervisor. `remember`: not if a person had stopped it when the last \
     run ended.",
)
.or("true");
static CRITICAL: Key = key(
    "critical",
    Kind::Boolean,
    "`true`: when it has ended for good, the supervisor stops everything and ends with its exit \
     status.",
)
.or("false");
static HEARTBEAT: Key = key(
    "heartbeat",
    Kind::Duration,
    "A worker that gives no sign of life for so long is hung. A command gets the time in \
     `WATCHDOG_USEC`, and sends `WATCHDOG=1`. `0s`, over a default, is none.",
)
.such_as("30s");

/// What it is; `defaults:` have none of these.
static IDENTITY: [&Key; 3] = [&program::COMMAND, &program::WORKER, &program::ARGS];
static OWN: [&Key; 21] = [
    &INSTANCES,
    &program::ISOLATION,
    &program::CELL,
    &by_kind::ON_PANIC,
    &by_kind::ON_HANG,
    &by_kind::STACK_SIZE,
    &AUTOSTART,
    &CRITICAL,
    &restart::RESTART,
    &probes::READY,
    &probes::HEALTH,
    &HEARTBEAT,
    &dependencies::DEPENDS_ON,
    &by_kind::START_BEFORE,
    &stop::STOP,
    &by_kind::RELOAD_SIGNAL,
    &sockets::SOCKETS,
    &uses::USES,
    &logs::LOGS,
    &injections::INJECT,
    &hooks::HOOKS,
];
/// All keys that a worker can have.
pub(super) static TABLE: Table = Table::of(&[&IDENTITY, &OWN, &execution::KEYS, &scheduler::KEYS])
    .like(Whose::Worker)
    .later(&later::WORKER);
/// The keys of `defaults:`.
pub(super) static DEFAULTS: Table = Table::of(&[&OWN, &execution::KEYS, &scheduler::KEYS])
    .like(Whose::Worker)
    .later(&later::WORKER);

/// Whether it starts with the supervisor, and whether a stop holds beyond the supervisor's end.
const AUTOSTART_WORDS: [(&str, (bool, bool)); 3] =
    [("true", (true, false)), ("false", (false, false)), ("remember", (true, true))];
/// Why a `worker:` has no other `ready:`.
const REPORTS_BY_ITSELF: &str = "a `worker:` reports by itself that it is ready";

/// An unknown one is a problem even where there is no worker.
pub(super) fn check_defaults(defaults: &Cursor<'_>) {
    let _ = defaults.section(&DEFAULTS);
}

/// What a worker is read with.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) file: &'a Path,
    pub(super) code: &'a Code<'a>,
    pub(super) log_dir: &'a Path,
    pub(super) fault_injection: bool,
    pub(super) patterns: &'a Patterns,
    /// Every name that a worker can be depended on by: its own, and the one that its instances
    /// share.
    pub(super) names: &'a BTreeMap<String, Vec<WorkerId>>,
    /// What it may use.
    pub(super) resources: &'a Arc<ResourcesByName>,
}

/// Who a worker is among those of the file.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) base: String,
    pub(super) instance: Option<u32>,
}

/// Its mapping; `name:` alone is an empty one.
fn keys<'a>(cursor: &Cursor<'a>) -> Option<Section<'a>> {
    if cursor.node.is_null() {
        let expected = "`command: [PROGRAM, ...]`, or `worker: NAME` for registered code";
        cursor.refuse("missing `command:` or `worker:`", expected);
        return None;
    }
    cursor.section(&TABLE)
}

/// Reads one worker. Its domain is not chosen yet. `None` when it does not say what it runs, or
/// where.
pub(super) fn read(
    cursor: &Cursor<'_>,
    identity: Identity,
    context: Context<'_>,
) -> Option<(WorkerSpec, Launch)> {
    let section = keys(cursor)?;
    let section = &section;
    // Everything is looked at before anything is given up: all problems at once.
    let is_sdk = section.has(&program::WORKER);
    let program = program::read(cursor, section, context.code);
    let isolation = program::isolation(section, &identity.name, is_sdk);
    let capabilities = isolation.as_ref().map(Isolation::capabilities);
    let is_process = capabilities.is_none_or(|known| known.has_own_process);
    let can_be_killed = capabilities.is_none_or(|known| known.can_be_killed_alone);
    let (readiness, ready, health) = readiness(section, is_sdk, context.patterns);
    let heartbeat = section.duration(&HEARTBEAT);
    let uses = uses::read(section, context.resources);
    let (stop, means) = stop::read(section, is_sdk);
    let (autostart, remembers_stop) = autostart(section);
    let spec = WorkerSpec {
        name: identity.name.clone(),
        domain: DomainId(0),
        autostart,
        critical: section.boolean(&CRITICAL).unwrap_or(false),
        restart: restart::read(section),
        readiness,
        depends_on: dependencies::read(section, context.names),
        stop,
        heartbeat,
        on_hang: by_kind::on_hang(section, can_be_killed),
        injections: injections::read(
            section,
            injections::Victim {
                is_sdk,
                is_of_supervisor: capabilities.is_some_and(Capabilities::is_of_supervisor),
                is_allowed: context.fault_injection,
                uses: &uses,
            },
        ),
    };
    let (of_process, of_thread) = scheduler::placed(scheduler::read(section), is_process, is_sdk);
    let mut execution = execution::read(section, is_process);
    execution.scheduling = of_process;
    let logs = logs::read(section, !is_sdk, &identity.name, context.log_dir);
    if matches!(ready, Ready::Log(_)) && logs.captured().next().is_none() {
        refuse_uncaptured(section);
    }
    let sockets = sockets::read(section, is_sdk);
    if let Ready::Newline(number) = ready
        && (FIRST_SOCKET..).zip(&sockets).any(|(taken, _)| taken == number)
    {
        refuse_taken(section, sockets.len());
    }
    if !is_sdk {
        let newline = usize::from(matches!(ready, Ready::Newline(_)));
        uses::check_numbers(section, &uses, sockets.len() + newline);
    }
    let launch = Launch {
        group: identity.base.clone(),
        isolation: isolation?,
        execution,
        scheduling: of_thread,
        on_panic: by_kind::on_panic(section, is_sdk),
        stop: means,
        start_before: by_kind::start_before(section, is_process),
        reload_signal: by_kind::reload_signal(section, is_sdk),
        ready,
        health,
        sockets,
        uses,
        logs,
        hooks: hooks::read(section, &hooks::HOOKS),
        stack_size: by_kind::stack_size(section, is_sdk),
        watchdog: heartbeat,
        program: program?,
        remembers_stop,
        name: identity.name,
        base: identity.base,
        instance: identity.instance,
    };
    let commands = [&program::COMMAND, &by_kind::START_BEFORE];
    world::check_executables(section, commands, &launch);
    Some((spec, launch))
}

/// Whether it starts with the supervisor, and whether a stop holds beyond the supervisor's end.
fn autostart(section: &Section<'_>) -> (bool, bool) {
    section.choice(&AUTOSTART, &AUTOSTART_WORDS).unwrap_or((true, false))
}

/// It would never be ready.
fn refuse_uncaptured(section: &Section<'_>) {
    let Some(cursor) = section.get(&READY) else { return };
    cursor.refuse(
        "`ready: { log: }` needs captured output, and this worker has none",
        "`logs:` with a `stdout:` or `stderr:` other than `null` and `inherit`, or another \
         `ready:`",
    );
}

/// It would have two meanings.
fn refuse_taken(section: &Section<'_>, sockets: usize) {
    let Some(cursor) = section.get(&READY) else { return };
    let free = i32::try_from(sockets).map_or(63, |count| FIRST_SOCKET.saturating_add(count));
    cursor.refuse(
        "`ready: { fd: }` is the number of one of its `sockets:`, which begin with 3",
        &format!("another number, such as `fd: {free}`"),
    );
}

/// A name is good for a file, a thread and a command line.
pub(super) fn check_name(name: &At<String>, problems: &Problems) {
    let is_good = !name.value.is_empty()
        && name.value.len() <= NAME_MAX
        && name
            .value
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
        && name.value != "all"
        && !name.value.starts_with(['.', '-']);
    if !is_good {
        let expected = "1 to 63 letters, digits, `-`, `_` or `.`, not beginning with `-` or `.`, \
                        and not `all`";
        let problem = name.problem(format!("invalid name `{}`", name.value));
        problems.push(problem.expected(expected));
    }
}

/// When it counts as running, how that is found out, and how it is watched from then on.
fn readiness(
    section: &Section<'_>,
    is_sdk: bool,
    patterns: &Patterns,
) -> (Readiness, Ready, Health) {
    let (health, startup) = probes::health(section);
    if !is_sdk {
        let written = probes::ready(section, patterns);
        let (readiness, ready) = probes::readiness(written, startup, section.get(&READY).as_ref());
        return (readiness, ready, health);
    }
    if let (Some(_), Some(health)) = (startup, section.get(&probes::HEALTH)) {
        health.refuse(REPORTS_BY_ITSELF, "`ready: { timeout: ... }`");
    }
    let mut timeout = default::READY_TIMEOUT;
    // Of defaults it takes the timeout; how commands say that they are ready is not for it.
    let own = section.get(&READY).filter(|ready| !(ready.node.is_default && ready.is_scalar()));
    if let Some(ready) = own.and_then(|ready| ready.section(&READY_TABLE)) {
        for key in READY_TABLE.keys().filter(|key| key.name != READY_TIMEOUT.name) {
            let _ = ready.get_if(false, key, REPORTS_BY_ITSELF, "`ready: { timeout: ... }`");
        }
        timeout = ready.duration(&READY_TIMEOUT).unwrap_or(timeout);
    }
    (Readiness::Notified { timeout }, Ready::ByItself, health)
}
