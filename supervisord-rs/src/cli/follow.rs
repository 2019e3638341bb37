//! Waiting for something that only asking again can tell.

use std::time::{Duration, Instant};

/// Between two looks: short enough for people, long enough for the machine.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer, at most `limit`.
pub(super) fn wait_for<T>(limit: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = question() {
            return Some(answer);
        }
        if begun.elapsed() >= limit {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}
