//! Printing facts: tables for people, JSON for machines, and no panic when the reader goes away.

use std::io::{IsTerminal, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use super::harmless::{harmless, harmless_json};

/// Prints what may hold words of a worker, and none of our own colours. False when nobody reads any
/// more.
pub(super) fn words(text: &str) -> bool {
    line(&harmless(text))
}

/// Prints a line. False when nobody reads any more.
pub(super) fn line(text: &str) -> bool {
    writeln!(std::io::stdout(), "{text}").is_ok()
}

/// Prints a value as JSON.
pub(super) fn json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).expect("reports are strings, numbers and lists");
    let _ = line(&harmless_json(&text));
}

/// A table for people.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().copied());
    table.add_rows(rows);
    table.to_string().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Whether colours are welcome: a terminal, and no `NO_COLOR` (<https://no-color.org>).
pub(super) fn has_colour() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
