//! Every interleaving of some owners, of one that dies, of a supervisor that sees it, and of one that
//! waits for a signal.

use std::sync::atomic::Ordering;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64};

use super::*;
use crate::shared::event;
use crate::shared::futex_model::FutexModel;

/// A lock whose waiters sleep on one word, and those for a signal on another one.
struct Model {
    word: AtomicU64,
    sequence: AtomicU32,
    announced: AtomicU32,
    found_none: AtomicU32,
    futex: FutexModel,
    /// The holder that is known to be dead, or 0.
    dead: AtomicU64,
    /// What the lock guards: two owners at a time lose a count.
    count: AtomicU64,
    /// How often a next owner was told.
    told: AtomicU64,
    /// Counts the signals.
    signals: AtomicU32,
    /// What they are given for.
    has_come: AtomicU64,
}

/// The words that they sleep on.
const LOCK: u32 = 0;
const SIGNAL: u32 = 1;

fn holder(number: u64) -> Holder {
    Holder::from_bits(number << 42 | 7).expect("not 0")
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            word: AtomicU64::new(0),
            sequence: AtomicU32::new(0),
            announced: AtomicU32::new(0),
            found_none: AtomicU32::new(0),
            futex: FutexModel::new(),
            signals: AtomicU32::new(0),
            has_come: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            count: AtomicU64::new(0),
            told: AtomicU64::new(0),
        })
    }

    /// Whether it has the lock now.
    fn attempt(&self, own: Holder) -> bool {
        let Err(word) = take(&self.word, own) else { return true };
        let owner = Holder::from_bits(word).expect("not free");
        let is_dead = owner.is_fallen() || self.dead.load(Ordering::Acquire) == word;
        let is_taken = is_dead && take_over(&self.word, word, own);
        if is_taken {
            self.told.fetch_add(1, Ordering::Relaxed);
        }
        is_taken
    }

    fn lock(&self, own: Holder) {
        while !self.attempt(own) {
            let ticket = event::announce(&self.sequence, &self.announced);
            if self.attempt(own) {
                return;
            }
            self.futex.sleep(LOCK, || self.sequence.load(Ordering::SeqCst) == ticket);
        }
    }

    fn notify(&self) {
        let Self { sequence, announced, found_none, .. } = self;
        event::notify_fenced(sequence, announced, found_none, || self.futex.wake(LOCK));
    }

    fn unlock(&self, own: Holder) {
        assert!(release(&self.word, own), "it was the owner");
        self.notify();
    }

    /// With the lock.
    fn wait_for_what_comes(&self, own: Holder) {
        while self.has_come.load(Ordering::Relaxed) == 0 {
            let seen = self.signals.load(Ordering::Acquire);
            self.unlock(own);
            self.futex.sleep(SIGNAL, || self.signals.load(Ordering::SeqCst) == seen);
            self.lock(own);
        }
    }

    /// To all.
    fn signal(&self) {
        let number = self.signals.fetch_add(1, Ordering::AcqRel) + 1;
        let is_last = || self.signals.load(Ordering::SeqCst) == number;
        let move_them = || self.futex.requeue(SIGNAL, is_last, LOCK);
        let notify = || {
            loom::sync::atomic::fence(Ordering::SeqCst);
            self.notify();
        };
        if !take_sleepers(&self.word, &self.announced, move_them, notify) {
            while self.futex.wake(SIGNAL) > 0 {}
        }
    }

    fn add(&self) {
        let count = self.count.load(Ordering::Relaxed);
        self.count.store(count + 1, Ordering::Relaxed);
    }

    fn use_once(&self, own: Holder) {
        self.lock(own);
        self.add();
        self.unlock(own);
    }

    /// All stores of the dead are there before its death is known.
    fn die(&self, own: Holder) {
        self.dead.store(own.to_bits(), Ordering::Release);
    }

    /// What a supervisor does that has seen the death.
    fn give_up(&self) {
        let dead = Holder::from_bits(self.dead.load(Ordering::Acquire)).expect("it has died");
        if mark(&self.word, dead) {
            loom::sync::atomic::fence(Ordering::SeqCst);
            self.notify();
        }
    }
}

