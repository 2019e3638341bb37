//! What the figures of this axis mean.

use crate::axes::without_figures;
use crate::figures::{Measured, Place, Unit};
use crate::words::{Difference, compared, difference, longer_than, shown, so_many_times};

/// Differences within this share are none.
const WITHIN: f64 = 0.2;
const MUTEX: &str = "mutex: lock, unlock";

/// Two sentences.
pub(in crate::axes) fn meaning(measured: &Measured) -> Vec<String> {
    let Some(price) = price(measured) else { return without_figures() };
    vec![price, recovery(measured).unwrap_or_else(|| "Nothing more was taken.".to_owned())]
}

/// What a lock between processes costs, beside one within a process.
fn price(measured: &Measured) -> Option<String> {
    let alone = measured.row("uncontended", MUTEX)?;
    let [bare, thread, process] =
        [alone.limit_median()?, alone.median(Place::Thread)?, alone.median(Place::Process)?];
    let ns = |value: f64| shown(value, Unit::Nanoseconds);
    let figures = (alone.figure(Place::Process)?, alone.figure(Place::Thread)?);
    let between = match compared(figures.0, figures.1, WITHIN) {
        Difference::Unclear => format!(
            "about as much between processes as between threads ({} and {}; rounds differ more)",
            ns(process),
            ns(thread)
        ),
        Difference::None => format!(
            "between processes no more than between threads ({} and {})",
            ns(process),
            ns(thread)
        ),
        Difference::More(by) => {
            format!(
                "between processes {} between threads ({}, {})",
                longer_than(by),
                ns(process),
                ns(thread)
            )
        }
        Difference::Less(by) => {
            format!(
                "between threads {} between processes ({}, {})",
                longer_than(by),
                ns(thread),
                ns(process)
            )
        }
    };
    let bare = match difference(thread, bare, WITHIN) {
        Difference::More(_) => format!(
            "to survive the death of its owner costs {} the standard library's lock ({})",
            so_many_times(thread / bare.max(0.01)),
            ns(bare)
        ),
        Difference::None | Difference::Less(_) | Difference::Unclear => {
            format!("it costs no more than the standard library's lock ({})", ns(bare))
        }
    };
    let contended = measured.row("contended", MUTEX).and_then(|row| row.median(Place::Process));
    let contended = contended.map_or_else(String::new, |contended| {
        format!("; as soon as two want it all the time, each use takes {}", ns(contended))
    });
    Some(format!("A free mutex takes {between}, and {bare}{contended}."))
}

/// What a death costs those who wait.
fn recovery(measured: &Measured) -> Option<String> {
    let lock = measured.row("recovery", "mutex, locked by the dead one")?;
    let (thread, process) = (lock.median(Place::Thread)?, lock.median(Place::Process)?);
    let permit = measured.row("recovery", "semaphore, its only permit with the dead one");
    let permit =
        permit.and_then(|row| row.median(Place::Process)).map_or_else(String::new, |permit| {
            let how = if permit > 10.0 * process {
                ", since those that wait for one look less often who is dead"
            } else {
                ""
            };
            format!(", a permit {} after{how}", shown(permit, Unit::Nanoseconds))
        });
    Some(format!(
        "After the death of its owner the next one has the mutex in {} (a thread) or {} (a \
         process){permit}; a plain lock would be held for ever.",
        shown(thread, Unit::Nanoseconds),
        shown(process, Unit::Nanoseconds)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::Axis;
    use crate::figures::{Better, Row, Table};
    use crate::rounds::Samples;

    /// Of invented figures: bare, thread and process of a free mutex; recovery of mutex and permit.
    fn invented(free: [f64; 3], back: [f64; 2]) -> Vec<String> {
        let known = Samples::known;
        let table = |name: &str, rows: Vec<Row>| {
            let mut table = Table::new(name, "", Unit::Nanoseconds, Better::Less, "");
            table.rows = rows;
            table
        };
        let row = |name: &str, [bare, thread, process]: [f64; 3]| {
            Row::new(name).with(&known(bare), &known(thread), &known(process))
        };
        let mut measured = Measured::new(Axis::Synchronisation);
        measured.tables = vec![
            table("uncontended", vec![row(MUTEX, free)]),
            table(
                "recovery",
                vec![
                    row("mutex, locked by the dead one", [1.0, back[0], back[0]]),
                    row("semaphore, its only permit with the dead one", [1.0, 1.0, back[1]]),
                ],
            ),
        ];
        meaning(&measured)
    }

    #[test]
    fn the_price_is_named_where_there_is_one() {
        let dear = invented([5.0, 15.0, 15.0], [1e5, 1e8]).remove(0);
        assert!(dear.contains("between processes no more than between threads"), "{dear}");
        assert!(dear.contains("costs 3 times the standard library's lock (5 ns)"), "{dear}");
        let free = invented([15.0, 15.0, 30.0], [1e5, 1e8]).remove(0);
        assert!(free.contains("between processes 2 times as long as between threads"), "{free}");
        assert!(free.contains("it costs no more than the standard library's lock"), "{free}");
        let odd = invented([15.0, 30.0, 15.0], [1e5, 1e8]).remove(0);
        assert!(odd.contains("between threads 2 times as long as between processes"), "{odd}");
    }

    #[test]
    fn why_a_permit_takes_longer_is_said_only_where_it_does() {
        let long = invented([5.0, 15.0, 15.0], [1e5, 1e8]).remove(1);
        assert!(long.contains("a permit 100 ms after, since those that wait for one"), "{long}");
        let short = invented([5.0, 15.0, 15.0], [1e5, 2e5]).remove(1);
        assert!(short.contains("a permit 200 µs after; a plain lock"), "{short}");
    }

    #[test]
    fn without_figures_nothing_is_claimed() {
        assert_eq!(meaning(&Measured::new(Axis::Synchronisation)), without_figures());
    }
}
