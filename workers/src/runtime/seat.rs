//! The place of one context on the board: the supervisor watches each of a worker's threads that
//! has its own context, so that one that sleeps cannot hide another that hangs.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::runtime::board::{Board, Sign, THREADS_MAX, monotonic_ns};

/// A place, occupied at the first sign of life and freed by [`leave`](Self::leave).
#[derive(Debug, Default)]
pub(crate) struct Seat {
    state: Mutex<State>,
    /// The last order to reload that its context has seen, and 1; 0: it heeds none.
    reload_seen: AtomicU64,
    /// Whether it is that of the thread that runs the worker, which has the first place.
    is_first: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Where it is; `None`: no sign of life yet, or all places were taken.
    index: Option<usize>,
    /// The last sign that this context wrote there.
    word: u64,
    /// Threads that share this context and wait inside the SDK.
    waiters: u32,
    /// Whether a loop of the worker's own watches the descriptor, and answers by a sign.
    has_loop: bool,
    /// Whether its context is gone: then it gives no more signs.
    has_left: bool,
}

impl Seat {
    /// That of the thread that runs the worker.
    pub(crate) fn first() -> Self {
        Self { is_first: true, ..Self::default() }
    }

    /// A sign of life.
    pub(crate) fn sign(&self, board: &Board, generation: u64) {
        self.state().sign(board, generation, self.places());
    }

    /// From now on a loop of another kind waits: it is asked by the descriptor, as one is that waits
    /// inside the SDK. A sign of life, since the next one may be the answer.
    pub(crate) fn has_loop(&self, board: &Board, generation: u64) {
        let mut state = self.state();
        state.has_loop = true;
        state.sign(board, generation, self.places());
    }

    pub(crate) fn begin_to_wait(&self, board: &Board, generation: u64) {
        let mut state = self.state();
        state.waiters += 1;
        state.sign(board, generation, self.places());
    }

    pub(crate) fn end_to_wait(&self, board: &Board, generation: u64) {
        let mut state = self.state();
        state.waiters = state.waiters.saturating_sub(1);
        state.sign(board, generation, self.places());
    }

    pub(crate) fn leave(&self, board: &Board) {
        let mut state = self.state();
        state.has_left = true;
        if let Some(index) = state.index.take() {
            board.replace_sign(index, state.word, 0);
        }
    }

    /// Its context has seen this order to reload, and heeds them from now on.
    pub(crate) fn heed_reloads(&self, ordered: u32) {
        self.reload_seen.store(u64::from(ordered) + 1, Ordering::Relaxed);
    }

    /// Whether there is an order to reload that its context has not seen; true once for each.
    pub(crate) fn sees_reload(&self, ordered: u32) -> bool {
        let now = u64::from(ordered) + 1;
        let seen = self.reload_seen.load(Ordering::Relaxed);
        seen != 0 && seen != now && {
            self.reload_seen.store(now, Ordering::Relaxed);
            true
        }
    }

    /// Where it may be.
    fn places(&self) -> Range<usize> {
        if self.is_first { 0..1 } else { 1..THREADS_MAX }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether it answers the supervisor.
    const fn is_asked(&self) -> bool {
        self.waiters > 0 || self.has_loop
    }

    fn sign(&mut self, board: &Board, generation: u64, mut places: Range<usize>) {
        if self.has_left {
            return;
        }
        let word = Sign { at: monotonic_ns(), is_waiting: self.is_asked() }.encode();
        match self.index {
            // Fails when the board belongs to a successor, and then writes nothing.
            Some(index) if board.replace_sign(index, self.word, word) => self.word = word,
            Some(_) => {}
            None => {
                let Some(index) = places.find(|index| board.replace_sign(*index, 0, word)) else {
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
