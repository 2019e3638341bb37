//! What is left on the board for people, and for the incident: a text, and last words, of a thread
//! of the run that has the board, or of one that an earlier run has left behind.

use std::sync::atomic::Ordering;

use super::life::{State, generation_of};
use super::{Board, monotonic_ns, store_text};

/// The kind of last words on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LastWords {
    /// None.
    None = 0,
    /// A panic (first of all: a panic that aborts).
    Panic = 1,
    /// A panic while panicking, or one that cannot unwind.
    PanicNoUnwind = 2,
    /// A fatal signal; signal, code and address are set.
    Signal = 3,
    /// A fatal signal whose address lies at the end of the thread's stack.
    StackOverflow = 4,
    /// Its heartbeat stopped and its domain was ended because of it.
    Hang = 5,
    /// It called exit(3), which ends its domain.
    Exit = 6,
}

impl LastWords {
    /// Of a word that anything may have written: what is not known counts as none.
    pub(super) const fn of(word: u32) -> Self {
        match word {
            1 => Self::Panic,
            2 => Self::PanicNoUnwind,
            3 => Self::Signal,
            4 => Self::StackOverflow,
            5 => Self::Hang,
            6 => Self::Exit,
            _ => Self::None,
        }
    }
}

impl Board {
    /// Writes text of this generation for people; at most
    /// [`TEXT_MAX`](super::TEXT_MAX) bytes of it. Returns false
    /// when the board belongs to another generation, which gets none of it. Async-signal-safe.
    pub fn write_text(&self, generation: u64, text: &[u8]) -> bool {
        self.is_of(generation) && {
            store_text(&self.text, &self.text_length, text);
            self.is_still_of(generation, || self.text_length.store(0, Ordering::SeqCst))
        }
    }

    /// Writes last words unless there are some already: the first are the cause, later ones its
    /// consequence. Async-signal-safe.
    pub fn write_last_words(
        &self,
        kind: LastWords,
        signal: i32,
        code: i32,
        address: u64,
        tid: i32,
    ) {
        if self.last_words.load(Ordering::Acquire) != LastWords::None as u32 {
            return;
        }
        self.signal.store(signal, Ordering::Relaxed);
        self.code.store(code, Ordering::Relaxed);
        self.address.store(address, Ordering::Relaxed);
        self.signal_tid.store(tid, Ordering::Relaxed);
        self.last_words_at.store(monotonic_ns(), Ordering::Relaxed);
        self.last_words.store(kind as u32, Ordering::SeqCst);
    }

    /// Writes last words of this generation, by a thread that may have been left behind. Returns
    /// false when the board belongs to another generation, which gets none of them.
    /// Async-signal-safe.
    pub fn write_last_words_of(&self, generation: u64, kind: LastWords, tid: i32) -> bool {
        self.is_of(generation) && {
            self.write_last_words(kind, 0, 0, 0, tid);
            self.is_still_of(generation, || {
                let (ours, none) = (kind as u32, LastWords::None as u32);
                let order = Ordering::SeqCst;
                let _ = self.last_words.compare_exchange(ours, none, order, order);
            })
        }
    }

    /// Says that the last words which come next are those of a thread that this run has left
    /// behind. Nothing changes where there are some already. Async-signal-safe.
    pub fn note_left_behind(&self, generation: u64) {
        if self.last_words.load(Ordering::Acquire) == LastWords::None as u32 {
            self.left_by.store(generation as u32, Ordering::Release);
        }
    }

    /// Whether this run is over, as far as its board says: another has it, or this one has reported
    /// how it ended. Async-signal-safe.
    #[must_use]
    pub fn is_over(&self, generation: u64) -> bool {
        let life = self.life.load(Ordering::SeqCst);
        generation_of(life) != generation || State::of(life).is_some_and(State::is_end)
    }

    /// Forgets the last words: what they tell of has had its consequence.
    pub fn forget_words(&self) {
        self.last_words.store(LastWords::None as u32, Ordering::SeqCst);
        self.left_by.store(0, Ordering::SeqCst);
    }
}

/// The latest run up to `newest` whose number ends in these bits. `None`: none left a thread
/// behind.
pub(super) fn run_of(bits: u32, newest: u64) -> Option<u64> {
    (bits != 0).then(|| newest.saturating_sub(u64::from((newest as u32).wrapping_sub(bits))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::mapping::Mapping;

    #[test]
    fn last_words_of_a_thread_that_was_left_behind_say_of_which_run_it_is() {
        let mapping = Mapping::sealed("b").expect("memory");
        let board = mapping.board();
        board.begin("b", 7);
        assert!(!board.is_over(7));
        assert!(board.set_state(7, State::Returned) && board.is_over(7));
        board.begin("b", 9);
        assert!(board.is_over(7) && !board.is_over(9));
        board.note_left_behind(7);
        board.write_last_words(LastWords::Signal, 11, 1, 0, 5);
        let reading = board.read().expect("a board");
        assert_eq!((reading.left_by, reading.last_words), (Some(7), LastWords::Signal));
        let own = reading.of_its_run();
        assert_eq!((own.left_by, own.last_words), (None, LastWords::None));
        board.note_left_behind(8);
        assert_eq!(board.read().and_then(|reading| reading.left_by), Some(7), "the first");
        board.forget_words();
        assert_eq!(board.read().map(|reading| reading.of_its_run()), board.read());
        assert_eq!(run_of(u32::MAX, 1 << 32), Some(u64::from(u32::MAX)));
    }
}
