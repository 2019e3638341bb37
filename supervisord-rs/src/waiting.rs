//! Waiting for a condition by polling.

use std::time::{Duration, Instant};

/// Asks until there is an answer, for at most `limit`, with a `pause` after each failure. Asks at
/// least once. Blocks.
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
