//! The matrix: every fault of the catalogue in every isolation, and exactly who is lost with it.

use crate::harness::{Bed, EAGER, find};
use supervisord_rs::control::protocol::{IncidentRecord, StatusReport};
use workers::fault::{Blast, Fault, Moment};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Four workers in one place; `b` is broken.
fn configuration(place: &str) -> String {
    let mut yaml = format!(
        "version: 1\nsupervisor: {{ fault_injection: allow }}\nresources:\n  door: {{ kind: mutex \
            }}\n  fresh: {{ kind: condition, mutex: door }}\n  jobs: {{ kind: queue, capacity: 8, \
            message: 64 }}\n  memory: {{ kind: region, size: 4KiB }}\ndefaults:\n  uses: [door, fresh, \
            jobs, memory]\n  {place}\n  heartbeat: 2s\n  {EAGER}\nworkers:\n"
    );
    for name in NAMES {
        yaml.push_str(&format!("  {name}: {{ worker: ticker, args: {{ interval: 5ms }} }}\n"));
    }
    yaml
}

/// Commits one fault in `b`, and looks from outside at what it destroyed.
fn check(place: &str, fault: Fault, expected: Blast) {
    let bed = Bed::new();
    let supervisor = bed.start(&configuration(place));
    let before = supervisor.wait_progress(None);
    let answer = supervisor.client.inject("b", fault.name());
    let name = format!("{} with `{place}`", fault.name());
    // A signal that ends the supervisor ends it before it answers.
    let is_lost = fault.signal().is_some() && place == "isolation: thread";
    assert!(answer.is_ok() || is_lost, "{name}: {answer:?}");

    if fault.moment() != Moment::Now {
        // It is committed by a stop, or by a launch.
        supervisor.wait_progress(Some(&before));
        let _ = supervisor.client.restart(&["b".into()], false);
    }
    if expected == Blast::Silent {
        // No worker ends, not even the broken one.
        let after = supervisor.wait_progress(Some(&before));
        assert_eq!(lost(&before, &after), Vec::<String>::new(), "{name}");
        // Where the supervisor itself is out of descriptors it cannot answer for a while.
        let incidents =
            supervisor.wait("an answer", |supervisor| supervisor.client.incidents(9).ok());
        assert!(incidents.is_empty(), "{name}");
        left_by(&supervisor, &bed, fault);
        supervisor.stop();
        return;
    }
    let incident = supervisor.wait_incident(0);
    let after = supervisor.wait_progress(Some(&before));
    let lost = lost(&before, &after);
    let died = before.supervisor.pid != after.supervisor.pid;
    let is_thread = place.contains("thread") && !place.contains("cell");
    match expected {
        Blast::Domain => assert_eq!(lost, NAMES, "{name}: {}", incident.sentence),
        Blast::Victim | Blast::VictimLeavesDebris | Blast::VictimLeavesThread => {
            assert_eq!(lost, ["b"], "{name}: {}", incident.sentence);
        }
        _ => unreachable!("not committed here"),
    }
    assert_eq!(died, is_thread && expected == Blast::Domain, "{name}: supervisor died");
    let abandoned = u32::from(expected == Blast::VictimLeavesThread);
    assert_eq!(find(&after, "b").abandoned, abandoned, "{name}: threads left behind");
    agrees(&incident, &lost, died, &name);
    assert_eq!(incident.fault.kind, fault.name(), "{name}");
    assert!(incident.fault.injected, "{name}");
    assert_eq!(incident.worker.as_deref(), Some("b"), "{name}: attribution");
    assert_eq!(supervisor.incidents().len(), 1, "{name}: one failure is one incident");
    let had: Vec<String> = incident
        .resources
        .iter()
        .map(|loss| format!("{} {} {}", loss.resource, loss.had, loss.then))
        .collect();
    assert_eq!(had, had_of(fault), "{name}: {}", incident.sentence);
    supervisor.stop();
}

/// What one that dies by this fault has of what the workers share, and what becomes of it.
fn had_of(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::DieWithLock => &["door lock to-repair"],
        Fault::DieWithinChange => &["door lock-within-change to-repair"],
        Fault::DieWithMessage => &["jobs message delivered-again"],
        Fault::DieSending => &["jobs half-message dropped"],
        _ => &[],
    }
}

