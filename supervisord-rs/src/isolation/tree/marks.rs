//! What tells the process trees of this supervisor from all others, and one from another.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The variable that marks a process tree: `HASH-OF-THE-RUNTIME-DIRECTORY:DOMAIN`, the same for one
/// supervisor after the other.
pub(in crate::isolation) const MARK: &str = "SUPERVISORD_RS_FAMILY";

/// What tells the process trees of this supervisor and its successors from those of any other: a
/// number for the runtime directory, which only one can have at a time (FNV-1a, the same in every
/// release).
pub(in crate::isolation) fn instance_id_of(runtime_dir: &Path) -> String {
    format!("{:016x}", hash(runtime_dir.as_os_str().as_bytes()))
}

fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The mark of a process tree: a variable, and a resource limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::isolation) struct Mark {
    pub(in crate::isolation) variable: String,
    pub(in crate::isolation) limit: u64,
}

impl Mark {
    /// Of the process tree of a domain.
    pub(in crate::isolation) fn new(instance_id: &str, domain: &str) -> Self {
        let variable = format!("{instance_id}:{domain}");
        let limit = LIMIT_MARK | (hash(variable.as_bytes()) & (LIMIT_MARK - 1));
        Self { variable, limit }
    }

    /// Of a small process beside it, a probe or a stop command: what that leaves behind
    /// bears this.
    pub(in crate::isolation) fn of_helper(&self, number: u32) -> Self {
        let variable = format!("{}{HELPER}{number}", self.variable);
        Self { variable, limit: self.limit & !HELPERS | u64::from(number) & HELPERS }
    }

    /// The number of the helper of this process tree that has this limit. `None`: it is none's.
    pub(in crate::isolation) fn helper(&self, limit: u64) -> Option<u32> {
        let number = || u32::try_from(limit & HELPERS).ok();
        (limit != self.limit && self.has_limit(limit)).then(number).flatten()
    }

    /// Whether what has this limit is of this process tree, or of a helper of it.
    pub(super) fn has_limit(&self, limit: u64) -> bool {
        limit & !HELPERS == self.limit & !HELPERS
    }

    /// The same by its variable.
    pub(super) fn has_variable(&self, variable: &[u8]) -> bool {
        variable
            .strip_prefix(self.variable.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(HELPER.as_bytes()))
    }
}

/// Between the mark of a process tree and the number of a helper of it. No name has a slash. The
/// sweep of a successor takes what bears it for a stray: the helper ended with its supervisor.
const HELPER: &str = "/helper-";
/// The bits of a limit that tell helpers from each other, and from the worker.
const HELPERS: u64 = HELPER_MAX as u64;
/// The highest number of a helper.
pub(in crate::isolation) const HELPER_MAX: u32 = (1 << 24) - 1;

/// The least limit of real-time processor time that is a mark: 146 thousand years, which limits
/// no process.
pub(in crate::isolation) const LIMIT_MARK: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_helper_starts_is_of_the_process_tree_and_told_from_the_worker() {
        let (tree, other) = (Mark::new("id", "worker-a"), Mark::new("id", "worker-ab"));
        let helper = tree.of_helper(7);
        assert!(tree.has_limit(helper.limit) && tree.has_variable(helper.variable.as_bytes()));
        assert_eq!((tree.helper(helper.limit), tree.helper(tree.limit)), (Some(7), None));
        assert_eq!(other.helper(helper.limit), None);
        assert!(!tree.has_variable(other.variable.as_bytes()));
        assert!(!helper.has_variable(tree.variable.as_bytes()));
    }
}
