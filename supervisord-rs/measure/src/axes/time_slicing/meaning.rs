//! What the figures of this axis mean.

use crate::axes::without_figures;
use crate::figures::{Measured, Place, Unit};
use crate::words::{Difference, compared, shown};

/// Differences within this share are none.
const WITHIN: f64 = 0.25;

/// Two sentences.
pub(in crate::axes) fn meaning(measured: &Measured) -> Vec<String> {
    let Some(turns) = turns(measured) else { return without_figures() };
    vec![turns, waking(measured).unwrap_or_else(|| "Nothing more was taken.".to_owned())]
}

fn turns(measured: &Measured) -> Option<String> {
    let ns = |value: f64| shown(value, Unit::Nanoseconds);
    let own = measured.row("slices", "the kernel's own slice: median")?;
    let figures = (own.figure(Place::Process)?, own.figure(Place::Thread)?);
    let (process, thread) = (figures.0.median, figures.1.median);
    let fair = measured.row("fairness", "the kernel's own slice")?.median(Place::Process)?;
    let fairness = if fair > 0.97 {
        format!("fairly (Jain's index {fair:.2})")
    } else {
        format!("not quite fairly (Jain's index {fair:.2})")
    };
    let alike = match compared(figures.0, figures.1, WITHIN) {
        Difference::Unclear => format!(
            "{} at a time as threads and {} as processes, which differ less than rounds do",
            ns(thread),
            ns(process)
        ),
        Difference::None => format!("{} at a time, threads and processes alike", ns(process)),
        Difference::More(_) | Difference::Less(_) => {
            format!("{} at a time as threads, {} as processes", ns(thread), ns(process))
        }
    };
    let asked = |name: &str| measured.row("slices", name)?.median(Place::Process);
    let short = asked("slice: 0.1 ms: median");
    let bounded = match (short, own.limit_median()) {
        (Some(short), Some(tick)) if short > 0.5 * tick => format!(
            "; a slice of 0.1 ms comes to {}, since the timer's tick ({}) ends slices here",
            ns(short),
            ns(tick)
        ),
        (Some(short), _) => format!("; a slice of 0.1 ms comes to {}", ns(short)),
        (None, _) => String::new(),
    };
    Some(format!("On one CPU workers take turns {fairness}: {alike}{bounded}."))
}

fn waking(measured: &Measured) -> Option<String> {
    let ns = |value: f64| shown(value, Unit::Nanoseconds);
    let row = measured.row("wake-up", "all alike")?;
    let alike = row.figure(Place::Process)?;
    let alone = row.limit_median()?;
    let slowest =
        alike.p99.map_or_else(String::new, |p99| format!(" (of 100 times 99 under {})", ns(p99)));
    let ratio = alike.median / alone.max(1.0);
    let first = if ratio > 3.0 {
        format!(
            "Taking turns does not make all responsive: beside two that compute a worker wakes up \
             {} late{slowest}, alone {}",
            ns(alike.median),
            ns(alone)
        )
    } else {
        format!(
            "A worker that mostly sleeps is responsive beside two that compute: it wakes up {} \
             late{slowest}, alone {}{}",
            ns(alike.median),
            ns(alone),
            if alone > alike.median { ", when the CPU itself has to wake up" } else { "" }
        )
    };
    let p99 = |name: &str| {
        let figure = measured.row("wake-up", name)?.figure(Place::Process)?;
        Some((figure.p99.unwrap_or(figure.median), name.split(": ").last()?.to_owned()))
    };
    let settings =
        ["those that compute: batch", "those that compute: nice 19", "those that compute: idle"];
    let best = settings.into_iter().filter_map(p99).min_by(|one, other| one.0.total_cmp(&other.0));
    let best = match (best, alike.p99) {
        (Some((best, name)), Some(before)) if best < before * 0.8 => {
            format!("; with `{name}` for those that compute, 99 of 100 times under {}", ns(best))
        }
        _ => String::new(),
    };
    Some(format!("{first}{best}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::Axis;
    use crate::figures::{Better, Entry, Row, Table};
    use crate::rounds::{Samples, Taken};

    const MS: f64 = 1e6;

    fn late(median: f64, p99: f64) -> Taken {
        Ok(Samples { values: vec![median], tails: vec![p99] })
    }

    /// Of invented figures: turns of threads, processes and with a slice of 0.1 ms; fairness; how
    /// late one wakes up beside others, and beside idle ones.
    fn invented(turns: [f64; 3], fair: f64, beside: f64, idle: f64) -> Vec<String> {
        let known = Samples::known;
        let table = |name: &str, rows: Vec<Row>| {
            let mut table = Table::new(name, "", Unit::Nanoseconds, Better::Less, "");
            table.rows = rows;
            table
        };
        let slices = |name: &str, thread, process| {
            let mut row = Row::new(name).with(&known(4.0 * MS), &known(thread), &known(process));
            row.cell = Entry::as_thread();
            row
        };
        let wake = |name: &str, taken: &Taken| Row::new(name).with(&known(5000.0), taken, taken);
        let mut measured = Measured::new(Axis::TimeSlicing);
        measured.tables = vec![
            table(
                "slices",
                vec![
                    slices("the kernel's own slice: median", turns[0], turns[1]),
                    slices("slice: 0.1 ms: median", turns[2], turns[2]),
                ],
            ),
            table(
                "fairness",
                vec![Row::new("the kernel's own slice").with(
                    &known(1.0),
                    &known(fair),
                    &known(fair),
                )],
            ),
            table(
                "wake-up",
                vec![
                    wake("all alike", &late(beside, beside * 2.0)),
                    wake("those that compute: idle", &late(idle, idle)),
                ],
            ),
        ];
        meaning(&measured)
    }

    #[test]
    fn the_tick_is_blamed_only_where_it_bounds_slices() {
        let bound = invented([4.0 * MS, 4.0 * MS, 4.0 * MS], 1.0, 6000.0, 6000.0).remove(0);
        assert!(bound.contains("fairly (Jain's index 1.00): 4 ms at a time, threads"), "{bound}");
        assert!(bound.contains("since the timer's tick (4 ms) ends slices here"), "{bound}");
        let fine = invented([3.0 * MS, 6.0 * MS, 0.1 * MS], 0.8, 6000.0, 6000.0).remove(0);
        assert!(fine.contains("not quite fairly (Jain's index 0.80): 3 ms at a time as"), "{fine}");
        assert!(fine.ends_with("a slice of 0.1 ms comes to 100 µs."), "{fine}");
    }

    #[test]
    fn responsive_is_said_of_one_that_wakes_up_in_time() {
        let good = invented([4.0 * MS; 3], 1.0, 6000.0, 6000.0).remove(1);
        assert!(good.starts_with("A worker that mostly sleeps is responsive"), "{good}");
        let bad = invented([4.0 * MS; 3], 1.0, 4.0 * MS, 6000.0).remove(1);
        assert!(bad.starts_with("Taking turns does not make all responsive"), "{bad}");
        assert!(bad.contains("4 ms late (of 100 times 99 under 8 ms), alone 5 µs"), "{bad}");
        assert!(bad.contains("with `idle` for those that compute, 99 of 100"), "{bad}");
    }

    #[test]
    fn without_figures_nothing_is_claimed() {
        assert_eq!(meaning(&Measured::new(Axis::TimeSlicing)), without_figures());
    }
}
