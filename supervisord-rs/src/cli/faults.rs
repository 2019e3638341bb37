//! `faults`: the catalogue.

use clap::Args;
use serde_json::{Map, Value};
use workers::fault::{Entry, Fault};

use super::Exit;
use super::output::{json, line, terminal_width};
use super::table::{Column, fit};
use crate::config::{Kind, kinds};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Exit {
    let entries = Fault::all().map(Fault::entry);
    if options.json {
        let list: Vec<_> = entries
            .map(|entry| {
                serde_json::json!({
                    "fault": entry.name,
                    "summary": entry.summary,
                    "parameter": entry.parameter,
                    "ending": entry.ending,
                    "from_outside": entry.fault.signal().is_some(),
                    "lost": lost(entry),
                })
            })
            .collect();
        json(&list);
        return Exit::Done;
    }
    let names = |has_own_memory| {
        let kinds = kinds::ALL.into_iter();
        let those = kinds.filter(|kind| kind.capabilities.has_own_memory == has_own_memory);
        those.map(Kind::name).collect::<Vec<_>>().join(", ").to_uppercase()
    };
    let [shared, alone] = [false, true].map(names);
    let mut columns = [
        Column::new("FAULT", 0),
        Column::new("ENDING", 4),
        Column::new(format!("LOST AS {shared}"), 2),
        Column::new("on_panic: contain", 5),
        Column::new(format!("AS {alone}"), 3),
        Column::new("WHAT", 1),
    ];
    for entry in entries {
        let cells = [
            entry.name,
            entry.ending,
            entry.shared.word(),
            entry.shared_contain.word(),
            entry.process.word(),
            entry.summary,
        ];
        for (column, cell) in columns.iter_mut().zip(cells) {
            column.cells.push(cell.to_owned().into());
        }
    }
    line(&fit(columns.into(), terminal_width()));
    for text in [
        "",
        "`domain`: everyone in the fault domain. For a thread of the supervisor that is",
        "every thread worker and the supervisor itself, which its guardian starts again.",
        "Parameters: exit:N (0 to 255), leak:64MiB.",
    ] {
        line(text);
    }
    Exit::Done
}

/// What it should destroy, by isolation; with `on_panic: contain` where that differs.
fn lost(entry: &Entry) -> Map<String, Value> {
    let mut lost = Map::new();
    for kind in kinds::ALL {
        let name = kind.name();
        if kind.capabilities.has_own_memory {
            lost.insert(name.to_owned(), entry.process.word().into());
        } else {
            lost.insert(name.to_owned(), entry.shared.word().into());
            lost.insert(format!("{name}_contain"), entry.shared_contain.word().into());
        }
    }
    lost
}
