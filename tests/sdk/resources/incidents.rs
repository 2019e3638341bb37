//! What a death did to what workers share, as its incident and `status` say it.

use super::fragile;
use crate::harness::Bed;
use crate::{PLACES, Test, command, start};

/// For `main`.
pub(crate) const TESTS: &[Test] = &[
    (
        "one_death_is_one_incident_of_the_one_that_died",
        one_death_is_one_incident_of_the_one_that_died,
    ),
    ("an_incident_names_no_losses_of_others", an_incident_names_no_losses_of_others),
    (
        "an_incident_says_what_the_dead_had_and_status_who_has_it",
        an_incident_says_what_the_dead_had_and_status_who_has_it,
    ),
    ("what_a_pipe_loses_is_in_the_incident", what_a_pipe_loses_is_in_the_incident),
];

fn one_death_is_one_incident_of_the_one_that_died() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        "version: 1\nsupervisor: { fault_injection: allow }\nresources: { door: { kind: mutex, \
         on_owner_death: restart-users } }\nworkers:\n  dies: { worker: holder, uses: [door] }\n  \
         one: { worker: locker, depends_on: { dies: started }, uses: [door] }\n  two: { worker: \
         locker, depends_on: { dies: started }, uses: [door] }\n",
    );
    supervisor.wait_output("dies", "within a change");
    supervisor.wait_phase("dies", "running");
    supervisor.wait("two that wait", |supervisor| {
        (supervisor.status().resources.first()?.waiters.len() == 2).then_some(())
    });
    supervisor.client.inject("dies", "signal-kill").expect("a fault");
    let incident = supervisor.wait_incident(0);
    supervisor.wait_output("one", "clean");
    supervisor.wait_output("two", "clean");
    assert_eq!(incident.worker.as_deref(), Some("dies"), "{}", incident.sentence);
    let had: Vec<&str> = incident.resources.iter().map(|one| one.had.as_str()).collect();
    assert_eq!(had, ["lock-within-change"], "{}", incident.sentence);
    let incidents = supervisor.incidents();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    supervisor.stop();
}

fn an_incident_names_no_losses_of_others() {
    let bed = Bed::new();
    let supervisor = start(
        &bed,
        "version: 1\nsupervisor: { fault_injection: allow }\nresources: { door: { kind: mutex } \
         }\nworkers:\n  leaves: { worker: holder, isolation: thread, cell: box, uses: [door] }\n  \
         dies: { worker: sleeper, uses: [door] }\n",
    );
    supervisor.wait_output("leaves", "within a change");
    supervisor.wait_phase("leaves", "running");
    // It is not noticed: there is no heartbeat.
    supervisor.client.inject("leaves", "vanish").expect("a fault");
    for turn in 1..=2 {
        supervisor.wait("the next run", |supervisor| {
            (supervisor.worker("dies").generation == turn).then_some(())
        });
        supervisor.wait_running();
        supervisor.client.inject("dies", "abort").expect("a fault");
        let incident = supervisor.wait("an incident", |supervisor| {
            supervisor.incidents().into_iter().find(|one| one.id == turn)
        });
        assert_eq!(incident.worker.as_deref(), Some("dies"));
        assert!(incident.resources.is_empty(), "{}", incident.sentence);
    }
    supervisor.stop();
}

