//! One worker of `workers:`: its keys, each read by the file that knows it, joined to policy and
//! launch data.

use std::collections::BTreeMap;
use std::path::Path;

use supervision::spec::{Condition, Dependency, OnHang, Readiness, Stop, WorkerSpec};
use supervision::{DomainId, WorkerId};
use workers::Registry;
use workers::run::OnPanic;

use super::diagnostics::{Problem, nearest, one_of};
use super::probes::Ready;
use super::reader::{At, Cursor, Section};
use super::settings::{Isolation, Launch, Program, StopMeans, default};
use super::{hooks, injections, logs, probes, restart, sockets, surroundings};

/// Longest name of a worker: it is the name of a file and of a thread too.
const NAME_MAX: usize = 63;

/// Keys of a worker besides those of its surroundings; `defaults:` has all but the first three.
const KEYS: [&str; 20] = [
    "command",
    "worker",
    "args",
    "instances",
    "isolation",
    "cell",
    "on_panic",
    "on_hang",
    "autostart",
    "critical",
    "restart",
    "ready",
    "health",
    "heartbeat",
    "depends_on",
    "stop",
    "sockets",
    "logs",
    "inject",
    "hooks",
];
/// Keys of later versions.
const LATER: [&str; 2] = ["plugin", "sandbox"];

/// All keys that a worker can have.
pub(super) fn known_keys() -> Vec<&'static str> {
    KEYS.into_iter().chain(surroundings::KEYS).collect()
}

/// The keys of `defaults:`; an unknown one is a problem even where there is no worker.
pub(super) fn check_defaults(defaults: &Cursor<'_>) {
    let known: Vec<&str> = known_keys()
        .into_iter()
        .filter(|key| !["command", "worker", "args"].contains(key))
        .collect();
    let _ = defaults.section(&known, &LATER);
}

/// What a worker is read with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) file: &'a Path,
    pub(super) registry: &'a Registry,
    pub(super) log_dir: &'a Path,
    pub(super) fault_injection: bool,
    /// Every name that a worker can be depended on by: its own, and the one that its instances
    /// share.
    pub(super) names: &'a BTreeMap<String, Vec<WorkerId>>,
}

/// Who a worker is among those of the file.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) base: String,
    pub(super) instance: Option<u32>,
}

/// Reads one worker. Its domain is not chosen yet. `None` when it is not said what it runs, or
/// where.
pub(super) fn read(
    cursor: &Cursor<'_>,
    identity: Identity,
    context: Context<'_>,
) -> Option<(WorkerSpec, Launch)> {
    let section = cursor.section(&known_keys(), &LATER)?;
    let section = &section;
    // Everything is looked at before anything is given up: all problems at once.
    let is_sdk = section.get("worker").is_some();
    let program = program(cursor, section, context.registry);
    let isolation = isolation(section, &identity.name, is_sdk);
    let is_process = isolation.as_ref().is_none_or(|isolation| *isolation == Isolation::Process);
    let (readiness, ready, health) = readiness(section, is_sdk);
    let heartbeat = section.duration("heartbeat");
    let (stop, means) = stop(section, is_sdk);
    let autostart =
        [("true", (true, false)), ("false", (false, false)), ("remember", (true, true))];
    let (autostart, remembers_stop) =
        section.choice("autostart", &autostart).unwrap_or((true, false));
    let spec = WorkerSpec {
        name: identity.name.clone(),
        domain: DomainId(0),
        autostart,
        critical: section.boolean("critical").unwrap_or(false),
        restart: restart::read(section),
        readiness,
        depends_on: depends_on(section, context.names),
        stop,
        heartbeat,
        on_hang: section
            .get_if(
                !is_process,
                "on_hang",
                "a process that hangs is killed",
                "`on_hang:` for threads only",
            )
            .and_then(|cursor| {
                cursor.choice(&[("abandon", OnHang::Abandon), ("recycle", OnHang::Recycle)])
            })
            .map_or(OnHang::Abandon, |choice| choice.value),
        injections: injections::read(section, is_sdk, context.fault_injection),
    };
    let surroundings = surroundings::read(section, is_process, context.file);
    let logs = logs::read(section, !is_sdk, &identity.name, context.log_dir);
    if matches!(ready, Ready::Log(_)) && logs.captured().next().is_none() {
        refuse_uncaptured(section);
    }
    let launch = Launch {
        group: identity.base.clone(),
        isolation: isolation?,
        surroundings,
        on_panic: section
            .get_if(
                is_sdk,
                "on_panic",
                "`on_panic:` is for registered code",
                "no `on_panic:` for a command",
            )
            .and_then(|cursor| {
                cursor.choice(&[("abort", OnPanic::Abort), ("contain", OnPanic::Contain)])
            })
            .map(|choice| choice.value)
            .unwrap_or_default(),
        stop: means,
        ready,
        health,
        sockets: sockets::read(section, is_process && !is_sdk),
        logs,
        hooks: hooks::read(section),
        watchdog: heartbeat.filter(|_| !is_sdk),
        program: program?,
        remembers_stop,
        name: identity.name,
        base: identity.base,
        instance: identity.instance,
    };
    Some((spec, launch))
}

