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

    /// The same, after a change by [`Word::swap_fenced`].
    #[inline]
    pub(crate) fn notify_one_fenced(&self) {
        let Self { sequence, announced, found_none } = self;
        notify_fenced(sequence, announced, found_none, || futex::wake(sequence, 1));
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
    use loom::sync::atomic::{AtomicU32, AtomicU64};
    use loom::sync::{Arc, Condvar, Mutex};

    use super::*;

    /// A futex without a time limit: a lost wake-up is a deadlock, which loom reports.
    struct Futex {
        sequence: AtomicU32,
        announced: AtomicU32,
        found_none: AtomicU32,
        sleepers: Mutex<u32>,
        woken: Condvar,
        items: AtomicU64,
    }

    impl Futex {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                sequence: AtomicU32::new(0),
                announced: AtomicU32::new(0),
                found_none: AtomicU32::new(0),
                sleepers: Mutex::new(0),
                woken: Condvar::new(),
                items: AtomicU64::new(0),
            })
        }

        fn sleep(&self, ticket: u32) {
            let mut sleepers = self.sleepers.lock().expect("no panics");
            if self.sequence.load(Ordering::SeqCst) == ticket {
                *sleepers += 1;
                drop(self.woken.wait(sleepers).expect("no panics"));
            }
        }

        fn wake(&self) -> u32 {
            let mut sleepers = self.sleepers.lock().expect("no panics");
            if *sleepers == 0 {
                return 0;
            }
            *sleepers -= 1;
            self.woken.notify_one();
            1
        }

        fn produce(&self) {
            self.items.fetch_add(1, Ordering::Release);
            notify(&self.sequence, &self.announced, &self.found_none, || self.wake());
        }

        fn try_consume(&self) -> bool {
            let items = self.items.load(Ordering::Acquire);
            items > 0 && self.items.replace(items, items - 1).is_ok()
        }

        fn consume(&self) {
            while !self.try_consume() {
                let ticket = announce(&self.sequence, &self.announced);
                if self.items.load(Ordering::Acquire) == 0 {
                    self.sleep(ticket);
                }
            }
        }
    }

    fn model(producers: usize, consumers: usize) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(if producers + consumers > 2 { 1 } else { 4 });
        builder.check(move || {
            let futex = Futex::new();
            let start = |work: fn(&Futex)| {
                let futex = Arc::clone(&futex);
                loom::thread::spawn(move || work(&futex))
            };
            let mut threads: Vec<_> = (0..producers).map(|_| start(Futex::produce)).collect();
            threads.extend((1..consumers).map(|_| start(Futex::consume)));
            futex.consume();
            threads.into_iter().for_each(|thread| thread.join().expect("no panics"));
            assert_eq!(futex.items.load(Ordering::Relaxed) as usize, producers - consumers);
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
