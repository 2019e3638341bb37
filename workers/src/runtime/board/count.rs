//! How many threads of a worker there are: of this run, and left behind by earlier ones. One word,
//! changed by compare-exchange, so that a thread that ends late is taken from the right number.

use std::sync::atomic::Ordering;

use super::Board;

/// The lowest byte of the generation, then threads of this run, then threads left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    generation: u8,
    own: u32,
    left: u32,
}

/// Each of the numbers takes so many bits.
const BITS: u32 = 12;
const MAX: u32 = (1 << BITS) - 1;

impl Count {
    const fn decode(word: u32) -> Self {
        Self { generation: (word >> (2 * BITS)) as u8, own: (word >> BITS) & MAX, left: word & MAX }
    }

    fn encode(self) -> u32 {
        u32::from(self.generation) << (2 * BITS) | self.own.min(MAX) << BITS | self.left.min(MAX)
    }

    /// As it is for this run: what belonged to another one was left behind.
    const fn of(self, generation: u64) -> Self {
        let generation = generation as u8;
        if self.generation == generation {
            return self;
        }
        Self { generation, own: 0, left: self.left + self.own }
    }

    /// The number that a thread of this run counts to.
    const fn mine(&mut self, generation: u64) -> &mut u32 {
        if self.generation == generation as u8 { &mut self.own } else { &mut self.left }
    }
}

impl Board {
    fn recount(&self, change: impl Fn(&mut Count)) {
        let next = |word| {
            let mut count = Count::decode(word);
            change(&mut count);
            Some(count.encode())
        };
        let _ = self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    }

    /// A run begins.
    pub(super) fn count_from(&self, generation: u64) {
        self.recount(|count| *count = count.of(generation));
    }

    /// A thread of this run has begun.
    pub fn thread_began(&self, generation: u64) {
        self.recount(|count| {
            let mine = count.mine(generation);
            *mine += 1;
        });
    }

    /// A thread of this run has ended.
    pub fn thread_ended(&self, generation: u64) {
        self.recount(|count| {
            let mine = count.mine(generation);
            *mine = mine.saturating_sub(1);
        });
    }

    /// The process of the threads is gone, and they with it, and what one of them last said.
    pub fn forget_threads(&self) {
        self.recount(|count| (count.own, count.left) = (0, 0));
        self.forget_words();
    }

    /// Threads of the present run. As the worker claims, at most 4095.
    #[must_use]
    pub fn threads(&self) -> u32 {
        Count::decode(self.count.load(Ordering::Acquire)).own
    }

    /// Threads that were left behind. `is_over`: those of the last run were, too. As the worker
    /// claims, at most 8190.
    #[must_use]
    pub fn left_behind(&self, is_over: bool) -> u32 {
        let count = Count::decode(self.count.load(Ordering::Acquire));
        let own = if is_over { count.own } else { 0 };
        count.left + own
    }
}

#[cfg(test)]
mod tests {
    use crate::runtime::mapping::Mapping;

    #[test]
    fn a_thread_that_outlives_its_run_is_left_behind_until_it_ends() {
        let mapping = Mapping::sealed("b").expect("memory");
        let board = mapping.board();
        board.begin("b", 1);
        board.thread_began(1);
        board.thread_began(1);
        assert_eq!((board.left_behind(false), board.left_behind(true)), (0, 2));
        board.thread_ended(1);
        board.begin("b", 2);
        board.thread_began(2);
        assert_eq!((board.left_behind(false), board.left_behind(true)), (1, 2));
        board.thread_ended(1);
        assert_eq!(board.left_behind(false), 0);
        board.forget_threads();
        assert_eq!(board.left_behind(true), 0);
    }
}