/// It would never be ready.
fn refuse_uncaptured(section: &Section<'_>) {
    let Some(cursor) = section.get("ready") else { return };
    cursor.refuse(
        "`ready: { log: }` looks at captured output, and none of this worker's is captured",
        "`logs:` with a `stdout:` or `stderr:` that is neither `null` nor `inherit`; or another way to be ready",
    );
}

/// A name is good for a file, a thread and a command line.
pub(super) fn check_name(name: &At<String>, problems: &super::reader::Problems) {
    let is_good = !name.value.is_empty()
        && name.value.len() <= NAME_MAX
        && name
            .value
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
        && name.value != "all"
        && !name.value.starts_with(['.', '-']);
    if !is_good {
        let expected = "letters, digits, `-`, `_` and `.`, at most 63 of them, not `all`, not beginning with `.` or `-`";
        let problem = name.problem(format!("`{}` cannot be the name of a worker", name.value));
        problems.push(Problem { expected: Some(expected.into()), ..problem });
    }
}

fn program(cursor: &Cursor<'_>, section: &Section<'_>, registry: &Registry) -> Option<Program> {
    let is_shell = section.boolean("shell").unwrap_or(false);
    match (section.get("command"), section.get("worker")) {
        (Some(command), None) => {
            if let Some(args) = section.get("args") {
                args.refuse(
                    "`args:` belongs to `worker:`",
                    "arguments as further words of `command:`",
                );
            }
            if !is_shell {
                return Some(Program::Command(command.command()?.value));
            }
            if !command.is_scalar() {
                command.refuse(
                    "a shell takes one text",
                    "`command: \"one text\"` beside `shell: true`",
                );
                return None;
            }
            let text = command.string()?.value;
            Some(Program::Command(vec!["/bin/sh".into(), "-c".into(), text]))
        }
        (None, Some(kind)) => registered(section, &kind, registry),
        (Some(_), Some(kind)) => {
            kind.refuse("a worker has both `command:` and `worker:`", "one of them");
            None
        }
        (None, None) => {
            let expected = "`command: [PROGRAM, ...]`, or `worker: NAME` for registered code";
            cursor.refuse("it is not said what this worker runs", expected);
            None
        }
    }
}

fn registered(section: &Section<'_>, kind: &Cursor<'_>, registry: &Registry) -> Option<Program> {
    let name = kind.string()?;
    let known: Vec<&str> = registry.names().map(|(name, _)| name).collect();
    if !registry.has(&name.value) {
        kind.problems.push(Problem {
            expected: Some(format!("one of: {}", known.join(", "))),
            nearest: nearest(&name.value, known.iter().copied()),
            ..name.problem(format!("no worker is registered as `{}`", name.value))
        });
        return None;
    }
    let written = section.get("args");
    let args = written.as_ref().map_or_else(|| serde_json::json!({}), Cursor::json);
    if let Err(error) = registry.create(&name.value, &args) {
        let place = written.as_ref().unwrap_or(kind);
        place.problems.push(place.at(()).problem(error.to_string()));
    }
    Some(Program::Worker { kind: name.value, args })
}

fn isolation(section: &Section<'_>, name: &str, is_sdk: bool) -> Option<Isolation> {
    let written = section.get("isolation");
    let cell = section.get("cell");
    if let Some(cursor) = written.as_ref().filter(|cursor| cursor.node.text() == Some("sandbox")) {
        cursor.refuse("`sandbox` is not supported yet", "one of: thread, process");
        return None;
    }
    let is_thread = match &written {
        Some(cursor) => cursor.choice(&[("thread", true), ("process", false)])?.value,
        None => false,
    };
    match (is_thread, cell) {
        (true, _) if !is_sdk => {
            // Where the key comes from `defaults:`, its place is there, and the worker's name says
            // who it hits.
            written?.refuse(
                format!("{name}: a thread cannot run an executable"),
                "`isolation: process` for a `command:`",
            );
            None
        }
        (true, None) => Some(Isolation::Thread),
        (true, Some(cell)) => Some(Isolation::Cell(cell.string()?.value)),
        (false, Some(cell)) if !cell.node.is_default => {
            cell.refuse("only threads live in a cell", "`isolation: thread` beside `cell:`");
            None
        }
        (false, _) => Some(Isolation::Process),
    }
}

