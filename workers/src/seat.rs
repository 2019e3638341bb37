//! The place of one context on the board: the supervisor watches each of a worker's threads that
//! has its own context, so that one that sleeps cannot hide another that hangs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::board::{Board, Sign, THREADS_MAX, monotonic_ns};

/// A place, occupied at the first sign of life and freed by [`leave`](Self::leave).
#[derive(Debug, Default)]
pub(crate) struct Seat {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where it is; `None`: no sign of life yet, or all places were taken.
    index: Option<usize>,
    /// The last sign that this context wrote there.
    word: u64,
    /// Threads that share this context and wait inside the SDK.
    waiters: u32,
}

impl Seat {
    /// A sign of life.
    pub(crate) fn sign(&self, board: &Board, generation: u64) {
        self.state().sign(board, generation);
    }

    pub(crate) fn begin_to_wait(&self, board: &Board, generation: u64) {
        let mut state = self.state();
        state.waiters += 1;
        state.sign(board, generation);
    }

    pub(crate) fn end_to_wait(&self, board: &Board, generation: u64) {
        let mut state = self.state();
        state.waiters = state.waiters.saturating_sub(1);
        state.sign(board, generation);
    }

    pub(crate) fn leave(&self, board: &Board) {
        let mut state = self.state();
        if let Some(index) = state.index.take() {
            board.replace_sign(index, state.word, 0);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sign(&mut self, board: &Board, generation: u64) {
        let word = Sign { at: monotonic_ns(), is_waiting: self.waiters > 0 }.encode();
        match self.index {
            // Fails when the board belongs to a successor, and then writes nothing.
            Some(index) if board.replace_sign(index, self.word, word) => self.word = word,
            Some(_) => {}
            None => {
                let Some(index) =
                    (0..THREADS_MAX).find(|index| board.replace_sign(*index, 0, word))
                else {
                    return;
                };
                // Checked afterwards: a successor writes that it has begun before it clears the
                // places.
                if board.generation() == generation {
                    (self.index, self.word) = (Some(index), word);
                } else {
                    board.replace_sign(index, word, 0);
                }
            }
        }
    }
}
