//! The table of a comparison on a narrow terminal: columns give way by importance, so that no word
//! and no figure is broken.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};

use crate::columns::give_way;

/// The space around a cell.
const PADDING: usize = 2;

/// Makes the table fit. `ranks`: the higher, the sooner a column gives way; those of rank 0 stay.
/// Returns the titles of the columns that gave way.
pub(super) fn fit(table: &mut Table, room: u16, ranks: &[u8]) -> Vec<String> {
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(room);
    let cells = cells(table, ranks.len());
    let least: Vec<usize> = cells.iter().map(|cells| least(cells)).collect();
    let is_too_wide = |shown: &[usize]| {
        let needed = shown.iter().map(|&at| least[at] + PADDING).sum::<usize>() + shown.len() + 1;
        needed > room.into()
    };
    let shown = give_way((0..ranks.len()).collect(), |at| ranks[at], 0, is_too_wide);
    let mut hidden = Vec::new();
    for (at, least) in least.iter().enumerate() {
        let width = u16::try_from(least + PADDING).unwrap_or(u16::MAX);
        let constraint = if shown.contains(&at) {
            ColumnConstraint::LowerBoundary(Width::Fixed(width))
        } else {
            hidden.extend(cells[at].first().cloned());
            ColumnConstraint::Hidden
        };
        if let Some(column) = table.column_mut(at) {
            column.set_constraint(constraint);
        }
    }
    hidden
}

/// Whether a table that has all its columns, and no wrapped cell, needs more room. Arranged in
/// enough room, cells could still wrap.
pub(super) fn is_wider(table: &Table, room: u16) -> bool {
    table.lines().any(|line| line.chars().count() > room.into())
}

/// The texts of each column, its title first.
fn cells(table: &Table, count: usize) -> Vec<Vec<String>> {
    let rows = table.header().into_iter().chain(table.row_iter());
    let mut columns = vec![Vec::new(); count];
    for row in rows {
        for (column, cell) in columns.iter_mut().zip(row.cell_iter()) {
            column.push(cell.content());
        }
    }
    columns
}

/// The width that a column needs at least: its longest word, or figure with its unit.
fn least(cells: &[String]) -> usize {
    let is_figure = |text: &&str| text.starts_with(|first: char| first.is_ascii_digit());
    let longest = |text: &String| {
        let words = text.split_whitespace().map(|word| word.chars().count());
        let whole = Some(text.as_str()).filter(is_figure).map(|text| text.chars().count());
        words.chain(whole).max().unwrap_or(0)
    };
    cells.iter().map(longest).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use comfy_table::presets;

    use super::*;

    #[test]
    fn columns_give_way_by_importance_and_no_word_is_broken() {
        let rows = [
            ["fault in b", "isolation", "lost", "supervisor", "seen", "back"],
            ["stack-overflow", "thread", "a b c d", "died", "12.9 ms", "123 ms"],
            ["panic", "process", "b", "alive", "3.9 ms", "47 ms"],
        ];
        let ranks = [0, 0, 0, 0, 2, 1];
        for (room, gone) in [(80, &[][..]), (66, &["seen"]), (56, &["seen", "back"])] {
            let mut table = Table::new();
            table.load_style(presets::ASCII_MARKDOWN);
            table.set_header(rows[0]);
            table.add_row(rows[1]).add_row(rows[2]);
            assert_eq!(fit(&mut table, room, &ranks), gone, "{room}\n{table}");
            let text = table.to_string();
            assert!(text.lines().all(|line| line.chars().count() <= room.into()), "{text}");
            let whole = ["stack-overflow", "isolation", "supervisor", "thread", "process"];
            assert!(whole.iter().all(|word| text.contains(word)), "{room}\n{text}");
            assert_eq!(text.contains("3.9 ms"), !gone.contains(&"seen"), "{text}");
        }
    }
}