/// `first` before all, `beside` beside so many that use it, of whom so many are told.
fn model(users: u64, first: fn(&Model), beside: fn(&Model), told: u64, counted: u64) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(if users > 1 { 2 } else { 4 });
    builder.check(move || {
        let model = Model::new();
        first(&model);
        let threads: Vec<_> = (1..=users)
            .map(|number| {
                let model = Arc::clone(&model);
                loom::thread::spawn(move || model.use_once(holder(number)))
            })
            .collect();
        beside(&model);
        threads.into_iter().for_each(|thread| thread.join().expect("no panics"));
        assert_eq!(model.word.load(Ordering::Relaxed), 0, "free at the end");
        assert_eq!(model.told.load(Ordering::Relaxed), told);
        assert_eq!(model.count.load(Ordering::Relaxed), counted);
    });
}

#[test]
fn one_owner_at_a_time_and_no_wake_up_is_lost() {
    model(1, |_| {}, |model| model.use_once(holder(9)), 0, 2);
    model(2, |_| {}, |model| model.use_once(holder(9)), 0, 3);
}

#[test]
fn of_those_that_find_the_dead_owner_one_gets_the_lock_and_is_told() {
    let first = |model: &Model| {
        model.lock(holder(9));
        model.add();
        model.die(holder(9));
    };
    model(2, first, |_| {}, 1, 3);
    model(2, first, Model::give_up, 1, 3);
}

#[test]
fn one_that_sleeps_when_the_owner_dies_is_woken_by_the_one_that_sees_the_death() {
    let beside = |model: &Model| {
        model.add();
        model.die(holder(9));
        model.give_up();
    };
    model(1, |model| model.lock(holder(9)), beside, 1, 2);
    model(2, |model| model.lock(holder(9)), beside, 1, 3);
}

/// One that waits for a signal and then uses the lock, beside one that signals, as it does.
fn signalled(others: u64, signal: fn(&Model)) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(if others > 0 { 2 } else { 4 });
    builder.check(move || {
        let model = Model::new();
        let waiter = {
            let model = Arc::clone(&model);
            loom::thread::spawn(move || {
                model.lock(holder(1));
                model.wait_for_what_comes(holder(1));
                model.add();
                model.unlock(holder(1));
            })
        };
        let others: Vec<_> = (0..others)
            .map(|number| {
                let model = Arc::clone(&model);
                loom::thread::spawn(move || model.use_once(holder(number + 2)))
            })
            .collect();
        let count = others.len() as u64 + 1;
        signal(&model);
        waiter.join().expect("no panics");
        others.into_iter().for_each(|thread| thread.join().expect("no panics"));
        assert_eq!(model.count.load(Ordering::Relaxed), count);
    });
}

#[test]
fn one_that_waits_for_a_signal_gets_it_and_the_lock_wherever_it_sleeps_meanwhile() {
    let with_the_lock = |model: &Model| {
        model.lock(holder(9));
        model.has_come.store(1, Ordering::Relaxed);
        model.signal();
        model.unlock(holder(9));
    };
    let after_it = |model: &Model| {
        model.lock(holder(9));
        model.has_come.store(1, Ordering::Relaxed);
        model.unlock(holder(9));
        model.signal();
    };
    for signal in [with_the_lock, after_it] {
        signalled(0, signal);
        signalled(1, signal);
    }
}

#[test]
fn one_that_was_taken_for_dead_leaves_the_lock_to_the_one_that_has_it_now() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(|| {
        let model = Model::new();
        model.lock(holder(9));
        model.add();
        model.die(holder(9));
        let next = {
            let model = Arc::clone(&model);
            loom::thread::spawn(move || model.use_once(holder(1)))
        };
        // It lives, and comes to leave it before, while or after the next one has it.
        if release(&model.word, holder(9)) {
            model.notify();
        }
        next.join().expect("no panics");
        assert_eq!(model.word.load(Ordering::Relaxed), 0, "free at the end");
        assert_eq!(model.count.load(Ordering::Relaxed), 2);
    });
}