/// What a fault that ends no worker has left of what they share.
fn left_by(supervisor: &crate::harness::Supervisor<'_>, bed: &Bed, fault: Fault) {
    let words = match fault {
        Fault::TruncateRegion => "its region cannot be truncated: Operation not permitted",
        Fault::ScribbleQueue => "its queue was written over",
        Fault::KeepLock => "it keeps its mutex",
        _ => return,
    };
    supervisor.wait_output("b", words);
    let status = supervisor.status();
    let door = status.resources.iter().find(|one| one.name == "door").expect("it is shown");
    let holders: Vec<Option<&str>> =
        door.holders.iter().map(|holder| holder.worker.as_deref()).collect();
    let kept = if fault == Fault::KeepLock { &[Some("b")][..] } else { &[] };
    assert_eq!(holders, kept, "{}", fault.name());
    if fault == Fault::ScribbleQueue {
        // Whatever the first finds there, after a few looks there is a message that is whole.
        for verb in ["receive", "send"] {
            let mut arguments = vec!["resource", verb, "jobs", "--timeout", "1s"];
            if verb == "send" {
                arguments.push("again");
            }
            let _ = bed.verb(&arguments);
        }
        let sent = bed.verb(&["resource", "send", "jobs", "whole", "--timeout", "60s"]);
        assert!(sent.status.success(), "{}", crate::harness::text(&sent.stderr));
    }
}

/// The workers that have another incarnation or another process than before. In the supervisor's
/// own domain the process changes for all; in a process worker's it changes with the incarnation.
fn lost(before: &StatusReport, after: &StatusReport) -> Vec<String> {
    let mut lost = Vec::new();
    for past in &before.workers {
        let now = find(after, &past.name);
        if now.generation != past.generation || now.pid != past.pid {
            lost.push(past.name.clone());
        }
    }
    lost
}

/// The incident agrees with the view from outside.
fn agrees(incident: &IncidentRecord, lost: &[String], died: bool, name: &str) {
    let survived: Vec<&str> =
        NAMES.into_iter().filter(|name| !lost.iter().any(|lost| lost == name)).collect();
    assert_eq!(incident.lost, lost, "{name}: {}", incident.sentence);
    assert_eq!(incident.survived, survived, "{name}: {}", incident.sentence);
    assert_eq!(incident.supervisor_died, died, "{name}: {}", incident.sentence);
    assert!(
        incident.detected_us.is_some(),
        "{name}: the moment of the fault is known: {incident:?}"
    );
    assert!(incident.recovered_us >= incident.detected_us, "{name}: {incident:?}");
}

/// Faults that SDK code commits in itself.
fn inside() -> impl Iterator<Item = Fault> {
    Fault::all().filter(|fault| fault.signal().is_none())
}

#[test]
fn as_threads_of_the_supervisor_every_fatal_fault_kills_all_threads() {
    for fault in inside() {
        check("isolation: thread", fault, fault.entry().shared);
    }
}

#[test]
fn as_threads_of_a_cell_every_fatal_fault_takes_the_cell_and_leaves_the_supervisor() {
    for fault in inside() {
        check("isolation: thread\n  cell: batch", fault, fault.entry().shared);
    }
}

#[test]
fn as_processes_every_fault_takes_its_worker_alone() {
    for fault in inside() {
        check("isolation: process", fault, fault.entry().process);
    }
}

#[test]
fn a_signal_to_a_shared_process_is_the_doing_of_the_worker_it_was_ordered_for() {
    for fault in Fault::all().filter(|fault| fault.signal().is_some()) {
        check("isolation: thread\n  cell: batch", fault, fault.entry().shared);
    }
    for fault in [Fault::SignalKill, Fault::SignalSegv] {
        check("isolation: thread", fault, fault.entry().shared);
    }
}

#[test]
fn signal_term_in_a_thread_of_the_supervisor_is_refused_and_stops_nothing() {
    let bed = Bed::new();
    let supervisor = bed.start(&configuration("isolation: thread"));
    let before = supervisor.wait_progress(None);
    let done = bed.verb(&["inject", "b", "signal-term"]);
    let said = crate::harness::text(&done.stderr);
    assert_eq!(done.status.code(), Some(4), "{said}");
    assert!(said.contains("supervisord-rs shutdown"), "{said}");
    let after = supervisor.wait_progress(Some(&before));
    assert_eq!(lost(&before, &after), Vec::<String>::new());
    supervisor.stop();
    let scheduled = configuration("isolation: thread\n  inject: [ { fault: signal-term } ]");
    let file = bed.write("scheduled.yaml", &scheduled);
    let checked = bed.verb(&["check", file.to_str().expect("UTF-8")]);
    let said = crate::harness::text(&checked.stderr) + &crate::harness::text(&checked.stdout);
    assert!(!checked.status.success() && said.contains("stops everything"), "{said}");
}

