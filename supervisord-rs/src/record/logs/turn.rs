//! Who may write to a target now. Several streams can go to one, such as the terminal: if it hangs, it shall hold one
//! thread, and not one for each of them, since the threads carry everybody's output.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::lock;

#[derive(Debug, Default)]
pub(super) struct Turn {
    state: Mutex<State>,
    given_back: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_taken: bool,
    /// Streams that came while it was taken. Whoever gives it back has them come again.
    waiting: Vec<u32>,
}

impl Turn {
    /// Takes it, or leaves word that this stream waits for it. Does not block. False: it has to wait.
    pub(super) fn take_or_wait(&self, stream: u32) -> bool {
        let mut state = lock(&self.state);
        if state.is_taken {
            if !state.waiting.contains(&stream) {
                state.waiting.push(stream);
            }
            return false;
        }
        state.is_taken = true;
        true
    }

    /// Takes it, at the latest by `end`. False: somebody else has it still.
    pub(super) fn take_until(&self, end: Instant) -> bool {
        let mut state = lock(&self.state);
        while state.is_taken {
            let rest = end.saturating_duration_since(Instant::now());
            if rest == Duration::ZERO {
                return false;
            }
            let waited = self.given_back.wait_timeout(state, rest);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        state.is_taken = true;
        true
    }

    /// Gives it back. Who waits.
    #[must_use]
    pub(super) fn give_back(&self) -> Vec<u32> {
        let mut state = lock(&self.state);
        state.is_taken = false;
        self.given_back.notify_one();
        std::mem::take(&mut state.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_and_the_others_are_told() {
        let turn = Turn::default();
        assert!(turn.take_or_wait(1));
        assert!(!turn.take_or_wait(2) && !turn.take_or_wait(3) && !turn.take_or_wait(2));
        assert!(!turn.take_until(Instant::now()));
        assert_eq!(turn.give_back(), [2, 3]);
        assert!(turn.take_until(Instant::now()));
        assert_eq!(turn.give_back(), Vec::<u32>::new());
    }
}
