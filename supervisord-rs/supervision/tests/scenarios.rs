//! The rules, one scenario each, in virtual time.

mod world;

use std::time::Duration;

use supervision::Extension;
use supervision::spec::{
    Condition, DomainSpec, Exit, Limit, OnHang, Readiness, RestartPolicy, Strategy,
};
use supervision::{
    Capabilities, Cause, Checkpoint, Command, Culprit, DomainId, Effect, Ending, Event, Fate,
    FaultId, GivingUp, IncidentId, LaunchFailure, Marks, Outcome, Phase, Recovered, RecoveredDeath,
    RecoveredWorker, Status, WorkerId,
};
use world::{
    CELL, EXIT_1, FINISHED, MS, PROCESS, SEGFAULT, TERMINATED, World, depends, generation, group,
    injection, spec,
};

const A: WorkerId = WorkerId(0);
const B: WorkerId = WorkerId(1);

fn up(spec: supervision::Spec) -> World {
    let mut world = World::new(spec);
    world.settle();
    world
}

/// The worker of the last `Launch`es, in order.
fn launches(world: &World, from: usize) -> Vec<u32> {
    let launched = world.log[from..].iter().filter_map(|effect| match effect {
        Effect::Launch { incarnation } => Some(incarnation.worker.0),
        _ => None,
    });
    launched.collect()
}

#[test]
fn a_crash_is_one_incident_and_the_worker_comes_back_after_its_backoff() {
    let mut world = up(spec(&["a", "b"]));
    world.crash(0);
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Backoff, Phase::Running));
    world.pass(99 * MS);
    assert_eq!(world.phase(0), Phase::Backoff);
    world.pass(MS);
    assert_eq!((world.phase(0), world.view(0).generation), (Phase::Running, generation(2)));
    let incident = &world.closed[&1];
    assert_eq!(incident.lost.len(), 1);
    assert_eq!(incident.running.len(), 2);
    assert!(matches!(incident.lost[0].outcome, Outcome::Recovered { at, .. } if at == 100 * MS));
}

#[test]
fn the_delay_doubles_is_capped_and_resets_after_a_stable_time() {
    let mut spec = spec(&["a"]);
    spec.workers[0].restart.limit.restarts = 100;
    let mut world = up(spec);
    let mut delays = Vec::new();
    for _ in 0..6 {
        world.crash(0);
        let retry = world.view(0).retry_at.expect("backoff");
        delays.push((retry - world.now).as_millis());
        world.pass(retry - world.now);
    }
    assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
    world.pass(10_000 * MS);
    world.crash(0);
    assert_eq!(world.view(0).retry_at, Some(world.now + 100 * MS));
}

#[test]
fn beyond_its_limit_a_worker_is_quarantined_until_a_person_starts_it() {
    let mut world = up(spec(&["a"]));
    for _ in 0..3 {
        world.crash(0);
        world.pass(1000 * MS);
    }
    world.crash(0);
    assert_eq!(world.phase(0), Phase::Quarantined);
    assert_eq!(world.closed.len(), 4, "quarantine settles the incident");
    world.pass(1_000_000 * MS);
    assert_eq!(world.phase(0), Phase::Quarantined);
    world.command(Command::Start(vec![A]));
    world.settle();
    assert_eq!(
        (world.phase(0), world.view(0).attempt, world.view(0).failures.len()),
        (Phase::Running, 0, 0)
    );
}

#[test]
fn slow_retry_restarts_without_an_order() {
    let mut spec = spec(&["a"]);
    spec.workers[0].restart.limit.restarts = 0;
    spec.workers[0].restart.slow_retry = Some(5000 * MS);
    let mut world = up(spec);
    world.crash(0);
    assert_eq!(world.phase(0), Phase::Quarantined);
    world.pass(5000 * MS);
    assert_eq!(world.phase(0), Phase::Running);
}

#[test]
fn policies_say_which_endings_are_followed_by_a_restart() {
    for (policy, ending, expected) in [
        (RestartPolicy::Always, FINISHED, Phase::Backoff),
        (RestartPolicy::Always, EXIT_1, Phase::Backoff),
        (RestartPolicy::OnFailure, FINISHED, Phase::Finished),
        (RestartPolicy::OnFailure, EXIT_1, Phase::Backoff),
        (RestartPolicy::Never, FINISHED, Phase::Finished),
        (RestartPolicy::Never, SEGFAULT, Phase::Finished),
    ] {
        let mut spec = spec(&["a"]);
        spec.workers[0].restart.policy = policy;
        let mut world = up(spec);
        world.end(world.present(0), ending);
        assert_eq!(world.phase(0), expected, "{policy:?} {ending:?}");
        assert_eq!(world.opened.len(), usize::from(ending != FINISHED), "{policy:?} {ending:?}");
    }
}

#[test]
fn what_has_exited_is_never_promoted() {
    let mut spec = spec(&["a"]);
    spec.workers[0].readiness = Readiness::After(1000 * MS);
    let mut world = World::new(spec);
    world.answer();
    // The deadline and the exit come at the same moment: the exit is heard before the promotion is
    // confirmed.
    world.now = 1000 * MS;
    world.tell(Event::Deadline);
    assert_eq!(world.phase(0), Phase::Starting);
    world.end(world.present(0), EXIT_1);
    world.settle();
    assert!(world.transitions.iter().all(|transition| transition.to != Phase::Running));
}

#[test]
fn one_that_does_not_become_ready_is_killed_and_that_is_an_incident() {
    let mut world = World::new(spec(&["a"]));
    let Some(Effect::Launch { incarnation }) = world.questions.pop_front() else {
        panic!("a launch")
    };
    world.truth.insert(incarnation, world::Truth::Alive);
    world.tell(Event::Launched { incarnation });
    world.pass(500 * MS);
    assert_eq!(world.opened[&1].ending.cause, Cause::StartTimeout);
    assert_eq!(world.phase(0), Phase::Backoff);
}

#[test]
fn stop_asks_first_and_kills_after_the_timeout() {
    let mut world = up(spec(&["a"]));
    world.command(Command::Stop(vec![A]));
    assert_eq!(world.phase(0), Phase::Stopping);
    assert_eq!(world.questions.pop_front(), Some(Effect::Stop { incarnation: world.present(0) }));
    world.pass(199 * MS);
    assert_eq!(world.phase(0), Phase::Stopping);
    world.pass(MS);
    assert_eq!(world.phase(0), Phase::Idle);
    assert_eq!(world.view(0).last_ending.map(|ending| ending.cause), Some(Cause::StopTimeout));
    assert!(world.opened.is_empty(), "a stop is no incident");
    assert!(world.view(0).stopped);
}

#[test]
fn a_crash_while_stopping_is_an_incident_and_no_restart() {
    let mut world = up(spec(&["a"]));
    world.command(Command::Stop(vec![A]));
    world.end(world.present(0), SEGFAULT);
    assert_eq!((world.phase(0), world.closed.len()), (Phase::Idle, 1));
}

#[test]
fn the_last_command_wins_and_there_is_never_a_second_copy() {
    let mut world = up(spec(&["a"]));
    world.command(Command::Stop(vec![A]));
    world.command(Command::Start(vec![A]));
    world.command(Command::Restart(vec![A]));
    world.settle();
    assert_eq!((world.phase(0), world.view(0).generation), (Phase::Running, generation(2)));
    world.crash(0);
    world.command(Command::Stop(vec![A]));
    world.pass(10_000 * MS);
    assert_eq!(world.phase(0), Phase::Idle);
    world.command(Command::Start(vec![A]));
    world.command(Command::Stop(vec![A]));
    world.settle();
    assert_eq!(world.phase(0), Phase::Idle);
}

#[test]
fn dependents_wait_stop_first_and_come_back() {
    let mut spec = spec(&["api", "db"]);
    spec.workers[0].depends_on.push(depends(1, Condition::Ready));
    let mut world = World::new(spec);
    assert_eq!(world.view(0).waits_for, [B]);
    world.settle();
    assert_eq!(launches(&world, 0), [1, 0]);
    world.command(Command::Stop(vec![B]));
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Stopping, Phase::Running));
    world.settle();
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Idle, Phase::Idle));
    world.command(Command::Start(vec![A]));
    world.settle();
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Running, Phase::Running));
}

#[test]
fn a_dependency_that_must_finish_is_waited_for() {
    let mut spec = spec(&["main", "setup"]);
    spec.workers[0].depends_on.push(depends(1, Condition::Finished));
    let mut world = up(spec);
    assert_eq!(world.phase(0), Phase::Idle);
    world.end(world.present(1), FINISHED);
    world.settle();
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Running, Phase::Finished));
}

