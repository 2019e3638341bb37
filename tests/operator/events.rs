//! The stream of events and the supervisor's own log: what a reader sees of each kind of event,
//! byte for byte but for times and process ids.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use supervision::{
    Cause, DomainId, Ending, Generation, Incarnation, Incident, IncidentId, Loss, Outcome, Phase,
    Status, WorkerId,
};
use supervisord_rs::control::client::Client;
use supervisord_rs::control::protocol::{EndingReport, EventRecord, IncidentRecord};
use supervisord_rs::probing::Kind;
use supervisord_rs::record::event::What;
use supervisord_rs::record::incidents::{Known, Names};

use crate::harness::golden::golden;
use crate::harness::{Bed, find};

/// What differs from one run to the next.
const VOLATILE: [&str; 9] = [
    "seq",
    "at",
    "monotonic_us",
    "pid",
    "uid",
    "detected_us",
    "recovered_us",
    "done",
    "in_flight_lost",
];

const YAML: &str = "version: 1
supervisor: { fault_injection: allow }
defaults: { autostart: false }
hooks:
  - { on: quarantined, command: [sh, -c, exit 3] }
  - { on: [failed, recovered, quarantined, running, stopped, unready], command: [sh, -c, 'cat >> \
    DIR/hooks.jsonl'] }
workers:
  calm:
    command: [sleep, 1d]
    ready: { exec: [test, -e, DIR/ready], every: 20ms, timeout: 2m }
    health: { readiness: { exec: [test, -e, DIR/ready], every: 20ms, failures: 1, timeout: 1m } }
    stop: { command: [DIR/no-such-stop] }
  mortal: { worker: ticker, isolation: process, restart: { backoff: { initial: 20ms, jitter: 0 } } }
  missing:
    command: [DIR/no-such-program]
    restart: { backoff: { initial: 20ms, jitter: 0 }, limit: { restarts: 2, within: 60s } }
  follower: { command: [sleep, 1d], depends_on: { missing: ready } }
  lenient: { command: [sleep, 1d], depends_on: { missing: { is: ready, soft: true } } }
  last: { command: [sh, -c, exit 4], restart: never, critical: true }
";

/// A line without what differs from one run to the next.
fn normal(line: &str, directory: &str) -> String {
    let mut line = line.replace(directory, "DIR");
    for key in VOLATILE {
        let key = format!("\"{key}\":");
        let mut from = 0;
        while let Some(at) = line[from..].find(&key) {
            let begin = from + at + key.len();
            let end = begin + line[begin..].find([',', '}']).expect("a value ends");
            line.replace_range(begin..end, "_");
            from = begin;
        }
    }
    without_numbers(&line)
}

/// `3.4 ms` becomes `_ ms`, `pid=12` becomes `pid=_`.
fn without_numbers(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let mut shown = Vec::with_capacity(words.len());
    for (at, word) in words.iter().enumerate() {
        let unit = words.get(at + 1).map(|unit| unit.trim_end_matches([',', ';', ')', '"']));
        let is_time = matches!(unit, Some("ms" | "s")) && word.parse::<f64>().is_ok();
        shown.push(match word.split_once('=') {
            _ if is_time => "_".to_owned(),
            Some((name @ ("pid" | "uid"), _)) => format!("{name}=_"),
            _ => (*word).to_owned(),
        });
    }
    shown.join(" ")
}

/// Everything the stream has, up to its end.
fn read(socket: &Path) -> std::thread::JoinHandle<Vec<EventRecord>> {
    let client = Client::new(socket);
    let (serves, served) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let events = client.events().expect("events");
        serves.send(()).expect("the test waits for that");
        events.map_while(Result::ok).collect()
    });
    served.recv().expect("a reader");
    reader
}

/// What a hook read of this, as soon as it has run. Hooks of two events may run in any order.
fn hooked(bed: &Bed, event: &str, worker: &str, generation: u32) -> String {
    let end =
        format!("\"event\":\"{event}\",\"generation\":{generation},\"worker\":\"{worker}\"}}");
    bed.wait("a hook", || {
        let text = std::fs::read_to_string(bed.path("hooks.jsonl")).ok()?;
        text.lines().find(|line| line.ends_with(&end)).map(str::to_owned)
    })
}

