//! `supervisor:`: the supervisor's own part.

use std::path::PathBuf;
use std::time::Duration;

use supervision::spec::StartLimits;

use super::reader::{Cursor, Section};
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

const KEYS: [&str; 12] = [
    "runtime_dir",
    "state_dir",
    "log_dir",
    "control",
    "fault_injection",
    "on_death",
    "shutdown_timeout",
    "start",
    "echo",
    "log_cap",
    "restart",
    "watchdog",
];

/// Reads it; everything has a default.
pub(super) fn read(top: &Section<'_>) -> Written {
    let section =
        top.get("supervisor").and_then(|cursor| cursor.section(&KEYS, &later::SUPERVISOR));
    let section = section.as_ref();
    let directory = |key: &str, otherwise: fn() -> PathBuf| {
        let written = section.and_then(|section| section.get(key));
        let path = written.as_ref().and_then(|cursor| {
            let path = cursor.problems.resolve(&cursor.path()?.value);
            if key == "runtime_dir" {
                world::check_runtime_dir(cursor, &path);
            }
            Some(path)
        });
        path.unwrap_or_else(otherwise)
    };
    let control = section
        .and_then(|section| section.get("control"))
        .and_then(|cursor| cursor.section(&["mode", "group"], &later::CONTROL));
    let control_group = control.as_ref().and_then(|control| group(&control.get("group")?));
    // A group that is named is to get in.
    let default_mode = if control_group.is_some() { 0o660 } else { 0o600 };
    let control_mode = control
        .as_ref()
        .and_then(|control| control.get("mode")?.mode())
        .map_or(default_mode, |mode| mode.value);
    let start = section
        .and_then(|section| section.get("start"))
        .and_then(|cursor| cursor.section(&["concurrency", "stagger"], &[]));
    let echo = [("auto", Echo::Auto), ("always", Echo::Always), ("never", Echo::Never)];
    Written {
        settings: SupervisorSettings {
            runtime_dir: directory("runtime_dir", places::runtime_dir),
            state_dir: directory("state_dir", places::state_dir),
            log_dir: directory("log_dir", places::log_dir),
            control_mode,
            control_group,
            echo: section.and_then(|section| section.choice("echo", &echo)).unwrap_or(Echo::Auto),
            on_death: section
                .and_then(|section| {
                    section.choice("on_death", &[("keep", OnDeath::Keep), ("kill", OnDeath::Kill)])
                })
                .unwrap_or_default(),
            custody: custody(section),
            log_cap: section.and_then(|section| section.size("log_cap")),
        },
        fault_injection: section
            .and_then(|section| {
                section.choice("fault_injection", &[("deny", false), ("allow", true)])
            })
            .unwrap_or(false),
        shutdown_timeout: section
            .and_then(|section| section.duration("shutdown_timeout"))
            .unwrap_or(default::SHUTDOWN_TIMEOUT),
        start: StartLimits {
            concurrency: start.as_ref().and_then(|start| start.count("concurrency", 1)),
            stagger: start
                .as_ref()
                .and_then(|start| start.duration("stagger"))
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
    let restart =
        section.get("restart").and_then(|cursor| cursor.section(&["backoff", "limit"], &[]));
    if let Some(restart) = restart {
        if let Some(cursor) = restart.get("backoff") {
            restart::backoff(&cursor, &mut custody.backoff);
        }
        if let Some(cursor) = restart.get("limit") {
            custody.limit = restart::limit(&cursor, custody.limit);
        }
    }
    if let Some(cursor) = section.get("watchdog") {
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
    if let Some(timeout) = section.duration("shutdown_timeout") {
        custody.shutdown_timeout = timeout;
    }
    custody
}
