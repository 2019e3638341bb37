//! `faults`: the catalogue.

use clap::Args;
use workers::fault::Fault;

use super::Exit;
use super::output::{json, line, terminal_width};
use super::table::{Column, fit};

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
                    "lost": {
                        "thread": entry.shared.word(),
                        "thread_contain": entry.shared_contain.word(),
                        "cell": entry.shared.word(),
                        "cell_contain": entry.shared_contain.word(),
                        "process": entry.process.word(),
                    },
                })
            })
            .collect();
        json(&list);
        return Exit::Done;
    }
    let mut columns = [
        ("FAULT", 0),
        ("ENDING", 4),
        ("LOST AS THREAD, CELL", 2),
        ("on_panic: contain", 5),
        ("AS PROCESS", 3),
        ("WHAT", 1),
    ]
    .map(|(title, rank)| Column::new(title, rank));
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
