//! What is pure of a storm: the schedule of a seed, what its history breaks, how it is shrunk and
//! written, what a campaign has reached. What strikes and looks is `run/storming.rs`; what
//! runs candidates is `shrinking.rs`.

pub(super) mod attribution;
pub(super) mod history;
pub(super) mod schedule;
pub(crate) mod shrink;
pub(super) mod sometimes;
pub(super) mod strike;
pub(super) mod written;