#[test]
fn a_cell_dies_as_one_incident_and_only_the_culprit_has_failed() {
    let mut spec = spec(&["a", "b", "c"]);
    spec.domains.push(DomainSpec { name: "cell".into(), capabilities: &CELL });
    let cell = DomainId(spec.domains.len() as u32 - 1);
    spec.workers[0].domain = cell;
    spec.workers[1].domain = cell;
    let mut world = up(spec);
    world.end_domain(cell, Some(world.present(1)), SEGFAULT);
    let incident = &world.opened[&1];
    assert_eq!((incident.lost.len(), incident.running.len()), (2, 3));
    assert_eq!(world.phase(1), Phase::Backoff, "the culprit waits");
    world.settle();
    assert_eq!(
        (world.phase(0), world.view(0).failures.len()),
        (Phase::Running, 0),
        "the innocent is back at once"
    );
    assert_eq!(world.view(2).generation, generation(1), "outside the cell nothing happened");
}

#[test]
fn a_thread_that_an_earlier_run_left_behind_is_a_failure_of_its_worker_and_of_no_other() {
    let cell_of_two = || {
        let mut spec = spec(&["a", "b"]);
        spec.domains.push(DomainSpec { name: "cell".into(), capabilities: &CELL });
        let cell = DomainId(spec.domains.len() as u32 - 1);
        spec.workers[0].domain = cell;
        spec.workers[1].domain = cell;
        (spec, cell)
    };
    let failures = |world: &World| [world.view(0).failures.len(), world.view(1).failures.len()];
    // Its next run is lost with the others.
    let (spec, cell) = cell_of_two();
    let mut world = up(spec);
    let earlier = world.present(1);
    world.end(earlier, SEGFAULT);
    world.pass(1000 * MS);
    assert_eq!((world.view(1).generation, failures(&world)), (generation(2), [0, 1]));
    world.end_domain(cell, Some(earlier), SEGFAULT);
    let incident = &world.opened[&2];
    assert_eq!((incident.culprit, incident.lost.len()), (Some(earlier), 2));
    assert_eq!(failures(&world), [0, 2]);
    let causes = [0, 1].map(|worker| world.view(worker).last_ending.map(|ending| ending.cause));
    assert_eq!(causes, [Some(Cause::DomainLost); 2], "neither run has done it");
    // It has none.
    let (spec, cell) = cell_of_two();
    let mut world = up(spec);
    let earlier = world.present(1);
    world.end(earlier, FINISHED);
    world.settle();
    assert_eq!(world.phase(1), Phase::Finished);
    world.end_domain(cell, Some(earlier), SEGFAULT);
    let incident = &world.opened[&1];
    assert_eq!((incident.culprit, incident.lost.len()), (Some(earlier), 1));
    world.settle();
    assert_eq!((world.phase(0), failures(&world)), (Phase::Running, [0, 0]));
    assert_eq!(world.phase(1), Phase::Finished, "it stays what it was");
    // It is not known any more.
    let (spec, cell) = cell_of_two();
    let mut world = up(spec);
    world.end_domain(cell, Culprit::Outsider, SEGFAULT);
    assert_eq!((world.opened[&1].culprit, failures(&world)), (None, [0, 0]));
    // A run that has never been is none.
    let mut never = world.present(1);
    never.generation.0 += 7;
    world.settle();
    world.end_domain(cell, Some(never), SEGFAULT);
    assert_eq!((world.opened[&2].culprit, failures(&world)), (None, [1, 1]));
}

#[test]
fn a_hung_process_is_killed_and_a_hung_thread_is_abandoned() {
    for thread in [false, true] {
        let mut spec = spec(&["a"]);
        spec.workers[0].heartbeat = Some(100 * MS);
        if thread {
            spec.workers[0].domain = DomainId(0);
        }
        let mut world = up(spec);
        world.pass(1000 * MS);
        assert!(world.opened.is_empty(), "it beats");
        let beaten = world.now;
        world.now = world.machine.next_deadline().expect("a look at the heartbeat");
        world.tell(Event::Deadline);
        assert!(matches!(world.questions.pop_front(), Some(Effect::ReadHeartbeat { .. })));
        world.now = beaten + 200 * MS;
        let incarnation = world.present(0);
        world.tell(Event::Heartbeat { incarnation, last_beat: beaten });
        world.settle();
        assert_eq!(world.opened[&1].ending.cause, Cause::Hang);
        assert_eq!(world.view(0).abandoned, u32::from(thread));
        world.pass(1000 * MS);
        assert_eq!(world.phase(0), Phase::Running);
    }
}

#[test]
fn what_can_be_done_to_a_worker_is_as_its_capabilities_say() {
    // Of no kind that there is: it cannot be suspended, and each of many can be killed.
    static OTHER: Capabilities =
        Capabilities { label: "other", can_be_killed_alone: true, can_be_paused: false, ..CELL };
    let mut spec = spec(&["a", "b"]);
    spec.domains.push(DomainSpec { name: "shared".into(), capabilities: &OTHER });
    spec.workers.iter_mut().for_each(|worker| worker.domain = DomainId(3));
    spec.workers.iter_mut().for_each(|worker| worker.stop.timeout = core::time::Duration::ZERO);
    let mut world = up(spec);
    let asked = world.command(Command::Pause(vec![WorkerId(0)]));
    assert!(!world.replies[&asked], "refused: there is no way to suspend it");
    world.command(Command::Stop(vec![WorkerId(0)]));
    let incarnation = world.present(0);
    assert!(world.questions.contains(&Effect::Kill { incarnation }), "{:?}", world.questions);
    assert_eq!(world.phase(1), Phase::Running, "the other one is not concerned");
}

#[test]
fn a_worker_alone_in_its_domain_without_a_process_gets_no_signal() {
    // As a driver that runs nothing would say.
    static NOTHING: Capabilities =
        Capabilities { label: "nothing", can_be_paused: false, has_own_process: false, ..PROCESS };
    let mut spec = spec(&["a", "b"]);
    spec.domains[1].capabilities = &NOTHING;
    let mut world = up(spec);
    for command in [
        Command::Signal { workers: vec![A], signal: 1 },
        Command::Resume(vec![A]),
        Command::Pause(vec![A, B]),
    ] {
        let before = world.log.len();
        let asked = world.command(command.clone());
        assert!(!world.replies[&asked], "refused: {command:?}");
        assert_eq!(world.log.len(), before + 1, "nothing but the answer: {command:?}");
    }
    let asked = world.command(Command::Signal { workers: vec![A, B], signal: 1 });
    assert!(world.replies[&asked], "the other one can get it");
    let to: Vec<WorkerId> = world
        .log
        .iter()
        .filter_map(|effect| match effect {
            Effect::Signal { incarnation, .. } => Some(incarnation.worker),
            _ => None,
        })
        .collect();
    assert_eq!(to, [B]);
}

#[test]
fn on_hang_recycle_ends_the_whole_domain() {
    let mut spec = spec(&["a", "b"]);
    spec.domains.push(DomainSpec { name: "cell".into(), capabilities: &CELL });
    for worker in &mut spec.workers {
        worker.domain = DomainId(3);
        worker.on_hang = OnHang::Recycle;
    }
    spec.workers[0].heartbeat = Some(100 * MS);
    let mut world = up(spec);
    world.now = 100 * MS;
    world.tell(Event::Deadline);
    world.questions.clear();
    let incarnation = world.present(0);
    world.tell(Event::Heartbeat { incarnation, last_beat: core::time::Duration::ZERO });
    world.settle();
    let incident = &world.opened[&1];
    assert_eq!((incident.ending.cause, incident.lost.len()), (Cause::Hang, 2));
    assert_eq!(incident.culprit, Some(incarnation));
}

#[test]
fn a_domain_that_ends_for_a_silent_one_ends_by_its_hang_whoever_caused_it() {
    let mut spec = spec(&["a", "b"]);
    spec.domains.push(DomainSpec { name: "cell".into(), capabilities: &CELL });
    spec.workers.iter_mut().for_each(|worker| worker.domain = DomainId(3));
    spec.workers[0].heartbeat = Some(100 * MS);
    spec.fault_injection = true;
    let mut world = up(spec);
    let fault = supervision::FaultId { code: 53, parameter: 0, at_launch: false };
    world.command(Command::Inject { worker: WorkerId(1), fault });
    world.now = 100 * MS;
    world.tell(Event::Deadline);
    world.questions.clear();
    let (silent, culprit) = (world.present(0), world.present(1));
    world.tell(Event::Heartbeat { incarnation: silent, last_beat: core::time::Duration::ZERO });
    world.end_domain(DomainId(3), Some(culprit), world::KILLED);
    let incident = &world.opened[&1];
    assert_eq!(
        (incident.culprit, incident.injected, incident.ending.cause, incident.lost.len()),
        (Some(culprit), Some(fault), Cause::Hang, 2)
    );
    let causes = [0, 1].map(|worker| world.view(worker).last_ending.map(|ending| ending.cause));
    assert_eq!(causes, [Some(Cause::DomainLost), Some(Cause::Hang)]);
}

