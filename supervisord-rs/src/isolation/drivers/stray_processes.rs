//! Processes that threads of the supervisor or of a cell have started and that have outlived what
//! started them: their parent, as daemons do, or a thread that the SDK does not know. The kernel
//! gives them to the first thread of their process, or to the supervisor, and nothing says any more
//! whose they were. Of which process they are their mark or their cgroup tells. They end with their
//! fault domain; until then they are shown.

use std::collections::HashSet;

use super::Drivers;
use crate::isolation::domain::Domain;
use crate::isolation::exits::wait;
use crate::isolation::tree::snapshot::Marks;
use crate::process_table;

impl Drivers {
    /// Each in words: number, name, and the cell where it is one's.
    #[must_use]
    pub fn stray_processes(&self) -> Vec<String> {
        let registry = &self.means.registry;
        let has_threads = self.means.own_process.is_some();
        let cells = || registry.domains().filter(|domain| domain.capabilities.is_shared());
        if !has_threads && cells().next().is_none() {
            return Vec::new();
        }
        let own = process_table::cgroups(nix::unistd::getpid().as_raw());
        let mut strays = Vec::new();
        for pid in self.unclaimed() {
            let (marks, cgroups) = (Marks::of_limits(pid), process_table::cgroups(pid));
            let is_of = |cell: &&Domain| {
                cell.process_tree.as_ref().is_some_and(|tree| marks.bear(tree.mark()))
                    || cell.resident.as_ref().is_some_and(|resident| {
                        let host = resident.process.child().pid;
                        cgroups != own && cgroups == process_table::cgroups(host)
                    })
            };
            if let Some(cell) = cells().find(is_of) {
                strays.extend(in_words(pid, Some(&cell.name)));
            } else if has_threads && marks == Marks::default() && cgroups == own {
                strays.extend(in_words(pid, None));
            }
        }
        for cell in cells() {
            let Some(resident) = &cell.resident else { continue };
            let host = resident.process.child().pid;
            let left = process_table::listed_orphans_of(host).unwrap_or_default();
            strays.extend(left.into_iter().filter_map(|pid| in_words(pid, Some(&cell.name))));
        }
        strays
    }

    /// Children of our first thread that are no main process of a worker.
    fn unclaimed(&self) -> Vec<i32> {
        let registry = &self.means.registry;
        let listed = wait::undisturbed(process_table::listed_orphans).unwrap_or_default();
        if listed.is_empty() {
            return listed;
        }
        let residents = registry.domains().filter_map(|domain| domain.resident.as_ref());
        let mains: HashSet<i32> = residents.map(|resident| resident.process.child().pid).collect();
        let is_being_born = |pid: i32| {
            let mut expected = registry.domains().filter_map(|domain| domain.expected.as_ref());
            expected.any(|expected| expected.attempt.is_child(pid))
        };
        let is_unclaimed = |pid: &i32| !mains.contains(pid) && !is_being_born(*pid);
        listed.into_iter().filter(is_unclaimed).collect()
    }
}

/// `None`: it has exited.
fn in_words(pid: i32, cell: Option<&str>) -> Option<String> {
    let stat = process_table::stat(pid).filter(|stat| !stat.is_dead())?;
    let of_cell = cell.map_or_else(String::new, |cell| format!(", cell {cell}"));
    Some(format!("{pid} ({}{of_cell})", stat.name_lossy()))
}
