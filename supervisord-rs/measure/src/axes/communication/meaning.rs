//! What the figures of this axis mean.

use crate::axes::without_figures;
use crate::figures::{Measured, Place, Row, Unit};
use crate::statistics::median;
use crate::words::{Difference, difference, longer, shown};

/// Differences within this share are none: rounds differ as much.
const WITHIN: f64 = 0.15;

/// Two sentences.
pub(in crate::axes) fn meaning(measured: &Measured) -> Vec<String> {
    let Some(kernel) = through_the_kernel(measured) else { return without_figures() };
    vec![kernel, past_the_kernel(measured).unwrap_or_else(|| "Nothing more was taken.".to_owned())]
}

/// Whether the same carrier takes longer between processes than between threads.
fn through_the_kernel(measured: &Measured) -> Option<String> {
    let table = measured.tables.iter().find(|table| table.name == "latency")?;
    let carried = |row: &&Row| {
        row.series
            .as_deref()
            .is_some_and(|series| series.ends_with("one CPU") && !series.starts_with("direct"))
    };
    let pairs: Vec<(&Row, f64, f64)> = table
        .rows
        .iter()
        .filter(carried)
        .filter_map(|row| Some((row, row.median(Place::Thread)?, row.median(Place::Process)?)))
        .collect();
    // Rounds of one carrier are disturbed now and then; the typical carrier of several is not.
    let ratios: Vec<f64> = pairs.iter().map(|(_, thread, process)| process / thread).collect();
    let typical = median(&ratios)?;
    let pipe = pairs.iter().find(|(row, ..)| row.name.starts_with("pipe, 8 B"));
    let example = pipe.map_or_else(String::new, |(_, thread, process)| {
        format!(
            ": a pipe takes 8 B there and back in {} between threads, in {} between processes",
            shown(*thread, Unit::Nanoseconds),
            shown(*process, Unit::Nanoseconds)
        )
    });
    Some(match difference(typical, 1.0, WITHIN) {
        Difference::None => format!(
            "\"Communication between processes is slower\" does not hold here for the same \
             carrier{example}."
        ),
        Difference::More(by) => format!(
            "By the same carrier, messages between processes take longer than between threads, \
             typically {}{example}.",
            longer(by)
        ),
        Difference::Less(by) => format!(
            "\"Communication between processes is slower\" does not hold here: by the same carrier, \
             messages between threads take longer, typically {}{example}.",
            longer(by)
        ),
        Difference::Unclear => format!("Rounds differed too much to compare carriers{example}."),
    })
}

/// What threads have that processes have not, and what shared memory gives to both.
fn past_the_kernel(measured: &Measured) -> Option<String> {
    let call = measured.row("latency", "direct call, 8 B")?.median(Place::Thread)?;
    let pipe = measured.row("latency", "pipe, 8 B, one CPU")?.median(Place::Thread)?;
    let wake = measured.row("parts", "wake-up on one CPU, any length")?.median(Place::Thread)?;
    let spin = measured.row("latency", "shared memory, spinning, 8 B, two CPUs");
    let spin = spin.and_then(|row| row.median(Place::Process));
    // Of a disturbed round two wake-ups may be more than the whole.
    let woken = if 2.0 * wake < pipe {
        format!(", of which two wake-ups are {}", shown(2.0 * wake, Unit::Nanoseconds))
    } else {
        String::new()
    };
    let advantage = if call < pipe {
        format!(
            "What threads have beyond that is the address of the data: a direct call takes {} \
             instead of {}{woken}",
            shown(call, Unit::Nanoseconds),
            shown(pipe, Unit::Nanoseconds)
        )
    } else {
        format!(
            "Even a direct call, which only threads have, takes no less than the pipe here ({})",
            shown(call, Unit::Nanoseconds)
        )
    };
    let shared = spin.map_or_else(
        || "; shared memory spares processes the copies too".to_owned(),
        |spin| {
            format!(
                "; shared memory without a wake-up takes processes {} on two CPUs",
                shown(spin, Unit::Nanoseconds)
            )
        },
    );
    Some(format!("{advantage}{shared}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::Axis;
    use crate::figures::{Better, Entry, Table};
    use crate::rounds::Samples;

    fn row(name: &str, thread: f64, process: f64) -> Row {
        let known = Samples::known;
        let series = name.split(", ").filter(|part| *part != "8 B").collect::<Vec<_>>().join(", ");
        Row::new(name).at(&series, 8.0).with(&known(thread), &known(thread), &known(process))
    }

    /// Of invented figures.
    fn invented(thread: f64, process: f64, call: f64) -> Vec<String> {
        let mut measured = Measured::new(Axis::Communication);
        let unit = Unit::Nanoseconds;
        let mut latency = Table::new("latency", "", unit, Better::Less, "");
        let mut direct = row("direct call, 8 B", call, call);
        direct.process = Entry::untaken("no");
        latency.rows = vec![direct, row("pipe, 8 B, one CPU", thread, process)];
        let mut parts = Table::new("parts", "", unit, Better::Less, "");
        parts.rows = vec![row("wake-up on one CPU, any length", 1500.0, 1500.0)];
        measured.tables = vec![latency, parts];
        meaning(&measured)
    }

    #[test]
    fn the_text_book_is_contradicted_only_where_the_figures_do() {
        let same = invented(5000.0, 5200.0, 2.0).remove(0);
        assert!(same.contains("does not hold here for the same carrier"), "{same}");
        assert!(same.contains("5 µs between threads, in 5.2 µs between processes"), "{same}");
        let slower = invented(5000.0, 15_000.0, 2.0).remove(0);
        assert!(slower.starts_with("By the same carrier, messages between processes take longer"));
        assert!(slower.contains("typically 3 times as long"), "{slower}");
        let faster = invented(5000.0, 2500.0, 2.0).remove(0);
        assert!(faster.contains("messages between threads take longer"), "{faster}");
    }

    #[test]
    fn what_threads_have_beyond_is_said_with_its_size() {
        let less = invented(5000.0, 5000.0, 2.0).remove(1);
        assert!(less.contains("a direct call takes 2 ns instead of 5 µs"), "{less}");
        assert!(less.contains("two wake-ups are 3 µs"), "{less}");
        let odd = invented(2500.0, 2500.0, 2.0).remove(1);
        assert!(!odd.contains("of which"), "two wake-ups are more than the pipe: {odd}");
        let more = invented(5000.0, 5000.0, 6000.0).remove(1);
        assert!(more.contains("takes no less than the pipe here (6 µs)"), "{more}");
    }

    #[test]
    fn without_figures_nothing_is_claimed() {
        let empty = Measured::new(Axis::Communication);
        assert_eq!(meaning(&empty), without_figures());
    }
}