/// Makes happen what a user can make happen, one thing after the other.
fn provoke(bed: &Bed) -> Vec<EventRecord> {
    let directory = bed.directory.path().to_str().expect("UTF-8");
    let mut supervisor = bed.start(&YAML.replace("DIR", directory));
    let reader = read(&bed.path("run/control.sock"));
    let order = |verb: &str, worker: &str| {
        bed.verb(&[verb, "--no-wait", worker]);
    };
    order("start", "calm");
    bed.write("ready", "");
    supervisor.wait_phase("calm", "running");
    std::fs::remove_file(bed.path("ready")).expect("our file");
    hooked(bed, "unready", "calm", 1);
    supervisor.client.stop(&["calm".into()], true).expect("stopped");
    order("start", "mortal");
    supervisor.wait_phase("mortal", "running");
    supervisor.client.inject("mortal", "abort").expect("allowed");
    supervisor.wait_incident(0);
    supervisor.wait("mortal again", |supervisor| {
        let mortal = find(&supervisor.client.status().ok()?, "mortal");
        (mortal.generation == 2 && mortal.phase == "running").then_some(())
    });
    order("start", "missing");
    supervisor.wait_phase("missing", "quarantined");
    supervisor.wait_incident(1);
    bed.wait_log("a hook failed");
    order("start", "lenient");
    supervisor.wait_phase("lenient", "running");
    order("start", "follower");
    // To start it is to try again what it depends on.
    bed.wait_log("follower cannot start");
    supervisor.wait_incident(2);
    let hooks = [
        ("running", "calm", 1),
        ("unready", "calm", 1),
        ("stopped", "calm", 1),
        ("failed", "mortal", 1),
        ("recovered", "mortal", 1),
        ("failed", "missing", 1),
        ("quarantined", "missing", 3),
    ];
    let directory = bed.directory.path().to_str().expect("UTF-8");
    let lines = hooks.map(|(event, worker, generation)| {
        normal(&hooked(bed, event, worker, generation), directory)
    });
    golden("events/hooks.jsonl", &(lines.join("\n") + "\n"));
    order("start", "last");
    let status = supervisor.wait_exit();
    assert_eq!(status.code(), Some(4), "{}", bed.log());
    reader.join().expect("the stream")
}

#[test]
fn each_kind_of_event_reads_as_it_always_did() {
    let bed = Bed::new();
    let directory = bed.directory.path().to_str().expect("UTF-8").to_owned();
    // The first of each kind; of the phases, which have one row for each pair, all of one worker.
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    let mut seq = 0;
    for event in provoke(&bed) {
        assert!(event.seq > seq, "numbered in order: {event:?}");
        seq = event.seq;
        let mut key = event.kind.clone();
        if event.kind == "phase" {
            if event.worker.as_deref() != Some("mortal") {
                continue;
            }
            key = format!("phase {:05} {}", event.generation.unwrap_or(0), event.detail["to"]);
        }
        let line = serde_json::to_string(&event).expect("JSON");
        first.entry(key).or_insert_with(|| normal(&line, &directory));
    }
    let lines: Vec<&str> = first.values().map(String::as_str).collect();
    golden("events/stream.jsonl", &(lines.join("\n") + "\n"));

    // The log says the same, in words.
    let log = bed.log();
    let mut said: Vec<String> = log
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(_, line)| normal(line.trim_start(), &directory))
        .filter(|line| {
            ["calm", "mortal", "missing", "lenient", "follower", "stopping everything", "hook"]
                .iter()
                .any(|subject| line.contains(subject))
        })
        .collect();
    said.sort();
    said.dedup();
    golden("events/log.txt", &(said.join("\n") + "\n"));
}

