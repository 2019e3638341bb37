//! The table of `status` at the widths of terminals, as golden files.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::status;
use crate::control::protocol::StatusReport;

#[expect(unreachable_pub, reason = "the tests of the whole program use it too")]
#[path = "../../../tests/harness/golden.rs"]
mod golden;

/// Where the golden files are.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn worker(name: &str, phase: &str, more: Value) -> Value {
    let mut worker = json!({
        "name": name, "phase": phase, "isolation": "process", "cell": null, "domain": name,
        "pid": null, "tid": null, "generation": 1, "restarts": 0, "progress": null,
        "in_flight": null, "since": "2026-01-02T03:04:05.678Z", "retry_in_ms": null,
        "waits_for": [], "stopped": false, "ending": null, "last_incident": null,
        "abandoned": 0, "wanted": true, "ok": phase == "running", "stdout": "a", "stderr": "a",
    });
    let more = more.as_object().expect("a mapping").clone();
    worker.as_object_mut().expect("a mapping").extend(more);
    worker
}

/// Of each kind one.
fn report() -> StatusReport {
    let usage = |kib: u64| {
        json!({ "cpu_us": 1_234_567, "pss_kib": (kib > 0).then_some(kib), "rss_kib": null,
            "threads": 4, "processes": 1, "wait_us": 56_789, "last_cpu": 3,
            "fds": 17, "voluntary_switches": 1000, "involuntary_switches": 23 })
    };
    let exit = |code: i32| json!({ "status": "exited", "cause": "error", "exit_code": code });
    let workers = json!([
        worker("api.1", "running", json!({ "pid": 4711, "usage": usage(52_000), "restarts": 2 })),
        worker(
            "resizer",
            "running",
            json!({
                "isolation": "cell", "cell": "batch", "domain": "batch", "pid": 4712, "tid": 4720,
                "progress": 102_311, "usage": usage(0), "paused": true,
            })
        ),
        worker(
            "a-worker-with-a-rather-long-name",
            "backoff",
            json!({
                "retry_in_ms": 12_345, "ending": exit(3), "generation": 7, "restarts": 6,
            })
        ),
        worker(
            "migrate",
            "finished",
            json!({
                "succeeded": false, "wanted": false,
                "ending": { "status": "signal", "cause": "killed", "signal": "SIGKILL" },
            })
        ),
        worker("web", "idle", json!({ "waits_for": ["migrate"], "in_vain": "migrate" })),
        worker("m", "idle", json!({ "wanted": false, "autostart": false, "generation": 0 })),
        worker(
            "n",
            "idle",
            json!({ "waits_for": ["m"], "waits_why": "m was never started (`start m`)" })
        ),
        worker(
            "import",
            "finished",
            json!({
                "succeeded": true, "ok": true, "wanted": false,
                "ending": { "status": "exited", "cause": "finished", "exit_code": 0 },
            })
        ),
        worker(
            "gone",
            "quarantined",
            json!({ "wanted": false, "quarantine": "5 restarts in 1m; `start gone`", "ending": {
            "status": "not-launched", "cause": "launch-failure", "exit_code": 127,
            "stage": "exec", "errno": "ENOENT",
            "message": "cannot execute gone: No such file or directory: install it, or write its \
                full path in `command:`",
        } })
        ),
    ]);
    let supervisor = json!({
        "pid": 1, "phase": "running", "started_at": "2026-01-02T03:04:05Z", "config": "a.yaml",
        "guardian": null, "version": "0", "fault_injection": false, "stale_events": 0,
        "lost_records": 0, "abandoned_threads": 0,
    });
    let report = json!({ "supervisor": supervisor, "workers": workers });
    serde_json::from_value(report).expect("a report")
}

#[test]
fn the_table_of_status_fits_its_terminal() {
    let now = humantime::parse_rfc3339("2026-01-02T05:09:05.678Z").expect("a time");
    for room in [40, 80, 110, 200] {
        let text = status::text(&report(), Some(room), true, now);
        for line in text.lines() {
            assert!(line.chars().count() <= room, "{line}");
        }
        golden::golden(&format!("status/{room}-columns.txt"), &(text + "\n"));
    }
    let mut report = report();
    report.workers.retain(|worker| worker.name.len() < 8);
    let text = status::text(&report, Some(40), true, now);
    golden::golden("status/40-columns-short-names.txt", &(text + "\n"));
}

#[test]
fn the_table_of_status_is_whole_without_a_terminal() {
    let now = humantime::parse_rfc3339("2026-01-02T05:09:05.678Z").expect("a time");
    golden::golden("status/no-terminal.txt", &(status::text(&report(), None, true, now) + "\n"));
}
