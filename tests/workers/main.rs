//! Workers: what they are launched with, how they run, stop and end, and who is lost with them.

mod cgroups;
mod crash_injection;
mod groups;
#[path = "../harness/mod.rs"]
mod harness;
mod hooks;
mod launch;
mod leftovers;
mod life_cycle;
mod limits;
mod orders;
mod process_trees;
mod readiness;
mod scheduling;
mod sockets;
mod subgroups;