#[test]
fn a_thread_whose_domain_has_to_end_for_it_is_one_incident() {
    let mut spec = spec(&["a", "b"]);
    spec.domains.push(DomainSpec { name: "cell".into(), capabilities: &CELL });
    spec.workers.iter_mut().for_each(|worker| worker.domain = DomainId(3));
    spec.workers[0].heartbeat = Some(100 * MS);
    let mut world = up(spec);
    world.now = 100 * MS;
    world.tell(Event::Deadline);
    world.questions.clear();
    let hung = world.present(0);
    world.tell(Event::Heartbeat { incarnation: hung, last_beat: core::time::Duration::ZERO });
    assert_eq!(world.questions.pop_front(), Some(Effect::Abandon { incarnation: hung }));
    assert_eq!((world.phase(0), world.opened.len()), (Phase::Killing, 0), "the driver answers");
    // Its cell does not take orders: an abandoned thread would have no successor there.
    world.end_domain(DomainId(3), Some(hung), world::KILLED);
    let incident = &world.opened[&1];
    assert_eq!(
        (world.opened.len(), incident.culprit, incident.ending.cause, incident.lost.len()),
        (1, Some(hung), Cause::Hang, 2)
    );
    assert_eq!(world.view(0).abandoned, 0);
    world.pass(1000 * MS);
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Running, Phase::Running));
}

#[test]
fn group_strategies_say_who_else_is_restarted() {
    for (strategy, expected) in [
        (Strategy::OneForOne, vec![1]),
        (Strategy::OneForAll, vec![0, 1, 2]),
        (Strategy::RestForOne, vec![1, 2]),
    ] {
        let mut spec = spec(&["a", "b", "c", "outside"]);
        spec.groups.push(group("g", strategy, &[0, 1, 2]));
        let mut world = up(spec);
        let before = world.log.len();
        world.crash(1);
        world.pass(100 * MS);
        assert_eq!(launches(&world, before), expected, "{strategy:?}: together, in order");
        let incident = &world.closed[&1];
        assert_eq!(
            incident.lost.len(),
            expected.len(),
            "{strategy:?}: one incident with all of them"
        );
        assert_eq!(incident.lost.iter().filter(|loss| loss.collateral).count(), expected.len() - 1);
        assert_eq!(world.view(3).generation, generation(1));
    }
}

