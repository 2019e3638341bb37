//! The latest of many values, lock-free for its readers.
//!
//! Values go around some slots; `latest` says how many there were, and so where the last one lies.
//! A writer never touches that slot: it writes the next one, whose mark is odd meanwhile, then says
//! so in `latest`. One that dies before has changed nothing that a reader looks at. A reader looks
//! at the mark before and after its copy: unless writers have come around all slots meanwhile, it
//! is the same, and the copy is whole.

use std::sync::atomic::Ordering;

use crate::shared::atomics::Word;

/// The words of a topic, wherever they are.
pub(super) trait Cells {
    type Word: Word<u64>;
    /// So often a reader tries again when it was overtaken.
    const ATTEMPTS: usize;
    /// How many values there were.
    fn latest(&self) -> &Self::Word;
    /// The mark of a slot: twice the number of its value, and 1 while that is written.
    fn mark(&self, slot: usize) -> &Self::Word;
}

/// With so many, a reader is overtaken only if it is interrupted while it copies.
pub(super) const SLOTS: usize = 8;

/// No value yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// There is none.
    Nothing,
    /// Each time that it was copied, writers overtook the reader.
    Overtaken,
}

fn slot_of(number: u64) -> usize {
    (number % SLOTS as u64) as usize
}

/// Writes a value by `copy`, which gets the slot, and returns its number. One writer at a time;
/// one before it may have died at any instruction.
pub(super) fn write<C: Cells>(cells: &C, copy: impl FnOnce(usize)) -> u64 {
    let number = cells.latest().load(Ordering::Relaxed).wrapping_add(1);
    let slot = slot_of(number);
    cells.mark(slot).store(number << 1 | 1, Ordering::Relaxed);
    // Who reads one of the bytes that follow sees the mark too.
    C::Word::fence(Ordering::Release);
    copy(slot);
    cells.mark(slot).store(number << 1, Ordering::Release);
    cells.latest().store(number, Ordering::Release);
    number
}

/// Reads the latest value by `copy`, which gets the slot. Returns the number of the value and
/// what `copy` did.
#[inline]
pub(super) fn read<C: Cells, R>(
    cells: &C,
    mut copy: impl FnMut(usize) -> R,
) -> Result<(u64, R), Unread> {
    for _ in 0..C::ATTEMPTS {
        let number = cells.latest().load(Ordering::Acquire);
        if number == 0 {
            return Err(Unread::Nothing);
        }
        let slot = slot_of(number);
        if cells.mark(slot).load(Ordering::Acquire) != number << 1 {
            continue;
        }
        let copied = copy(slot);
        // No load of the copy comes after the one of the mark.
        C::Word::fence(Ordering::Acquire);
        if cells.mark(slot).load(Ordering::Relaxed) == number << 1 {
            return Ok((number, copied));
        }
    }
    Err(Unread::Overtaken)
}

#[cfg(test)]
mod tests {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU64;

    use super::*;

    /// A topic whose values are two words, the second the double of the first. With a slot for each
    /// of `slots`, so that a writer comes around soon.
    struct Small {
        latest: AtomicU64,
        marks: Vec<AtomicU64>,
        data: Vec<[AtomicU64; 2]>,
    }

    impl Small {
        fn new(slots: usize) -> Arc<Self> {
            let word = || AtomicU64::new(0);
            let marks = (0..slots).map(|_| word()).collect();
            let data = (0..slots).map(|_| [word(), word()]).collect();
            Arc::new(Self { latest: word(), marks, data })
        }

        /// Writes a value, as much of it as `steps`: a writer that dies leaves the rest.
        fn put(&self, value: u64, steps: usize) {
            let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                write(self, |slot| {
                    let words = &self.data[slot % self.data.len()];
                    for (index, word) in words.iter().enumerate() {
                        if index >= steps {
                            // Not panic!, which would be printed.
                            std::panic::resume_unwind(Box::new(()));
                        }
                        word.store(value * (index as u64 + 1), Ordering::Relaxed);
                    }
                });
            }));
            assert_eq!(died.is_ok(), steps >= 2);
        }

        fn get(&self) -> Result<(u64, [u64; 2]), Unread> {
            read(self, |slot| {
                let words = &self.data[slot % self.data.len()];
                [words[0].load(Ordering::Relaxed), words[1].load(Ordering::Relaxed)]
            })
        }
    }

    impl Cells for Small {
        type Word = AtomicU64;
        const ATTEMPTS: usize = 2;

        fn latest(&self) -> &AtomicU64 {
            &self.latest
        }

        fn mark(&self, slot: usize) -> &AtomicU64 {
            &self.marks[slot % self.marks.len()]
        }
    }

    fn model(work: impl Fn(&Small) + Send + Sync + Copy + 'static, slots: usize) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.max_branches = 20_000;
        builder.check(move || {
            let topic = Small::new(slots);
            topic.put(7, 2);
            let writer = Arc::clone(&topic);
            let thread = loom::thread::spawn(move || work(&writer));
            let mut last = 0;
            for _ in 0..2 {
                // Overtaken, perhaps.
                let Ok((number, [value, double])) = topic.get() else { continue };
                assert_eq!(value * 2, double, "torn: {value} and {double}");
                assert!(number >= last, "back in time");
                last = number;
            }
            thread.join().expect("no panic");
            let (number, [value, double]) = topic.get().expect("a value");
            assert!(number >= last);
            assert_eq!(value * 2, double);
        });
    }

    #[test]
    fn no_reader_sees_half_a_value() {
        model(|topic| [8, 9].iter().for_each(|value| topic.put(*value, 2)), 2);
    }

    #[test]
    fn a_dead_writer_neither_blocks_nor_tears() {
        model(
            |topic| {
                topic.put(8, 0);
                topic.put(9, 1);
                topic.put(10, 2);
            },
            2,
        );
    }
}
