//! supervisord-rs: a fault-isolation supervisor. Fault isolation is a setting; blast radius is a
//! measurement.
//!
//! Your own program with your own workers is one call: [`main`] with a [`workers::Registry`]. The
//! rest is public for the tests and for readers: `docs/ARCHITECTURE.md` says where to begin.
#![deny(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

pub mod accounts;
pub mod advice;
mod afterwards;
mod append;
mod called;
mod cli;
mod columns;
pub mod config;
pub mod control;
pub mod daemon;
pub mod drill;
pub mod guardian;
pub mod hangup;
mod held_signals;
pub mod hooks;
pub mod isolation;
mod kernel_file;
pub mod leftovers;
mod log_tail;
mod pool;
pub mod probing;
pub mod process_table;
mod prose;
mod reach;
pub mod record;
mod sealed;
pub mod service_manager;
#[cfg(test)]
#[path = "../../tests/harness/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "these tests lack one thing only: root")]
mod skip;
pub mod stable_hash;
mod stages;
mod threads;
mod unix_socket;
pub mod usage;
mod waiting;

/// Runs the whole program with these workers: reads the arguments, runs the verb, returns the exit
/// status.
///
/// The supervisor starts its process workers from the same binary (`/proc/self/exe`), which is why
/// a program with workers of its own needs nothing else.
#[must_use]
pub fn main(registry: workers::Registry) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(name) = arguments.first() {
        called::by(name);
    }
    // Not a verb: the other half of a worker, started by a supervisor with its descriptors in
    // place.
    if arguments.get(1).is_some_and(|verb| verb == "__host") {
        record::worker_events::start_in_host();
        workers::runtime::host::main(&registry);
    }
    // Nor this: it makes workers for a reader of a configuration.
    if arguments.get(1).is_some_and(|verb| verb == config::maker::VERB) {
        return config::maker::serve(&registry);
    }
    config::maker::is_program();
    // Nor these: they take part in a measurement.
    if let Some(exit) = ::measure::child::main(&arguments) {
        return exit;
    }
    if let Err(why) = isolation::launch::raise_stack() {
        eprintln!("supervisord-rs: {why}");
        return ExitCode::FAILURE;
    }
    cli::main(&arguments, registry)
}
