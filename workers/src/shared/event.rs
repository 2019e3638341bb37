//! Something to sleep on until another process says that there is news, and cheap to notify where
//! no thread sleeps.
//!
//! The rule for both sides: change or look first, then notify or sleep. Between the two lies a
//! full fence, so that either the one that sleeps sees the change or the one that changed sees the
//! sleeper. A death at any instruction costs survivors one needless wake-up, or one
//! [`SLICE`](super::wait::SLICE): a sleeper looks again after that time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::atomics::Word;
use super::futex;

/// The words of an event in shared memory. Zeros are one on which no thread sleeps.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Event {
    /// Changes with each notification that somebody may sleep for.
    sequence: AtomicU32,
    /// Counts those that were about to sleep.
    announced: AtomicU32,
    /// The count at which a notification found no thread asleep.
    found_none: AtomicU32,
}

/// What a sleeper has seen before it looked the last time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u32);

impl Event {
    /// Says that the caller is about to sleep. It must look once more before it does.
    pub(crate) fn announce(&self) -> Ticket {
        Ticket(announce(&self.sequence, &self.announced))
    }

    /// Sleeps unless there was a notification since the ticket was given. Returns whether the time
    /// is over.
    pub(crate) fn sleep(&self, ticket: Ticket, time: Duration) -> bool {
        futex::wait(&self.sequence, ticket.0, time)
    }

    /// After a change that one sleeper can use. Two loads where no thread sleeps.
    #[inline]
    pub(crate) fn notify_one(&self) {
        let Self { sequence, announced, found_none } = self;
        notify(sequence, announced, found_none, || futex::wake(sequence, 1));
    }

    /// The same, after a change by [`Word::replace_fenced`].
    #[inline]
    pub(crate) fn notify_one_fenced(&self) {
        let Self { sequence, announced, found_none } = self;
        notify_fenced(sequence, announced, found_none, || futex::wake(sequence, 1));
    }

    /// Lets at most `count` of those that sleep on another word sleep here, if that word is still
    /// `expected`. Returns how many. The caller counts them, see [`Self::announced`].
    pub(crate) fn take_sleepers(&self, word: &AtomicU32, expected: u32, count: i32) -> Option<u32> {
        futex::requeue(word, expected, count, &self.sequence)
    }

    /// The count of those that were about to sleep.
    pub(crate) fn announced(&self) -> &AtomicU32 {
        &self.announced
    }

    /// After a change that concerns all sleepers.
    pub(crate) fn notify_all(&self) {
        let Self { sequence, announced, found_none } = self;
        notify(sequence, announced, found_none, || futex::wake(sequence, i32::MAX));
    }
}

pub(super) fn announce<W: Word<u32>>(sequence: &W, announced: &W) -> u32 {
    // The number first: see `notify`.
    let ticket = sequence.load(Ordering::Acquire);
    announced.add(1, Ordering::AcqRel);
    W::fence(Ordering::SeqCst);
    ticket
}

#[inline]
fn notify<W: Word<u32>>(sequence: &W, announced: &W, found_none: &W, wake: impl FnOnce() -> u32) {
    W::fence(Ordering::SeqCst);
    notify_fenced(sequence, announced, found_none, wake);
}

#[inline]
pub(super) fn notify_fenced<W: Word<u32>>(
    sequence: &W,
    announced: &W,
    found_none: &W,
    wake: impl FnOnce() -> u32,
) {
    let count = announced.load(Ordering::SeqCst);
    // So many sleep at most: each was counted before it fell asleep.
    let most = count.wrapping_sub(found_none.load(Ordering::Relaxed));
    if most == 0 {
        return;
    }
    sequence.add(1, Ordering::AcqRel);
    let woken = wake();
    if woken == 0 || woken == most {
        // No more of them sleep. Those that are counted have a ticket from before, so that none of
        // them falls asleep any more; and who comes later is counted later.
        found_none.store(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32, AtomicU64};

    use super::*;
    use crate::shared::futex_model::FutexModel;

    struct Model {
        sequence: AtomicU32,
        announced: AtomicU32,
        found_none: AtomicU32,
        futex: FutexModel,
        items: AtomicU64,
    }

    impl Model {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                sequence: AtomicU32::new(0),
                announced: AtomicU32::new(0),
                found_none: AtomicU32::new(0),
                futex: FutexModel::new(),
                items: AtomicU64::new(0),
            })
        }

        fn produce(&self) {
            self.items.fetch_add(1, Ordering::Release);
            notify(&self.sequence, &self.announced, &self.found_none, || self.futex.wake(0));
        }

        fn try_consume(&self) -> bool {
            let items = self.items.load(Ordering::Acquire);
            items > 0 && self.items.replace(items, items - 1).is_ok()
        }

        fn consume(&self) {
            while !self.try_consume() {
                let ticket = announce(&self.sequence, &self.announced);
                if self.items.load(Ordering::Acquire) == 0 {
                    self.futex.sleep(0, || self.sequence.load(Ordering::SeqCst) == ticket);
                }
            }
        }
    }

    fn model(producers: usize, consumers: usize) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(if producers + consumers > 2 { 1 } else { 4 });
        builder.check(move || {
            let model = Model::new();
            let start = |work: fn(&Model)| {
                let model = Arc::clone(&model);
                loom::thread::spawn(move || work(&model))
            };
            let mut threads: Vec<_> = (0..producers).map(|_| start(Model::produce)).collect();
            threads.extend((1..consumers).map(|_| start(Model::consume)));
            model.consume();
            threads.into_iter().for_each(|thread| thread.join().expect("no panics"));
            assert_eq!(model.items.load(Ordering::Relaxed) as usize, producers - consumers);
        });
    }

    #[test]
    fn no_notification_is_lost_between_one_and_one() {
        model(1, 1);
    }

    #[test]
    fn no_notification_is_lost_between_several() {
        model(2, 2);
    }
}
