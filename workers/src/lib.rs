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
//! Tests run workers without a supervisor, and break them: [`testing`]. Workers whose work is a
//! future are `AsyncWorker`s, with the feature `tokio`.
//!
//! This crate knows nothing of the supervisor: they share a page of memory, the *board*.

#[cfg(panic = "abort")]
compile_error!(
    "supervisord-rs needs `panic = \"unwind\"`: with `panic = \"abort\"` no panic of a thread \
     worker could be contained"
);

#[cfg(feature = "tokio")]
mod asynchronous;
pub mod builtin;
mod context;
mod error;
pub mod fault;
mod registry;
#[doc(hidden)]
pub mod runtime;
pub mod shared;
pub mod testing;
mod worker;

#[cfg(feature = "tokio")]
pub use asynchronous::{AsyncContext, AsyncWorker, IntoWorker};
pub use context::{Attached, Context, Entered, InFlight, JoinError, OwnThread, Readiness};
pub use error::WorkerError;
pub use registry::Registry;
pub use runtime::briefing::PreviousEnding;
pub use worker::{Outcome, Worker};

/// The code of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
