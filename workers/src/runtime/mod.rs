//! What the SDK and the supervisor share. No part of the public interface: it changes with any
//! release, together with the supervisor's side of it.

pub(crate) mod alternate_stack;
pub mod arguments;
pub(crate) mod awaiting;
pub mod board;
pub mod briefing;
pub mod crash;
pub mod endowment;
pub(crate) mod fixed_text;
pub(crate) mod forked;
pub(crate) mod global_default;
pub(crate) mod handlers;
pub mod host;
pub mod mapping;
pub(crate) mod member;
pub mod offspring;
pub(crate) mod panic_note;
pub(crate) mod panics;
pub mod run;
pub mod scheduling;
pub(crate) mod seat;
pub mod shape;
mod surroundings;
mod thread_end;
pub mod thread_output;
pub mod threads;
