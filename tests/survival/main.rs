//! The supervisor survives: its own deaths and hand-overs, and surroundings that hang, lie or run
//! short.

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
mod surroundings;
