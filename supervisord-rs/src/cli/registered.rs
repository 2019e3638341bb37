//! `workers`: the code that this program has, and the arguments that each worker takes.

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use workers::Registry;

use super::Exit;
use super::output::{json, line, terminal_width};
use super::table::{Column, fit};
use crate::config::{Argument, taken};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// One worker, for machines.
#[derive(Serialize)]
struct Entry<'a> {
    worker: &'a str,
    summary: &'a str,
    arguments: Vec<Argument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a Value>,
}

pub(super) fn run(options: &Options, registry: &Registry) -> Exit {
    let entries: Vec<Entry<'_>> = registry
        .names()
        .map(|(worker, summary)| Entry {
            worker,
            summary,
            arguments: taken(registry, worker),
            schema: registry.schema_of(worker),
        })
        .collect();
    if options.json {
        json(&entries);
        return Exit::Done;
    }
    let titles = [("WORKER", 0), ("ARGUMENT", 1), ("TAKES", 2), ("DEFAULT", 3), ("WHAT", 1)];
    let mut columns = titles.map(|(title, rank)| Column::new(title, rank));
    let mut row = |cells: [&str; 5]| {
        for (column, cell) in columns.iter_mut().zip(cells) {
            column.cells.push(cell.to_owned().into());
        }
    };
    for entry in &entries {
        row([entry.worker, "", "", "", entry.summary]);
        for argument in &entry.arguments {
            let Argument { path, takes, required, default, about } = argument;
            let default = match default {
                None if *required => "required".to_owned(),
                None => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            row(["", path, takes, &default, about.as_deref().unwrap_or_default()]);
        }
    }
    line(&fit(columns.into(), terminal_width()));
    Exit::Done
}
