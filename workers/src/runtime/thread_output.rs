//! Where a worker's thread writes to that does not have its context: libraries, by `tracing`.

use crate::runtime::member;

/// Whether the calling thread is a worker's.
#[must_use]
pub fn is_of_worker() -> bool {
    member::current().is_some()
}

/// Writes to the output of the calling thread's worker; a reader that has gone is no error. False:
/// it is no worker's thread. Blocks while the pipe is full.
#[must_use]
pub fn write(text: &[u8]) -> bool {
    let Some(member) = member::current() else { return false };
    member.shared.write(text);
    true
}
