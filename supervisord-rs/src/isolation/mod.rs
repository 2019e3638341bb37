//! Isolation drivers: they launch, signal and reap, and know no policy.
//!
//! The daemon gives them effects and takes events from them; they never call back. One epoll set
//! watches every process and board, so that a worker costs the supervisor no task, no thread and no
//! timer.
//!
//! | file | concept |
//! |---|---|
//! | `drivers` | the contract: effects in, events out; who lives where |
//! | `live` | one incarnation, while it lives |
//! | `thread` | SDK code on a thread of the supervisor |
//! | `host` | SDK code in a child: a cell, or a worker's own process |
//! | `command` | an executable in its own process |
//! | `surroundings` | who a process is and what surrounds it, looked up before it exists |
//! | `inherited` | secrets that came as descriptors |
//! | `outfit` | what a process is launched with, as a launcher thread takes it |
//! | `launcher` | the threads that launch, so that what a launch may wait for does not hold the loop |
//! | `launch` | from a plan to a running process, or to (stage, errno) |
//! | `family`, `cgroup`, `orphans` | a process and all that it started: found, signalled, killed, proved to be gone |
//! | `snapshot` | one look at the process table, for all families that need one |
//! | `census`, `environs` | the thread that takes it, and signals whom it has found; reading the environments of others, which may wait for them |
//! | `adopted` | how a process ended that another supervisor had started |
//! | `sweep` | what a predecessor left and no supervisor has taken over |
//! | `reaper`, `wait` | the one owner of wait statuses; waitid(2) as the kernel has it |
//! | `sockets`, `notify` | listening sockets that are passed on; what workers say with sd_notify(3) |
//! | `helper` | small processes of our own: probes, stop commands, hooks |
//! | `evidence` | from what was left behind to an ending and its cause |
//! | `peer` | who is at the other end of a Unix socket |
//! | `datagram`, `closer` | what anybody may send, descriptors too; closing it, which may wait |
//! | `wake` | what wakes SDK code for an order |
//! | `watch` | the one epoll set |

mod adopted;
mod census;
pub(crate) mod cgroup;
pub(crate) mod closer;
mod command;
pub(crate) mod datagram;
pub mod drivers;
mod environs;
pub mod evidence;
pub mod family;
pub mod helper;
mod host;
pub mod inherited;
pub mod launch;
mod launcher;
mod live;
mod notify;
pub mod orphans;
mod outfit;
pub mod peer;
pub mod reaper;
mod snapshot;
mod sockets;
pub mod surroundings;
mod sweep;
mod thread;
mod wait;
mod wake;
mod watch;

pub use drivers::Drivers;
pub use evidence::Evidence;
pub use wait::Exit;
pub use watch::Wakeup;
