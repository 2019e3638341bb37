//! Waiting for something that only asking again can tell.

use std::time::{Duration, Instant};

/// Asks until there is an answer, at most `limit`, and `pause` after each time without one. Asks
/// once at least. Blocks.
pub(crate) fn until<T>(
    limit: Duration,
    pause: Duration,
    mut question: impl FnMut() -> Option<T>,
) -> Option<T> {
    let begun = Instant::now();
    loop {
        let answer = question();
        if answer.is_some() || begun.elapsed() >= limit {
            return answer;
        }
        std::thread::sleep(pause);
    }
}
