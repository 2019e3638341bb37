//! What a predecessor started and no supervisor has taken over: found by the mark in its
//! environment, and ended. Also a process that was just being born when the predecessor died, and
//! is still the image of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::environs::{self, Answer};
use super::marks::MARK;
use crate::isolation::exits::reaper;
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
/// How far up a process tree is climbed.
const GENERATIONS: usize = 1024;

/// What a sweep has found.
pub(in crate::isolation) struct Swept {
    /// Processes that did not die within the limit.
    pub(in crate::isolation) left: Vec<i32>,
    /// The process trees of all that were found.
    pub(in crate::isolation) process_trees: BTreeSet<String>,
}

/// Kills everyone who bears a mark of this instance that is not among the `adopted`, and waits for
/// it.
pub(in crate::isolation) fn end_strays(
    instance_id: &str,
    adopted: &[String],
    limit: Duration,
) -> Swept {
    if !process_table::is_own() {
        tracing::warn!(
            "/proc is of another PID namespace: what a killed supervisor has left is not found, and \
             goes on, as what workers start and leave does; mount the own one (unshare --mount-proc)"
        );
        return Swept { left: Vec::new(), process_trees: BTreeSet::new() };
    }
    let mut limit = Limit::new(limit);
    let mut sweep = Sweep {
        instance_id,
        adopted,
        held: BTreeMap::new(),
        killed: BTreeSet::new(),
        process_trees: BTreeSet::new(),
    };
    let left = loop {
        let strays = limit.look(|| sweep.strays());
        if strays.is_empty() || limit.is_over() {
            break strays;
        }
        strays.iter().for_each(|pid| sweep.end(*pid));
        limit.sleep(PAUSE);
    };
    sweep.look_again();
    Swept { left, process_trees: sweep.process_trees }
}

struct Sweep<'a> {
    instance_id: &'a str,
    adopted: &'a [String],
    /// Those that do not let their environment be read, by the time of their birth. They cannot be
    /// told from others' processes, and are asked once more at the end.
    held: BTreeMap<i32, Option<u64>>,
    killed: BTreeSet<i32>,
    process_trees: BTreeSet<String>,
}

impl Sweep<'_> {
    fn strays(&mut self) -> Vec<i32> {
        let mut asked = process_table::pids();
        asked.retain(|pid| self.is_to_be_asked(*pid));
        let none_held = self.held.is_empty();
        let limit = |pid, held_now| patience(pid, none_held && held_now == 0);
        let marks = environs::variables(asked, MARK, limit).into_iter();
        marks.filter_map(|(pid, mark)| self.is_mark_of_stray(pid, mark).then_some(pid)).collect()
    }

    fn is_to_be_asked(&self, pid: i32) -> bool {
        i64::from(pid) != i64::from(std::process::id())
            && process_table::is_alive(pid)
            && !self.held.contains_key(&pid)
    }

    fn is_stray(&mut self, pid: i32) -> bool {
        self.is_to_be_asked(pid) && {
            let mark = environs::variable(pid, MARK, patience(pid, self.held.is_empty()));
            self.is_mark_of_stray(pid, mark)
        }
    }

    fn is_mark_of_stray(&mut self, pid: i32, mark: Answer) -> bool {
        let Ok(mark) = mark else {
            self.held.insert(pid, process_table::start_time(pid));
            return false;
        };
        let mark = mark.as_deref().and_then(|mark| std::str::from_utf8(mark).ok());
        let Some(mark) = mark else { return is_unfinished(pid) };
        let of_instance =
            mark.strip_prefix(self.instance_id).and_then(|rest| rest.strip_prefix(':'));
        let Some(process_tree) =
            of_instance.filter(|_| !self.adopted.iter().any(|known| known == mark))
        else {
            return false;
        };
        self.process_trees.insert(process_tree.to_owned());
        true
    }

    /// The handle first, and then once more whether the number means the same.
    fn end(&mut self, pid: i32) {
        if let Ok(pidfd) = reaper::open(pid)
            && self.is_stray(pid)
        {
            let _ = reaper::signal_by(&pidfd, libc::SIGKILL);
            if self.killed.insert(pid) {
                tracing::info!(pid, "ended a process of the predecessor that could not be adopted");
            }
        }
    }

    /// Those that had not answered: most were just ending, or the machine was busy. Of those that
    /// go on, the ones that may be the predecessor's are named.
    fn look_again(&mut self) {
        for (pid, start_time) in std::mem::take(&mut self.held) {
            if !may_be_ours(pid, start_time) {
                continue;
            }
            if environs::variable(pid, MARK, LITTLE_PATIENCE).is_ok() {
                self.end(pid);
            } else if may_be_ours(pid, start_time) {
                tracing::warn!(
                    pid,
                    "it does not let its environment be read: if the predecessor started it, it \
                     goes on"
                );
            }
        }
    }
}

/// Whether a process can be one that a predecessor started: it has not ended, and it descends from
/// our guardian, which inherits orphans, or, where no predecessor had a guardian that lives, it has
/// our user.
fn may_be_ours(pid: i32, start_time: Option<u64>) -> bool {
    if !process_table::is_alive(pid) || process_table::start_time(pid) != start_time {
        return false;
    }
    match guardian_of_predecessor() {
        Some(guardian) => descends(pid, guardian),
        None => process_table::user(pid) == Some(nix::unistd::getuid().as_raw()),
    }
}

/// Our guardian, where it was the predecessor's.
fn guardian_of_predecessor() -> Option<i32> {
    service_manager::living_guardian_pid().filter(|_| service_manager::has_predecessor())
}

/// How long a process may hold up the start. Whatever the predecessor under a guardian started
/// descends from the guardian, which inherits orphans (prctl(2), `PR_SET_CHILD_SUBREAPER`), and a
/// first start under it has ended what earlier runs had left.
fn patience(pid: i32, is_first: bool) -> Duration {
    match guardian_of_predecessor() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_has_ended_or_is_another_by_now_is_not_named() {
        let mut child = std::process::Command::new("sleep").arg("1d").spawn().expect("sleep");
        let pid = i32::try_from(child.id()).expect("a number");
        let born = process_table::start_time(pid);
        assert!(may_be_ours(pid, born));
        assert!(!may_be_ours(pid, born.map(|born| born + 1)), "the number has a new owner");
        child.kill().expect("killed");
        let has_ended = || (!process_table::is_alive(pid)).then_some(());
        crate::waiting::until(Duration::from_secs(60), PAUSE, has_ended).expect("it ends");
        assert!(!may_be_ours(pid, born), "it has ended, and was not waited for yet");
        child.wait().expect("waited for");
        assert!(!may_be_ours(pid, born));
    }

    #[test]
    fn one_of_another_user_is_not_named() {
        let other = process_table::pids().into_iter().find(|pid| {
            process_table::is_alive(*pid)
                && process_table::user(*pid)
                    .is_some_and(|user| user != nix::unistd::getuid().as_raw())
        });
        // Where every process is ours, none can be mistaken.
        if let Some(other) = other {
            assert!(!may_be_ours(other, process_table::start_time(other)));
        }
    }
}
