//! What the figures of this axis mean.

use crate::axes::without_figures;
use crate::figures::{Figure, Measured, Place, Unit};
use crate::words::{Difference, compared, longer, longer_than, shown, so_many_times};

/// Differences within this share are none.
const WITHIN: f64 = 0.15;

/// Two sentences.
pub(in crate::axes) fn meaning(measured: &Measured) -> Vec<String> {
    let bare = measured.row("switch", "no memory used");
    let both = bare.and_then(|row| Some((row.figure(Place::Thread)?, row.figure(Place::Process)?)));
    let Some((thread, process)) = both else { return without_figures() };
    let [thread_words, process_words] =
        [thread, process].map(|figure| shown(figure.median, Unit::Nanoseconds));
    let first = match compared(process, thread, WITHIN) {
        Difference::None => format!(
            "\"Switching between processes involves more overhead\" does not hold here as long as \
             they use little memory: {thread_words} between threads, {process_words} between \
             processes."
        ),
        Difference::More(by) => format!(
            "A switch between processes takes {} one between threads ({process_words} and \
             {thread_words}): the address space changes too.",
            longer_than(by)
        ),
        Difference::Less(by) => format!(
            "\"Switching between processes involves more overhead\" does not hold here: one between \
             threads took {} ({thread_words}, processes {process_words}).",
            longer(by)
        ),
        Difference::Unclear => format!(
            "Whether switching between processes involves more overhead is not to be seen here: \
             {thread_words} between threads and {process_words} between processes differ less than \
             rounds do."
        ),
    };
    vec![first, memory(measured, process).unwrap_or_else(|| "Nothing more was taken.".to_owned())]
}

/// What the memory that they use adds.
fn memory(measured: &Measured, bare: &Figure) -> Option<String> {
    let table = measured.tables.iter().find(|table| table.name == "switch")?;
    let row = table.rows.last()?;
    let (thread, process) = (row.figure(Place::Thread)?, row.figure(Place::Process)?);
    let [thread_words, process_words] =
        [thread, process].map(|figure| shown(figure.median, Unit::Nanoseconds));
    let size = shown(row.x?, Unit::Bytes);
    Some(match compared(process, bare, WITHIN) {
        Difference::More(_) => format!(
            "With {size} that each uses, a switch takes {process_words} between processes \
             ({thread_words} between threads), {} as much as without: memory that has left the \
             caches weighs more than the kind of worker.",
            so_many_times(process.median / bare.median.max(1.0))
        ),
        Difference::Unclear => format!(
            "What {size} that each uses add is not to be seen here: rounds differ more \
             ({process_words} between processes, {thread_words} between threads)."
        ),
        Difference::None | Difference::Less(_) => format!(
            "With {size} that each uses it takes no longer ({process_words} between processes, \
             {thread_words} between threads): that much stays in the caches of this CPU."
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::Axis;
    use crate::figures::{Better, Entry, Row, Table};
    use crate::rounds::Samples;

    fn invented(bare: [f64; 2], used: [f64; 2]) -> Vec<String> {
        let row = |name: &str, x: f64, [thread, process]: [f64; 2]| {
            let mut row = Row::new(name).at("switch", x);
            row.thread = Entry::of(&Samples::known(thread));
            row.process = Entry::of(&Samples::known(process));
            row
        };
        let mut table = Table::new("switch", "", Unit::Nanoseconds, Better::Less, "");
        table.rows =
            vec![row("no memory used", 0.0, bare), row("1 MiB used by each", 1048576.0, used)];
        let mut measured = Measured::new(Axis::Switching);
        measured.tables.push(table);
        meaning(&measured)
    }

    #[test]
    fn the_text_book_holds_or_not_as_the_figures_say() {
        let more = invented([1000.0, 1400.0], [1000.0, 1400.0]).remove(0);
        assert!(
            more.starts_with("A switch between processes takes 40 % longer than one"),
            "{more}"
        );
        let same = invented([1000.0, 1050.0], [1000.0, 1050.0]).remove(0);
        assert!(same.contains("does not hold here as long as they use little memory"), "{same}");
        let less = invented([1400.0, 1000.0], [1000.0, 1050.0]).remove(0);
        assert!(less.contains("one between threads took 40 % longer (1.4 µs"), "{less}");
    }

    #[test]
    fn rounds_that_overlap_decide_nothing() {
        let mut measured = Measured::new(Axis::Switching);
        let taken = |values: [f64; 3]| Ok(Samples { values: values.to_vec(), tails: Vec::new() });
        let mut row = Row::new("no memory used").at("switch", 0.0);
        row.thread = Entry::of(&taken([900.0, 1000.0, 1900.0]));
        row.process = Entry::of(&taken([1000.0, 1500.0, 1600.0]));
        let mut table = Table::new("switch", "", Unit::Nanoseconds, Better::Less, "");
        table.rows = vec![row];
        measured.tables.push(table);
        let first = meaning(&measured).remove(0);
        assert!(
            first.contains("is not to be seen here: 1 µs between threads and 1.5 µs"),
            "{first}"
        );
    }

    #[test]
    fn memory_weighs_only_where_it_does() {
        let weighs = invented([1000.0, 1100.0], [20_000.0, 22_000.0]).remove(1);
        assert!(weighs.contains("22 µs between processes (20 µs between threads), 20 times"));
        let stays = invented([1000.0, 1100.0], [1000.0, 1100.0]).remove(1);
        assert!(stays.contains("it takes no longer (1.1 µs between processes"), "{stays}");
    }

    #[test]
    fn without_figures_nothing_is_claimed() {
        assert_eq!(meaning(&Measured::new(Axis::Switching)), without_figures());
    }
}
