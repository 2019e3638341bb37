//! Tables for a terminal, with the sentences below each axis.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, presets};

use crate::figures::{Entry, Figure, Measured, Report, Row, Table, Unit};
use crate::words::{shown, times};

/// The whole report. `width`: columns of the terminal; `None`: lines are as long as they are.
#[must_use]
pub fn text(report: &Report, width: Option<u16>) -> String {
    let mut text = String::new();
    for measured in &report.axes {
        axis(&mut text, measured, width);
    }
    let _ = writeln!(text, "Measured on {}", report.machine.sentence());
    let kind =
        if report.quick { "quick: few rounds; without --quick there are more" } else { "in full" };
    let _ = writeln!(
        text,
        "Medians of rounds in which all cases take turns; ±: half of the rounds lie so close; x: so \
         many times\nthe limit, in the same rounds; p99: 99 of 100 are not slower. {:.0} s, {kind}.",
        report.seconds
    );
    text
}

fn axis(text: &mut String, measured: &Measured, width: Option<u16>) {
    let heading = format!("{}: {}", measured.axis.name().to_uppercase(), measured.question);
    let _ = writeln!(text, "{heading}\n{}", "=".repeat(heading.chars().count()));
    for one in &measured.tables {
        let _ = write!(text, "\n{}\n{}\n", one.title, table(one, width));
        let _ = writeln!(text, "limit: {}", one.limit);
        for (why, rows) in untaken(one) {
            let _ = writeln!(text, "not taken: {rows}: {why}");
        }
    }
    for note in &measured.notes {
        let _ = writeln!(text, "\n{note}");
    }
    let _ = writeln!(text);
    for sentence in &measured.meaning {
        let _ = writeln!(text, "> {sentence}");
    }
    let _ = writeln!(text, "\n");
}

fn table(table: &Table, width: Option<u16>) -> comfy_table::Table {
    let mut shown = comfy_table::Table::new();
    shown.load_style(presets::ASCII_MARKDOWN);
    if let Some(width) = width {
        shown.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    shown.set_header(["", "limit", "thread", "cell", "process"]);
    for row in &table.rows {
        shown.add_row(cells(row, table.unit));
    }
    for column in 1..=4 {
        if let Some(column) = shown.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    shown
}

fn cells(row: &Row, unit: Unit) -> [String; 5] {
    let bare = |entry: Option<&Entry>| match entry {
        Some(Entry::Figure(figure)) => shown(figure.median, unit),
        Some(Entry::As(_) | Entry::Untaken(_)) | None => "-".to_owned(),
    };
    let limit = match &row.process_limit {
        None => bare(row.limit.as_ref()),
        Some(of_process) => format!("{}, {}", bare(row.limit.as_ref()), bare(Some(of_process))),
    };
    [
        row.name.clone(),
        limit,
        cell(row.thread.as_ref(), unit),
        cell(row.cell.as_ref(), unit),
        cell(row.process.as_ref(), unit),
    ]
}

/// What stands in a cell of the table.
pub(super) fn cell(entry: Option<&Entry>, unit: Unit) -> String {
    match entry {
        None => "-".to_owned(),
        Some(Entry::As(place)) => format!("as {}", place.name()),
        Some(Entry::Untaken(_)) => "not taken".to_owned(),
        Some(Entry::Figure(figure)) => written(figure, unit),
    }
}

fn written(figure: &Figure, unit: Unit) -> String {
    let mut text = shown(figure.median, unit);
    if let Some(p99) = figure.p99 {
        let _ = write!(text, " p99 {}", shown(p99, unit));
    }
    if figure.rounds > 1 && figure.median > 0.0 {
        let half = (figure.high - figure.low) / 2.0 / figure.median * 100.0;
        let _ = write!(text, " ±{half:.0}%");
    }
    if let Some(ratio) = figure.ratio {
        let _ = write!(text, " {}", times(ratio));
    }
    text
}

/// Each reason once, with the rows that have no figure for it.
pub(super) fn untaken(table: &Table) -> Vec<(&str, String)> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for row in &table.rows {
        let entries = [
            ("limit", &row.limit),
            ("thread", &row.thread),
            ("cell", &row.cell),
            ("process", &row.process),
        ];
        for (place, entry) in entries {
            let Some(Entry::Untaken(why)) = entry else { continue };
            let at = match reasons.iter().position(|(other, _)| *other == why.as_str()) {
                Some(at) => at,
                None => {
                    reasons.push((why.as_str(), Vec::new()));
                    reasons.len() - 1
                }
            };
            match reasons[at].1.last_mut() {
                Some(last) if last.starts_with(&format!("{} (", row.name)) => {
                    last.pop();
                    let _ = write!(last, ", {place})");
                }
                _ => reasons[at].1.push(format!("{} ({place})", row.name)),
            }
        }
    }
    reasons.into_iter().map(|(why, rows)| (why, rows.join("; "))).collect()
}
