//! `explain`: what a key of the configuration means, from the table that the reader reads by.

use clap::Args;
use serde::Serialize;

use super::Exit;
use super::output::{json, say, terminal_width, words};
use super::table::wrap;
use crate::config::schema::{Found, Key, Table, Unknown, find};
use crate::config::{configuration_keys, scenario_keys};

/// The width of text, where no terminal says otherwise.
const WIDTH: usize = 100;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The key, from the top of the file or from wherever it is known: `workers.restart.backoff`,
    /// `backoff.initial`. Names of workers may be left out. All keys of the file, if none is named.
    #[arg(value_name = "KEY")]
    key: Option<String>,
    /// Keys of a scenario, which `drill run` runs.
    #[arg(long)]
    scenario: bool,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// One key, for machines.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    path: &'a str,
    takes: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    only_for: Option<&'a str>,
    since: &'a str,
    needed: bool,
    about: &'a str,
    /// The names of the keys below it.
    keys: Vec<&'a str>,
}

pub(super) fn run(options: &Options) -> Exit {
    let top = if options.scenario { scenario_keys() } else { configuration_keys() };
    let found = match &options.key {
        Some(path) => match find(top, path) {
            Ok(found) => found,
            Err(unknown) => {
                say(&objection(&unknown));
                return Exit::Usage;
            }
        },
        None => of(top, ""),
    };
    if options.json {
        json(&found.iter().map(explained).collect::<Vec<_>>());
    } else if options.key.is_none() {
        let _ = words(&listed(&found));
    } else {
        let _ = words(&found.iter().map(text).collect::<Vec<_>>().join("\n\n"));
    }
    Exit::Done
}

fn of(table: &Table, above: &str) -> Vec<Found> {
    let path = |key: &Key| match above {
        "" => key.name.to_owned(),
        above => format!("{above}.{}", key.name),
    };
    table.keys().map(|key| Found { path: path(key), key }).collect()
}

fn explained(found: &Found) -> Explained<'_> {
    let Found { path, key } = found;
    Explained {
        path,
        takes: key.kind.in_words(),
        default: key.default,
        example: key.example,
        only_for: key.only_for.in_words(),
        since: key.since,
        needed: key.is_needed,
        about: key.about,
        keys: below(key).iter().map(|key| key.name).collect(),
    }
}

/// The keys below a key, each once: those of several tables may have the same name.
fn below(key: &Key) -> Vec<&'static Key> {
    let mut keys: Vec<&'static Key> = Vec::new();
    for key in key.kind.tables().into_iter().flat_map(Table::keys) {
        if !keys.iter().any(|known| known.name == key.name) {
            keys.push(key);
        }
    }
    keys
}

fn text(found: &Found) -> String {
    let Found { path, key } = found;
    let width = terminal_width().unwrap_or(WIDTH).max(40);
    let mut lines = vec![path.clone()];
    let mut fact = |name: &str, value: &str| {
        let label = format!("  {name:<10}");
        let rest = wrap(value, width - label.len());
        for (at, part) in rest.iter().enumerate() {
            let label = if at == 0 { label.as_str() } else { "            " };
            lines.push(format!("{label}{part}"));
        }
    };
    fact("takes", &key.kind.in_words());
    if let Some(default) = key.default {
        fact("default", default);
    }
    if let Some(whom) = key.only_for.in_words() {
        fact("for", whom);
    }
    if key.is_needed {
        fact("needed", "yes");
    }
    if let Some(example) = key.example {
        fact("example", &format!("{}: {example}", key.name));
    }
    lines.push(String::new());
    lines.extend(wrap(key.about, width - 2).into_iter().map(|line| format!("  {line}")));
    let below = below(key);
    if !below.is_empty() {
        lines.push(String::new());
        lines.extend(rows(&below, width));
    }
    lines.join("\n")
}

fn listed(found: &[Found]) -> String {
    let keys: Vec<&'static Key> = found.iter().map(|found| found.key).collect();
    let width = terminal_width().unwrap_or(WIDTH).max(40);
    rows(&keys, width).join("\n")
}

/// A line for each key: its name, and the first sentence of what it means.
fn rows(keys: &[&'static Key], width: usize) -> Vec<String> {
    let room = keys.iter().map(|key| key.name.len()).max().unwrap_or(0) + 2;
    let mut lines = Vec::new();
    for key in keys {
        let about = wrap(key.in_short(), width.saturating_sub(room + 2).max(20));
        for (at, part) in about.iter().enumerate() {
            let name = if at == 0 { key.name } else { "" };
            lines.push(format!("  {name:<room$}{part}"));
        }
    }
    lines
}

/// Why there is no such key, and which there are.
fn objection(unknown: &Unknown) -> String {
    let Unknown { word, above, known, nearest } = unknown;
    let place = if above.is_empty() { String::new() } else { format!(" in `{above}`") };
    let mut text = format!("no key `{word}`{place}");
    if let Some(nearest) = nearest {
        text.push_str(&format!("; did you mean `{nearest}`?"));
    }
    match known.as_slice() {
        [] => text.push_str(": it has no keys below it"),
        known => text.push_str(&format!("\n  one of: {}", known.join(", "))),
    }
    text
}
