//! The columns of `top`: which ones fit, beside names and notes.

use crate::columns::give_way;

/// Title, width, and rank of each column: the higher, the sooner it gives way.
pub(super) const COLUMNS: [(&str, u16, u8); 13] = [
    ("DOMAIN", 12, 4),
    ("WORKER", 0, 0),
    ("PHASE", 11, 0),
    ("PID", 8, 3),
    ("CPU%", 6, 5),
    ("WAIT%", 6, 11),
    ("MEMORY", 7, 6),
    ("THR", 4, 8),
    ("FDS", 5, 9),
    ("SWITCHES", 12, 10),
    ("PSR", 3, 12),
    ("RST", 5, 7),
    ("NOTE", NOTE_LEAST, 1),
];
/// The place of the notes.
const NOTE: usize = COLUMNS.len() - 1;
/// A note has at least this much room, or another column gives way.
const NOTE_LEAST: u16 = 20;
/// Columns of a higher rank give way to a whole note.
const STAYS: u8 = 4;
/// Columns of the terminal that a name keeps at least: as many as its title has.
pub(super) const NAME_LEAST: u16 = 6;

/// The columns that fit, by their place in [`COLUMNS`], and the room for names, which are cut last.
pub(super) fn fitting(room: u16, names: u16, note: u16) -> (Vec<usize>, u16) {
    let needed = |shown: &[usize], note: u16| {
        let width = |&at: &usize| if at == NOTE { note } else { COLUMNS[at].1 };
        let gaps = u16::try_from(shown.len().saturating_sub(1)).unwrap_or(u16::MAX);
        shown.iter().map(width).sum::<u16>().saturating_add(gaps)
    };
    let fit = |shown: Vec<usize>, note: u16, floor: u8| {
        let is_too_wide = |shown: &[usize]| needed(shown, note).saturating_add(names) > room;
        give_way(shown, |at| COLUMNS[at].2, floor, is_too_wide)
    };
    let shown = fit((0..COLUMNS.len()).collect(), note.max(NOTE_LEAST), STAYS);
    let shown = fit(shown, NOTE_LEAST, 0);
    let left = room.saturating_sub(needed(&shown, NOTE_LEAST));
    let names = names.min(left).max(NAME_LEAST);
    (shown, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_give_way_to_notes_and_names_are_cut_last() {
        let titles = |(shown, names): (Vec<usize>, u16)| {
            let shown: Vec<&str> = shown.into_iter().map(|index| COLUMNS[index].0).collect();
            (shown.join(" "), names)
        };
        let all = "DOMAIN WORKER PHASE PID CPU% WAIT% MEMORY THR FDS SWITCHES PSR RST NOTE";
        assert_eq!(titles(fitting(170, 40, 0)), (all.to_owned(), 40), "a name is whole");
        let (shown, names) = titles(fitting(100, 10, 45));
        let expected = ("DOMAIN WORKER PHASE PID CPU% NOTE", 10);
        assert_eq!((shown.as_str(), names), expected, "and a note");
        let (shown, names) = titles(fitting(40, 26, 45));
        assert_eq!((shown.as_str(), names), ("WORKER PHASE", 26));
        let (shown, names) = titles(fitting(40, 60, 45));
        assert_eq!((shown.as_str(), names), ("WORKER PHASE", 28), "nothing else is left");
    }
}
