//! `hooks:`: commands that are run when something happens.

use super::reader::{Cursor, Section};
use super::schema::key::{key, words};
use super::schema::{Key, Kind, Table};
use super::settings::{Hook, HookEvent, default};

/// Of a worker.
pub(super) static HOOKS: Key = key(
    "hooks",
    Kind::List(&Kind::Section(&TABLE)),
    "Commands that run when something happens to this worker. Each reads the event as JSON on its \
     standard input.",
)
.or("[]")
.such_as(EXAMPLE);
/// Of the whole file.
pub(super) static HOOKS_OF_ALL: Key = key(
    "hooks",
    Kind::List(&Kind::Section(&TABLE)),
    "Commands that run when something happens to any worker. Each reads the event as JSON on its \
     standard input.",
)
.or("[]")
.such_as(EXAMPLE);
const EXAMPLE: &str = "[{ on: [failed, recovered], command: [logger, worker] }]";
static TABLE: Table = Table::of(&[&[&ON, &COMMAND, &TIMEOUT]]);
static ON: Key = key(
    "on",
    Kind::OneOrMore(&Kind::Words(&words(&EVENTS))),
    "The events. `recovered` ends what `failed` began.",
)
.such_as("[failed, recovered]")
.needed();
static COMMAND: Key = key(
    "command",
    Kind::Command,
    "What runs. When it has ended, every process that it has started ends too.",
)
.such_as("[logger, worker]")
.needed();
static TIMEOUT: Key = key("timeout", Kind::Duration, "It is killed after so long.").or("10s");

const EVENTS: [(&str, HookEvent); 6] = [
    ("failed", HookEvent::Failed),
    ("recovered", HookEvent::Recovered),
    ("quarantined", HookEvent::Quarantined),
    ("running", HookEvent::Running),
    ("stopped", HookEvent::Stopped),
    ("unready", HookEvent::Unready),
];

/// Reads them, of a worker or of the whole file, each of which has a `key` for them.
pub(super) fn read(section: &Section<'_>, key: &'static Key) -> Vec<Hook> {
    let list = section.get(key).and_then(|cursor| cursor.list()).unwrap_or_default();
    list.iter().filter_map(hook).collect()
}

fn hook(cursor: &Cursor<'_>) -> Option<Hook> {
    let section = cursor.section(&TABLE)?;
    let (Some(on), Some(command)) = (section.get(&ON), section.get(&COMMAND)) else {
        let missing = if section.has(&ON) { &COMMAND } else { &ON };
        if !section.means(missing) {
            let expected = "`{ on: [failed, recovered], command: [PROGRAM, ...] }`";
            cursor.refuse(format!("missing `{}:`", missing.name), expected);
        }
        return None;
    };
    Some(Hook {
        on: on
            .one_or_more()?
            .iter()
            .filter_map(|cursor| cursor.choice(&EVENTS))
            .map(|at| at.value)
            .collect(),
        command: command.command(false)?.value,
        timeout: section.duration(&TIMEOUT).unwrap_or(default::HOOK_TIMEOUT),
    })
}

impl HookEvent {
    /// Its name in the configuration and in the event.
    #[must_use]
    pub fn name(self) -> &'static str {
        EVENTS.iter().find(|(_, event)| *event == self).map_or("unknown", |(name, _)| name)
    }
}
