//! What the figures of this axis mean.

use crate::axes::without_figures;
use crate::figures::{Measured, Place, Row, Unit};
use crate::words::{Difference, difference, more, shown, so_many_times};

/// Differences within this share are none.
const WITHIN: f64 = 0.15;

/// Two sentences.
pub(in crate::axes) fn meaning(measured: &Measured) -> Vec<String> {
    let Some(worker) = a_worker(measured) else { return without_figures() };
    vec![worker, shared(measured).unwrap_or_else(|| "Nothing more was taken.".to_owned())]
}

/// The row of the most workers of a table, of which there are figures of all places.
fn largest<'a>(measured: &'a Measured, table: &str) -> Option<&'a Row> {
    let table = measured.tables.iter().find(|one| one.name == table)?;
    let is_whole =
        |row: &&Row| row.median(Place::Thread).is_some() && row.median(Place::Process).is_some();
    table.rows.iter().rev().find(is_whole)
}

fn a_worker(measured: &Measured) -> Option<String> {
    let row = largest(measured, "pss")?;
    let count = row.x? as usize;
    let bytes = |value: f64| shown(value, Unit::Bytes);
    let tables = |place| {
        let row = measured.row("page-tables", &row.name);
        row.and_then(|row| row.median(place)).unwrap_or(0.0)
    };
    let whole = |place| Some(row.median(place)? + tables(place));
    let (thread, process) = (whole(Place::Thread)?, whole(Place::Process)?);
    let cell =
        whole(Place::Cell).map_or_else(String::new, |cell| format!(", in a cell {}", bytes(cell)));
    let compared = match difference(process, thread, WITHIN) {
        Difference::More(_) => {
            format!("{} as much as a thread", so_many_times(process / thread.max(1.0)))
        }
        Difference::None => "as much as a thread: \"lighter\" does not hold here".to_owned(),
        Difference::Less(by) => {
            format!("a thread takes {}: \"lighter\" does not hold here", more(by))
        }
        Difference::Unclear => "rounds differ too much to compare them".to_owned(),
    };
    Some(format!(
        "Of {count} workers each takes {} as a thread{cell} and {} as a process, with its page \
         tables: {compared}, and {} fit into 1 GiB.",
        bytes(thread),
        bytes(process),
        fitting(process)
    ))
}

/// How many processes have room in 1 GiB.
fn fitting(each: f64) -> String {
    let count = (f64::from(1 << 30) / each.max(1.0)) as usize;
    let words = match count {
        0..100 => count,
        100..1000 => count / 10 * 10,
        _ => count / 100 * 100,
    };
    format!("about {words} processes")
}

fn shared(measured: &Measured) -> Option<String> {
    let rss = measured.row("shared", "RSS counts it for each")?;
    let (each, size) = (rss.median(Place::Process)?, rss.limit_median()?);
    let once = measured.row("shared", "PSS counts it once")?.median(Place::Process)?;
    let counted = match difference(once, size, WITHIN) {
        Difference::None => "it is there once, which PSS shows".to_owned(),
        Difference::More(_) | Difference::Less(_) | Difference::Unclear => {
            format!("PSS shows {} instead of its size", shown(once, Unit::Bytes))
        }
    };
    Some(format!(
        "\"Its own memory space\" does not mean that nothing is shared: a region of {} in four \
         processes shows as {} of RSS, and {counted}.",
        shown(size, Unit::Bytes),
        shown(each, Unit::Bytes)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::Axis;
    use crate::figures::{Better, Entry, Table};
    use crate::rounds::Samples;

    /// Of invented figures: a thread and a process of 100; RSS and PSS of a region of 1 MiB.
    fn invented(thread: f64, process: f64, [rss, pss]: [f64; 2]) -> Vec<String> {
        let known = Samples::known;
        let table = |name: &str, rows: Vec<Row>| {
            let mut table = Table::new(name, "", Unit::Bytes, Better::Less, "");
            table.rows = rows;
            table
        };
        let row = Row::new("of 100").at("a worker", 100.0);
        let row = row.with(&known(1.0), &known(thread), &known(process));
        let region = |name: &str, value: f64| {
            let mut row = Row::new(name);
            row.limit = Entry::of(&known(1_048_576.0));
            row.process = Entry::of(&known(value));
            row
        };
        let regions =
            vec![region("RSS counts it for each", rss), region("PSS counts it once", pss)];
        let mut measured = Measured::new(Axis::Memory);
        measured.tables = vec![table("pss", vec![row]), table("shared", regions)];
        meaning(&measured)
    }

    const ONCE: [f64; 2] = [4_194_304.0, 1_048_576.0];

    #[test]
    fn lighter_is_said_only_of_what_is_lighter() {
        let heavy = invented(20_480.0, 204_800.0, ONCE).remove(0);
        assert!(heavy.contains("20 KiB as a thread"), "{heavy}");
        assert!(heavy.contains("200 KiB as a process"), "{heavy}");
        assert!(
            heavy.contains("10 times as much as a thread, and about 5200 processes"),
            "{heavy}"
        );
        let same = invented(204_800.0, 204_800.0, ONCE).remove(0);
        assert!(same.contains("\"lighter\" does not hold here"), "{same}");
        let less = invented(204_800.0, 102_400.0, ONCE).remove(0);
        assert!(less.contains("a thread takes 2 times as much: \"lighter\" does not"), "{less}");
    }

    #[test]
    fn a_region_is_counted_once_or_the_difference_is_named() {
        let once = invented(1.0, 2.0, ONCE).remove(1);
        assert!(once.contains("4 MiB of RSS, and it is there once"), "{once}");
        let off = invented(1.0, 2.0, [4_194_304.0, 2_097_152.0]).remove(1);
        assert!(off.contains("PSS shows 2 MiB instead of its size"), "{off}");
    }

    #[test]
    fn without_figures_nothing_is_claimed() {
        assert_eq!(meaning(&Measured::new(Axis::Memory)), without_figures());
    }
}
