//! Which workers a name in a request or on the command line means.

use super::WorkerStatus;

/// What a worker can be named by.
pub(crate) trait Named {
    /// Its own name, the one that its instances share, and its group.
    fn names(&self) -> [&str; 3];
}

impl Named for WorkerStatus {
    fn names(&self) -> [&str; 3] {
        [&self.name, &self.base, &self.group]
    }
}

/// Its own name, the one that instances share, its group as `GROUP:`, or `all`.
pub(crate) fn is_meant(worker: &impl Named, asked: &str) -> bool {
    let [name, base, group] = worker.names();
    asked == "all"
        || name == asked
        || base == asked
        || asked.strip_suffix(':').is_some_and(|asked| group == asked || base == asked)
}
