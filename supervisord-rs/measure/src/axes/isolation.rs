//! What a crash takes along, as figures: only a supervisor can measure it, and gives it in.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::Bench;
use crate::axes::without_figures;
use crate::child::{self, Role};
use crate::figures::{Better, Entry, Measured, Place, Row, Table, Unit};
use crate::rounds::{Rounds, Sample, Samples, Taken};
use crate::words::{list, shown};

/// Where the crashes are.
pub trait Isolation {
    /// Runs the same workers in each place, breaks one of them by each fault, and says who was
    /// lost. Blocks until all is done; calls `advances` with the part (0 to 1) that is done too.
    ///
    /// # Errors
    /// Why it cannot be measured.
    fn trials(&self, advances: &dyn Fn(f64)) -> Result<Vec<Trial>, String>;
}

/// One fault in one place.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The fault.
    pub fault: String,
    /// Where the worker ran that it struck.
    pub place: Place,
    /// How many workers it took, the struck one included.
    pub lost: usize,
    /// Of so many that ran.
    pub of: usize,
    /// Whether it took the supervisor.
    pub supervisor_died: bool,
    /// From the fault until the supervisor saw it, in nanoseconds.
    pub seen: Option<f64>,
    /// From the fault until all ran again, in nanoseconds.
    pub back: Option<f64>,
    /// Units of work that were begun and lost.
    pub work_lost: Option<f64>,
}

/// See [`crate::axes`].
pub(super) fn measure(
    bench: &Bench<'_>,
    isolation: &dyn Isolation,
    measured: &mut Measured,
) -> Result<(), String> {
    let count = bench.effort.pick(1, 3);
    let mut trials = Vec::new();
    for _ in 0..count {
        trials.extend(isolation.trials(&|part| bench.pace.advances(0.95 * part / count as f64))?);
    }
    let bare = bare(bench);
    measured.tables.extend(tables(&trials, &bare));
    let killers: Vec<String> = faults(&trials)
        .into_iter()
        .filter(|fault| trials.iter().any(|one| one.fault == *fault && one.supervisor_died))
        .collect();
    if !killers.is_empty() {
        measured.notes.push(format!(
            "As a thread of the supervisor, {} took the supervisor too; its guardian has started \
             the next one.",
            list(&killers)
        ));
    }
    Ok(())
}

/// What a parent does that does nothing else: sees the end of its child, and starts another one
/// that ends at once.
fn bare(bench: &Bench<'_>) -> [Taken; 2] {
    let mut rounds = Rounds::default();
    for is_back in [false, true] {
        rounds.add(move || {
            let (input, _ours) = UnixStream::pair().map_err(|error| error.to_string())?;
            let mut idle = child::start(Role::Idle, OwnedFd::from(input))?;
            let begun = Instant::now();
            idle.kill().map_err(|error| error.to_string())?;
            idle.wait().map_err(|error| error.to_string())?;
            if is_back {
                let mut next = child::start(Role::Nothing, child::null()?)?;
                next.wait().map_err(|error| error.to_string())?;
            }
            Ok(Sample::of(begun.elapsed().as_nanos() as f64))
        });
    }
    let mut taken = rounds.run(bench, bench.effort.rounds, 0.05).into_iter();
    [0; 2].map(|_| taken.next().unwrap_or_else(|| Err("not measured".to_owned())))
}

/// Each fault once, in their order.
fn faults(trials: &[Trial]) -> Vec<String> {
    let mut faults: Vec<String> = Vec::new();
    for trial in trials {
        if !faults.contains(&trial.fault) {
            faults.push(trial.fault.clone());
        }
    }
    faults
}

fn tables(trials: &[Trial], [seen, back]: &[Taken; 2]) -> [Table; 4] {
    type Field = fn(&Trial) -> Option<f64>;
    let of = trials.iter().map(|trial| trial.of).max().unwrap_or(0);
    let (ns, less) = (Unit::Nanoseconds, Better::Less);
    let none = Samples::known(0.0);
    let tables: [(Table, Field, &Taken); 4] = [
        (
            Table::new(
                "lost",
                &format!("Workers lost, of {of}"),
                Unit::Count,
                less,
                "the broken one",
            ),
            |trial| Some(trial.lost as f64),
            &Samples::known(1.0),
        ),
        (
            Table::new(
                "seen",
                "Until the supervisor saw it (a hang: its heartbeat of 0.5 s)",
                ns,
                less,
                "a parent that waits for its child and does nothing else",
            ),
            |trial| trial.seen,
            seen,
        ),
        (
            Table::new(
                "back",
                "Until all ran again",
                ns,
                less,
                "a parent that starts another child which ends at once",
            ),
            |trial| trial.back,
            back,
        ),
        (
            Table::new("work-lost", "Units of work lost", Unit::Count, less, "none"),
            |trial| trial.work_lost,
            &none,
        ),
    ];
    tables.map(|(mut table, field, limit)| {
        for fault in faults(trials) {
            let place = |place: Place| {
                let its = trials.iter().filter(|one| one.fault == fault && one.place == place);
                let its: Vec<&Trial> = its.collect();
                if its.is_empty() {
                    return Entry::untaken("this is no fault of its own there");
                }
                let values: Vec<f64> = its.into_iter().filter_map(field).collect();
                if values.is_empty() {
                    return Entry::untaken("the supervisor noticed nothing");
                }
                let count = values.len();
                let limit = Samples::map(limit, |value| value).and_then(|samples| {
                    // Trials are no rounds of the bare loop: its typical one is their limit.
                    let typical = crate::statistics::median(&samples.values);
                    let values = vec![typical.ok_or("not measured")?; count];
                    Ok(Samples { values, tails: Vec::new() })
                });
                Entry::beside(&Ok(Samples { values, tails: Vec::new() }), Some(&limit))
            };
            let mut row = Row::new(fault.clone());
            row.limit = Entry::of(limit);
            row.thread = place(Place::Thread);
            row.cell = place(Place::Cell);
            row.process = place(Place::Process);
            table.rows.push(row);
        }
        table
    })
}

