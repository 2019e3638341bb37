//! Breaking things on purpose, and reporting what was lost.

mod addresses;
mod bed;
pub mod compare;
pub mod expectation;
mod interrupt;
mod outcome;
mod report;
pub mod scenario;
pub mod trial;
mod width;
