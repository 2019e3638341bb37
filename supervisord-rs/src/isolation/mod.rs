//! Isolation drivers: they launch, signal and reap, and know no policy.
//!
//! The daemon gives them effects and takes events from them; they never call back. One epoll set
//! watches every process and board, so that a worker costs the supervisor no task, no thread and no
//! timer.
//!
//! | file | concept |
//! |---|---|
//! | `drivers` | what the daemon has of isolation: effects in, events out |
//! | `contract` | a driver, and the means that it is lent for a call |
//! | `registry`, `domain` | who lives where: the slots of workers, and fault domains |
//! | `before` | the command that runs before a launch, as the loop has it |
//! | `child` | a process that we have created, or taken over |
//! | `live` | one incarnation, while it lives |
//! | `thread`, `cell`, `process` | the drivers: a thread of the supervisor, of a child that workers share, a child of one worker |
//! | `resources` | what a worker is handed that is its own, and stays for all its incarnations |
//! | `host` | SDK code in a child: a cell, or a worker's own process |
//! | `execution` | who a process is and what surrounds it, looked up before it exists |
//! | `passed` | secrets that came as descriptors |
//! | `outfit` | what a process is launched with, as a launcher thread takes it |
//! | `launcher` | the threads that launch, so that what a launch may wait for does not hold the loop |
//! | `launch` | from a plan to a running process, or to (stage, errno) |
//! | `tree` | a process and all that it started: found, signalled, killed, proved to be gone |
//! | `exits` | the only readers of wait statuses; how a process ended |
//! | `shares` | what workers share: made, handed over, kept |
//! | `sockets`, `notify` | listening sockets that are passed on; what workers say with sd_notify(3) |
//! | `helper` | small processes of our own: probes, stop commands, hooks |
//! | `peer` | who is at the other end of a Unix socket |
//! | `datagram`, `closer` | what anybody may send, descriptors too; closing it, which may wait |
//! | `wake` | what wakes SDK code for an order |
//! | `watch` | the one epoll set |
//! | `own_process` | this process, which thread workers may change, and what is kept of it |

mod before;
mod cell;
pub mod child;
pub(crate) mod closer;
pub mod contract;
pub(crate) mod datagram;
mod domain;
pub mod drivers;
pub mod execution;
pub mod exits;
pub mod helper;
mod host;
pub mod launch;
mod launcher;
mod live;
mod notify;
mod outfit;
mod own_process;
pub mod passed;
pub mod peer;
mod process;
mod registry;
pub mod resources;
mod shares;
mod sockets;
mod thread;
pub mod tree;
mod wake;
mod watch;

use cell::Cell;
use contract::Driver;
use process::Process;
use thread::Thread;

pub use drivers::Drivers;
pub use exits::wait::Exit;
pub use shares::Looked;
pub(crate) use shares::{is_of_a_supervisor, names_left};
pub use watch::Wakeup;

/// The drivers that there are: one for each kind that a file can name (`config/kinds.rs`). Another
/// one is a line here.
pub static STANDARD: [&dyn Driver; 3] = [&Thread, &Cell, &Process];

#[cfg(test)]
mod tests {
    use super::STANDARD;
    use crate::config::kinds;

    #[test]
    fn each_kind_of_the_table_has_its_driver() {
        let mut drivers: Vec<&str> = STANDARD.iter().map(|one| one.capabilities().label).collect();
        let mut kinds = kinds::names().to_vec();
        drivers.sort_unstable();
        kinds.sort_unstable();
        assert_eq!(drivers, kinds);
    }
}
