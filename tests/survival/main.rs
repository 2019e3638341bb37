//! The supervisor survives: its own deaths and hand-overs, and a machine that hangs, lies or runs
//! short.

mod bad_machine;
mod beginnings;
mod daemon_death;
mod dead_disk;
mod frozen;
mod ground;
mod guardian;
#[path = "../harness/mod.rs"]
mod harness;
mod hostile;
mod reexec;
mod stored_state;
mod stuck;