#[test]
fn a_contained_panic_takes_its_worker_alone_even_as_a_thread() {
    for fault in inside().filter(|fault| fault.entry().shared_contain != fault.entry().shared) {
        check("isolation: thread\n  on_panic: contain", fault, fault.entry().shared_contain);
        check(
            "isolation: thread\n  cell: batch\n  on_panic: contain",
            fault,
            fault.entry().shared_contain,
        );
        check("isolation: process\n  on_panic: contain", fault, fault.entry().process);
    }
}

#[test]
fn one_that_ignores_its_stop_is_ended_after_its_timeout() {
    let timeout = std::time::Duration::from_millis(500);
    for (place, abandoned) in [
        ("isolation: thread", 1),
        ("isolation: thread\n  cell: batch", 1),
        ("isolation: process", 0),
    ] {
        let bed = Bed::new();
        let supervisor =
            bed.start(&configuration(&format!("{place}\n  stop: {{ timeout: 500ms }}")));
        let before = supervisor.wait_progress(None);
        supervisor.client.inject("b", "ignore-stop").expect("injection is allowed");
        supervisor.wait_progress(Some(&before));
        let ordered = std::time::Instant::now();
        supervisor.client.stop(&["b".into()], true).expect("it stops");
        assert!(ordered.elapsed() >= timeout, "{place}: {:?}", ordered.elapsed());
        let status = supervisor.status();
        assert_eq!(find(&status, "b").phase, "idle", "{place}");
        assert_eq!(find(&status, "b").abandoned, abandoned, "{place}");
        assert_eq!(find(&status, "a").generation, 1, "{place}");
        supervisor.stop();
    }
}

#[test]
fn a_sent_segfault_kills_a_worker_at_the_first() {
    for place in ["isolation: process", "isolation: thread\n  cell: batch"] {
        let expected = if place.contains("cell") { Blast::Domain } else { Blast::Victim };
        let bed = Bed::new();
        let supervisor = bed.start(&configuration(place));
        let before = supervisor.wait_progress(None);
        crate::harness::kill(
            find(&before, "b").pid.expect("running"),
            nix::sys::signal::Signal::SIGSEGV,
        );
        let incident = supervisor.wait_incident(0);
        let expected: &[&str] = if expected == Blast::Domain { &NAMES } else { &["b"] };
        assert_eq!(incident.lost, expected, "{}", incident.sentence);
        assert_eq!(incident.ending.signal.as_deref(), Some("SIGSEGV"));
        assert!(!incident.fault.injected);
        supervisor.stop();
    }
}

#[test]
fn on_hang_recycle_ends_the_whole_domain_of_a_hung_thread() {
    for (place, died) in [("isolation: thread", true), ("isolation: thread\n  cell: batch", false)]
    {
        let bed = Bed::new();
        let supervisor = bed.start(&configuration(&format!("{place}\n  on_hang: recycle")));
        supervisor.wait_progress(None);
        supervisor.client.inject("b", "hang").expect("injection is allowed");
        let incident = supervisor.wait_incident(0);
        assert_eq!(incident.lost, NAMES, "{}", incident.sentence);
        assert_eq!(incident.supervisor_died, died, "{}", incident.sentence);
        assert_eq!(incident.ending.cause, "hang", "{}", incident.sentence);
        assert_eq!(supervisor.status().supervisor.abandoned_threads, 0);
        supervisor.stop();
    }
}

#[test]
fn an_injection_every_so_often_strikes_first_after_that_time() {
    let bed = Bed::new();
    let begun = std::time::Instant::now();
    let supervisor = bed.start(
        "version: 1\nsupervisor: { fault_injection: allow }\nworkers:\n  \
         w: { worker: ticker, isolation: process, inject: [ { fault: segfault, every: 3s, times: \
         1 } ] }\n",
    );
    let incident = supervisor.wait_incident(0);
    assert!(incident.fault.injected, "{incident:?}");
    assert!(begun.elapsed() >= std::time::Duration::from_secs(3), "{:?}", begun.elapsed());
    supervisor.stop();
}
