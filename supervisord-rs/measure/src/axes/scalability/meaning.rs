//! What the figures of this axis mean.

use crate::axes::without_figures;
use crate::figures::{Measured, Place, Row, Unit};
use crate::words::{Difference, difference, shown, so_many_times};

/// Differences within this share are none.
const WITHIN: f64 = 0.15;

/// Two sentences.
pub(in crate::axes) fn meaning(measured: &Measured) -> Vec<String> {
    let Some(work) = work(measured) else { return without_figures() };
    vec![work, launches(measured).unwrap_or_else(|| "Nothing more was taken.".to_owned())]
}

/// The rows of one load, by the number of workers.
fn rows<'a>(measured: &'a Measured, series: &str) -> Vec<&'a Row> {
    let table = measured.tables.iter().find(|table| table.name == "throughput");
    let rows = table.into_iter().flat_map(|table| &table.rows);
    rows.filter(|row| row.series.as_deref() == Some(series)).collect()
}

/// How much the most that was reached is of what one worker does.
fn gain(rows: &[&Row], place: Place) -> Option<f64> {
    let one = rows.first()?.median(place)?;
    let most = rows.iter().filter_map(|row| row.median(place)).fold(0.0, f64::max);
    (one > 0.0).then_some(most / one)
}

fn work(measured: &Measured) -> Option<String> {
    let independent = rows(measured, "independent work");
    let (thread, process) =
        (gain(&independent, Place::Thread)?, gain(&independent, Place::Process)?);
    let locked = rows(measured, "behind one lock");
    let last = *locked.last()?;
    let kept = last.median(Place::Thread)? / locked.first()?.median(Place::Thread)?;
    let lock = if kept > 1.3 {
        // One at a time cannot do that.
        "the rounds behind one lock were disturbed".to_owned()
    } else if kept < 0.85 {
        format!(
            "behind one lock {} workers do {} of what one does",
            last.x? as usize,
            shown(kept, Unit::Share)
        )
    } else {
        "behind one lock more workers bring nothing".to_owned()
    };
    let mapping = mapping(measured).unwrap_or_default();
    Some(format!(
        "Independent work grows to {} with threads and {} with processes, {lock}{mapping}.",
        so_many_times(thread),
        so_many_times(process)
    ))
}

/// Threads share one map of their memory, which only one can change at a time.
fn mapping(measured: &Measured) -> Option<String> {
    let rows = rows(measured, "mapping memory");
    let (thread, process) = (gain(&rows, Place::Thread)?, gain(&rows, Place::Process)?);
    Some(match difference(process, thread, WITHIN) {
        Difference::More(by) => format!(
            "; where workers map memory, threads stop winning: processes gain {} \
             ({} to {}), since threads share one map",
            crate::words::more(by),
            so_many_times(process),
            so_many_times(thread)
        ),
        Difference::None | Difference::Unclear => {
            "; even mapping memory, threads gain no less than processes".to_owned()
        }
        Difference::Less(by) => {
            format!("; mapping memory, threads gain {}", crate::words::more(by))
        }
    })
}

fn launches(measured: &Measured) -> Option<String> {
    let launch = measured.row("launch", "a launch")?;
    let lives = measured.row("launches", "lives")?;
    let (thread, process) = (launch.median(Place::Thread)?, launch.median(Place::Process)?);
    let ns = |value: f64| shown(value, Unit::Nanoseconds);
    let rate = |place| lives.median(place).map(|rate| shown(rate, Unit::PerSecond));
    let compared = match difference(process, thread, WITHIN) {
        Difference::More(_) => format!(
            "the overhead of creating processes is real: {} that of threads",
            so_many_times(process / thread.max(1.0))
        ),
        Difference::None | Difference::Less(_) | Difference::Unclear => {
            "\"creating processes costs more\" does not hold here".to_owned()
        }
    };
    Some(format!(
        "A worker works {} after its launch as a thread, {} as a process ({} and {} lives): \
         {compared}.",
        ns(thread),
        ns(process),
        rate(Place::Thread)?,
        rate(Place::Process)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::Axis;
    use crate::figures::{Better, Table};
    use crate::rounds::Samples;

    /// Of invented figures: what two workers do beside one of each load, as threads and processes;
    /// and the launch of a thread and a process.
    fn invented(loads: [(&str, [f64; 2]); 3], launch: [f64; 2]) -> Vec<String> {
        let known = Samples::known;
        let row = |name: String, thread: f64, process: f64| {
            Row::new(name).with(&known(1.0), &known(thread), &known(process))
        };
        let mut table = Table::new("throughput", "", Unit::PerSecond, Better::More, "");
        for (load, [thread, process]) in loads {
            table.rows.push(row(format!("{load}, 1"), 100.0, 100.0).at(load, 1.0));
            table
                .rows
                .push(row(format!("{load}, 2"), 100.0 * thread, 100.0 * process).at(load, 2.0));
        }
        let mut ready = Table::new("launch", "", Unit::Nanoseconds, Better::Less, "");
        ready.rows.push(row("a launch".to_owned(), launch[0], launch[1]));
        let mut lives = Table::new("launches", "", Unit::PerSecond, Better::More, "");
        lives.rows.push(row("lives".to_owned(), 1e9 / launch[0], 1e9 / launch[1]));
        let mut measured = Measured::new(Axis::Scalability);
        measured.tables = vec![table, ready, lives];
        meaning(&measured)
    }

    #[test]
    fn where_threads_stop_winning_is_said_where_they_do() {
        let loads = |mapping| {
            [
                ("independent work", [2.0, 2.0]),
                ("behind one lock", [0.5, 0.5]),
                ("mapping memory", mapping),
            ]
        };
        let stop = invented(loads([1.0, 2.0]), [1e5, 1e6]).remove(0);
        assert!(stop.contains("2 workers do 50 % of what one does"), "{stop}");
        assert!(
            stop.contains(
                "threads stop winning: processes gain 2 times as much (2 times to 1 times)"
            ),
            "{stop}"
        );
        let go_on = invented(loads([2.0, 2.0]), [1e5, 1e6]).remove(0);
        assert!(go_on.contains("threads gain no less than processes"), "{go_on}");
        let mut odd = loads([2.0, 2.0]);
        odd[1].1 = [3.0, 3.0];
        let odd = invented(odd, [1e5, 1e6]).remove(0);
        assert!(odd.contains("the rounds behind one lock were disturbed"), "{odd}");
    }

    #[test]
    fn the_overhead_of_processes_is_real_only_where_it_is() {
        let loads = [
            ("independent work", [1.0, 1.0]),
            ("behind one lock", [1.0, 1.0]),
            ("mapping memory", [1.0, 1.0]),
        ];
        let real = invented(loads, [1e5, 1e6]).remove(1);
        assert!(real.contains("is real: 10 times that of threads"), "{real}");
        assert!(real.contains("100 µs after its launch as a thread, 1 ms as a process"), "{real}");
        let not = invented(loads, [1e6, 1e6]).remove(1);
        assert!(not.contains("does not hold here"), "{not}");
        let one = invented(loads, [1e6, 1e6]).remove(0);
        assert!(one.contains("more workers bring nothing"), "{one}");
    }

    #[test]
    fn without_figures_nothing_is_claimed() {
        assert_eq!(meaning(&Measured::new(Axis::Scalability)), without_figures());
    }
}