/// A checkpoint is written for each worker that changes: a thousand members must not cost a
/// thousand.
#[test]
fn a_failure_in_a_group_changes_no_other_member() {
    let mut spec = spec(&["a", "b", "c", "d"]);
    spec.groups.push(group("g", Strategy::OneForOne, &[0, 1, 2, 3]));
    let mut world = up(spec);
    world.remembered.clear();
    world.crash(2);
    world.pass(100 * MS);
    assert_eq!(world.phase(2), Phase::Running);
    // The checkpoint of the first member has the failures of the group.
    assert_eq!(world.remembered.iter().copied().collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn a_group_beyond_its_limit_is_quarantined_or_ends_the_supervisor() {
    for escalate in [false, true] {
        let mut spec = spec(&["a", "b"]);
        let mut members = group("g", Strategy::OneForOne, &[0, 1]);
        members.limit = Some(Limit { restarts: 1, within: 60_000 * MS });
        members.escalate = escalate;
        spec.groups.push(members);
        let mut world = up(spec);
        world.crash(0);
        world.pass(1000 * MS);
        world.crash(1);
        world.pass(1000 * MS);
        if escalate {
            assert_eq!(world.exited, Some(false));
        } else {
            assert_eq!((world.phase(0), world.phase(1)), (Phase::Quarantined, Phase::Quarantined));
            assert_eq!(world.exited, None);
        }
    }
}

#[test]
fn shutdown_stops_dependents_first_and_then_the_later_ones_and_ends() {
    let mut spec = spec(&["a", "b", "c"]);
    spec.workers[1].depends_on.push(depends(2, Condition::Ready));
    let mut world = up(spec);
    world.command(Command::Shutdown { now: false });
    world.settle();
    let stopped: Vec<u32> = world
        .log
        .iter()
        .filter_map(|effect| match effect {
            Effect::Stop { incarnation } => Some(incarnation.worker.0),
            _ => None,
        })
        .collect();
    assert_eq!(stopped, [1, 0, 2]);
    assert_eq!(world.exited, Some(true));
}

#[test]
fn a_shutdown_that_no_worker_obeys_ends_within_its_timeout() {
    let mut spec = spec(&["a", "thread"]);
    spec.workers[1].domain = DomainId(0);
    for worker in &mut spec.workers {
        worker.stop.timeout = 60_000 * MS;
    }
    let mut world = up(spec);
    world.command(Command::Shutdown { now: false });
    world.questions.clear();
    world.pass(1000 * MS);
    assert_eq!(world.exited, Some(true));
    assert_eq!(world.view(1).abandoned, 1);
}

#[test]
fn what_does_not_die_is_named_again_and_again_and_does_not_hold_up_the_end() {
    let mut world = up(spec(&["a", "b"]));
    world.unkillable.insert(world.present(0));
    world.command(Command::Stop(vec![A]));
    world.pass(60_000 * MS);
    assert_eq!(
        (world.phase(0), world.phase(1)),
        (Phase::Killing, Phase::Running),
        "it is not called stopped"
    );
    assert!(world.named.contains(&world.present(0)));
    world.command(Command::Shutdown { now: false });
    world.settle();
    assert_eq!(world.exited, Some(false), "the end is not in order");

    let mut world = up(spec(&["a", "b"]));
    world.unkillable.insert(world.present(0));
    world.command(Command::Shutdown { now: false });
    world.pass(4_000 * MS);
    assert_eq!(world.exited, None, "it has some time to die");
    world.pass(60_000 * MS);
    assert_eq!(world.exited, Some(false));
}

#[test]
fn a_second_order_to_shut_down_kills_at_once() {
    let mut world = up(spec(&["a"]));
    world.command(Command::Shutdown { now: false });
    world.questions.clear();
    world.command(Command::Shutdown { now: false });
    world.settle();
    assert_eq!(world.exited, Some(true));
    let refused = world.command(Command::Start(vec![A]));
    assert!(!world.replies[&refused]);
}

#[test]
fn injections_come_on_schedule_and_never_when_they_are_denied() {
    for allowed in [true, false] {
        let mut spec = spec(&["a"]);
        spec.fault_injection = allowed;
        let mut due = injection(100 * MS);
        due.every = Some(50 * MS);
        due.times = Some(3);
        spec.workers[0].injections.push(due);
        let mut world = up(spec);
        world.pass(10_000 * MS);
        let injected =
            world.log.iter().filter(|effect| matches!(effect, Effect::Inject { .. })).count();
        assert_eq!(injected, if allowed { 3 } else { 0 });
        let fault = FaultId { code: 1, parameter: 0, at_launch: false };
        let request = world.command(Command::Inject { worker: A, fault });
        assert_eq!(world.replies[&request], allowed);
    }
}

#[test]
fn probability_is_decided_by_the_seed() {
    let count = |seed| {
        let mut spec = spec(&["a"]);
        let mut due = injection(MS);
        due.every = Some(MS);
        due.probability_permille = 250;
        due.seed = seed;
        spec.workers[0].injections.push(due);
        let mut world = up(spec);
        world.pass(1000 * MS);
        world.log.iter().filter(|effect| matches!(effect, Effect::Inject { .. })).count()
    };
    assert!((200..300).contains(&count(1)), "{}", count(1));
    assert_eq!(count(1), count(1));
    assert_ne!(count(1), count(2));
}

#[test]
fn a_successor_opens_the_incident_of_its_predecessor_and_counts_on() {
    let past = |worker, stopped| RecoveredWorker {
        worker,
        checkpoint: Checkpoint {
            phase: if stopped { Phase::Idle } else { Phase::Running },
            generation: generation(7),
            restarts: 6,
            marks: Marks { stopped, wanted: !stopped, ..Marks::default() },
            ..world::checkpoint()
        },
        fate: Fate::Lost,
        blamed: None,
    };
    let mut spec = spec(&["a", "b", "c"]);
    spec.workers[0].domain = DomainId(0);
    let lost = |worker| supervision::Incarnation { worker, generation: generation(7) };
    let ending = Ending {
        status: Status::Signaled { signal: 11, core_dumped: false },
        cause: Cause::Segfault,
    };
    let inherited = Recovered {
        now: MS - MS,
        unheard: MS - MS,
        workers: vec![past(A, false), past(B, false), past(WorkerId(2), true)],
        death: Some(RecoveredDeath { culprit: Some(lost(A)).into(), ending, injected: None }),
        last_incident: Some(IncidentId(41)),
        stale_events: 0,
    };
    let mut world = World::inheriting(spec, inherited);
    world.failures_told = 1;
    let incident = &world.opened[&42];
    assert_eq!((incident.culprit, incident.lost.len()), (Some(lost(A)), 2));
    assert_eq!(
        world.phase(0),
        Phase::Backoff,
        "a thread that kills its supervisor is not started at once for ever"
    );
    world.pass(100 * MS);
    assert_eq!(world.view(0).generation, generation(8));
    assert_eq!(world.phase(2), Phase::Idle, "who was stopped by hand stays down");
    assert!(world.closed.contains_key(&42));
}

#[test]
fn a_successor_continues_where_its_predecessor_stood() {
    let mut spec = spec(&["up", "backoff", "stopping", "stopped", "quarantined"]);
    spec.workers[0].restart.reset_after = 1000 * MS;
    spec.workers[1].restart.backoff.initial = 400 * MS;
    spec.workers[2].stop.timeout = 300 * MS;
    spec.workers[4].restart.slow_retry = Some(5000 * MS);
    spec.workers[4].restart.limit.restarts = 0;
    let mut world = up(spec);
    world.crash(1);
    world.command(Command::Stop(vec![WorkerId(2)]));
    world.command(Command::Stop(vec![WorkerId(3)]));
    let stopped = world.present(3);
    world.end(stopped, TERMINATED);
    world.crash(4);
    world.now += 100 * MS;
    let before: Vec<_> = (0..5).map(|worker| world.view(worker)).collect();
    world.succeed(true, |_| true);
    let incident = world.opened.values().next_back().expect("the death").clone();
    assert!(incident.lost.is_empty(), "{incident:?}");
    assert_eq!(incident.running, [world.present(0)], "who ran is known, and went on");
    for worker in 0..5 {
        let (view, before) = (world.view(worker), &before[worker as usize]);
        assert_eq!(
            (view.phase, view.generation, view.since, view.retry_at, view.stopped, view.restarts),
            (
                before.phase,
                before.generation,
                before.since,
                before.retry_at,
                before.stopped,
                before.restarts
            )
        );
    }
    // The rest of each time is what was left of it.
    assert!(
        world.log.contains(&Effect::Stop { incarnation: world.present(2) }),
        "the order is given again"
    );
    world.questions.clear();
    world.pass(199 * MS);
    assert_eq!(world.phase(2), Phase::Stopping);
    world.pass(MS);
    assert_eq!((world.phase(2), world.phase(1)), (Phase::Idle, Phase::Backoff));
    world.pass(100 * MS);
    assert_eq!(world.phase(1), Phase::Running);
    world.pass(4500 * MS);
    assert_eq!(world.phase(4), Phase::Quarantined);
    world.pass(100 * MS);
    assert_eq!(world.phase(4), Phase::Running);
    assert_eq!(world.view(0).generation, generation(1), "nothing happened to it");
}

#[test]
fn an_unanswered_launch_is_made_again_and_counts_as_no_loss() {
    let mut world = World::new(spec(&["a"]));
    assert_eq!(world.phase(0), Phase::Launching);
    world.succeed(true, |_| true);
    let incident = world.opened.values().next_back().expect("the death").clone();
    assert!(incident.lost.is_empty() && incident.running.is_empty(), "{incident:?}");
    world.settle();
    assert_eq!((world.phase(0), world.view(0).generation), (Phase::Running, generation(2)));
}

#[test]
fn endings_in_every_other_phase_are_stale() {
    let mut world = up(spec(&["a"]));
    let gone = world.present(0);
    world.end(gone, TERMINATED);
    let before = world.machine.stale_events();
    world.tell(Event::Ended { incarnation: gone, ending: SEGFAULT });
    world.tell(Event::Launched { incarnation: gone });
    assert_eq!(world.machine.stale_events(), before + 2);
    // A successor goes on counting.
    world.succeed(true, |_| true);
    assert_eq!(world.machine.stale_events(), before + 2);
}

#[test]
fn jitter_changes_the_delay_within_its_share_and_never_beyond_the_cap() {
    let mut seen = std::collections::BTreeSet::new();
    let mut spec = spec(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    for worker in &mut spec.workers {
        worker.restart.backoff.jitter_permille = 200;
        worker.restart.backoff.max = 110 * MS;
    }
    let mut world = up(spec);
    for worker in 0..8 {
        world.crash(worker);
        let delay = world.view(worker).retry_at.expect("backoff") - world.now;
        assert!(delay >= 80 * MS && delay <= 110 * MS, "{delay:?}");
        seen.insert(delay);
    }
    assert!(seen.len() > 4, "they do not all come back at once: {seen:?}");
}

#[test]
fn one_whose_main_process_is_gone_is_killing_until_nothing_is_left_and_its_own_ending_counts() {
    let mut world = up(spec(&["a"]));
    let first = world.present(0);
    world.exit_first(first, EXIT_1);
    assert_eq!(world.phase(0), Phase::Killing);
    assert!(world.log.contains(&Effect::Kill { incarnation: first }));
    world.settle();
    assert_eq!(world.phase(0), Phase::Backoff);
    assert_eq!(world.view(0).last_ending.map(|ending| ending.cause), Some(Cause::Error));
}

#[test]
fn one_that_was_asked_to_stop_leaves_its_children_the_rest_of_its_time() {
    let mut world = up(spec(&["a"]));
    world.command(Command::Stop(vec![A]));
    world.questions.clear();
    let present = world.present(0);
    world.tell(Event::Exited { incarnation: present });
    assert_eq!(world.phase(0), Phase::Stopping, "not killed before its time");
    world.now += 200 * MS;
    world.tell(Event::Deadline);
    assert_eq!(world.phase(0), Phase::Killing);
    world.settle();
    assert_eq!((world.phase(0), world.opened.len()), (Phase::Idle, 0));
}

#[test]
fn what_would_not_die_is_reported_again_and_again() {
    let mut world = up(spec(&["a"]));
    world.command(Command::Stop(vec![A]));
    world.questions.clear();
    for _ in 0..4 {
        world.now = world.machine.next_deadline().expect("a deadline");
        world.tell(Event::Deadline);
        world.questions.clear();
    }
    let reports =
        world.log.iter().filter(|effect| matches!(effect, Effect::ReportRemains { .. })).count();
    assert_eq!((world.phase(0), reports), (Phase::Killing, 3));
}

#[test]
fn a_start_is_extended_and_never_shortened() {
    let mut world = World::new(spec(&["a"]));
    world.questions.clear();
    let incarnation = world.present(0);
    world.truth.insert(incarnation, world::Truth::Alive);
    world.tell(Event::Launched { incarnation });
    world.tell(Event::Extended { incarnation, until: 2000 * MS });
    world.tell(Event::Extended { incarnation, until: 10 * MS });
    assert_eq!(world.machine.next_deadline(), Some(2000 * MS));
}

#[test]
fn an_unhealthy_worker_is_asked_to_stop_and_has_failed() {
    let mut world = up(spec(&["a"]));
    let incarnation = world.present(0);
    world.given_up.insert(incarnation);
    world.tell(Event::Unhealthy { incarnation });
    assert_eq!(world.phase(0), Phase::Stopping);
    world.settle();
    assert_eq!(world.phase(0), Phase::Backoff);
    assert_eq!(world.view(0).last_ending.map(|ending| ending.cause), Some(Cause::Unhealthy));
}

#[test]
fn an_unready_dependency_delays_new_dependents_and_no_running_ones() {
    let mut spec = spec(&["a", "b", "c"]);
    spec.workers[1].depends_on.push(depends(0, Condition::Ready));
    spec.workers[2].depends_on.push(depends(0, Condition::Ready));
    spec.workers[2].autostart = false;
    let mut world = up(spec);
    let incarnation = world.present(0);
    world.tell(Event::Readiness { incarnation, ready: false });
    world.command(Command::Start(vec![WorkerId(2)]));
    world.settle();
    assert_eq!((world.phase(1), world.phase(2)), (Phase::Running, Phase::Idle));
    world.tell(Event::Readiness { incarnation, ready: true });
    world.settle();
    assert_eq!(world.phase(2), Phase::Running);
}

#[test]
fn what_the_machine_lacks_is_no_failure_of_the_worker() {
    for needs_no_backoff in [false, true] {
        what_the_machine_lacks(needs_no_backoff);
    }
}

fn what_the_machine_lacks(needs_no_backoff: bool) {
    let mut spec = spec(&["a"]);
    if needs_no_backoff {
        spec.workers[0].restart.backoff.initial = Duration::ZERO;
    }
    let mut world = World::new(spec);
    let failure = supervision::LaunchFailure { transient: true, ..world::launch_failure() };
    for _ in 0..20 {
        let incarnation = world.present(0);
        world.questions.clear();
        world.truth.insert(incarnation, world::Truth::Gone);
        world.failures_told += 1;
        world.tell(Event::LaunchFailed { incarnation, failure });
        assert_eq!(world.phase(0), Phase::Backoff, "never quarantined");
        let next = world.machine.next_deadline().expect("the next attempt");
        assert!(next >= world.now + Duration::from_millis(100), "it is not there sooner");
        world.now = next;
        world.tell(Event::Deadline);
    }
    world.settle();
    assert_eq!(world.phase(0), Phase::Running);
}

#[test]
fn a_critical_worker_that_is_down_for_good_ends_everything() {
    for (ending, orderly) in [(FINISHED, true), (EXIT_1, false)] {
        let mut spec = spec(&["a", "b"]);
        spec.workers[0].critical = true;
        spec.workers[0].restart.policy = RestartPolicy::Never;
        let mut world = up(spec);
        world.end(world.present(0), ending);
        world.settle();
        assert_eq!(world.exited, Some(orderly));
        let exit = world.log.last().expect("the last effect");
        assert_eq!(*exit, Effect::Exit { orderly, critical: Some(ending) });
    }
}

#[test]
fn a_critical_worker_whose_ending_is_a_success_ends_everything_in_order_with_its_status() {
    let mut spec = spec(&["a", "b"]);
    spec.workers[0].critical = true;
    spec.workers[0].restart.policy = RestartPolicy::OnFailure;
    spec.workers[0].restart.success = vec![Exit::Code(1)];
    let mut world = up(spec);
    world.end(world.present(0), EXIT_1);
    world.settle();
    assert_eq!((world.exited, world.opened.len()), (Some(true), 0));
    let exit = world.log.last().expect("the last effect");
    let ending = Ending { cause: Cause::Finished, ..EXIT_1 };
    assert_eq!(*exit, Effect::Exit { orderly: true, critical: Some(ending) });
}

#[test]
fn places_are_given_one_by_one_and_not_too_soon() {
    let mut spec = spec(&["a", "b", "c"]);
    spec.start = supervision::spec::StartLimits { concurrency: Some(1), stagger: 50 * MS };
    let mut world = World::new(spec);
    assert_eq!(launches(&world, 0), [0]);
    world.settle();
    assert_eq!(launches(&world, 0), [0], "there is a place, and it is too soon");
    world.pass(49 * MS);
    assert_eq!(launches(&world, 0), [0]);
    world.pass(MS);
    assert_eq!(launches(&world, 0), [0, 1]);
    world.pass(50 * MS);
    assert_eq!(launches(&world, 0), [0, 1, 2]);
}

#[test]
fn workers_are_added_and_retired_and_no_worker_waits_for_the_retired() {
    let mut spec = spec(&["a", "b"]);
    spec.workers[1].depends_on.push(depends(0, Condition::Ready));
    let mut world = up(spec.clone());
    let domain = DomainId(spec.domains.len() as u32);
    let extension = Extension {
        workers: vec![world::worker("c", domain)],
        domains: vec![DomainSpec { name: "c".into(), capabilities: &PROCESS }],
        ..Extension::default()
    };
    world.tell(Event::Extend(extension));
    world.settle();
    assert_eq!(world.phase(2), Phase::Running);
    world.command(Command::Retire(vec![A]));
    world.settle();
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Idle, Phase::Running));
    world.command(Command::Restart(vec![B]));
    world.settle();
    assert_eq!(world.phase(1), Phase::Running, "it does not wait for one that was retired");
    world.command(Command::Start(vec![A]));
    world.settle();
    assert_eq!(world.phase(0), Phase::Running);
}

/// Who was asked to stop, in order.
fn stops(world: &World, from: usize) -> Vec<u32> {
    let stopped = world.log[from..].iter().filter_map(|effect| match effect {
        Effect::Stop { incarnation } => Some(incarnation.worker.0),
        _ => None,
    });
    stopped.collect()
}

#[test]
fn a_group_starts_in_the_order_of_its_list_and_stops_in_reverse_one_after_the_other() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let mut spec = spec(&["a", "b", "c"]);
        spec.groups.push(group("g", strategy, &[2, 0, 1]));
        let mut world = World::new(spec);
        assert_eq!(launches(&world, 0), [2], "the others wait until it runs");
        assert_eq!(world.view(0).waits_for, [WorkerId(2)]);
        world.settle();
        assert_eq!(launches(&world, 0), [2, 0, 1]);
        let from = world.log.len();
        let all = vec![A, B, WorkerId(2)];
        world.command(Command::Restart(all.clone()));
        assert_eq!(stops(&world, from), [1], "the others wait until it is gone");
        world.settle();
        assert_eq!((stops(&world, from), launches(&world, from)), (vec![1, 0, 2], vec![2, 0, 1]));
        // A single worker waits for none.
        world.command(Command::Stop(vec![A]));
        world.settle();
        assert_eq!(
            [0, 1, 2].map(|worker| world.phase(worker)),
            [Phase::Idle, Phase::Running, Phase::Running]
        );
        let from = world.log.len();
        world.command(Command::Shutdown { now: false });
        world.settle();
        assert_eq!(stops(&world, from), [1, 2]);
    }
}