/// When it counts as running, how that is found out, and how it is watched from then on.
fn readiness(section: &Section<'_>, is_sdk: bool) -> (Readiness, Ready, super::probes::Health) {
    let (health, startup) = probes::health(section);
    if !is_sdk {
        let written = probes::ready(section);
        let (readiness, ready) = probes::readiness(written, startup, section.get("ready").as_ref());
        return (readiness, ready, health);
    }
    if let (Some(_), Some(health)) = (startup, section.get("health")) {
        health.refuse("registered code says itself when it is ready", "`ready: { timeout: ... }`");
    }
    let mut timeout = default::READY_TIMEOUT;
    let is_own = section.get("ready").is_some_and(|ready| !ready.node.is_default);
    if is_own
        && let Some(ready) = section.get("ready").and_then(|ready| {
            let known = ["timeout", "after", "notify", "fd", "log", "tcp", "http", "exec", "every"];
            ready.section(&known, &[])
        })
    {
        for key in ["after", "notify", "fd", "log", "tcp", "http", "exec", "every"] {
            let message = "registered code says itself when it is ready";
            let _ = ready.get_if(false, key, message, "`ready: { timeout: ... }`");
        }
        timeout = ready.duration("timeout").unwrap_or(timeout);
    }
    (Readiness::Notified { timeout }, Ready::ByItself, health)
}

fn stop(section: &Section<'_>, is_sdk: bool) -> (Stop, StopMeans) {
    let mut stop = Stop { timeout: default::STOP_TIMEOUT };
    let mut means = StopMeans { signal: libc::SIGTERM, command: None, main_only: false };
    let keys = ["signal", "timeout", "command", "scope"];
    let Some(section) = section.get("stop").and_then(|cursor| cursor.section(&keys, &[])) else {
        return (stop, means);
    };
    if let Some(timeout) = section.duration("timeout") {
        stop.timeout = timeout;
    }
    let get = |key: &str| {
        let message =
            "registered code is asked to stop through its board, not by a signal or a command";
        section.get_if(!is_sdk, key, message, "only `timeout` in `stop:`")
    };
    if let Some(signal) = get("signal").and_then(|cursor| cursor.signal()) {
        means.signal = signal.value;
    }
    means.command = get("command").and_then(|cursor| cursor.command()).map(|command| command.value);
    if let Some(scope) =
        get("scope").and_then(|cursor| cursor.choice(&[("tree", false), ("main", true)]))
    {
        means.main_only = scope.value;
    }
    (stop, means)
}

/// `{ db: ready }`, `{ cache: { is: ready, soft: true } }`, or `[db]` for what is most often meant:
/// ready.
fn depends_on(section: &Section<'_>, names: &BTreeMap<String, Vec<WorkerId>>) -> Vec<Dependency> {
    let Some(cursor) = section.get("depends_on") else { return Vec::new() };
    let is_list = matches!(cursor.node.value, super::tree::Value::List(_));
    let mut found = Vec::new();
    if is_list {
        for name in cursor.strings().unwrap_or_default() {
            for &on in known(&name, names, &cursor) {
                found.push(Dependency { on, condition: Condition::Ready, soft: false });
            }
        }
        return found;
    }
    for (name, value) in cursor.entries().unwrap_or_default() {
        let (condition, soft) = condition(&value);
        for &on in known(&name, names, &cursor) {
            found.push(Dependency { on, condition, soft });
        }
    }
    found
}

fn condition(cursor: &Cursor<'_>) -> (Condition, bool) {
    const WORDS: [(&str, Condition); 3] = [
        ("started", Condition::Started),
        ("ready", Condition::Ready),
        ("finished", Condition::Finished),
    ];
    if matches!(cursor.node.value, super::tree::Value::Map(_)) {
        let section = cursor.section(&["is", "soft"], &[]);
        let condition = section.as_ref().and_then(|section| section.choice("is", &WORDS));
        let soft = section.as_ref().and_then(|section| section.boolean("soft"));
        return (condition.unwrap_or(Condition::Ready), soft.unwrap_or(false));
    }
    (cursor.choice(&WORDS).map_or(Condition::Ready, |condition| condition.value), false)
}

/// The workers of a name; none, and a problem, when nobody is called that.
pub(super) fn known<'a>(
    name: &At<String>,
    names: &'a BTreeMap<String, Vec<WorkerId>>,
    cursor: &Cursor<'_>,
) -> &'a [WorkerId] {
    if let Some(ids) = names.get(&name.value) {
        return ids;
    }
    let is_told = !cursor.problems.is_full();
    let words = || names.keys().map(String::as_str);
    cursor.problems.push(Problem {
        expected: is_told.then(|| one_of(words())),
        nearest: if is_told { nearest(&name.value, words()) } else { None },
        ..name.problem(format!("no worker is called `{}`", name.value))
    });
    &[]
}
