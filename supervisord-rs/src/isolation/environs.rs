//! Reading the environment that another process was started with. That process decides how long a
//! look at its memory takes (a lock that it holds): threads of `closer` wait, and the caller does
//! for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::closer;
use crate::process_table;
use crate::waiting::received;

/// So many processes can hold a reader at once. When all are held, nothing is read any more, and a
/// process counts as one without a mark.
const READERS_MAX: usize = 8;
/// Readers that were given up and are still held.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// The value of a variable, as [`process_table::variable`] has it. A page of memory takes
/// microseconds; on a busy machine a thread takes its time to begin.
///
/// # Errors
/// It does not come within `limit`.
pub(super) fn variable(
    pid: i32,
    name: &'static str,
    limit: Duration,
) -> Result<Option<Vec<u8>>, Held> {
    if HELD.load(Ordering::Relaxed) >= READERS_MAX {
        return Err(Held);
    }
    let (answer, answered) = channel();
    let read = move || {
        if answer.send(process_table::variable(pid, name)).is_err() {
            HELD.fetch_sub(1, Ordering::Relaxed);
        }
    };
    if !closer::run(read) {
        return Err(Held);
    }
    received(&answered, limit).or_else(|_| {
        HELD.fetch_add(1, Ordering::Relaxed);
        // What came in between counts: a later answer finds no one waiting.
        let late = answered.try_recv();
        if late.is_ok() {
            HELD.fetch_sub(1, Ordering::Relaxed);
        }
        late.map_err(|_| Held)
    })
}

/// A process that does not let its environment be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held;