fn an_incident_says_what_the_dead_had_and_status_who_has_it() {
    let bed = Bed::new();
    let supervisor = start(&bed, &fragile(PLACES[2]));
    supervisor.wait_output("taker", "stuck");
    supervisor.wait_phase("taker", "running");
    let status = supervisor.wait("a permit and a message", |supervisor| {
        let status = supervisor.status();
        let jobs = status.resources.iter().find(|one| one.name == "jobs")?;
        (jobs.messages?.taken == 1).then_some(status)
    });
    let gate = status.resources.iter().find(|one| one.name == "gate").expect("it is shown");
    assert_eq!(
        (gate.kind.as_str(), gate.scope.as_str(), gate.made),
        ("semaphore", "process", true)
    );
    assert_eq!(gate.users, ["taker"]);
    assert_eq!(gate.holders.len(), 1);
    assert_eq!(gate.holders[0].worker.as_deref(), Some("taker"));
    let output = command(&bed, &["status"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("gate")).unwrap_or_default();
    assert!(line.contains("semaphore") && line.contains("taker"), "{text}");
    supervisor.client.inject("taker", "abort").expect("a fault");
    let incident = supervisor.wait_incident(0);
    let had: Vec<String> = incident
        .resources
        .iter()
        .map(|one| format!("{} {} {} {}", one.resource, one.count, one.had, one.then))
        .collect();
    assert_eq!(had, ["jobs 1 message delivered-again", "gate 1 permit released"]);
    let words = "1 message of jobs delivered again, 1 permit of gate back";
    assert!(incident.sentence.contains(words), "{}", incident.sentence);
    supervisor.wait_output("taker", "sum 15 count 5");
    supervisor.stop();

    for (place, fault) in PLACES.into_iter().zip(["panic", "panic", "abort"]) {
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nsupervisor: {{ fault_injection: allow }}\nresources: {{ door: {{ \
                 kind: mutex }} }}\nworkers:\n  holder: {{ worker: holder, {place}, on_panic: \
                 contain, uses: [door] }}\n  locker: {{ worker: locker, {place}, uses: [door], \
                 depends_on: {{ holder: started }} }}\n"
            ),
        );
        supervisor.wait_output("holder", "within a change");
        supervisor.wait_phase("holder", "running");
        let door = supervisor.wait("one that has it and one that waits", |supervisor| {
            let door = supervisor.status().resources.into_iter().next()?;
            (door.waiters.len() == 1 && door.held_ms > Some(0)).then_some(door)
        });
        let name = |holders: &[supervisord_rs::control::protocol::HolderReport]| {
            holders.first().and_then(|holder| holder.worker.clone())
        };
        assert_eq!(name(&door.holders).as_deref(), Some("holder"), "{place}");
        assert_eq!(name(&door.waiters).as_deref(), Some("locker"), "{place}");
        supervisor.client.inject("holder", fault).expect("a fault");
        let incident = supervisor.wait_incident(0);
        let [door] = incident.resources.as_slice() else {
            panic!("{place}: {}", incident.sentence);
        };
        assert!(door.had.starts_with("lock") && door.then == "to-repair", "{place}: {door:?}");
        assert!(incident.sentence.contains("door was held"), "{}", incident.sentence);
        supervisor.wait_output("locker", "torn: true\nclean\n");
        supervisor.stop();
    }
}

/// The taker sticks at its third order, and dies: in a ring it is done again, else it is lost.
fn what_a_pipe_loses_is_in_the_incident() {
    for (carrier, place) in ["pipe", "socket", "mqueue"].into_iter().zip(PLACES) {
        let bed = Bed::new();
        let by = format!("kind: queue, by: {carrier}, delivery: at-most-once, message: 64");
        let supervisor = start(&bed, &fragile(place).replace("kind: queue", &by));
        supervisor.wait_output("taker", "stuck");
        // What lies in it outlives the supervisor; a thread with a message does not.
        let before = supervisor.status().supervisor.pid;
        assert!(before > 1);
        let killed = nix::unistd::Pid::from_raw(before);
        nix::sys::signal::kill(killed, nix::sys::signal::Signal::SIGKILL).expect("our own");
        supervisor.wait_successor(before);
        if place != PLACES[0] {
            let fault = if place == PLACES[2] { "abort" } else { "panic" };
            supervisor.wait_phase("taker", "running");
            supervisor.client.inject("taker", fault).expect("a fault");
        }
        supervisor.wait("an incident that says so", |supervisor| {
            let all = supervisor.incidents();
            all.iter().any(|one| one.sentence.contains("1 message of jobs lost")).then_some(())
        });
        // 1 + 2 + 4 + 5.
        supervisor.wait_output("taker", "sum 12 count 4");
        let said = command(&bed, &["resource", "send", "jobs", "x"]).output().expect("it runs");
        let why = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(why.contains(&format!("jobs is carried by: {carrier}")), "{why}");
        supervisor.stop();
    }
}
