//! Breaking things on purpose, and reporting what was lost.

pub mod compare;
mod interrupt;
mod report;
pub mod trial;