#[test]
fn in_rest_for_one_a_later_member_in_backoff_comes_back_with_the_earlier_one_and_after_it() {
    let mut spec = spec(&["a", "b", "c"]);
    spec.groups.push(group("g", Strategy::RestForOne, &[0, 1, 2]));
    spec.workers[0].restart.backoff.initial = 300 * MS;
    spec.workers[2].restart.backoff.initial = 200 * MS;
    let mut world = up(spec);
    world.crash(2);
    world.pass(100 * MS);
    world.crash(0);
    let from = world.log.len();
    world.pass(299 * MS);
    assert_eq!(
        launches(&world, from),
        [] as [u32; 0],
        "none comes back before the one that failed"
    );
    world.pass(MS);
    assert_eq!(launches(&world, from), [0, 1, 2]);
}

#[test]
fn one_for_one_restarts_wait_for_no_member_and_a_dependency_wins_over_a_list() {
    let mut independent = spec(&["a", "b"]);
    independent.groups.push(group("g", Strategy::OneForOne, &[1, 0]));
    assert_eq!(launches(&World::new(independent), 0), [0, 1]);
    let mut contradictory = spec(&["a", "b", "c"]);
    contradictory.workers[0].depends_on.push(depends(1, Condition::Ready));
    contradictory.groups.push(group("g", Strategy::OneForAll, &[0, 1, 2]));
    let mut world = up(contradictory);
    assert_eq!(launches(&world, 0), [1, 0, 2]);
    let from = world.log.len();
    world.command(Command::Shutdown { now: false });
    world.settle();
    assert_eq!(stops(&world, from), [2, 0, 1]);
}

#[test]
fn a_later_member_waits_for_no_one_that_will_not_come() {
    let mut spec = spec(&["a", "b"]);
    spec.groups.push(group("g", Strategy::RestForOne, &[0, 1]));
    let mut world = World::new(spec);
    assert_eq!(world.phase(1), Phase::Idle);
    world.command(Command::Stop(vec![A]));
    world.settle();
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Idle, Phase::Running));
}

#[test]
fn ends_without_a_fault_count_under_always_and_are_no_incidents() {
    let mut spec = spec(&["a"]);
    spec.workers[0].restart.policy = RestartPolicy::Always;
    let mut world = up(spec);
    for _ in 0..4 {
        world.end(world.present(0), FINISHED);
        world.pass(1000 * MS);
    }
    assert_eq!((world.phase(0), world.opened.len()), (Phase::Quarantined, 0));
}

#[test]
fn a_critical_worker_that_is_tried_again_slowly_is_not_down_for_good() {
    let mut spec = spec(&["a", "b"]);
    spec.workers[0].critical = true;
    spec.workers[0].restart.limit.restarts = 0;
    spec.workers[0].restart.slow_retry = Some(5000 * MS);
    let mut world = up(spec);
    world.crash(0);
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Quarantined, Phase::Running));
    world.pass(5000 * MS);
    assert_eq!((world.phase(0), world.exited), (Phase::Running, None));
}

