//! Every interleaving of some owners, of one that dies, and of a supervisor that sees it.

use std::sync::atomic::Ordering;

use loom::sync::atomic::{AtomicU32, AtomicU64};
use loom::sync::{Arc, Condvar, Mutex};

use super::*;
use crate::shared::event;

/// A lock whose waiters sleep without a time limit: a lost wake-up is a deadlock, which loom
/// reports.
struct Model {
    word: AtomicU64,
    sequence: AtomicU32,
    announced: AtomicU32,
    found_none: AtomicU32,
    sleepers: Mutex<u32>,
    woken: Condvar,
    /// The holder that is known to be dead, or 0.
    dead: AtomicU64,
    /// What the lock guards: two owners at a time lose a count.
    count: AtomicU64,
    /// How often a next owner was told.
    told: AtomicU64,
}

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
            sleepers: Mutex::new(0),
            woken: Condvar::new(),
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
            let mut sleepers = self.sleepers.lock().expect("no panics");
            if self.sequence.load(Ordering::SeqCst) == ticket {
                *sleepers += 1;
                drop(self.woken.wait(sleepers).expect("no panics"));
            }
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

    fn notify(&self) {
        let Self { sequence, announced, found_none, .. } = self;
        event::notify_fenced(sequence, announced, found_none, || self.wake());
    }

    fn unlock(&self, own: Holder) {
        assert_eq!(release(&self.word), own.to_bits(), "it was the owner");
        self.notify();
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
