//! The worker SDK: write a worker once, run it as a thread, in a cell or as a process.

#[cfg(panic = "abort")]
compile_error!("supervisord-rs needs `panic = \"unwind\"`: with `panic = \"abort\"` a thread worker could never be contained");

pub mod board;
pub mod builtin;
pub mod crash;
pub mod fault;
pub mod host;
pub mod mapping;
pub mod worker;

pub use worker::{Context, Registry, Worker, WorkerError};
pub mod run;
