//! Questions of people and programs to the supervisor, and its answers.

mod advise;
mod afterwards;
mod answers;
mod bad_input;
mod compare;
mod compare_end;
mod compare_file;
mod configs;
mod control_api;
mod diagnostics;
mod editor;
mod events;
mod following;
#[path = "../harness/mod.rs"]
mod harness;
mod large_input;
mod layers;
mod links;
mod measure;
mod messages;
mod places;
mod printing;
mod public_api;
mod refusals;
mod reload;
mod screen;
mod terminal;
mod top;
mod transcripts;
mod verbs;
mod walks;