/// Two sentences.
pub(super) fn meaning(measured: &Measured) -> Vec<String> {
    let table = measured.tables.iter().find(|table| table.name == "lost");
    let Some(table) = table.filter(|table| !table.rows.is_empty()) else {
        return without_figures();
    };
    let most = |place| {
        let rows =
            table.rows.iter().filter_map(|row| Some((row.median(place)?, row.name.as_str())));
        rows.reduce(|one, other| if other.0 > one.0 { other } else { one })
    };
    let (Some(thread), Some(process)) = (most(Place::Thread), most(Place::Process)) else {
        return without_figures();
    };
    let count = |value: f64| shown(value, Unit::Count);
    let first = if process.0 <= 1.0 && thread.0 > 1.0 {
        format!(
            "A crash in one process did not affect the others ({} lost, whatever the fault); in \
             shared memory it took up to {} ({} as a thread).",
            count(process.0),
            count(thread.0),
            thread.1
        )
    } else if process.0 > 1.0 {
        format!(
            "\"A crash in one process does not affect others\" did not hold here: {} took {} \
             processes.",
            process.1,
            count(process.0)
        )
    } else {
        "No fault took more than the worker that it struck, not even as a thread: the faults that \
         were tried are harmless ones."
            .to_owned()
    };
    vec![first, price(measured).unwrap_or_else(|| "Nothing more was taken.".to_owned())]
}

/// What isolation costs when something breaks.
fn price(measured: &Measured) -> Option<String> {
    let table = measured.tables.iter().find(|table| table.name == "back")?;
    let row = table
        .rows
        .iter()
        .find(|row| row.median(Place::Thread).is_some() && row.median(Place::Process).is_some())?;
    let ns = |place| row.median(place).map(|value| shown(value, Unit::Nanoseconds));
    let cell = ns(Place::Cell).map_or_else(String::new, |cell| format!(", {cell} in a cell"));
    let ratio = row.figure(Place::Process)?.ratio;
    let bare = ratio.map_or_else(String::new, |ratio| {
        format!(
            ": {} what a parent takes that only starts its child again",
            crate::words::so_many_times(ratio)
        )
    });
    Some(format!(
        "After a {} all ran again in {} as threads{cell}, in {} as processes{bare}.",
        row.name,
        ns(Place::Thread)?,
        ns(Place::Process)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::Axis;

    fn trial(place: Place, lost: usize) -> Trial {
        Trial {
            fault: "segfault".to_owned(),
            place,
            lost,
            of: 4,
            supervisor_died: place == Place::Thread,
            seen: Some(2e5),
            back: Some(4e6),
            work_lost: Some(1.0),
        }
    }

    fn meant(lost: [usize; 3]) -> Vec<String> {
        let places = [Place::Thread, Place::Cell, Place::Process];
        let trials: Vec<Trial> =
            places.into_iter().zip(lost).map(|(place, lost)| trial(place, lost)).collect();
        let mut measured = Measured::new(Axis::Isolation);
        let bare = [Samples::known(1e5), Samples::known(1e6)];
        measured.tables.extend(tables(&trials, &bare));
        meaning(&measured)
    }

    #[test]
    fn the_text_book_holds_or_not_as_the_trials_say() {
        let holds = meant([4, 4, 1]);
        assert!(holds[0].contains("did not affect the others (1 lost"), "{holds:?}");
        assert!(holds[0].contains("took up to 4 (segfault as a thread)"), "{holds:?}");
        assert!(holds[1].contains("in 4 ms as threads, 4 ms in a cell, in 4 ms as"), "{holds:?}");
        assert!(holds[1].contains("4 times what a parent takes"), "{holds:?}");
        let not = meant([4, 4, 2]);
        assert!(not[0].contains("did not hold here: segfault took 2 processes"), "{not:?}");
        let harmless = meant([1, 1, 1]);
        assert!(harmless[0].contains("harmless ones"), "{harmless:?}");
    }

    #[test]
    fn without_trials_nothing_is_claimed() {
        assert_eq!(meaning(&Measured::new(Axis::Isolation)), without_figures());
    }
}
