//! Who a process is and what surrounds it: user, environment, directory, limits, priorities.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use supervision::LaunchStage;

use super::reader::{Cursor, Section};
use super::schema::key::key;
use super::schema::{Key, Kind, OnlyFor, Table};
use super::settings::{ExecutionEnvironment, InheritEnv, SecretSource};
use super::{limits, world};
use crate::stages;

/// A key that only a process can have, and how it is read.
struct Reading {
    key: &'static Key,
    /// What a thread has in common with its process.
    noun: &'static str,
    read: fn(&Cursor<'_>, &mut ExecutionEnvironment),
    /// What the step that it is for is called where it fails, if that is none of `crate::stages`.
    /// Nothing else has its number, which goes on from theirs: black boxes store it.
    stage: Option<Stage>,
}

/// By number and name.
type Stage = (LaunchStage, &'static str);

const fn reading(
    key: &'static Key,
    noun: &'static str,
    read: fn(&Cursor<'_>, &mut ExecutionEnvironment),
) -> Reading {
    Reading { key, noun, read, stage: None }
}

const fn of_process(name: &'static str, kind: Kind, about: &'static str) -> Key {
    key(name, kind, about).only_for(OnlyFor::Processes)
}

static USER: Key = of_process(
    "user",
    Kind::Text,
    "Who it runs as, by name or number, with the groups, `HOME`, `USER`, `LOGNAME` and `SHELL` of \
     that user. The supervisor's, where it is not written.",
)
.such_as("www-data");
static GROUP: Key =
    of_process("group", Kind::Text, "Its group, in place of the user's.").such_as("www-data");
static GROUPS: Key = of_process(
    "groups",
    Kind::List(&Kind::Text),
    "Its supplementary groups, in place of the user's.",
)
.such_as("[ssl-cert]");
static CWD: Key = of_process(
    "cwd",
    Kind::Path,
    "Its working directory, relative to the file. The supervisor's, where it is not written.",
)
.such_as("/srv");
static UMASK: Key = of_process(
    "umask",
    Kind::Mode,
    "Its file mode creation mask. The supervisor's, where it is not written.",
)
.such_as("\"0022\"");
static INHERIT_ENV: Key = of_process(
    "inherit_env",
    Kind::Either(&[Kind::Boolean, Kind::List(&Kind::Text)]),
    "Whether it gets the environment of the supervisor, or which variables of it.",
)
.or("true");
static ENV_FILE: Key = of_process(
    "env_file",
    Kind::OneOrMore(&Kind::Path),
    "Files of `NAME=value` lines, read at each launch.",
)
.or("[]")
.such_as("/etc/default/app");
static ENV: Key = of_process(
    "env",
    Kind::ByName("variable", &Kind::Either(&[Kind::Text, Kind::Nothing])),
    "Variables of its environment. They win over `env_file:`, and that over what is inherited.",
)
.or("{}")
.such_as("{ LOG: info }");
static SECRETS: Key = of_process(
    "secrets",
    Kind::ByName("variable", &Kind::Text),
    "Files whose text it can read at the path that the variable has, and that stand in no argument, \
     log or `status`. `fd:N` is a descriptor that the supervisor was started with.",
)
.or("{}")
.such_as("{ PASSWORD: /etc/secret }");
static IO_PRIORITY: Key = of_process(
    "io_priority",
    Kind::Either(&[
        Kind::Words(&["realtime", "best-effort", "idle"]),
        Kind::Section(&IO_PRIORITY_TABLE),
    ]),
    "When its reads and writes come (ioprio_set(2)). The supervisor's, where it is not written.",
)
.such_as("{ class: best-effort, level: 4 }");
static IO_PRIORITY_TABLE: Table = Table::of(&[&[&CLASS, &LEVEL]]);
static CLASS: Key =
    key("class", Kind::Words(&["realtime", "best-effort", "idle"]), "Higher classes come first.")
        .such_as("best-effort")
        .needed();
static LEVEL: Key =
    key("level", Kind::Number { low: 0, high: 7 }, "Within its class, 0 comes first.").or("4");
static OOM_SCORE_ADJ: Key = of_process(
    "oom_score_adj",
    Kind::Number { low: -1000, high: 1000 },
    "How soon the kernel chooses it when memory runs out: higher ones first. The supervisor's, \
     where it is not written.",
)
.such_as("500");
static SESSION: Key = of_process(
    "session",
    Kind::Boolean,
    "`true`: it leads a session of its own; `false`: a process group alone.",
)
.or("true");
/// It is read with the `command:` that it belongs to.
pub(super) static SHELL: Key =
    key("shell", Kind::Boolean, "`true`: `command:` is one text for `/bin/sh -c`.")
        .or("false")
        .only_for(OnlyFor::Commands);

/// All of them, in the order of `READINGS`, and `shell:`.
pub(super) static KEYS: [&Key; 14] = {
    let mut keys: [&Key; 14] = [&SHELL; 14];
    let mut at = 0;
    while at < READINGS.len() {
        keys[at] = READINGS[at].key;
        at += 1;
    }
    keys
};

/// What one step of a launch alone acts on has a type below, by which that step finds it.
static READINGS: [Reading; 13] = [
    reading(&USER, "user", |cursor, to| to.user = user(cursor)),
    reading(&GROUP, "group", |cursor, to| to.group = group(cursor)),
    reading(&GROUPS, "groups", |cursor, to| {
        to.groups = cursor.list().map(|all| all.iter().filter_map(group).collect());
    }),
    reading(&CWD, "working directory", |cursor, to| to.for_steps.set(directory(cursor).map(Cwd))),
    reading(&UMASK, "umask", |cursor, to| {
        to.for_steps.set(cursor.mode().map(|mode| Umask(mode.value)));
    }),
    reading(&INHERIT_ENV, "environment", |cursor, to| to.inherit_env = inherit_env(cursor)),
    reading(&ENV_FILE, "environment", |cursor, to| {
        let files = cursor.one_or_more().unwrap_or_default();
        to.env_files = files.iter().filter_map(env_file).collect();
    }),
    reading(&ENV, "environment", |cursor, to| to.env = environment(cursor)),
    reading(&SECRETS, "environment", |cursor, to| to.secrets = secrets(cursor)),
    reading(&limits::LIMITS, "limits", |cursor, to| to.limits = limits::read(cursor)),
    reading(&IO_PRIORITY, "priority", |cursor, to| {
        to.for_steps.set(io_priority(cursor).map(IoPriority));
    }),
    reading(&OOM_SCORE_ADJ, "OOM score", |cursor, to| {
        to.for_steps.set(small(cursor, -1000, 1000).map(OomScoreAdj));
    }),
    reading(&SESSION, "session", |cursor, to| {
        to.own_session = cursor.boolean().is_none_or(|own| own.value);
    }),
];

/// Working directory.
#[derive(Debug)]
pub(crate) struct Cwd(pub(crate) PathBuf);

/// File mode creation mask.
#[derive(Debug)]
pub(crate) struct Umask(pub(crate) u32);

/// I/O priority as ioprio_set(2) takes it: class and level.
#[derive(Debug)]
pub(crate) struct IoPriority(pub(crate) i32);

/// −1000 to 1000, proc_pid_oom_score_adj(5).
#[derive(Debug)]
pub(crate) struct OomScoreAdj(pub(crate) i32);

/// Descriptors that can be handed to the supervisor with a secret: those above its own three, as
/// far as it passes any.
const INHERITED: RangeInclusive<i32> = 3..=63;

/// Stages that a key here brings.
pub(crate) fn stages() -> impl Iterator<Item = Stage> {
    READINGS.iter().filter_map(|reading| reading.stage)
}

/// The name of a stage, of a step or of a key. `unknown`: a later version has stored it.
pub(crate) fn stage_name(stage: LaunchStage) -> &'static str {
    let mut own = stages();
    own.find(|(number, _)| *number == stage).map_or_else(|| stages::name(stage), |(_, name)| name)
}

/// Reads them. `is_process`: whether this worker can have them at all.
pub(super) fn read(worker: &Section<'_>, is_process: bool) -> ExecutionEnvironment {
    let mut execution = ExecutionEnvironment { own_session: true, ..Default::default() };
    for Reading { key, noun, read, .. } in &READINGS {
        let message = format!("a thread has the {noun} of its process, not its own");
        let expected = match key.name {
            "limits" => {
                "`isolation: process`, or limits of its cell: `cells: { NAME: { limits: ... } }`"
            }
            _ => "`isolation: process`, or no such key",
        };
        if let Some(cursor) = worker.get_if(is_process, key, &message, expected) {
            read(&cursor, &mut execution);
        }
    }
    execution
}

fn directory(cursor: &Cursor<'_>) -> Option<PathBuf> {
    let path = cursor.path()?.value;
    world::warn_of_variable(cursor, "write the directory itself");
    let path = cursor.problems.resolve(&path);
    world::check_directory(cursor, &path);
    Some(path)
}

fn env_file(cursor: &Cursor<'_>) -> Option<PathBuf> {
    let path = cursor.problems.resolve(&cursor.path()?.value);
    world::check_env_file(cursor, &path);
    Some(path)
}

/// Values are as they are written: nothing replaces variables in them.
fn environment(cursor: &Cursor<'_>) -> BTreeMap<String, String> {
    for (name, value) in cursor.entries().unwrap_or_default() {
        let variable = &name.value;
        let help = format!(
            "write the value itself, or set {variable} in the command: sh -c '{variable}=... exec \
             PROGRAM'"
        );
        world::warn_of_variable(&value, &help);
    }
    cursor.texts().unwrap_or_default()
}

/// `{ PASSWORD: /etc/secret, TOKEN: "fd:5" }`
fn secrets(cursor: &Cursor<'_>) -> BTreeMap<String, SecretSource> {
    let mut found = BTreeMap::new();
    for (name, cursor) in cursor.entries().unwrap_or_default() {
        let Some(text) = cursor.string().map(|text| text.value) else { continue };
        let source = match text.strip_prefix("fd:") {
            None => {
                let path = cursor.problems.resolve(&text);
                world::check_file(&cursor, &path);
                SecretSource::File(path)
            }
            Some(number) => match number.parse::<i32>() {
                Ok(number) if INHERITED.contains(&number) => SecretSource::Descriptor(number),
                Ok(_) | Err(_) => {
                    cursor.refuse(
                        format!("`{text}` is not a descriptor that the supervisor inherits"),
                        "a file, or `fd:3` to `fd:63`",
                    );
                    continue;
                }
            },
        };
        found.insert(name.value, source);
    }
    found
}

fn small(cursor: &Cursor<'_>, low: i32, high: i32) -> Option<i32> {
    cursor.integer(low.into(), high.into()).and_then(|number| i32::try_from(number.value).ok())
}

fn user(cursor: &Cursor<'_>) -> Option<String> {
    let name = cursor.string()?.value;
    world::check_user(cursor, &name);
    Some(name)
}

fn group(cursor: &Cursor<'_>) -> Option<String> {
    let name = cursor.string()?.value;
    world::check_group(cursor, &name);
    Some(name)
}

/// `true`, `false`, or the names that are inherited.
fn inherit_env(cursor: &Cursor<'_>) -> InheritEnv {
    if cursor.is_scalar() {
        const BOTH: [(&str, bool); 2] = [("true", true), ("false", false)];
        return match cursor.choice_or(&BOTH, Some("a list of names such as [LANG]")) {
            Some(all) if !all.value => InheritEnv::Only(Vec::new()),
            Some(_) | None => InheritEnv::All,
        };
    }
    InheritEnv::Only(
        cursor.strings().unwrap_or_default().into_iter().map(|name| name.value).collect(),
    )
}

/// `idle`, `best-effort` or `{ class: best-effort, level: 4 }`, packed as ioprio_set(2) takes it.
fn io_priority(cursor: &Cursor<'_>) -> Option<i32> {
    const CLASS_SHIFT: i32 = 13;
    const CLASSES: [(&str, i32); 3] = [("realtime", 1), ("best-effort", 2), ("idle", 3)];
    if cursor.is_scalar() {
        let longer = "{ class: best-effort, level: 4 }";
        let class = cursor.choice_or(&CLASSES, Some(longer));
        return class.map(|class| class.value << CLASS_SHIFT | 4);
    }
    let section = cursor.section(&IO_PRIORITY_TABLE)?;
    let class = section.choice(&CLASS, &CLASSES)?;
    let level = section.get(&LEVEL).and_then(|cursor| small(&cursor, 0, 7)).unwrap_or(4);
    Some(class << CLASS_SHIFT | level)
}
