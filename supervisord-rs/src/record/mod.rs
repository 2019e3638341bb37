//! What is written down: captured output, incidents, events, the black box.

pub mod black_box;
pub mod events;
pub mod incidents;
pub mod journal;
pub mod logs;
mod memo;
pub mod name_lock;
pub mod own_log;
pub mod post_mortem;
pub mod runtime_lock;
pub mod scribe;
pub mod stable_hash;
pub mod words;
