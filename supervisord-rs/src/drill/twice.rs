//! Whether a worker of a trial runs twice, in the table of processes: whatever the supervisor says.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::bed::DIRECTORY;
use crate::process_table::{parent, pids, start_time, stat, variable};

/// The name of a worker in the environment of its process, as supervisord has it.
const NAME: &str = "SUPERVISOR_PROCESS_NAME";

/// Each worker with two main processes at one time, with both.
pub(super) fn running_twice(directory: &Path) -> Vec<(String, [i32; 2])> {
    let mut found: BTreeMap<Vec<u8>, Vec<(i32, Option<u64>)>> = BTreeMap::new();
    for pid in pids() {
        if let Some(name) = main_process_of(pid, directory) {
            found.entry(name).or_default().push((pid, start_time(pid)));
        }
    }
    let mut twice = Vec::new();
    for (name, processes) in found {
        let [(first, born), .., (second, _)] = processes.as_slice() else { continue };
        // The first may have ended before the second was looked at: it is looked at once more.
        let is_there = stat(*first).is_some_and(|stat| !stat.is_dead());
        if is_there && start_time(*first) == *born {
            twice.push((String::from_utf8_lossy(&name).into_owned(), [*first, *second]));
        }
    }
    twice
}

/// The worker whose main process this is. Main processes lead sessions; those that a worker has
/// started bear its name too, and are children of one that does.
fn main_process_of(pid: i32, directory: &Path) -> Option<Vec<u8>> {
    let stat = stat(pid).filter(|stat| !stat.is_dead() && stat.session == pid)?;
    let name = variable(pid, NAME)?;
    let is_here = variable(pid, DIRECTORY)? == directory.as_os_str().as_bytes();
    let is_child = variable(stat.parent, NAME).as_ref() == Some(&name);
    (is_here && !is_child && parent(pid) == stat.parent).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use super::*;
    use crate::waiting::until;

    /// A process that leads a session, as the main process of a worker does.
    fn begin(name: &str, directory: &Path) -> Child {
        let mut command = Command::new("setsid");
        // It leads no group, so that setsid(1) need not fork.
        command.args(["sleep", "1000"]).env(NAME, name).env(DIRECTORY, directory);
        command.stdin(Stdio::null()).spawn().expect("it runs")
    }

    #[test]
    fn two_main_processes_of_one_name_are_found_and_two_names_are_not() {
        let here = tempfile::tempdir().expect("a directory");
        let elsewhere = tempfile::tempdir().expect("a directory");
        let names = |found: Vec<(String, [i32; 2])>| -> Vec<String> {
            found.into_iter().map(|(name, _)| name).collect()
        };
        let mut children =
            vec![begin("a", here.path()), begin("b", here.path()), begin("a", elsewhere.path())];
        let count = |wanted: usize| {
            let mains =
                || pids().into_iter().filter(|pid| main_process_of(*pid, here.path()).is_some());
            until(Duration::from_secs(30), Duration::from_millis(5), || {
                (mains().count() == wanted).then_some(())
            })
            .expect("they lead sessions");
        };
        count(2);
        assert_eq!(names(running_twice(here.path())), [""; 0]);
        children.push(begin("a", here.path()));
        count(3);
        assert_eq!(names(running_twice(here.path())), ["a"]);
        for child in &mut children {
            child.kill().expect("our child");
            child.wait().expect("our child");
        }
    }
}
