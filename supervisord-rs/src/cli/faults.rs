//! `faults`: the catalogue.

use clap::Args;
use workers::fault::Fault;

use super::Exit;
use super::output::{json, line, table};

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
    let header = [
        "FAULT",
        "WHAT",
        "ENDING",
        "LOST AS THREAD OR IN A CELL",
        "WITH on_panic: contain",
        "AS PROCESS",
    ];
    let rows = entries.map(|entry| {
        let text = [
            entry.name,
            entry.summary,
            entry.ending,
            entry.shared.word(),
            entry.shared_contain.word(),
            entry.process.word(),
        ];
        text.map(str::to_owned).to_vec()
    });
    line(&table(&header, rows));
    for text in [
        "",
        "`domain`: everyone in the fault domain. For a thread of the supervisor that is every",
        "thread worker and the supervisor itself, which its guardian starts again.",
        "Parameters: exit:N (0 to 255), leak:64MiB.",
    ] {
        line(text);
    }
    Exit::Done
}
