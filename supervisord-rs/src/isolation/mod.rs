//! Isolation drivers: they launch, signal and reap, and know no policy.
//!
//! The daemon gives them effects and takes events from them; they never call back. One epoll set watches every process,
//! every board and every captured stream, so that a worker costs the supervisor no task, no thread and no timer.
//!
//! | file | concept |
//! |---|---|
//! | `drivers` | the contract: effects in, events out; who lives where; `launching` and `endings` behind it |
//! | `live` | one incarnation, while it lives |
//! | `thread` | SDK code on a thread of the supervisor |
//! | `host` | SDK code in a child: a cell, or a worker's own process |
//! | `command` | an executable in its own process |
//! | `launch` | from a plan to a running process, or to (stage, errno) |
//! | `reaper` | the one owner of wait statuses |
//! | `evidence` | from what was left behind to an ending and its cause |
//! | `watch` | the one epoll set |

mod command;
pub mod drivers;
pub mod evidence;
mod host;
pub mod launch;
mod live;
pub mod reaper;
mod thread;
mod watch;

pub use drivers::Drivers;
pub use evidence::Evidence;
pub use watch::Wakeup;
