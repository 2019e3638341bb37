//! The keys that there are, as written: everything optional, everything with its place.

use std::collections::BTreeMap;
use std::time::Duration;

use supervision::spec::{Condition, OnHang, RestartPolicy, Strategy};
use workers::run::OnPanic;

use super::diagnostics::Problem;
use super::reader::{At, Cursor, Section};
use super::tree::{Node, Value};

type Problems = Vec<Problem>;

/// A whole file.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) supervisor: Supervisor,
    pub(super) cells: Option<Vec<At<String>>>,
    pub(super) groups: Vec<Group>,
    pub(super) workers: Vec<Worker>,
}

#[derive(Debug, Default)]
pub(super) struct Supervisor {
    pub(super) runtime_dir: Option<At<String>>,
    pub(super) state_dir: Option<At<String>>,
    pub(super) log_dir: Option<At<String>>,
    pub(super) control_mode: Option<At<String>>,
    pub(super) control_group: Option<At<String>>,
    pub(super) fault_injection: Option<At<bool>>,
    pub(super) shutdown_timeout: Option<At<Duration>>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: At<String>,
    pub(super) strategy: Option<At<Strategy>>,
    pub(super) workers: Vec<At<String>>,
    pub(super) limit: Option<Limit>,
    pub(super) escalate: Option<At<bool>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Limit {
    pub(super) restarts: Option<At<u64>>,
    pub(super) within: Option<At<Duration>>,
}

/// One worker: its own keys, with `defaults:` under them.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) name: At<String>,
    pub(super) command: Option<At<Vec<At<String>>>>,
    pub(super) kind: Option<At<String>>,
    pub(super) args: Option<At<serde_json::Value>>,
    pub(super) keys: Keys,
}

/// The keys that `defaults:` may have too.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    pub(super) isolation: Option<At<Place>>,
    pub(super) cell: Option<At<String>>,
    pub(super) on_panic: Option<At<OnPanic>>,
    pub(super) on_hang: Option<At<OnHang>>,
    pub(super) autostart: Option<At<bool>>,
    pub(super) policy: Option<At<RestartPolicy>>,
    pub(super) backoff_initial: Option<At<Duration>>,
    pub(super) backoff_factor: Option<At<u32>>,
    pub(super) backoff_max: Option<At<Duration>>,
    pub(super) backoff_jitter: Option<At<u32>>,
    pub(super) limit: Limit,
    pub(super) reset_after: Option<At<Duration>>,
    pub(super) slow_retry: Option<At<Duration>>,
    pub(super) ready_after: Option<At<Duration>>,
    pub(super) ready_timeout: Option<At<Duration>>,
    pub(super) heartbeat: Option<At<Duration>>,
    pub(super) stop_signal: Option<At<String>>,
    pub(super) stop_timeout: Option<At<Duration>>,
    pub(super) env: Option<At<BTreeMap<String, String>>>,
    pub(super) cwd: Option<At<String>>,
    pub(super) stdout: Option<At<String>>,
    pub(super) stderr: Option<At<String>>,
    pub(super) depends_on: Vec<(At<String>, Option<At<Condition>>)>,
    pub(super) inject: Vec<Injection>,
}

/// `isolation:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Thread,
    Process,
}

#[derive(Clone, Debug)]
pub(super) struct Injection {
    pub(super) fault: At<String>,
    pub(super) after: Option<At<Duration>>,
    pub(super) every: Option<At<Duration>>,
    pub(super) times: Option<At<u64>>,
    pub(super) probability: Option<At<u32>>,
    pub(super) seed: Option<At<u64>>,
}

