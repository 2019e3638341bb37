//! `advise` as people call it. Its rules are tested where they are.

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{Bed, EAGER, text};

/// Threads, a cell and a command; what they cost stands in a file.
const FILE: &str = "version: 1\ncells: { batch: {} }\nworkers:\n  \
    a: { worker: ticker, isolation: thread }\n  b: { worker: ticker, isolation: thread }\n  \
    c: { worker: ticker, isolation: thread, cell: batch }\n  \
    d: { command: [sleep, 1d], ready: { after: 10ms } }\n";

/// As `measure --json` writes it: this much for a worker.
fn figures(bed: &Bed, memory: u64) {
    let figure = |median: f64| json!({ "figure": { "median": median, "low": median, "high": median, "rounds": 3 } });
    let table = |name: &str, thread: f64, cell: f64, process: f64| {
        json!({
            "name": name, "title": "", "unit": "bytes", "better": "less", "limit": "",
            "rows": [{
                "name": "of 100",
                "thread": figure(thread), "cell": figure(cell), "process": figure(process),
            }],
        })
    };
    let report = json!({
        "version": 1, "program": "0.1.0", "quick": true, "seconds": 1.0,
        "machine": {
            "processor": "x", "cpus": 2, "cpus_online": 2, "architecture": "x", "caches": [],
            "memory": memory, "kernel": "x", "is_virtual": false, "tick": null,
            "no_counters": null, "is_optimized": true, "load": "0",
        },
        "axes": [{
            "axis": "memory", "question": "", "seconds": 1.0, "meaning": [],
            "tables": [
                table("pss", 40_000.0, 20_000.0, 800_000.0),
                table("page-tables", 4_000.0, 4_000.0, 60_000.0),
            ],
        }],
    });
    bed.write("figures.json", &report.to_string());
}

fn advise(bed: &Bed, file: &str, arguments: &[&str]) -> Output {
    let mut command = bed.command(&["advise", "-c", file]);
    command.args(["--figures", "figures.json"]).args(arguments);
    command.current_dir(bed.directory.path()).env_remove("SUPERVISORD_RS_SOCKET");
    command.output().expect("the program runs")
}

#[test]
fn each_worker_has_its_advice_its_reasons_and_its_costs() {
    let bed = Bed::new();
    bed.write("app.yaml", FILE);
    figures(&bed, 16 << 30);
    let output = advise(&bed, "app.yaml", &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let advised: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let of = |index: usize| &advised["workers"][index];
    assert_eq!((&of(0)["now"], &of(0)["advised"]), (&"thread".into(), &"process".into()));
    assert_eq!((&of(0)["takes_along"], &of(0)["change"]), (&1.into(), &true.into()));
    assert_eq!((&of(2)["now"], &of(2)["takes_along"]), (&"cell".into(), &0.into()));
    assert_eq!((&of(3)["worker"], &of(3)["change"]), (&"d".into(), &false.into()));
    assert_eq!(advised["costs"]["process"], 860_000.0);
    assert_eq!(advised["has_history"], false);

    let output = advise(&bed, "app.yaml", &[]);
    let words = text(&output.stdout);
    for part in [
        "a: process instead of thread\n",
        "now a fatal fault of it takes the supervisor and b along",
        "d: process, as it is\n  a `command:` is always a process",
        "3 workers to change",
        "No supervisor of this file runs",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert_eq!(std::fs::read_to_string(bed.path("app.yaml")).expect("it is there"), FILE);
}

#[test]
fn a_machine_with_little_memory_has_other_advice() {
    let bed = Bed::new();
    bed.write("app.yaml", FILE);
    figures(&bed, 64 << 20);
    let words = text(&advise(&bed, "app.yaml", &[]).stdout);
    assert!(words.contains("a: thread, as it is\n  even a cell would take"), "{words}");
}

#[test]
fn a_supervisor_that_runs_tells_of_incidents() {
    let bed = Bed::new();
    let file = format!(
        "version: 1\ndefaults: {{ {EAGER} }}\nworkers:\n  \
         x: {{ command: [sh, -c, 'sleep 0.05; exit 3'], ready: {{ after: 1ms }} }}\n"
    );
    let supervisor = bed.start(&file);
    supervisor.wait_incident(0);
    figures(&bed, 16 << 30);
    let output = advise(&bed, "supervisord-rs.yaml", &["--json"]);
    let advised: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let reasons = advised["workers"][0]["reasons"].to_string();
    assert_eq!(advised["has_history"], true, "{advised}");
    assert!(reasons.contains("of it is known") || reasons.contains("of it are known"), "{reasons}");
    supervisor.stop();
}

#[test]
fn figures_that_are_none_are_refused() {
    let bed = Bed::new();
    bed.write("app.yaml", FILE);
    bed.write("figures.json", "{}");
    let output = advise(&bed, "app.yaml", &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let words = text(&output.stderr);
    assert!(words.contains("figures.json: this is not what `measure --json` writes"), "{words}");
    assert!(output.stdout.is_empty());
}
