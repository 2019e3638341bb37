//! What workers write: captured, kept, bounded and read.

#[path = "../harness/mod.rs"]
mod harness;
mod log_reading;
mod log_safety;
mod log_sinks;
mod logs;
mod weight;