/// Keys of a worker that later versions will have.
const WORKER_LATER: &[&str] = &[
    "plugin",
    "sandbox",
    "instances",
    "sockets",
    "health",
    "user",
    "group",
    "umask",
    "limits",
    "env_file",
    "secrets",
    "nice",
    "critical",
    "start_delay",
    "hooks",
    "shell",
    "clean_env",
];
const KEYS: &[&str] = &[
    "isolation",
    "cell",
    "on_panic",
    "on_hang",
    "autostart",
    "restart",
    "ready",
    "heartbeat",
    "depends_on",
    "stop",
    "env",
    "cwd",
    "logs",
    "inject",
];
const WORKER: &[&str] = &[
    "command",
    "worker",
    "args",
    "isolation",
    "cell",
    "on_panic",
    "on_hang",
    "autostart",
    "restart",
    "ready",
    "heartbeat",
    "depends_on",
    "stop",
    "env",
    "cwd",
    "logs",
    "inject",
];
const POLICIES: &[(&str, RestartPolicy)] = &[
    ("always", RestartPolicy::Always),
    ("on-failure", RestartPolicy::OnFailure),
    ("never", RestartPolicy::Never),
];
const CONDITIONS: &[(&str, Condition)] =
    &[("started", Condition::Started), ("ready", Condition::Ready), ("finished", Condition::Finished)];

/// Reads the whole tree. `None` when it is no document of ours at all.
pub(super) fn read(tree: &Node, problems: &mut Problems) -> Option<Document> {
    let top = Cursor { node: tree, path: String::new() };
    let known = ["version", "supervisor", "defaults", "cells", "groups", "workers"];
    let section = top.section(&known, &["include", "hooks"], problems)?;
    version(&section, tree, problems);
    let defaults = section
        .get("defaults")
        .and_then(|cursor| cursor.section(KEYS, WORKER_LATER, problems))
        .map(|section| keys(&section, problems))
        .unwrap_or_default();
    Some(Document {
        supervisor: section.get("supervisor").map(|cursor| supervisor(&cursor, problems)).unwrap_or_default(),
        cells: section.get("cells").map(|cursor| cells(&cursor, problems)),
        groups: named(&section, "groups", problems, group),
        workers: named(&section, "workers", problems, |name, cursor, problems| {
            worker(name, cursor, &defaults, problems)
        }),
    })
}

fn version(section: &Section<'_>, tree: &Node, problems: &mut Problems) {
    match section.get("version") {
        Some(cursor) => {
            if let Some(version) = cursor.number(problems).filter(|version| version.value != 1) {
                let message = format!("version {} is not known to this program", version.value);
                problems.push(Problem { expected: Some("version: 1".into()), ..version.problem(message) });
            }
        }
        None => problems.push(Problem {
            path: "version".into(),
            span: tree.span.start..tree.span.start + 1,
            message: "the version of the format is missing".into(),
            expected: Some("`version: 1` as the first line".into()),
            nearest: None,
        }),
    }
}

