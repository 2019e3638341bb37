//! Who a process is and what surrounds it: user, environment, directory, limits, priorities.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use supervision::LaunchStage;

use super::reader::{Cursor, Section};
use super::settings::{ExecutionEnvironment, InheritEnv, SecretSource};
use super::{limits, world};
use crate::stages;

/// A key that only a process can have.
struct Key {
    name: &'static str,
    /// What a thread has in common with its process.
    noun: &'static str,
    read: fn(&Cursor<'_>, &mut ExecutionEnvironment),
    /// What the step that it is for is called where it fails, if that is none of `crate::stages`.
    /// Nothing else has its number, which goes on from theirs: black boxes store it.
    stage: Option<Stage>,
}

/// By number and name.
type Stage = (LaunchStage, &'static str);

const fn key(
    name: &'static str,
    noun: &'static str,
    read: fn(&Cursor<'_>, &mut ExecutionEnvironment),
) -> Key {
    Key { name, noun, read, stage: None }
}

/// What one step of a launch alone acts on has a type below, by which that step finds it.
const KEYS: &[Key] = &[
    key("user", "user", |cursor, to| to.user = user(cursor)),
    key("group", "group", |cursor, to| to.group = group(cursor)),
    key("groups", "groups", |cursor, to| {
        to.groups = cursor.list().map(|all| all.iter().filter_map(group).collect());
    }),
    key("cwd", "working directory", |cursor, to| to.for_steps.set(directory(cursor).map(Cwd))),
    key("umask", "umask", |cursor, to| {
        to.for_steps.set(cursor.mode().map(|mode| Umask(mode.value)));
    }),
    key("inherit_env", "environment", |cursor, to| to.inherit_env = inherit_env(cursor)),
    key("env_file", "environment", |cursor, to| {
        let files = cursor.one_or_more().unwrap_or_default();
        to.env_files = files.iter().filter_map(env_file).collect();
    }),
    key("env", "environment", |cursor, to| to.env = environment(cursor)),
    key("secrets", "environment", |cursor, to| to.secrets = secrets(cursor)),
    key("limits", "limits", |cursor, to| to.limits = limits::read(cursor)),
    key("io_priority", "priority", |cursor, to| {
        to.for_steps.set(io_priority(cursor).map(IoPriority));
    }),
    key("oom_score_adj", "OOM score", |cursor, to| {
        to.for_steps.set(small(cursor, -1000, 1000).map(OomScoreAdj));
    }),
    key("session", "session", |cursor, to| {
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

/// The names of all; `shell:` is read with the `command:` that it belongs to.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name).chain(["shell"])
}

/// Stages that a key here brings.
pub(crate) fn stages() -> impl Iterator<Item = Stage> {
    KEYS.iter().filter_map(|key| key.stage)
}

/// The name of a stage, of a step or of a key. `unknown`: a later version has stored it.
pub(crate) fn stage_name(stage: LaunchStage) -> &'static str {
    let mut own = stages();
    own.find(|(number, _)| *number == stage).map_or_else(|| stages::name(stage), |(_, name)| name)
}

/// Reads them. `is_process`: whether this worker can have them at all.
pub(super) fn read(worker: &Section<'_>, is_process: bool) -> ExecutionEnvironment {
    let mut execution = ExecutionEnvironment { own_session: true, ..Default::default() };
    for key in KEYS {
        let message = format!("a thread has the {} of its process, not its own", key.noun);
        let expected = match key.name {
            "limits" => {
                "`isolation: process`, or limits of its cell: `cells: { NAME: { limits: ... } }`"
            }
            _ => "`isolation: process`, or no such key",
        };
        if let Some(cursor) = worker.get_if(is_process, key.name, &message, expected) {
            (key.read)(&cursor, &mut execution);
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
    let section = cursor.section(&["class", "level"], &[])?;
    let class = section.choice("class", &CLASSES)?;
    let level = section.get("level").and_then(|cursor| small(&cursor, 0, 7)).unwrap_or(4);
    Some(class << CLASS_SHIFT | level)
}
