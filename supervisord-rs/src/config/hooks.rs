//! `hooks:`: commands that are run when something happens.

use super::reader::{Cursor, Section};
use super::settings::{Hook, HookEvent, default};

const EVENTS: [(&str, HookEvent); 6] = [
    ("failed", HookEvent::Failed),
    ("recovered", HookEvent::Recovered),
    ("quarantined", HookEvent::Quarantined),
    ("running", HookEvent::Running),
    ("stopped", HookEvent::Stopped),
    ("unready", HookEvent::Unready),
];

/// Reads them, of a worker or of the whole file.
pub(super) fn read(section: &Section<'_>) -> Vec<Hook> {
    let list = section.get("hooks").and_then(|cursor| cursor.list()).unwrap_or_default();
    list.iter().filter_map(hook).collect()
}

fn hook(cursor: &Cursor<'_>) -> Option<Hook> {
    let section = cursor.section(&["on", "command", "timeout"], &[])?;
    let (Some(on), Some(command)) = (section.get("on"), section.get("command")) else {
        let missing = if section.get("on").is_none() { "on" } else { "command" };
        if !section.means(missing) {
            let expected = "`{ on: [failed, recovered], command: [PROGRAM, ...] }`";
            cursor.refuse(format!("missing `{missing}:`"), expected);
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
        timeout: section.duration("timeout").unwrap_or(default::HOOK_TIMEOUT),
    })
}

impl HookEvent {
    /// Its name in the configuration and in the event.
    #[must_use]
    pub fn name(self) -> &'static str {
        EVENTS.iter().find(|(_, event)| *event == self).map_or("unknown", |(name, _)| name)
    }
}
