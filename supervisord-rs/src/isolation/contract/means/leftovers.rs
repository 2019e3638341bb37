//! What helpers that are over have left behind: a probe or a stop command ends with its process
//! group, and what it has started in another one is found by its mark. Its orphans come to us, the
//! orphans of those when they die, and so on.

use supervision::DomainId;

use super::Means;
use crate::isolation::exits::wait;
use crate::isolation::helper::{self, numbers};
use crate::isolation::tree::marks::Mark;
use crate::isolation::tree::relative::Relative;
use crate::isolation::tree::snapshot::Marks;
use crate::process_table;

impl Means {
    /// Ends it. Looks at our children, and only where a helper has ended since the last time, or
    /// something was found then.
    pub(in crate::isolation) fn end_leftovers(&self) {
        helper::forget_dead();
        if !numbers::take_news() {
            return;
        }
        let orphans = wait::undisturbed(process_table::listed_orphans);
        let orphans = orphans.unwrap_or_else(process_table::children);
        if orphans.is_empty() {
            return;
        }
        let mark = |domain: DomainId| Mark::new(&self.instance_id, &self.domain_name(domain));
        let trees: Vec<Mark> = self.registry.domain_ids().map(mark).collect();
        for pid in orphans {
            let Some(stat) = process_table::stat(pid).filter(|stat| !stat.is_dead()) else {
                continue;
            };
            let marks = Marks::of_limits(pid);
            if trees.iter().any(|tree| marks.are_of_helper(tree, numbers::is_over)) {
                Relative::new(pid, stat.start_time).signal(&[libc::SIGKILL]);
                // Its own children come to us when it dies.
                numbers::look();
            }
        }
    }
}
