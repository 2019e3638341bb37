//! What a person or a program asks the supervisor, and what it answers.

mod answers;
mod bad_input;
mod compare;
mod configs;
mod control_api;
mod diagnostics;
#[path = "../harness/mod.rs"]
mod harness;
mod places;
mod top;