#[test]
fn running_dependents_of_a_quarantined_group_run_on_and_new_ones_wait() {
    let mut spec = spec(&["db", "cache", "api", "late"]);
    spec.groups.push(group("g", Strategy::OneForAll, &[0, 1]));
    spec.groups[0].limit = Some(Limit { restarts: 0, within: 60_000 * MS });
    spec.workers[2].depends_on.push(depends(1, Condition::Ready));
    spec.workers[3].depends_on.push(depends(1, Condition::Ready));
    spec.workers[3].autostart = false;
    let mut world = up(spec);
    world.crash(0);
    world.settle();
    let phases = [0, 1, 2].map(|worker| world.phase(worker));
    assert_eq!(phases, [Phase::Quarantined, Phase::Quarantined, Phase::Running]);
    // A start brings along what is waited for, out of quarantine.
    world.command(Command::Start(vec![WorkerId(3)]));
    world.settle();
    assert_eq!((world.phase(1), world.phase(3)), (Phase::Running, Phase::Running));
}

#[test]
fn a_schedule_continues_over_a_death_and_starts_again_with_a_new_run() {
    for (fate, expected) in [(Fate::Lost, 0), (Fate::Closed, 1)] {
        let mut spec = spec(&["a"]);
        spec.workers[0].injections.push(injection(50 * MS));
        spec.workers[0].injections[0].times = Some(1);
        let committed = supervision::InjectionMemo { draws: 1, times: 1, due: None };
        let checkpoint = Checkpoint { injections: vec![committed], ..world::checkpoint() };
        let workers = vec![RecoveredWorker { worker: A, checkpoint, fate, blamed: None }];
        let mut world = World::inheriting(spec, Recovered { workers, ..Recovered::default() });
        world.pass(1000 * MS);
        let injected =
            world.log.iter().filter(|effect| matches!(effect, Effect::Inject { .. })).count();
        assert_eq!(injected, expected, "{fate:?}");
    }
}

#[test]
fn a_restart_starts_what_is_needed_and_leaves_alone_what_is_up() {
    let mut spec = spec(&["web", "api", "db", "other"]);
    spec.workers[0].depends_on.push(depends(1, Condition::Ready));
    spec.workers[1].depends_on.push(depends(2, Condition::Ready));
    let mut world = up(spec);
    world.command(Command::Stop(vec![WorkerId(2)]));
    world.settle();
    assert_eq!(world.phase(0), Phase::Idle);
    world.command(Command::Restart(vec![A]));
    world.settle();
    assert!(
        (0..3).all(|worker| world.phase(worker) == Phase::Running),
        "all that it needs, however far away"
    );
    world.command(Command::Restart(vec![B]));
    world.settle();
    let generations = [0, 1, 2, 3].map(|worker| world.view(worker).generation);
    assert_eq!(generations, [3, 3, 2, 1].map(generation));
}

#[test]
fn a_fault_for_the_next_launch_is_ordered_once_and_before_that() {
    let mut world = up(spec(&["a"]));
    let fault = FaultId { code: 43, parameter: 0, at_launch: true };
    let request = world.command(Command::Inject { worker: A, fault });
    assert!(world.replies[&request], "accepted");
    let ordered = |world: &World| {
        let is_it =
            |effect: &&Effect| matches!(effect, Effect::Inject { .. } | Effect::Launch { .. });
        world.log.iter().filter(is_it).cloned().collect::<Vec<_>>()
    };
    assert_eq!(ordered(&world).len(), 1, "its first launch, and no fault yet");
    for _ in 0..2 {
        world.command(Command::Restart(vec![A]));
        world.settle();
    }
    let ordered = ordered(&world);
    let of = |number| supervision::Incarnation { worker: A, generation: generation(number) };
    assert_eq!(
        ordered[1..],
        [
            Effect::Inject { incarnation: of(2), fault },
            Effect::Launch { incarnation: of(2) },
            Effect::Launch { incarnation: of(3) },
        ]
    );
}

#[test]
fn no_fault_strikes_a_suspended_worker_later() {
    let mut spec = spec(&["a"]);
    spec.workers[0].injections.push(injection(50 * MS));
    let mut world = up(spec);
    world.command(Command::Pause(vec![A]));
    let fault = FaultId { code: 1, parameter: 0, at_launch: false };
    let request = world.command(Command::Inject { worker: A, fault });
    assert!(!world.replies[&request], "refused");
    world.pass(100 * MS);
    // A started worker must work.
    world.command(Command::Start(vec![A]));
    assert!(!world.view(0).paused);
    world.pass(1000 * MS);
    assert!(!world.log.iter().any(|effect| matches!(effect, Effect::Inject { .. })));
}

#[test]
fn time_in_which_there_was_no_supervisor_counts_against_no_worker() {
    const GAP: std::time::Duration = std::time::Duration::from_secs(100);
    let mut spec = spec(&["beats", "starts", "stops"]);
    spec.workers[0].heartbeat = Some(100 * MS);
    spec.workers[1].readiness = Readiness::After(100 * MS);
    let mut world = up(spec);
    world.command(Command::Stop(vec![WorkerId(2)]));
    let phases = |world: &World| [0, 1, 2].map(|worker| world.phase(worker));
    let before = phases(&world);
    assert_eq!(before, [Phase::Running, Phase::Starting, Phase::Stopping]);
    let beaten = world.now;
    world.succeed_after(GAP, true, |_| true);
    world.tell(Event::Deadline);
    assert_eq!(phases(&world), before, "each has what was left of its time");
    // It wrote into a full pipe when the supervisor died, which is being emptied.
    world.now += 99 * MS;
    let incarnation = world.present(0);
    for (later, is_up) in [(MS, true), (2 * MS, false)] {
        world.now += later;
        world.tell(Event::Deadline);
        world.tell(Event::Heartbeat { incarnation, last_beat: beaten + 1 * MS });
        assert_eq!(world.phase(0) == Phase::Running, is_up);
    }
}

#[test]
fn time_in_which_the_machine_heard_nothing_counts_against_no_worker() {
    const PAUSE: std::time::Duration = std::time::Duration::from_secs(100);
    let mut spec = spec(&["beats", "starts", "stops", "waits"]);
    spec.workers[0].heartbeat = Some(100 * MS);
    spec.workers[1].readiness = Readiness::After(100 * MS);
    let mut world = up(spec);
    world.crash(3);
    world.command(Command::Stop(vec![WorkerId(2)]));
    let retry = world.view(3).retry_at.expect("backoff");
    assert_eq!((world.phase(1), world.phase(2)), (Phase::Starting, Phase::Stopping));
    let judgement = world.machine.next_judgement().expect("three of them");
    // All workers stood still, and there is no sign of life from that time.
    let beaten = world.now;
    world.now += PAUSE;
    world.tell(Event::TimeLost { by: PAUSE });
    assert_eq!(world.machine.next_judgement(), Some(judgement + PAUSE));
    assert_ne!(world.phase(3), Phase::Backoff, "what was only to be done is done: {retry:?}");
    world.tell(Event::Deadline);
    assert_eq!(
        (world.phase(0), world.phase(1), world.phase(2)),
        (Phase::Running, Phase::Starting, Phase::Stopping)
    );
    // A last beat from before counts as much younger.
    world.now += 99 * MS;
    let incarnation = world.present(0);
    world.tell(Event::Deadline);
    world.tell(Event::Heartbeat { incarnation, last_beat: beaten });
    assert_eq!(world.phase(0), Phase::Running);
    // And no younger than that.
    world.now += 2 * MS;
    world.tell(Event::Deadline);
    world.tell(Event::Heartbeat { incarnation, last_beat: beaten });
    assert_ne!(world.phase(0), Phase::Running, "it hangs");
    let is_asked = |question: &Effect| matches!(question, Effect::Confirm { incarnation } if incarnation.worker == B);
    assert!(world.questions.iter().any(is_asked), "it has stayed up for long enough now");
}

#[test]
fn a_heartbeat_judges_no_worker_that_is_to_stop() {
    let mut spec = spec(&["a"]);
    spec.workers[0].heartbeat = Some(50 * MS);
    let mut world = up(spec);
    world.command(Command::Stop(vec![A]));
    assert_eq!(world.questions.pop_front(), Some(Effect::Stop { incarnation: world.present(0) }));
    world.pass(199 * MS);
    assert_eq!(world.phase(0), Phase::Stopping, "it has its whole time to stop");
    world.pass(MS);
    assert_eq!(world.view(0).last_ending.map(|ending| ending.cause), Some(Cause::StopTimeout));
    assert!(world.opened.is_empty(), "a stop is no incident");
}

#[test]
fn a_suspended_worker_misses_no_heartbeat() {
    let mut spec = spec(&["a"]);
    spec.workers[0].heartbeat = Some(100 * MS);
    let mut world = up(spec);
    world.command(Command::Pause(vec![A]));
    world.pass(10_000 * MS);
    assert!(world.view(0).paused && world.opened.is_empty());
    world.command(Command::Resume(vec![A]));
    world.pass(1000 * MS);
    assert_eq!(
        (world.phase(0), world.view(0).paused, world.opened.len()),
        (Phase::Running, false, 0)
    );
}

