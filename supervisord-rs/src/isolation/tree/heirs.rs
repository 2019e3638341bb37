//! Who inherits orphans, and which of them are of this supervisor.

use crate::process_table;
use crate::service_manager;

/// Who inherits the orphans of workers: we, our guardian, or who is above us where there is none.
pub(super) fn heirs() -> Vec<i32> {
    let own = nix::unistd::getpid().as_raw();
    match service_manager::living_guardian_pid() {
        Some(guardian) => vec![own, guardian],
        None => vec![own, nix::unistd::getppid().as_raw(), 1],
    }
}

/// Whether an orphan with a mark has surely come from us: it is our child or our guardian's, which
/// no process becomes that does not descend from us (prctl(2), `PR_SET_CHILD_SUBREAPER`). Where
/// others leave their orphans too it has to be of the process tree's own user at least.
pub(super) fn is_of_ours(pid: i32, parent: i32, user: Option<u32>) -> bool {
    let is_sure = parent == nix::unistd::getpid().as_raw()
        || service_manager::living_guardian_pid() == Some(parent);
    is_sure || (user.is_some() && process_table::user(pid) == user)
}
