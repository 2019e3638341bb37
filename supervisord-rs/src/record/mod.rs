//! What is written down: captured output, incidents, events, the black box.

pub mod black_box;
mod checkpoint;
pub mod culprit;
pub mod echo;
pub mod event;
pub mod events;
pub mod evidence;
pub mod incidents;
pub mod journal;
pub mod log_lines;
pub mod logs;
pub mod own_log;
pub mod past_limits;
mod patient;
pub mod post_mortem;
pub mod reading;
mod record_file;
pub mod record_writer;
pub mod sentence;
pub mod settled;
pub mod wall_time;
pub mod words;
pub mod worker_events;
