//! What each axis yields.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use measure::axes::ALL;
use measure::figures::{Entry, Figure, Place, Report, Row, Table, Unit};
use measure::{Axis, Effort, Isolation, Progress, Trial};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::Value;

/// Keeps what it was told.
#[derive(Default)]
pub(crate) struct Seen {
    axes: Cell<Vec<Axis>>,
}

impl Progress for Seen {
    fn is_at(&self, axis: Axis, index: usize, count: usize, left: Duration) {
        assert!(index >= 1 && index <= count, "{index} of {count}");
        assert!(left < Duration::from_secs(3600), "{left:?}");
        let mut axes = self.axes.take();
        if axes.last() != Some(&axis) {
            axes.push(axis);
        }
        self.axes.set(axes);
    }
}

/// Trials without a supervisor.
pub(crate) struct Invented;

impl Isolation for Invented {
    fn trials(&self, advances: &dyn Fn(f64)) -> Result<Vec<Trial>, String> {
        advances(1.0);
        let places = [(Place::Thread, 4), (Place::Cell, 4), (Place::Process, 1)];
        let trial = |(place, lost)| Trial {
            fault: "segfault".to_owned(),
            place,
            lost,
            of: 4,
            supervisor_died: place == Place::Thread,
            seen: Some(3e5),
            back: Some(4e6),
            work_lost: Some(0.0),
        };
        Ok(places.map(trial).to_vec())
    }
}

fn figure(entry: Option<&Entry>) -> Option<&Figure> {
    match entry? {
        Entry::Figure(figure) => Some(figure),
        Entry::As(_) | Entry::Untaken(_) => None,
    }
}

/// Whether it could be: there is as much as there can be, and nothing is negative.
fn is_sane(table: &Table, row: &Row) {
    let place = format!("{}: {}: {row:?}", table.name, row.name);
    let entries = [&row.limit, &row.process_limit, &row.thread, &row.cell, &row.process];
    for entry in entries.into_iter().flatten() {
        match entry {
            Entry::Untaken(why) => assert!(why.len() > 10, "a reason is a sentence: {place}"),
            Entry::As(of) => assert_ne!(row.entry(*of), Some(entry), "{place}"),
            Entry::Figure(figure) => {
                let values = [figure.low, figure.median, figure.high];
                assert!(values.iter().all(|value| value.is_finite()), "{place}");
                assert!(figure.low <= figure.median && figure.median <= figure.high, "{place}");
                assert!(figure.rounds > 0, "{place}");
                assert!(figure.p99.is_none_or(|p99| p99 >= 0.0), "{place}");
                assert!(figure.ratio.is_none_or(|ratio| ratio.is_finite()), "{place}");
                // A difference of two figures may be less than nothing on a busy machine.
                let may_be_0 = ["lost", "work-lost", "private", "pss", "page-tables", "kernel"];
                if table.name != "switch" {
                    assert!(figure.median >= 0.0, "{place}");
                    let is_0 = figure.median == 0.0;
                    assert!(!is_0 || may_be_0.contains(&table.name.as_str()), "{place}");
                }
                if table.unit == Unit::Share {
                    assert!(figure.high <= 1.0, "{place}");
                }
            }
        }
    }
}

/// The limit is one: what is measured is not less than half of it, nor more than twice as much of
/// what is better.
fn keeps_its_limit(table: &Table, row: &Row) {
    let Some(limit) = figure(row.limit.as_ref()) else { return };
    for place in [Place::Thread, Place::Process] {
        let Some(own) = figure(row.entry(place)) else { continue };
        let place = format!("{}: {}: {row:?}", table.name, row.name);
        match table.name.as_str() {
            // Counted, and the same in each run.
            "lost" | "shared" => assert!(limit.median <= own.median * 2.0, "{place}"),
            "fairness" => assert!(own.median <= limit.median * 2.0, "{place}"),
            // Of two times, of which the machine may have disturbed the first alone.
            "speed-up" => {}
            // The clock alone decides, and cannot be too early.
            "one-cpu" | "all-cpus" => assert!(limit.median <= own.median * 2.0, "{place}"),
            _ => {}
        }
    }
}

fn run(axes: &[Axis]) -> Report {
    let seen = Seen::default();
    let report = measure::run(axes, Effort::quick(), &Invented, &seen).expect("a report");
    assert_eq!(seen.axes.take(), axes, "progress is shown for each");
    report
}

