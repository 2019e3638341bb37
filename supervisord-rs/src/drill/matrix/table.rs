//! A matrix for people at a terminal: a row for each fault, a column for each isolation.

use comfy_table::{Table, presets};

use super::{Cell, Matrix};
use crate::record::words::duration_us;

/// What is before a cell that is not as expected.
const MARK: &str = "(!) ";

/// The table, what differs, and what it says in all.
pub(crate) fn table(matrix: &Matrix) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let columns = matrix.columns.iter().map(|column| column.name());
    table.set_header([format!("fault in {}", matrix.worker)].into_iter().chain(columns));
    for row in matrix.cells.chunks(matrix.columns.len().max(1)) {
        let cells = row.iter().map(told);
        table.add_row([row[0].fault.clone()].into_iter().chain(cells));
    }
    let mut paragraphs = vec![table.to_string()];
    paragraphs.push(format!(
        "How many of the {} workers were lost, and + where the supervisor died too; then the \
         median of the times until all ran again.",
        matrix.cells.iter().map(Cell::running).max().unwrap_or(0)
    ));
    let wrong: Vec<String> = matrix.cells.iter().filter_map(wrong).collect();
    if !wrong.is_empty() {
        paragraphs.push(wrong.join("\n\n"));
    }
    if !matrix.left.is_empty() {
        paragraphs.push(format!("Left behind: {}.", matrix.left.join("; ")));
    }
    paragraphs.push(matrix.conclusion());
    paragraphs.push(format!("{} It took {:.0} s.", matrix.circumstances(), matrix.seconds));
    paragraphs.join("\n\n")
}

/// What there is of a cell.
pub(super) fn told(cell: &Cell) -> String {
    let mark = if cell.differs.is_empty() { "" } else { MARK };
    let back = cell.back().map_or_else(String::new, |us| format!(" {}", duration_us(us)));
    format!("{mark}{}{back}", radius(cell))
}

/// How many were lost: `4+`, `1`, `-` for a fault that is none there.
pub(super) fn radius(cell: &Cell) -> String {
    match cell.radius() {
        None if cell.impossible.is_some() => "-".to_owned(),
        None => "?".to_owned(),
        Some((fewest, most, died)) => {
            let count =
                if fewest == most { most.to_string() } else { format!("{fewest} to {most}") };
            format!("{count}{}", if died { "+" } else { "" })
        }
    }
}

/// What is wrong with a cell, and how to see it again.
fn wrong(cell: &Cell) -> Option<String> {
    if cell.differs.is_empty() && cell.unfinished.is_empty() {
        return None;
    }
    let mut lines =
        vec![format!("{} as {}: {} is expected", cell.fault, cell.column, cell.expected)];
    lines.extend(cell.differs.iter().map(|one| format!("  {one}")));
    lines.extend(cell.unfinished.iter().map(|why| format!("  could not be finished: {why}")));
    let logs = cell.trials.iter().flat_map(|trial| &trial.log);
    lines.extend(logs.map(|line| format!("    | {line}")));
    lines.push(format!("  again: {}", cell.again));
    Some(lines.join("\n"))
}
