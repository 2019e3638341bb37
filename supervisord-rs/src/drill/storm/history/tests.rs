//! What histories break.

use super::*;
use crate::config::scenario::storm::{Blow, Whom};

const WITHIN: Duration = Duration::from_secs(5);

fn worker(name: &str, generation: u64) -> Seen {
    Seen {
        name: name.to_owned(),
        phase: "running".to_owned(),
        generation,
        pid: Some(100 + i32::try_from(generation).expect("small")),
        progress: Some(1),
        is_up: true,
    }
}

fn down(name: &str, generation: u64, phase: &str) -> Seen {
    Seen { phase: phase.to_owned(), pid: None, is_up: false, ..worker(name, generation) }
}

fn sight(ms: u64, supervisor: i32, workers: &[Seen]) -> Sight {
    Sight { at: Duration::from_millis(ms), supervisor, workers: workers.to_vec() }
}

fn strike(ms: u64, blow: Blow, reach: &[&str]) -> Strike {
    let takes_supervisor = matches!(blow, Blow::Kill(_));
    Strike {
        blow,
        at: Duration::from_millis(ms),
        from: Some(1),
        to: None,
        known: 0,
        reach: reach.iter().map(|&name| name.to_owned()).collect(),
        takes_supervisor,
        is_silent: false,
        may_end_well: false,
        is_sure: true,
    }
}

fn fault(ms: u64, worker: &str, reach: &[&str]) -> Strike {
    let blow = Blow::Fault { worker: worker.to_owned(), fault: "segfault".to_owned() };
    strike(ms, blow, reach)
}

fn history() -> History {
    let policy = Policy { comes_back: true, restarts: 1, with: BTreeSet::new() };
    let policies = ["a", "b"].map(|name| (name.to_owned(), policy.clone())).into();
    History::new(sight(0, 9, &[worker("a", 1), worker("b", 1)]), policies, WITHIN)
}

fn broken(history: &History) -> Vec<Invariant> {
    history.broken().map(|(invariant, _)| invariant).collect()
}

#[test]
fn who_is_within_the_radius_is_lost_as_often_as_it_is_reached_and_no_other_ever() {
    let mut history = history();
    history.strike(fault(10, "a", &["a"]));
    history.see(sight(20, 9, &[down("a", 1, "backoff"), worker("b", 1)]));
    history.see(sight(30, 9, &[worker("a", 2), worker("b", 1)]));
    assert_eq!(broken(&history), []);
    assert_eq!(history.strikes[0].to, Some(1));
    history.see(sight(40, 9, &[worker("a", 2), worker("b", 2)]));
    assert_eq!(broken(&history), [Invariant::Radius], "b");
    history.see(sight(50, 9, &[worker("a", 3), worker("b", 2)]));
    assert_eq!(broken(&history), [Invariant::Radius; 2], "a, once more than it was struck");
}

#[test]
fn one_that_is_down_and_was_never_reached_is_lost() {
    let mut history = history();
    history.see(sight(20, 9, &[worker("a", 1), down("b", 1, "quarantined")]));
    assert_eq!(broken(&history), [Invariant::Radius]);
}

#[test]
fn everyone_is_back_in_time_counted_from_the_last_blow_that_reached_it() {
    let mut history = history();
    history.strike(fault(0, "a", &["a"]));
    let gone = |ms| sight(ms, 9, &[down("a", 1, "backoff"), worker("b", 1)]);
    history.see(gone(10));
    history.strike(fault(4000, "b", &["a", "b"]));
    history.see(gone(8000));
    assert_eq!((broken(&history).len(), history.still_down()), (0, vec!["a"]));
    history.see(gone(9100));
    assert_eq!(broken(&history), [Invariant::Back]);
}

#[test]
fn a_quarantine_is_right_once_the_limit_is_used_up_and_not_before() {
    let mut history = history();
    history.strike(fault(0, "a", &["a"]));
    let quarantined = |ms| sight(ms, 9, &[down("a", 1, "quarantined"), worker("b", 1)]);
    history.see(quarantined(10));
    assert_eq!(history.still_down(), ["a"]);
    history.strike(fault(20, "a", &["a"]));
    history.see(quarantined(9000));
    assert_eq!((broken(&history).len(), history.still_down().len()), (0, 0));
}

#[test]
fn generations_go_forward_and_have_one_process_each() {
    let mut history = history();
    history.strike(fault(0, "a", &["a", "b"]));
    history.see(sight(10, 9, &[worker("a", 2), worker("b", 1)]));
    history.see(sight(20, 9, &[worker("a", 1), worker("b", 1)]));
    assert_eq!(broken(&history), [Invariant::Generation]);
    let other = Seen { pid: Some(7), ..worker("b", 1) };
    history.see(sight(30, 9, &[worker("a", 1), other]));
    assert_eq!(broken(&history), [Invariant::Generation; 2]);
}

#[test]
fn the_supervisor_dies_of_what_takes_it_alone_and_another_one_is_there_in_time() {
    let both = [worker("a", 1), worker("b", 1)];
    let mut history = history();
    history.strike(strike(0, Blow::Kill(Whom::Supervisor), &[]));
    history.see_none(Duration::from_millis(4000));
    history.see(sight(4100, 10, &both));
    assert_eq!((broken(&history).len(), history.deaths), (0, 1));
    history.see(sight(4200, 11, &both));
    assert_eq!(broken(&history), [Invariant::Supervisor]);
    let mut silent = self::history();
    silent.see_none(Duration::from_millis(5100));
    assert_eq!(broken(&silent), [Invariant::Supervisor]);
}

#[test]
fn who_is_on_its_way_when_the_supervisor_dies_may_begin_once_more() {
    let mut history = history();
    history.strike(fault(10, "a", &["a"]));
    history.see(sight(20, 9, &[down("a", 2, "launching"), worker("b", 1)]));
    history.strike(strike(25, Blow::Kill(Whom::Supervisor), &[]));
    history.see(sight(40, 10, &[worker("a", 3), worker("b", 1)]));
    assert_eq!(broken(&history), []);
    history.see(sight(50, 10, &[worker("a", 3), worker("b", 2)]));
    assert_eq!(broken(&history), [Invariant::Radius]);
    // With one that is struck and does not answer, its cell is not taken over.
    let mut cell = self::history();
    cell.policies.get_mut("a").expect("there").with.insert("b".to_owned());
    cell.strike(fault(10, "a", &["a"]));
    cell.strike(strike(25, Blow::Kill(Whom::Supervisor), &[]));
    cell.see(sight(40, 10, &[worker("a", 2), worker("b", 2)]));
    assert_eq!(broken(&cell), []);
}

#[test]
fn who_worked_and_stands_still_is_found() {
    let mut history = history();
    let earlier = history.last().clone();
    let moved = Seen { progress: Some(2), ..worker("a", 1) };
    history.see(sight(10, 9, &[moved, worker("b", 1)]));
    let moving = ["a", "b"].map(str::to_owned).into();
    assert_eq!(history.stalled(&moving, &earlier), ["b"]);
}
