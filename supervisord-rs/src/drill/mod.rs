//! Breaking things on purpose, and reporting what was lost.

mod addresses;
mod bed;
pub mod compare;
pub mod expectation;
pub mod failure;
mod interrupt;
mod limits;
pub(crate) mod orphan;
pub mod outcome;
pub mod plan;
pub mod progress;
pub(crate) mod report;
pub mod scenario;
pub mod setting;
pub mod trial;
mod width;
