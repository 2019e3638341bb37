//! Tables for people that fit their terminal: the columns that matter least give way first, the
//! last column is wrapped, and names are cut last.

use super::output::width;
use crate::columns::give_way;

/// Between two columns.
const GAP: usize = 2;
/// The last column keeps this much: before it gets less, another one gives way.
const WRAPPED_LEAST: usize = 24;
/// Columns of this rank and lower ones do not give way to the last column, which then stands below
/// its row.
const STAYS: u8 = 3;
/// Columns of this rank and lower ones never give way.
const NEVER: u8 = 1;
/// Before what stands below its row.
const INDENT: &str = "  ";
/// A name is never shorter.
const NAME_LEAST: usize = 8;

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) title: String,
    /// The higher, the sooner it gives way; see [`NEVER`].
    pub(super) rank: u8,
    pub(super) cells: Vec<Cell>,
}

/// A cell: its text, and the colour that it gets once its width is known.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) colour: Option<u8>,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, colour: None }
    }
}

impl Column {
    pub(super) fn new(title: impl Into<String>, rank: u8) -> Self {
        Self { title: title.into(), rank, cells: Vec::new() }
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| width(&cell.text));
        cells.fold(width(&self.title), usize::max)
    }

    /// No cell of it has text.
    fn is_empty(&self) -> bool {
        self.cells.iter().all(|cell| cell.text.is_empty())
    }
}

/// The first column is the name, the last one a note, which is wrapped. `room`: the width of the
/// terminal; `None`: as wide as it gets.
pub(super) fn fit(mut columns: Vec<Column>, room: Option<usize>) -> String {
    columns.retain(|column| !column.is_empty());
    let mut widths: Vec<usize> = columns.iter().map(Column::width).collect();
    let mut below: Option<(Column, usize)> = None;
    if let Some(room) = room {
        if leaves_no_room_beside(&columns, &widths, room) {
            widths.pop();
            below = columns.pop().map(|column| (column, room.saturating_sub(INDENT.len())));
            drop_while(&mut columns, &mut widths, |widths| total(widths) > room);
        } else {
            drop_while(&mut columns, &mut widths, |widths| needed(widths) > room);
            if let Some(last) = widths.pop() {
                let left = room.saturating_sub(total(&widths) + GAP);
                widths.push(left.min(last));
            }
        }
        cut_names(&mut widths, room);
    }
    let rows = columns.first().map_or(0, |column| column.cells.len());
    let title = |column: &Column| Cell::from(column.title.clone());
    let mut lines = line(&columns, &widths, title);
    for row in 0..rows {
        lines.extend(line(&columns, &widths, |column| column.cells[row].clone()));
        if let Some((column, room)) = &below {
            let note = wrap(&column.cells[row].text, *room);
            lines.extend(note.into_iter().map(|part| format!("{INDENT}{part}")));
        }
    }
    lines.join("\n")
}

/// Whether the last column has its room only where columns that matter more give way, or not even
/// then. It stands below its row there.
fn leaves_no_room_beside(columns: &[Column], widths: &[usize], room: usize) -> bool {
    let Some(last) = columns.len().checked_sub(1) else { return false };
    let stay = |index: usize| index == last || columns[index].rank <= STAYS;
    let least: Vec<usize> = (0..=last).filter(|at| stay(*at)).map(|at| widths[at]).collect();
    needed(&least) > room
}

/// With the gaps between the columns.
fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// As narrow as the table gets without another column giving way.
fn needed(widths: &[usize]) -> usize {
    let last = widths.last().copied().unwrap_or(0);
    total(widths) - last + last.min(WRAPPED_LEAST)
}

/// Columns give way as long as the table is too wide.
fn drop_while(
    columns: &mut Vec<Column>,
    widths: &mut Vec<usize>,
    is_too_wide: impl Fn(&[usize]) -> bool,
) {
    let of = |shown: &[usize]| -> Vec<usize> { shown.iter().map(|&at| widths[at]).collect() };
    let rank = |at: usize| columns[at].rank;
    let all = (0..columns.len()).collect();
    let shown = give_way(all, rank, NEVER, |shown| is_too_wide(&of(shown)));
    *widths = of(&shown);
    let mut at = 0..;
    columns.retain(|_| at.next().is_some_and(|at| shown.contains(&at)));
}

/// Names are cut when nothing else is left to give way.
fn cut_names(widths: &mut [usize], room: usize) {
    let total = total(widths);
    if let Some(name) = widths.first_mut() {
        *name = name.saturating_sub(total.saturating_sub(room)).max(NAME_LEAST.min(*name));
    }
}

/// A row, with further lines where the last column is wrapped.
fn line(columns: &[Column], widths: &[usize], cell: impl Fn(&Column) -> Cell) -> Vec<String> {
    let mut text = String::new();
    let mut indent = 0;
    let mut lines = Vec::new();
    for (index, (column, &room)) in columns.iter().zip(widths).enumerate() {
        let cell = cell(column);
        if index > 0 && index + 1 == columns.len() {
            let mut parts = wrap(&cell.text, room).into_iter();
            text.push_str(&parts.next().unwrap_or_default());
            lines.extend(parts.map(|part| format!("{:indent$}{part}", "")));
            break;
        }
        let shown = shorten(&cell.text, room);
        let pad = room.saturating_sub(width(&shown)) + GAP;
        match cell.colour {
            Some(code) => text.push_str(&format!("\x1b[{code}m{shown}\x1b[0m")),
            None => text.push_str(&shown),
        }
        text.extend(std::iter::repeat_n(' ', pad));
        indent += room + GAP;
    }
    lines.insert(0, text.trim_end().to_owned());
    lines
}

/// In lines of at most so much, between words where that can be.
pub(super) fn wrap(text: &str, room: usize) -> Vec<String> {
    pack(text.split_whitespace().flat_map(|word| split(word, room)), " ", room)
}

/// Parts in as few lines of this width as they take.
pub(super) fn pack(parts: impl IntoIterator<Item = String>, gap: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if width(line) + width(gap) + width(&part) <= room => {
                line.push_str(gap);
                line.push_str(&part);
            }
            _ => lines.push(part),
        }
    }
    lines
}

/// A word in pieces that fit.
fn split(word: &str, room: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for letter in word.chars() {
        let last = pieces.last_mut().expect("there is one from the start");
        if !last.is_empty() && width(last) + width(letter.encode_utf8(&mut [0; 4])) > room {
            pieces.push(String::new());
        }
        pieces.last_mut().expect("as above").push(letter);
    }
    pieces
}

/// At most so wide; what is cut ends with an ellipsis.
fn shorten(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut shown = String::new();
    for letter in text.chars() {
        let next = format!("{shown}{letter}");
        if width(&next) >= room {
            break;
        }
        shown = next;
    }
    shown.push('…');
    shown
}
