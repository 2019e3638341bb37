//! Breaking things on purpose, and reporting what was lost.

pub mod compare;
mod report;
pub mod trial;
