//! `drill init`: a first scenario for a configuration, which strikes each worker once and expects
//! what its isolation promises.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use supervision::spec::Condition;

use crate::config::scenario::radius;
use crate::config::{Launch, Program, Settings};

/// The text of the scenario; what no step could strike is in a comment of it.
#[must_use]
pub(crate) fn scenario(file: &Path, settings: &Settings) -> String {
    let mut text = format!(
        "# It strikes each worker once, and expects what its isolation promises: change what you \
         know better.\n\
         version: 1\n\
         scenario: every worker can be struck\n\
         configuration: {}\n\
         steps:\n  \
         - wait: {{ running: all, within: 30s }}\n",
        quoted(&file.display().to_string())
    );
    let mut bases = BTreeSet::new();
    for (index, launch) in settings.launches.iter().enumerate() {
        if !bases.insert(launch.base.as_str()) {
            continue;
        }
        match obstacle(settings, index) {
            Some(why) => {
                let _ = writeln!(text, "  # {}: {why}", launch.name);
            }
            None => text.push_str(&steps(settings, index, launch)),
        }
    }
    text.push_str("finally: { left_behind: nothing }\n");
    text
}

/// Why a worker is not struck.
fn obstacle(settings: &Settings, index: usize) -> Option<&'static str> {
    let spec = &settings.spec.workers[index];
    let is_job = settings
        .spec
        .workers
        .iter()
        .flat_map(|other| &other.depends_on)
        .any(|one| one.on.index() == index && one.condition == Condition::Finished);
    if spec.critical {
        Some("not struck, since it is critical, and ends everything with it")
    } else if is_job {
        Some("not struck, since others wait for its end")
    } else if !spec.autostart {
        Some("not struck, since it does not start by itself")
    } else {
        None
    }
}

fn steps(settings: &Settings, index: usize, launch: &Launch) -> String {
    let is_command = matches!(launch.program, Program::Command(_));
    let fault = if is_command { "signal-kill" } else { "segfault" };
    let lost = lost(settings, index);
    let names: Vec<String> = lost.iter().map(|at| quoted(&settings.launches[*at].name)).collect();
    let dies = launch.isolation.capabilities().is_of_supervisor();
    let comes_back = |at: &usize| radius::comes_back(&settings.spec, *at);
    let name = quoted(&launch.name);
    let mark = quoted(&format!("before {}", launch.name));
    let mut text = format!(
        "  - mark: {mark}\n  - inject: {{ worker: {name}, fault: {fault} }}\n  - expect:\n      \
         lost: [{}]\n      supervisor: {}\n",
        names.join(", "),
        if dies { "died" } else { "alive" }
    );
    if lost.iter().all(comes_back) {
        text.push_str("      back: { within: 10s }\n");
    }
    let _ = writeln!(
        text,
        "      incident: {{ worker: {name}, fault: {fault}, injected: true }}\n      \
         silent_damage: none\n      within: 20s"
    );
    text
}

/// Who is lost with it: who shares its fault domain, and whom a group restarts with one of them.
fn lost(settings: &Settings, index: usize) -> BTreeSet<usize> {
    let spec = &settings.spec;
    radius::with_groups(spec, radius::of_domain(spec, index).collect())
}

/// A text in YAML, whatever it has: a string of JSON is one of YAML too.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = text
        .chars()
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || "./".contains(first))
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-/".contains(letter))
        && !matches!(text, "true" | "false" | "null");
    if is_plain { text.to_owned() } else { format!("{text:?}") }
}