fn named<T>(
    section: &Section<'_>,
    key: &str,
    problems: &mut Problems,
    mut read: impl FnMut(At<String>, &Cursor<'_>, &mut Problems) -> Option<T>,
) -> Vec<T> {
    let entries = section.get(key).and_then(|cursor| cursor.entries(problems)).unwrap_or_default();
    entries.into_iter().filter_map(|(name, cursor)| read(name, &cursor, problems)).collect()
}

fn supervisor(cursor: &Cursor<'_>, problems: &mut Problems) -> Supervisor {
    let known =
        ["runtime_dir", "state_dir", "log_dir", "control", "fault_injection", "on_death", "shutdown_timeout"];
    let later = ["metrics", "start_concurrency", "hooks", "http"];
    let Some(section) = cursor.section(&known, &later, problems) else { return Supervisor::default() };
    let control = section
        .get("control")
        .and_then(|cursor| cursor.section(&["mode", "group"], &["tcp", "token"], problems));
    if let Some(cursor) = section.get("on_death") {
        let choice = cursor.choice(&[("kill", false), ("keep", true)], problems);
        if let Some(keep) = choice.filter(|choice| choice.value) {
            let expected = Some("kill: process workers end with the supervisor".into());
            problems.push(Problem { expected, ..keep.problem("`keep` is not supported yet") });
        }
    }
    Supervisor {
        runtime_dir: section.get("runtime_dir").and_then(|cursor| cursor.string(problems)),
        state_dir: section.get("state_dir").and_then(|cursor| cursor.string(problems)),
        log_dir: section.get("log_dir").and_then(|cursor| cursor.string(problems)),
        control_mode: control.as_ref().and_then(|control| control.get("mode")?.string(problems)),
        control_group: control.as_ref().and_then(|control| control.get("group")?.string(problems)),
        fault_injection: section
            .get("fault_injection")
            .and_then(|cursor| cursor.choice(&[("deny", false), ("allow", true)], problems)),
        shutdown_timeout: section.get("shutdown_timeout").and_then(|cursor| cursor.duration(problems)),
    }
}

fn cells(cursor: &Cursor<'_>, problems: &mut Problems) -> Vec<At<String>> {
    let entries = cursor.entries(problems).unwrap_or_default();
    for (_, cell) in &entries {
        if !cell.node.is_null() {
            cell.section(&[], &["limits", "env", "cwd", "logs"], problems);
        }
    }
    entries.into_iter().map(|(name, _)| name).collect()
}

fn group(name: At<String>, cursor: &Cursor<'_>, problems: &mut Problems) -> Option<Group> {
    let section = cursor.section(&["strategy", "workers", "limit", "escalate"], &[], problems)?;
    let strategies = [
        ("one-for-one", Strategy::OneForOne),
        ("one-for-all", Strategy::OneForAll),
        ("rest-for-one", Strategy::RestForOne),
    ];
    Some(Group {
        name,
        strategy: section.get("strategy").and_then(|cursor| cursor.choice(&strategies, problems)),
        workers: section.get("workers").and_then(|cursor| cursor.strings(problems)).unwrap_or_default(),
        limit: section.get("limit").map(|cursor| limit(&cursor, problems)),
        escalate: section.get("escalate").and_then(|cursor| cursor.boolean(problems)),
    })
}

fn limit(cursor: &Cursor<'_>, problems: &mut Problems) -> Limit {
    let Some(section) = cursor.section(&["restarts", "within"], &[], problems) else {
        return Limit::default();
    };
    Limit {
        restarts: section.get("restarts").and_then(|cursor| cursor.number(problems)),
        within: section.get("within").and_then(|cursor| cursor.duration(problems)),
    }
}

fn worker(name: At<String>, cursor: &Cursor<'_>, defaults: &Keys, problems: &mut Problems) -> Option<Worker> {
    let section = cursor.section(WORKER, WORKER_LATER, problems)?;
    let command = section.get("command").and_then(|cursor| {
        let at = At { value: (), path: cursor.path.clone(), span: cursor.node.span.clone() };
        if let Value::Scalar { text, .. } = &cursor.node.value {
            let words: Vec<&str> = text.split_whitespace().collect();
            let expected =
                Some(format!("a list of words, such as [{}]: no shell is involved", words.join(", ")));
            problems.push(Problem { expected, ..at.problem("a command is not one text") });
            return None;
        }
        Some(At { value: cursor.strings(problems)?, path: at.path, span: at.span })
    });
    Some(Worker {
        name,
        command,
        kind: section.get("worker").and_then(|cursor| cursor.string(problems)),
        args: section.get("args").map(|cursor| At {
            value: cursor.json(),
            path: cursor.path.clone(),
            span: cursor.node.span.clone(),
        }),
        keys: keys(&section, problems).over(defaults),
    })
}

fn keys(section: &Section<'_>, problems: &mut Problems) -> Keys {
    let mut keys = Keys {
        isolation: section.get("isolation").and_then(|cursor| isolation(&cursor, problems)),
        cell: section.get("cell").and_then(|cursor| cursor.string(problems)),
        on_panic: section.get("on_panic").and_then(|cursor| {
            cursor.choice(&[("abort", OnPanic::Abort), ("contain", OnPanic::Contain)], problems)
        }),
        on_hang: section.get("on_hang").and_then(|cursor| {
            cursor.choice(&[("abandon", OnHang::Abandon), ("recycle", OnHang::Recycle)], problems)
        }),
        autostart: section.get("autostart").and_then(|cursor| cursor.boolean(problems)),
        heartbeat: section.get("heartbeat").and_then(|cursor| cursor.duration(problems)),
        env: section.get("env").and_then(|cursor| {
            let value = cursor.texts(problems)?;
            Some(At { value, path: cursor.path.clone(), span: cursor.node.span.clone() })
        }),
        cwd: section.get("cwd").and_then(|cursor| cursor.string(problems)),
        depends_on: section.get("depends_on").map(|cursor| depends_on(&cursor, problems)).unwrap_or_default(),
        inject: section.get("inject").map(|cursor| injections(&cursor, problems)).unwrap_or_default(),
        ..Keys::default()
    };
    if let Some(cursor) = section.get("restart") {
        restart(&cursor, &mut keys, problems);
    }
    if let Some(ready) = section.get("ready").and_then(|cursor| {
        cursor.section(&["after", "timeout"], &["tcp", "http", "exec", "log", "notify", "fd"], problems)
    }) {
        keys.ready_after = ready.get("after").and_then(|cursor| cursor.duration(problems));
        keys.ready_timeout = ready.get("timeout").and_then(|cursor| cursor.duration(problems));
    }
    if let Some(stop) =
        section.get("stop").and_then(|cursor| cursor.section(&["signal", "timeout"], &["command"], problems))
    {
        keys.stop_signal = stop.get("signal").and_then(|cursor| cursor.string(problems));
        keys.stop_timeout = stop.get("timeout").and_then(|cursor| cursor.duration(problems));
    }
    if let Some(logs) = section.get("logs").and_then(|cursor| {
        cursor.section(&["stdout", "stderr"], &["rotate", "timestamps", "format", "compress"], problems)
    }) {
        keys.stdout = logs.get("stdout").and_then(|cursor| cursor.string(problems));
        keys.stderr = logs.get("stderr").and_then(|cursor| cursor.string(problems));
    }
    keys
}

fn isolation(cursor: &Cursor<'_>, problems: &mut Problems) -> Option<At<Place>> {
    if cursor.node.text() == Some("sandbox") {
        let at = At { value: (), path: cursor.path.clone(), span: cursor.node.span.clone() };
        problems.push(Problem {
            expected: Some("one of: thread, process".into()),
            ..at.problem("`sandbox` is not supported yet")
        });
        return None;
    }
    cursor.choice(&[("thread", Place::Thread), ("process", Place::Process)], problems)
}

/// `restart: always`, or a mapping.
fn restart(cursor: &Cursor<'_>, keys: &mut Keys, problems: &mut Problems) {
    if matches!(cursor.node.value, Value::Scalar { .. }) {
        keys.policy = cursor.choice(POLICIES, problems);
        return;
    }
    let known = ["policy", "backoff", "limit", "reset_after", "slow_retry"];
    let Some(section) = cursor.section(&known, &["success", "never_on"], problems) else { return };
    keys.policy = section.get("policy").and_then(|cursor| cursor.choice(POLICIES, problems));
    keys.reset_after = section.get("reset_after").and_then(|cursor| cursor.duration(problems));
    keys.slow_retry = section.get("slow_retry").and_then(|cursor| cursor.duration(problems));
    keys.limit = section.get("limit").map(|cursor| limit(&cursor, problems)).unwrap_or_default();
    let backoff = section
        .get("backoff")
        .and_then(|cursor| cursor.section(&["initial", "factor", "max", "jitter"], &[], problems));
    if let Some(backoff) = backoff {
        keys.backoff_initial = backoff.get("initial").and_then(|cursor| cursor.duration(problems));
        keys.backoff_factor =
            backoff.get("factor").and_then(|cursor| cursor.permille((1000, 1_000_000), problems));
        keys.backoff_max = backoff.get("max").and_then(|cursor| cursor.duration(problems));
        keys.backoff_jitter = backoff.get("jitter").and_then(|cursor| cursor.permille((0, 1000), problems));
    }
}

/// `{ db: ready }`, or `[db]` for what is most often meant: ready.
fn depends_on(cursor: &Cursor<'_>, problems: &mut Problems) -> Vec<(At<String>, Option<At<Condition>>)> {
    if matches!(cursor.node.value, Value::List(_)) {
        let names = cursor.strings(problems).unwrap_or_default();
        return names.into_iter().map(|name| (name, None)).collect();
    }
    let entries = cursor.entries(problems).unwrap_or_default();
    entries
        .into_iter()
        .map(|(name, cursor)| {
            let condition = cursor.choice(CONDITIONS, problems);
            (name, condition)
        })
        .collect()
}

fn injections(cursor: &Cursor<'_>, problems: &mut Problems) -> Vec<Injection> {
    let list = cursor.list(problems).unwrap_or_default();
    list.iter().filter_map(|cursor| injection(cursor, problems)).collect()
}

fn injection(cursor: &Cursor<'_>, problems: &mut Problems) -> Option<Injection> {
    let known = ["fault", "after", "every", "times", "probability", "seed"];
    let section = cursor.section(&known, &[], problems)?;
    let Some(fault) = section.get("fault") else {
        let at = At { value: (), path: cursor.path.clone(), span: cursor.node.span.clone() };
        problems
            .push(Problem { expected: Some("fault: segfault".into()), ..at.problem("the fault is missing") });
        return None;
    };
    Some(Injection {
        fault: fault.string(problems)?,
        after: section.get("after").and_then(|cursor| cursor.duration(problems)),
        every: section.get("every").and_then(|cursor| cursor.duration(problems)),
        times: section.get("times").and_then(|cursor| cursor.number(problems)),
        probability: section.get("probability").and_then(|cursor| cursor.permille((0, 1000), problems)),
        seed: section.get("seed").and_then(|cursor| cursor.number(problems)),
    })
}

impl Keys {
    /// These keys, and where one is not written, that of `under`. An environment is merged name by name.
    fn over(self, under: &Self) -> Self {
        macro_rules! or {
            ($($key:ident).+) => { self.$($key).+.or_else(|| under.$($key).+.clone()) };
        }
        let env = match (self.env, &under.env) {
            (Some(mut own), Some(below)) => {
                for (name, value) in &below.value {
                    own.value.entry(name.clone()).or_insert_with(|| value.clone());
                }
                Some(own)
            }
            (own, below) => own.or_else(|| below.clone()),
        };
        Self {
            isolation: or!(isolation),
            cell: or!(cell),
            on_panic: or!(on_panic),
            on_hang: or!(on_hang),
            autostart: or!(autostart),
            policy: or!(policy),
            backoff_initial: or!(backoff_initial),
            backoff_factor: or!(backoff_factor),
            backoff_max: or!(backoff_max),
            backoff_jitter: or!(backoff_jitter),
            limit: Limit { restarts: or!(limit.restarts), within: or!(limit.within) },
            reset_after: or!(reset_after),
            slow_retry: or!(slow_retry),
            ready_after: or!(ready_after),
            ready_timeout: or!(ready_timeout),
            heartbeat: or!(heartbeat),
            stop_signal: or!(stop_signal),
            stop_timeout: or!(stop_timeout),
            env,
            cwd: or!(cwd),
            stdout: or!(stdout),
            stderr: or!(stderr),
            depends_on: if self.depends_on.is_empty() { under.depends_on.clone() } else { self.depends_on },
            inject: if self.inject.is_empty() { under.inject.clone() } else { self.inject },
        }
    }
}
