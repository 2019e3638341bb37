//! What a predecessor started and no supervisor has taken over: found by the mark in its
//! environment, and ended. Also a process that was just being born when the predecessor died, and
//! is still the image of it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::environs::{self, Answer};
use super::family::MARK;
use super::reaper;
use crate::process_table;
use crate::service_manager;
use crate::waiting::Limit;

/// Between two looks at those that are dying.
const PAUSE: Duration = Duration::from_millis(1);
/// For a process to let its environment be read.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same once one has not: a busy machine has had its time by then.
const LITTLE_PATIENCE: Duration = Duration::from_millis(250);
/// For one that our predecessors can hardly have started: time for the reader to get a processor.
const NO_PATIENCE: Duration = Duration::from_millis(100);
/// How far up a family is climbed.
const GENERATIONS: usize = 1024;

/// Kills everyone who bears a mark of this house that is not among the `adopted`, and waits for it.
/// Who does not die within `limit` is given back.
pub(super) fn end_strays(house: &str, adopted: &[String], limit: Duration) -> Vec<i32> {
    let mut limit = Limit::new(limit);
    let (mut killed, mut held) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let strays = limit.look(|| strays(house, adopted, &mut held));
        if strays.is_empty() || limit.is_over() {
            return strays;
        }
        for &pid in &strays {
            // The handle first, and then once more whether the number means the same.
            if let Ok(pidfd) = reaper::open(pid)
                && is_stray(pid, house, adopted, &mut held)
            {
                let _ = reaper::signal_by(&pidfd, libc::SIGKILL);
                if killed.insert(pid) {
                    tracing::info!(
                        pid,
                        "ended a process of the predecessor that could not be adopted"
                    );
                }
            }
        }
        limit.sleep(PAUSE);
    }
}

/// `held`: those that do not let their environment be read. They cannot be told from others'
/// processes, and are asked once.
fn strays(house: &str, adopted: &[String], held: &mut BTreeSet<i32>) -> Vec<i32> {
    let pids = process_table::pids().into_iter();
    let asked = pids.filter(|pid| can_be_stray(*pid) && !held.contains(pid)).collect();
    let limit = |pid, held_now| patience(pid, held.is_empty() && held_now == 0);
    let marks = environs::variables(asked, MARK, limit).into_iter();
    let strays = marks.filter_map(|(pid, mark)| {
        bears_mark_of_stray(pid, mark, house, adopted, held).then_some(pid)
    });
    strays.collect()
}

fn can_be_stray(pid: i32) -> bool {
    i64::from(pid) != i64::from(std::process::id()) && process_table::is_alive(pid)
}

fn is_stray(pid: i32, house: &str, adopted: &[String], held: &mut BTreeSet<i32>) -> bool {
    let mark = || environs::variable(pid, MARK, patience(pid, held.is_empty()));
    can_be_stray(pid) && !held.contains(&pid) && {
        let mark = mark();
        bears_mark_of_stray(pid, mark, house, adopted, held)
    }
}

fn bears_mark_of_stray(
    pid: i32,
    mark: Answer,
    house: &str,
    adopted: &[String],
    held: &mut BTreeSet<i32>,
) -> bool {
    let Ok(mark) = mark else {
        if held.insert(pid) {
            tracing::warn!(
                pid,
                "it does not let its environment be read: if the predecessor started it, it goes on"
            );
        }
        return false;
    };
    let mark = mark.as_deref().and_then(|mark| std::str::from_utf8(mark).ok());
    match mark {
        Some(mark) => {
            let is_of_house = mark.strip_prefix(house).is_some_and(|rest| rest.starts_with(':'));
            is_of_house && !adopted.iter().any(|known| known == mark)
        }
        None => is_unfinished(pid),
    }
}

/// How long a process may hold up the start. Whatever the predecessor under a guardian started
/// descends from the guardian, which inherits orphans (prctl(2), `PR_SET_CHILD_SUBREAPER`), and a
/// first start under it has ended what earlier runs had left.
fn patience(pid: i32, is_first: bool) -> Duration {
    let guardian = service_manager::living_guardian_pid();
    let guardian = guardian.filter(|_| service_manager::has_predecessor());
    match guardian {
        Some(guardian) if !descends(pid, guardian) => NO_PATIENCE,
        _ if is_first => PATIENCE,
        _ => LITTLE_PATIENCE,
    }
}

fn descends(pid: i32, ancestor: i32) -> bool {
    std::iter::successors(Some(pid), |&pid| {
        Some(process_table::parent(pid)).filter(|&parent| parent > 0)
    })
    .take(GENERATIONS)
    .any(|pid| pid == ancestor)
}

/// Whether it has our guardian for a parent and the memory of a supervisor of it: between clone and
/// exec a child is an image of its parent, and the parent is dead.
fn is_unfinished(pid: i32) -> bool {
    let Some(guardian) = service_manager::living_guardian_pid() else { return false };
    let is_child = process_table::parent(pid) == guardian;
    let named = || environs::variable(pid, service_manager::GUARDIAN, PATIENCE).ok().flatten();
    is_child
        && service_manager::hand_over_from() != Some(pid)
        && named().is_some_and(|named| named == guardian.to_string().as_bytes())
}
