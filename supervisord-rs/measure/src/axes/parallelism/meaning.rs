//! What the figures of this axis mean.

use crate::axes::without_figures;
use crate::figures::{Measured, Place, Unit};
use crate::words::{shown, so_many_times};

/// Two sentences.
pub(in crate::axes) fn meaning(measured: &Measured) -> Vec<String> {
    let Some(concurrency) = concurrency(measured) else { return without_figures() };
    vec![concurrency, parallelism(measured)]
}

/// What one processor does at the same time.
fn concurrency(measured: &Measured) -> Option<String> {
    let waiting = measured.row("one-cpu", "waiting")?;
    let mixed = measured.row("one-cpu", "half waiting, half computing")?;
    let (took, least) = (waiting.median(Place::Process)?, waiting.limit_median()?);
    let (mixed, computing) = (
        mixed.median(Place::Process)?,
        measured.row("one-cpu", "computing")?.median(Place::Process)?,
    );
    let ns = |value: f64| shown(value, Unit::Nanoseconds);
    let overlap = if took < least * 1.5 {
        format!("waiting overlaps ({} of {} at best)", ns(took), ns(least))
    } else {
        format!("even waiting hardly overlaps ({} instead of {})", ns(took), ns(least))
    };
    let filled = if mixed < computing * 0.75 {
        format!(
            "and half waiting takes {} of what computing alone takes",
            shown(mixed / computing, Unit::Share)
        )
    } else {
        "but half waiting saves hardly anything".to_owned()
    };
    Some(format!("Concurrency needs no second CPU: on one, {overlap}, {filled}."))
}

/// What the others make faster.
fn parallelism(measured: &Measured) -> String {
    let row = |name| measured.row("speed-up", name);
    let figures = row("computing").and_then(|row| {
        Some((row.median(Place::Thread)?, row.median(Place::Process)?, row.limit_median()?))
    });
    let Some((thread, process, bound)) = figures else {
        return "Parallelism needs more than one CPU, and this process may use one only."
            .to_owned();
    };
    if thread.max(process) < 1.15 {
        return format!(
            "Parallelism was not to be had in this run: on all CPUs computing became {} as fast with \
             threads and {} with processes, of {} at best, since others want the CPUs too or the \
             machine gives less than it shows.",
            so_many_times(thread),
            so_many_times(process),
            so_many_times(bound)
        );
    }
    let waiting = row("waiting").and_then(|row| row.median(Place::Process)).unwrap_or(1.0);
    let waits = if waiting < 1.2 {
        "waiting becomes no faster".to_owned()
    } else {
        format!("waiting too becomes {} as fast", so_many_times(waiting))
    };
    let reached = if thread.min(process) > 0.8 * bound {
        "close to the bound"
    } else {
        "less than the bound, since others want the CPUs too or the machine gives less than it shows"
    };
    let locked = row("computing, a quarter behind one lock")
        .and_then(|row| Some((row.median(Place::Process)?, row.limit_median()?)));
    let locked = locked.map_or_else(String::new, |(reached, bound)| {
        format!(
            "; a quarter behind one lock leaves {} of at most {} (Amdahl)",
            so_many_times(reached),
            so_many_times(bound)
        )
    });
    format!(
        "Parallelism does: computing becomes {} as fast with threads and {} with processes, of {} \
         at best ({reached}), {waits}{locked}.",
        so_many_times(thread),
        so_many_times(process),
        so_many_times(bound)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::Axis;
    use crate::figures::{Better, Row, Table};
    use crate::rounds::Samples;

    /// Of invented figures: times on one processor (waiting, mixed, computing), and how much faster
    /// computing is on two, for threads and processes.
    fn invented(one: [f64; 3], faster: Option<[f64; 2]>) -> Vec<String> {
        let known = Samples::known;
        let row = |name: &str, limit: f64, [thread, process]: [f64; 2]| {
            Row::new(name).with(&known(limit), &known(thread), &known(process))
        };
        let mut table = Table::new("one-cpu", "", Unit::Nanoseconds, Better::Less, "");
        table.rows = vec![
            row("waiting", 100.0, [one[0]; 2]),
            row("half waiting, half computing", 200.0, [one[1]; 2]),
            row("computing", 400.0, [one[2]; 2]),
        ];
        let mut measured = Measured::new(Axis::Parallelism);
        measured.tables.push(table);
        if let Some(faster) = faster {
            let mut table = Table::new("speed-up", "", Unit::Times, Better::More, "");
            table.rows = vec![
                row("waiting", 1.0, [1.0; 2]),
                row("computing", 2.0, faster),
                row("computing, a quarter behind one lock", 1.6, [1.5; 2]),
            ];
            measured.tables.push(table);
        }
        meaning(&measured)
    }

    #[test]
    fn concurrency_is_claimed_where_waits_overlap() {
        let overlap = invented([102.0, 210.0, 400.0], Some([2.0, 1.9])).remove(0);
        assert!(overlap.contains("waiting overlaps (102 ns of 100 ns at best)"), "{overlap}");
        assert!(overlap.contains("half waiting takes 52.5 % of"), "{overlap}");
        let not = invented([300.0, 390.0, 400.0], Some([2.0, 1.9])).remove(0);
        assert!(not.contains("even waiting hardly overlaps (300 ns instead of 100 ns)"), "{not}");
        assert!(not.contains("saves hardly anything"), "{not}");
    }

    #[test]
    fn parallelism_is_claimed_as_far_as_it_was_reached() {
        let close = invented([100.0, 200.0, 400.0], Some([1.9, 1.8])).remove(1);
        assert!(close.contains("1.9 times as fast with threads and 1.8 times with"), "{close}");
        assert!(close.contains("close to the bound") && close.contains("no faster"), "{close}");
        assert!(close.contains("1.5 times of at most 1.6 times (Amdahl)"), "{close}");
        let far = invented([100.0, 200.0, 400.0], Some([1.1, 1.2])).remove(1);
        assert!(far.contains("less than the bound"), "{far}");
        let none = invented([100.0, 200.0, 400.0], Some([1.1, 0.9])).remove(1);
        assert!(none.starts_with("Parallelism was not to be had in this run"), "{none}");
        let one = invented([100.0, 200.0, 400.0], None).remove(1);
        assert!(one.contains("this process may use one only"), "{one}");
    }

    #[test]
    fn without_figures_nothing_is_claimed() {
        assert_eq!(meaning(&Measured::new(Axis::Parallelism)), without_figures());
    }
}
