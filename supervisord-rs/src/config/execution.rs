//! Who a process is and what surrounds it: user, environment, directory, limits, priorities.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::reader::{Cursor, Section};
use super::settings::{ExecutionEnvironment, InheritEnv, SecretSource};
use super::{limits, world};

/// Keys that only a process can have.
pub(super) const KEYS: [&str; 16] = [
    "user",
    "group",
    "groups",
    "cwd",
    "umask",
    "inherit_env",
    "env_file",
    "env",
    "secrets",
    "limits",
    "nice",
    "io_priority",
    "oom_score_adj",
    "cpus",
    "session",
    "shell",
];

/// Descriptors that can be handed to the supervisor with a secret: those above its own three, as
/// far as it passes any.
const INHERITED: RangeInclusive<i32> = 3..=63;

/// Reads them. `is_process`: whether this worker can have them at all.
pub(super) fn read(worker: &Section<'_>, is_process: bool) -> ExecutionEnvironment {
    let get = |key: &'static str| {
        let message = format!("a thread has the {} of its process, not its own", spoken(key));
        let expected = match key {
            "limits" => {
                "`isolation: process`, or limits of its cell: `cells: { NAME: { limits: ... } }`"
            }
            _ => "`isolation: process`, or no such key",
        };
        worker.get_if(is_process, key, &message, expected)
    };
    let user = get("user").and_then(|cursor| user(&cursor));
    ExecutionEnvironment {
        user,
        group: get("group").and_then(|cursor| group(&cursor)),
        groups: get("groups")
            .and_then(|cursor| Some(cursor.list()?.iter().filter_map(group).collect::<Vec<_>>())),
        cwd: get("cwd").and_then(|cursor| directory(&cursor)),
        umask: get("umask").and_then(|cursor| cursor.mode()).map(|mode| mode.value),
        inherit_env: get("inherit_env").map_or(InheritEnv::All, |cursor| inherit_env(&cursor)),
        env_files: get("env_file")
            .and_then(|cursor| cursor.one_or_more())
            .unwrap_or_default()
            .iter()
            .filter_map(env_file)
            .collect(),
        env: get("env").map(|cursor| environment(&cursor)).unwrap_or_default(),
        secrets: get("secrets").map(|cursor| secrets(&cursor)).unwrap_or_default(),
        limits: get("limits").map(|cursor| limits::read(&cursor)).unwrap_or_default(),
        nice: get("nice").and_then(|cursor| small(&cursor, -20, 19)),
        io_priority: get("io_priority").and_then(|cursor| io_priority(&cursor)),
        oom_score_adj: get("oom_score_adj").and_then(|cursor| small(&cursor, -1000, 1000)),
        cpus: get("cpus").map(|cursor| cpus(&cursor)).unwrap_or_default(),
        own_session: get("session").and_then(|cursor| cursor.boolean()).is_none_or(|own| own.value),
    }
}

fn spoken(key: &str) -> &str {
    match key {
        "cwd" => "working directory",
        "env" | "inherit_env" | "env_file" | "secrets" => "environment",
        "limits" => "limits",
        "nice" | "io_priority" => "priority",
        "oom_score_adj" => "OOM score",
        "cpus" => "processors",
        other => other,
    }
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

/// `[0, 2-3]`, `0`, `0-3`.
fn cpus(cursor: &Cursor<'_>) -> Vec<usize> {
    let mut found = Vec::new();
    for item in cursor.one_or_more().unwrap_or_default() {
        let known = found.len();
        let text = item.node.text().unwrap_or_default();
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            (Ok(first), Ok(last)) if first <= last && last < 1024 => found.extend(first..=last),
            _ => item.refuse(
                format!("`{text}` is not a processor"),
                "numbers and ranges, such as [0, 2-3]",
            ),
        }
        world::check_processors(&item, &found[known..]);
    }
    found
}