#[test]
fn a_launch_that_hangs_is_withdrawn_when_its_time_to_start_is_over() {
    let mut world = World::new(spec(&["a", "b"]));
    let hanging = world.present(0);
    world.questions.retain(|question| *question != Effect::Launch { incarnation: hanging });
    world.pass(499 * MS);
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Launching, Phase::Running));
    world.pass(MS);
    assert_eq!(world.phase(0), Phase::Backoff, "an attempt that failed, as any other");
    world.pass(100 * MS);
    assert_eq!((world.phase(0), world.view(0).generation), (Phase::Running, generation(2)));
    assert_eq!(world.closed.len(), 1);
}

#[test]
fn one_that_is_not_started_since_it_was_asked_to_stop_has_not_failed() {
    use supervision::LaunchStage;
    // Prepared, and waiting in line behind many others.
    for stage in [LaunchStage::START_BEFORE, LaunchStage::CLONE] {
        let mut world = World::new(spec(&["a"]));
        let incarnation = world.present(0);
        world.questions.clear();
        world.command(Command::Stop(vec![A]));
        let failure =
            supervision::LaunchFailure { stage, transient: true, ..world::launch_failure() };
        world.truth.insert(incarnation, world::Truth::Gone);
        world.tell(Event::LaunchFailed { incarnation, failure });
        world.settle();
        assert_eq!((world.phase(0), world.opened.len()), (Phase::Idle, 0), "{stage:?}");
    }
    // The order was void before it was known.
    let mut world = World::new(spec(&["a"]));
    let incarnation = world.present(0);
    world.questions.clear();
    world.command(Command::Stop(vec![A]));
    world.command(Command::Start(vec![A]));
    let stage = LaunchStage::START_BEFORE;
    let failure = supervision::LaunchFailure { stage, transient: true, ..world::launch_failure() };
    world.truth.insert(incarnation, world::Truth::Gone);
    world.tell(Event::LaunchFailed { incarnation, failure });
    world.settle();
    assert_eq!((world.phase(0), world.opened.len()), (Phase::Running, 0));
}

#[test]
fn launches_that_wait_in_line_are_dropped_when_their_workers_are_to_stop() {
    let mut world = World::new(spec(&["a", "b", "c"]));
    let before = world.log.len();
    world.drops = true;
    world.command(Command::Stop(vec![A]));
    world.settle();
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Idle, Phase::Running));
    assert_eq!(world.opened.len(), 0);
    world.command(Command::Start(vec![A]));
    world.settle();
    assert_eq!((world.phase(0), world.view(0).generation), (Phase::Running, generation(2)));
    // The order was void before it was known that the launch is dropped.
    world.command(Command::Restart(vec![B]));
    world.answer();
    world.answer();
    world.command(Command::Stop(vec![B]));
    world.command(Command::Start(vec![B]));
    world.settle();
    assert_eq!((world.phase(1), world.opened.len()), (Phase::Running, 0));
    // Whatever its policy makes of one that has ended, this one has not begun.
    for policy in [RestartPolicy::Never, RestartPolicy::OnFailure] {
        let mut spec = spec(&["a"]);
        spec.workers[0].restart.policy = policy;
        spec.workers[0].critical = true;
        let mut world = World::new(spec);
        world.drops = true;
        world.command(Command::Stop(vec![A]));
        world.command(Command::Start(vec![A]));
        world.settle();
        assert_eq!((world.phase(0), world.exited), (Phase::Running, None), "{policy:?}");
    }
    // The same at the end.
    let mut world = World::new(spec(&["a", "b", "c"]));
    world.drops = true;
    world.command(Command::Shutdown { now: false });
    world.settle();
    assert_eq!((world.exited, world.opened.len()), (Some(true), 0));
    let stopped = world.log[before..].iter().any(|effect| matches!(effect, Effect::Stop { .. }));
    assert!(!stopped, "none of them ran: {:?}", world.log);
}

#[test]
fn a_launch_that_hangs_holds_up_neither_a_stop_nor_the_end() {
    for is_forced in [false, true] {
        let mut spec = spec(&["a"]);
        spec.workers[0].readiness = Readiness::After(MS);
        spec.workers[0].stop.timeout = 5000 * MS;
        spec.shutdown_timeout = 60_000 * MS;
        let mut world = World::new(spec);
        world.questions.clear();
        world.command(Command::Stop(vec![A]));
        world.command(Command::Start(vec![A]));
        world.pass(10_000 * MS);
        assert_eq!(world.phase(0), Phase::Launching, "it is wanted again, and has its time");
        world.command(Command::Shutdown { now: is_forced });
        world.pass(if is_forced { 999 * MS } else { 4999 * MS });
        assert_eq!((world.phase(0), world.exited), (Phase::Launching, None));
        world.pass(MS);
        assert_eq!((world.phase(0), world.exited), (Phase::Idle, Some(true)));
    }
}

#[test]
fn an_incident_that_is_open_at_a_death_is_settled_by_the_successor() {
    let mut world = up(spec(&["a", "b"]));
    world.crash(0);
    assert_eq!((world.phase(0), world.closed.len()), (Phase::Backoff, 0));
    world.succeed(true, |_| true);
    world.pass(10_000 * MS);
    let incident = &world.closed[&1];
    assert_eq!(
        incident.culprit,
        Some(supervision::Incarnation { worker: A, generation: generation(1) })
    );
    assert_eq!((incident.ending, incident.lost.len()), (SEGFAULT, 1));
    assert!(
        matches!(incident.lost[0].outcome, supervision::Outcome::Recovered { .. }),
        "{incident:?}"
    );
    assert_eq!(world.closed.len(), 2, "and the death itself");
}

#[test]
fn an_incident_that_is_settled_and_not_written_at_a_death_is_closed_by_the_successor() {
    let mut world = up(spec(&["a", "b"]));
    // Three incidents of one worker, the last of which is open, and no supervisor writes them.
    for _ in 0..3 {
        world.crash(0);
        world.questions.retain(|question| !matches!(question, Effect::IncidentClosed(_)));
        if world.closed.len() < 2 {
            world.now += 10_000 * MS;
            world.tell(Event::Deadline);
            while world.phase(0) != Phase::Running {
                world.answer().expect("it comes up");
                world.questions.retain(|question| !matches!(question, Effect::IncidentClosed(_)));
            }
        }
    }
    let before = world.closed.clone();
    assert_eq!(before.keys().copied().collect::<Vec<_>>(), [1, 2]);
    world.succeed(true, |_| true);
    for (id, before) in before {
        let after = &world.closed[&id];
        assert_eq!(
            (after.culprit, after.ending, &after.lost, after.opened),
            (before.culprit, before.ending, &before.lost, before.opened)
        );
    }
    // What is on record is closed by no successor.
    world.pass(10_000 * MS);
    assert!(world.unwritten.is_empty());
    world.succeed(true, |_| true);
    assert!(world.unwritten.is_empty(), "{:?}", world.unwritten);
}

/// What died stays the same, whatever the domains of the workers whose checkpoints tell of it.
#[test]
fn what_died_is_known_to_the_successor_of_a_successor() {
    let mut world = up(spec(&["a", "b"]));
    world.succeed(true, |_| false);
    let death = world.opened.values().next_back().expect("the death").clone();
    assert!(death.supervisor_died && death.lost.len() == 2, "{death:?}");
    world.succeed(true, |_| false);
    world.pass(10_000 * MS);
    let told = &world.closed[&death.id.0];
    assert_eq!((told.supervisor_died, told.domain), (true, DomainId(0)), "{told:?}");

    // A member of another domain, which its group restarts, comes before the lost ones.
    let mut spec = spec(&["first", "b", "c"]);
    spec.workers[2].domain = spec.workers[1].domain;
    let cell = spec.workers[1].domain;
    spec.groups.push(group("g", Strategy::OneForAll, &[0, 1]));
    let mut world = up(spec);
    let members = [1, 2].map(|worker| world.present(worker));
    for member in members {
        world.end(member, SEGFAULT);
    }
    let opened: Vec<_> = world.opened.values().filter(|one| one.domain == cell).cloned().collect();
    assert!(!opened.is_empty());
    world.succeed(true, |_| true);
    world.pass(10_000 * MS);
    for before in opened {
        let after = &world.closed[&before.id.0];
        assert_eq!((after.domain, after.ending), (before.domain, before.ending), "{after:?}");
    }
}

#[test]
fn the_failures_of_a_group_are_counted_over_a_death() {
    let mut spec = spec(&["a", "b"]);
    let mut members = group("g", Strategy::OneForOne, &[0, 1]);
    members.limit = Some(Limit { restarts: 1, within: 60_000 * MS });
    spec.groups.push(members);
    let mut world = up(spec);
    world.crash(1);
    world.pass(1000 * MS);
    world.succeed(true, |_| true);
    world.crash(0);
    world.pass(1000 * MS);
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Quarantined, Phase::Quarantined));
}

