//! Where it runs and what it runs: containers, ordinary users, real programs.

mod container;
#[path = "../harness/mod.rs"]
mod harness;
mod ordinary_user;
mod podman;
mod process_1;
mod real_programs;
mod skips;
mod suite;