/// What events in the samples tell of.
struct Scene {
    ending: EndingReport,
    incident: Incident,
    names: Names,
    record: Arc<IncidentRecord>,
    processes: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let incarnation = Incarnation { worker: WorkerId(0), generation: Generation(3) };
        let ending = EndingReport {
            status: "signal".into(),
            cause: "segfault".into(),
            signal: Some("SIGSEGV".into()),
            ..EndingReport::default()
        };
        let incident = Incident {
            id: IncidentId(7),
            domain: DomainId(1),
            supervisor_died: false,
            culprit: Some(incarnation),
            ending: Ending {
                status: Status::Signaled { signal: 11, core_dumped: false },
                cause: Cause::Segfault,
            },
            injected: None,
            count: 1,
            opened: Duration::ZERO,
            closed: None,
            running: vec![incarnation],
            lost: vec![Loss { incarnation, collateral: false, outcome: Outcome::Pending }],
        };
        let names = Names {
            workers: vec![Known { name: "api".into(), isolation: "cell" }],
            domains: vec!["supervisor".into(), "batch".into()],
        };
        let record = Arc::new(IncidentRecord {
            id: 7,
            worker: Some("api".into()),
            ending: ending.clone(),
            ..IncidentRecord::default()
        });
        let processes = vec!["7 (sleep), state D".into()];
        Self { ending, incident, names, record, processes }
    }

    /// One of each kind, one after the other. The match names them all: a kind without a sample
    /// does not compile.
    fn after(&self, previous: Option<&What<'_>>) -> Option<What<'_>> {
        let why = "for a reason";
        let (worker, target) = ("api", "api.log");
        Some(match previous {
            None => What::Phase {
                from: Phase::Running,
                to: Phase::Backoff,
                ending: Some(&self.ending),
                fault_domain: "batch",
                has_succeeded: false,
            },
            Some(What::Phase { .. }) => What::IncidentOpened {
                incident: &self.incident,
                ending: &self.ending,
                names: &self.names,
                record: None,
            },
            Some(What::IncidentOpened { .. }) => {
                What::IncidentAgain { id: IncidentId(7), count: 2 }
            }
            Some(What::IncidentAgain { .. }) => {
                What::IncidentSettled { record: &self.record, recovered: true }
            }
            Some(What::IncidentSettled { .. }) => What::Injected { fault: "segfault" },
            Some(What::Injected { .. }) => What::Adopted { pid: Some(7), phase: Phase::Running },
            Some(What::Adopted { .. }) => What::NotAdopted { pid: 7, missing: "its board".into() },
            Some(What::NotAdopted { .. }) => What::Remains { processes: &self.processes, why },
            Some(What::Remains { .. }) => {
                What::Probe { kind: Kind::Liveness, good: None, is_unready: false }
            }
            Some(What::Probe { .. }) => What::HookFailed { command: "mail root", why },
            Some(What::HookFailed { .. }) => What::InVain { on: "db", why },
            Some(What::InVain { .. }) => What::StartsWithout { on: "cache", why },
            Some(What::StartsWithout { .. }) => What::GivingUp { why, exit_status: 4 },
            Some(What::GivingUp { .. }) => {
                What::RolledBack { binary: Path::new("/usr/bin/new"), why, had_rested: true }
            }
            Some(What::RolledBack { .. }) => {
                What::Command { verb: "stop", subject: "api", uid: 1000, pid: 7 }
            }
            Some(What::Command { .. }) => What::NotifyRefused { sender: 7, why: why.into() },
            Some(What::NotifyRefused { .. }) => What::Frozen { why: why.into() },
            Some(What::Frozen { .. }) => What::StopCommandFailed { error: why.into() },
            Some(What::StopCommandFailed { .. }) => {
                What::LogTrouble { worker: worker.into(), target: target.into(), error: why.into() }
            }
            Some(What::LogTrouble { .. }) => What::LogRecovered {
                worker: worker.into(),
                target: target.into(),
                lost_bytes: 4096,
            },
            Some(What::LogRecovered { .. }) => return None,
        })
    }
}

#[test]
fn each_kind_of_event_has_its_json() {
    let scene = Scene::new();
    let kinds = std::iter::successors(scene.after(None), |what| scene.after(Some(what)));
    let lines: Vec<String> =
        kinds.map(|what| format!("{} {}\n", what.kind(), what.detail())).collect();
    golden("events/kinds.txt", &lines.concat());
}