pub(crate) fn every_axis_yields_figures_that_are_sane() {
    let report = run(&ALL);
    assert_eq!(report.axes.len(), ALL.len());
    for measured in &report.axes {
        let axis = measured.axis;
        assert!(!measured.tables.is_empty(), "{axis}: {:?}", measured.notes);
        assert_eq!(measured.meaning.len(), 2, "{axis}: {:?}", measured.meaning);
        for sentence in &measured.meaning {
            assert!(sentence.ends_with('.') && !sentence.contains("NaN"), "{axis}: {sentence}");
            assert!(!sentence.contains("Nothing more was taken"), "{axis}: {sentence}");
        }
        for table in &measured.tables {
            assert!(!table.rows.is_empty(), "{axis}: {}", table.name);
            for row in &table.rows {
                is_sane(table, row);
                keeps_its_limit(table, row);
            }
            let places = [Place::Thread, Place::Cell, Place::Process];
            let has = |place| table.rows.iter().any(|row| row.figure(place).is_some());
            let is_of_processes = table.name == "shared";
            let needs_two = ["all-cpus", "speed-up"].contains(&table.name.as_str());
            let is_few = table.name == "kernel" || (needs_two && report.machine.cpus == 1);
            for place in places {
                let must = !is_few && (!is_of_processes || place == Place::Process);
                assert!(!must || has(place), "{axis}: {} has no {place:?}", table.name);
            }
        }
        let is_pictured = axis == Axis::Parallelism;
        assert_eq!(!measured.timelines.is_empty(), is_pictured, "{axis}");
    }
    let timelines = report.axes.iter().flat_map(|measured| &measured.timelines);
    for lane in timelines.flat_map(|timeline| &timeline.lanes) {
        let ascending = lane.runs.windows(2).all(|pair| pair[0].to <= pair[1].from);
        assert!(ascending && !lane.runs.is_empty(), "{lane:?}");
    }
    let text = measure::report::text(&report, None);
    assert!(text.contains("Measured on") && text.lines().count() > 100, "{text}");
    let again: Report = serde_json::from_str(&serde_json::to_string(&report).expect("JSON"))
        .expect("it reads what it writes");
    let again = measure::report::text(&again, None);
    for (again, line) in again.lines().zip(text.lines()) {
        assert_eq!(again, line);
    }
    assert_eq!(again.lines().count(), text.lines().count());
}

pub(crate) fn one_cpu_is_a_reason_and_no_failure() {
    let this = Pid::from_raw(0);
    let before = sched_getaffinity(this).expect("processors");
    let first = (0..CpuSet::count()).find(|&cpu| before.is_set(cpu) == Ok(true));
    let mut one = CpuSet::new();
    one.set(first.expect("a processor")).expect("that there is");
    sched_setaffinity(this, &one).expect("allowed");
    let report = run(&[Axis::Communication, Axis::Parallelism, Axis::Synchronisation]);
    sched_setaffinity(this, &before).expect("allowed");
    assert_eq!(report.machine.cpus, 1);
    let untaken = |measured: &measure::figures::Measured| {
        let rows = measured.tables.iter().flat_map(|table| &table.rows);
        let mut entries = rows.flat_map(|row| [&row.limit, &row.thread, &row.process]);
        entries.any(|entry| {
            matches!(entry, Some(Entry::Untaken(why)) if why == "this process may use one CPU only")
        })
    };
    assert!(report.axes.iter().all(untaken), "{report:#?}");
    let parallelism = &report.axes[1];
    assert!(
        parallelism.meaning[1].contains("needs more than one CPU"),
        "{:?}",
        parallelism.meaning
    );
}

/// The keys of a value, and the types behind them; of a list those of all its elements.
fn shape(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(list) => {
            list.iter().for_each(|one| shape(one, &format!("{path}[]"), into));
            return;
        }
        Value::Object(map) => {
            map.iter().for_each(|(key, one)| shape(one, &format!("{path}.{key}"), into));
            return;
        }
    };
    into.insert(format!("{path}: {name}"));
}

pub(crate) fn the_json_has_the_shape_of_its_golden_file() {
    let report = run(&[Axis::Switching, Axis::Isolation, Axis::Parallelism, Axis::Scalability]);
    let mut value = serde_json::to_value(&report).expect("JSON");
    // These are a fact of the machine: a number or a text, or null.
    for key in ["tick", "no_counters"] {
        value["machine"][key] = Value::Null;
    }
    let mut lines = BTreeSet::new();
    shape(&value, "", &mut lines);
    // What was not taken depends on the machine.
    lines.retain(|line| !line.contains(".untaken"));
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/shape.txt");
    if std::env::var_os("SUPERVISORD_RS_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(file, &text).expect("written");
    }
    let golden = std::fs::read_to_string(file).expect("the golden file");
    assert_eq!(text, golden, "SUPERVISORD_RS_GOLDEN=write writes {file}");
}