#[test]
fn an_orderly_end_forgets_what_was_counted_and_a_new_run_is_no_restart() {
    let checkpoint = Checkpoint {
        phase: Phase::Quarantined,
        generation: generation(7),
        restarts: 6,
        attempt: 5,
        failures: vec![MS; 5],
        ..world::checkpoint()
    };
    let workers = vec![RecoveredWorker { worker: A, checkpoint, fate: Fate::Closed, blamed: None }];
    let mut world = World::inheriting(spec(&["a"]), Recovered { workers, ..Recovered::default() });
    world.pass(1000 * MS);
    let view = world.view(0);
    assert_eq!((view.phase, view.generation, view.restarts), (Phase::Running, generation(8), 0));
    assert_eq!((view.attempt, view.failures.len()), (0, 0));
    world.crash(0);
    world.pass(1000 * MS);
    assert_eq!(world.view(0).restarts, 1);
}

#[test]
fn launches_that_fail_in_the_same_way_are_one_incident_with_a_count() {
    let mut spec = spec(&["a"]);
    spec.workers[0].restart.limit.restarts = 100;
    let mut world = World::new(spec);
    let failure = |errno| LaunchFailure { errno, ..world::launch_failure() };
    world.refusals = vec![failure(24); 5];
    // Another errno is another failure.
    world.refusals.push(failure(2));
    world.settle();
    while world.refusals.len() > 1 {
        world.pass(MS);
    }
    assert_eq!((world.opened.len(), world.closed.len(), world.repeated), (1, 0, 4));
    world.pass(1000 * MS);
    assert_eq!(world.opened.len(), 2);
    assert_eq!(
        (world.closed[&1].count, world.closed[&1].lost[0].outcome),
        (5, Outcome::FailedAgain)
    );
    world.pass(1000 * MS);
    world.settle();
    assert_eq!(world.phase(0), Phase::Running);
    assert_eq!(world.closed[&2].count, 1);
}

#[test]
fn what_waits_for_one_that_has_failed_for_good_says_so_at_once_and_again_never() {
    let mut spec = spec(&["migrate", "api", "web"]);
    spec.workers[0].restart.policy = RestartPolicy::Never;
    spec.workers[1].depends_on = vec![depends(0, Condition::Finished)];
    spec.workers[2].depends_on = vec![depends(1, Condition::Ready)];
    let mut world = up(spec);
    world.crash(0);
    let said = |world: &World| {
        let all = world.log.iter().filter_map(|effect| match effect {
            Effect::InVain { worker, on } => Some((worker.0, on.0)),
            _ => None,
        });
        all.collect::<Vec<_>>()
    };
    assert_eq!(said(&world), [(1, 0), (2, 0)]);
    assert_eq!(world.view(2).in_vain, Some(A));
    assert_eq!(world.exited, None);
    // Tried again, and this time with success.
    world.command(Command::Start(vec![A]));
    world.settle();
    world.end(world.present(0), FINISHED);
    world.settle();
    assert_eq!((world.phase(1), world.phase(2)), (Phase::Running, Phase::Running));
    assert_eq!(world.view(2).in_vain, None);
    assert_eq!(said(&world).len(), 2);
}

#[test]
fn a_critical_worker_that_can_never_start_ends_the_supervisor() {
    let mut spec = spec(&["migrate", "api"]);
    spec.workers[0].restart.policy = RestartPolicy::Never;
    spec.workers[1].depends_on = vec![depends(0, Condition::Finished)];
    spec.workers[1].critical = true;
    let mut world = up(spec);
    world.end(world.present(0), EXIT_1);
    assert_eq!(world.exited, Some(false));
    let reason = world.log.iter().find_map(|effect| match effect {
        Effect::GivesUp(why) => Some(*why),
        _ => None,
    });
    let ending = Some(EXIT_1);
    assert_eq!(reason, Some(GivingUp::InVain { worker: B, on: A, ending }));
}

/// Who was launched without whom, in order.
fn without(world: &World) -> Vec<(u32, u32)> {
    let all = world.log.iter().filter_map(|effect| match effect {
        Effect::StartsWithout { worker, on } => Some((worker.0, on.0)),
        _ => None,
    });
    all.collect()
}

fn softly(on: u32) -> supervision::spec::Dependency {
    supervision::spec::Dependency { soft: true, ..depends(on, Condition::Ready) }
}

#[test]
fn a_soft_dependency_is_not_waited_for_where_what_it_needs_has_failed_for_good() {
    // The dependent first in the list: it is looked at before those it waits for.
    let mut spec = spec(&["soft", "mid", "bad"]);
    spec.workers[0].depends_on = vec![softly(1)];
    spec.workers[1].depends_on = vec![depends(2, Condition::Ready)];
    spec.workers[2].restart.policy = RestartPolicy::Never;
    spec.workers[2].readiness = Readiness::After(1000 * MS);
    let mut world = up(spec);
    assert_eq!((world.phase(0), without(&world)), (Phase::Idle, vec![]), "its turn may come");
    world.crash(2);
    world.settle();
    assert_eq!((world.phase(2), world.phase(1)), (Phase::Finished, Phase::Idle));
    assert_eq!(world.phase(0), Phase::Running);
    assert_eq!(without(&world), [(0, 1)]);
    assert_eq!(world.view(0).without, [B]);
    assert_eq!(world.view(0).in_vain, None);
    // Again, and it is not told again.
    world.crash(0);
    world.pass(100 * MS);
    world.settle();
    assert_eq!((world.phase(0), without(&world).len()), (Phase::Running, 1));
}

#[test]
fn a_soft_dependency_is_not_waited_for_where_what_it_needs_was_not_asked_to_start() {
    let mut spec = spec(&["soft", "mid", "further", "off"]);
    spec.workers[0].depends_on = vec![softly(1)];
    spec.workers[1].depends_on = vec![depends(2, Condition::Started)];
    spec.workers[2].depends_on = vec![depends(3, Condition::Ready)];
    spec.workers[3].autostart = false;
    let mut world = up(spec);
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Running, Phase::Idle));
    assert_eq!(without(&world), [(0, 1)]);
    // It orders again as soon as its turn can come.
    world.command(Command::Stop(vec![A]));
    world.settle();
    let from = world.log.len();
    world.command(Command::Start(vec![WorkerId(3), A]));
    world.settle();
    assert_eq!(launches(&world, from), [3, 2, 1, 0]);
    assert_eq!((world.view(0).without, without(&world).len()), (vec![], 1));
}

#[test]
fn an_order_to_start_starts_what_is_needed_and_no_soft_dependency() {
    let mut spec = spec(&["soft", "started", "ready", "finished", "needed"]);
    for worker in &mut spec.workers {
        worker.autostart = false;
    }
    let conditions = [Condition::Started, Condition::Ready, Condition::Finished];
    spec.workers[0].depends_on = (1..)
        .zip(conditions)
        .map(|(on, condition)| supervision::spec::Dependency { condition, ..softly(on) })
        .chain([depends(4, Condition::Ready)])
        .collect();
    let mut world = up(spec);
    for command in [Command::Start(vec![A]), Command::Restart(vec![A])] {
        let from = world.log.len();
        world.command(command);
        world.settle();
        world.pass(100 * MS);
        world.settle();
        assert_eq!(world.phase(0), Phase::Running);
        let without: Vec<WorkerId> = (1..4).map(WorkerId).collect();
        assert_eq!(world.view(0).without, without);
        let launched = launches(&world, from);
        assert!(launched.iter().all(|worker| [0, 4].contains(worker)), "{launched:?}");
    }
}

#[test]
fn a_soft_dependency_waits_for_no_group_and_no_probe_without_end() {
    let mut spec = spec(&["first", "second", "soft"]);
    spec.groups = vec![group("g", Strategy::RestForOne, &[0, 1])];
    spec.workers[0].restart.backoff.initial = 5000 * MS;
    spec.workers[2].depends_on = vec![softly(1)];
    let mut world = up(spec.clone());
    world.command(Command::Stop(vec![WorkerId(2)]));
    world.settle();
    world.crash(0);
    world.settle();
    assert_eq!((world.phase(0), world.phase(1)), (Phase::Backoff, Phase::Idle));
    world.command(Command::Restart(vec![WorkerId(2)]));
    world.settle();
    assert_eq!(world.phase(2), Phase::Running, "{:?}", world.view(2));

    let mut world = up(spec);
    let incarnation = world.present(1);
    world.tell(Event::Readiness { incarnation, ready: false });
    world.command(Command::Restart(vec![WorkerId(2)]));
    world.settle();
    assert_eq!((world.phase(1), world.phase(2)), (Phase::Running, Phase::Running));
    assert_eq!(world.view(2).without, [B]);
}
