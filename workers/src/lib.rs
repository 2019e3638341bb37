//! The worker SDK: write a worker once, run it as a thread, in a cell or as a process.
//!
//! A worker is a type with [`Worker::run`]; a [`Registry`] gives it a name that the configuration
//! can use. This is a complete program, with its own worker beside the built-in ones
//! (`workers/examples/greeter.rs`):
//!
//! ```no_run
#![doc = include_str!("../examples/greeter.rs")]
//! ```
//!
//! A worker has three duties: it calls [`Context::tick`] (or another method of the context) often
//! enough for its `heartbeat:`, waits through the context and not by itself, and returns soon after
//! [`Context::stop_requested`] has become true.
//!
//! This crate knows nothing of the supervisor: they share the [`board`].

#[cfg(panic = "abort")]
compile_error!(
    "supervisord-rs needs `panic = \"unwind\"`: with `panic = \"abort\"` no panic of a thread \
     worker could be contained"
);

mod awaiting;
pub mod board;
pub mod builtin;
pub mod context;
pub mod crash;
pub mod endowment;
mod error;
pub mod fault;
pub mod host;
pub mod mapping;
pub mod registry;
pub mod run;
mod seat;
pub mod worker;

pub use context::Context;
pub use error::WorkerError;
pub use registry::Registry;
pub use worker::Worker;

/// The code of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
