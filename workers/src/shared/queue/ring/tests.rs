//! The ring under loom, with deaths: a thread that dies stops between two operations on words, at
//! each of them in turn.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicU64 as StdAtomicU64;

use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;

use super::*;

loom::thread_local! {
    /// After so many more operations on words this thread dies.
    static LEFT: Cell<usize> = Cell::new(usize::MAX);
}

/// What a dead thread unwinds with: no `panic!`, which would be printed.
struct Dead;

/// A word that counts the operations on it, and at which a thread may die: before the operation.
struct Mortal(AtomicU64);

impl Mortal {
    fn step(&self) -> &AtomicU64 {
        LEFT.with(|left| match left.get() {
            usize::MAX => {}
            0 => resume_unwind(Box::new(Dead)),
            steps => left.set(steps - 1),
        });
        &self.0
    }
}

impl Word<u64> for Mortal {
    fn load(&self, order: Ordering) -> u64 {
        self.step().load(order)
    }
    fn store(&self, value: u64, order: Ordering) {
        self.step().store(value, order);
    }
    fn add(&self, value: u64, order: Ordering) -> u64 {
        self.step().fetch_add(value, order)
    }
    fn replace(&self, from: u64, to: u64) -> Result<u64, u64> {
        Word::replace(self.step(), from, to)
    }
    fn replace_fenced(&self, from: u64, to: u64) -> Result<u64, u64> {
        Word::replace_fenced(self.step(), from, to)
    }
    fn fence(order: Ordering) {
        loom::sync::atomic::fence(order);
    }
}

/// A ring whose messages are a word each.
struct Model {
    ends: [Mortal; 4],
    slots: Vec<Mortal>,
    data: Vec<AtomicU64>,
}

impl Model {
    fn new(count: usize) -> Arc<Self> {
        let mortal = || Mortal(AtomicU64::new(0));
        let ends = [mortal(), mortal(), mortal(), mortal()];
        let slots = (0..count).map(|_| mortal()).collect();
        let data = (0..count).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { ends, slots, data })
    }

    fn ring(&self) -> Ring<&Self> {
        Ring(self)
    }

    /// Sends, and returns whether there was room.
    fn send(&self, seat: usize, message: u64) -> bool {
        let Some(claim) = self.ring().claim(seat) else { return false };
        self.data[claim.index].store(message, Ordering::Relaxed);
        assert!(self.ring().commit(claim, seat), "a living one was taken for dead");
        true
    }

    /// Takes and acknowledges.
    fn take(&self, seat: usize) -> Option<u64> {
        let index = self.ring().take(seat)?;
        let message = self.data[index].load(Ordering::Relaxed);
        assert!(self.ring().acknowledge(index, seat), "a living one was taken for dead");
        Some(message)
    }

    /// What is left, after all are gone whose seats are below `dead`.
    fn drain(&self, dead: usize) -> Vec<u64> {
        self.ring().recover(|seat| seat < dead);
        std::iter::from_fn(|| self.take(9)).collect()
    }
}

impl Cells for &Model {
    type Word = Mortal;

    fn head(&self) -> &Mortal {
        &self.ends[0]
    }
    fn tail(&self) -> &Mortal {
        &self.ends[1]
    }
    fn returns(&self) -> &Mortal {
        &self.ends[2]
    }
    fn searched(&self) -> &Mortal {
        &self.ends[3]
    }
    fn slot(&self, index: usize) -> &Mortal {
        &self.slots[index]
    }
    fn count(&self) -> usize {
        self.slots.len()
    }
}

/// Does the work, and dies after so many operations on words. Returns whether it died.
fn die_after(steps: usize, work: impl FnOnce()) -> bool {
    LEFT.with(|left| left.set(steps));
    let result = catch_unwind(AssertUnwindSafe(work));
    LEFT.with(|left| left.set(usize::MAX));
    match result {
        Ok(()) => false,
        Err(payload) if payload.is::<Dead>() => true,
        Err(payload) => resume_unwind(payload),
    }
}

fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 50_000;
    builder.check(model);
}

/// Tries a death at each operation of a work, until it lives through all of them.
fn at_each_step(model: impl Fn(usize) -> bool + Send + Sync + Copy + 'static) -> usize {
    for steps in 0.. {
        let has_died = std::sync::Arc::new(StdAtomicU64::new(0));
        let seen = std::sync::Arc::clone(&has_died);
        check(2, move || {
            if model(steps) {
                seen.store(1, Ordering::Relaxed);
            }
        });
        if has_died.load(Ordering::Relaxed) == 0 {
            return steps;
        }
    }
    unreachable!("each work ends")
}

#[test]
fn each_message_is_taken_once_and_whole_while_all_work() {
    check(2, || {
        let ring = Model::new(2);
        let (sender, taker) = (Arc::clone(&ring), Arc::clone(&ring));
        let sent = loom::thread::spawn(move || (1..3).filter(|n| sender.send(1, *n)).count());
        let taken = loom::thread::spawn(move || [taker.take(2), taker.take(2)]);
        let own = ring.send(0, 7);
        let sent = sent.join().expect("no panic") + usize::from(own);
        let mut all: Vec<u64> = taken.join().expect("no panic").into_iter().flatten().collect();
        all.extend(ring.drain(0));
        assert_eq!(all.len(), sent, "{all:?}");
        let others: Vec<u64> = all.iter().copied().filter(|message| *message != 7).collect();
        assert!(others.is_sorted(), "{all:?}: not in the order of the sender");
        assert!(!others.contains(&0), "{all:?}: half a message");
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), sent, "{all:?}: twice");
    });
}

#[test]
fn two_takers_share_and_a_slow_one_holds_up_nobody() {
    check(2, || {
        let ring = Model::new(2);
        assert!(ring.send(0, 1) && ring.send(0, 2));
        // One is taken and not acknowledged: the ring goes around it.
        let slow = ring.ring().take(3).expect("a message");
        let (first, second) = (Arc::clone(&ring), Arc::clone(&ring));
        let first = loom::thread::spawn(move || first.take(1));
        let second = loom::thread::spawn(move || second.take(2));
        let taken = [first.join().expect("no panic"), second.join().expect("no panic")];
        assert_eq!(taken.iter().flatten().count(), 1, "{taken:?}");
        for message in 3..6 {
            assert!(ring.send(0, message), "there is room for {message}");
            assert_eq!(ring.take(1), Some(message));
        }
        assert!(ring.ring().acknowledge(slow, 3));
        assert!(ring.send(0, 6) && ring.send(0, 7) && !ring.send(0, 8));
        assert_eq!(ring.drain(0), [6, 7]);
    });
}

#[test]
fn a_sender_that_dies_at_any_step_loses_at_most_its_own_message() {
    let steps = at_each_step(|steps| {
        let ring = Model::new(2);
        let (mortal, other) = (Arc::clone(&ring), Arc::clone(&ring));
        let died = loom::thread::spawn(move || {
            die_after(steps, || {
                mortal.send(0, 1);
            })
        });
        let sent = loom::thread::spawn(move || other.send(1, 2));
        let (died, sent) = (died.join().expect("it ends"), sent.join().expect("no panic"));
        let mut left = ring.drain(1);
        left.sort_unstable();
        assert!(sent && left.contains(&2), "{left:?}: lost what another one sent");
        assert!(left == [2] || left == [1, 2], "{left:?}");
        assert!(died || left.contains(&1), "{left:?}: lost what it had sent");
        // The ring is as good as new.
        assert!(ring.send(1, 3) && ring.send(1, 4) && !ring.send(1, 5));
        assert_eq!(ring.drain(1), [3, 4]);
        died
    });
    assert!(steps > 4, "it lived after {steps} steps");
}

#[test]
fn a_taker_that_dies_at_any_step_gives_its_message_to_another() {
    let steps = at_each_step(|steps| {
        let ring = Model::new(2);
        assert!(ring.send(1, 1) && ring.send(1, 2));
        let (mortal, other) = (Arc::clone(&ring), Arc::clone(&ring));
        let dying = loom::thread::spawn(move || {
            let mut acknowledged = None;
            let died = die_after(steps, || acknowledged = mortal.take(0));
            (died, acknowledged)
        });
        let taken = loom::thread::spawn(move || other.take(1));
        let (died, acknowledged) = dying.join().expect("it ends");
        let taken = taken.join().expect("no panic");
        let left = ring.drain(1);
        let mut all: Vec<u64> = left.iter().copied().chain(taken).chain(acknowledged).collect();
        all.sort_unstable();
        // It may die after its acknowledgement and before it says so: then one is missing.
        let done_and_dead = died && all.len() == 1;
        assert!(all == [1, 2] || done_and_dead, "{left:?} {taken:?} {acknowledged:?}");
        died
    });
    assert!(steps > 4, "it lived after {steps} steps");
}

#[test]
fn what_is_given_back_is_taken_again_before_others() {
    let ring_has = |ring: &Model| ring.take(1);
    check(2, move || {
        let ring = Model::new(2);
        assert!(ring.send(0, 1) && ring.send(0, 2));
        let index = ring.ring().take(0).expect("a message");
        let other = Arc::clone(&ring);
        let taken = loom::thread::spawn(move || [ring_has(&other), ring_has(&other)]);
        assert!(ring.ring().give_back(index, 0));
        let taken = taken.join().expect("no panic");
        let mut all: Vec<u64> = taken.into_iter().flatten().chain(ring.drain(0)).collect();
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
    });
}

#[test]
fn one_that_cleans_up_may_die_too() {
    at_each_step(|steps| {
        let ring = Model::new(2);
        assert!(ring.send(0, 1));
        ring.ring().take(0).expect("a message");
        let claim = ring.ring().claim(0).expect("room");
        let cleaner = Arc::clone(&ring);
        let died = loom::thread::spawn(move || {
            die_after(steps, || {
                cleaner.ring().recover(|seat| seat == 0);
            })
        });
        let taken = ring.take(1);
        let died = died.join().expect("it ends");
        let mut all = ring.drain(1);
        all.extend(taken);
        assert_eq!(all, [1]);
        assert!(!ring.ring().commit(claim, 0), "the dead cannot send");
        died
    });
}

/// A ring outside of loom.
struct Plain(Vec<StdAtomicU64>);

impl Cells for &Plain {
    type Word = StdAtomicU64;

    fn head(&self) -> &StdAtomicU64 {
        &self.0[0]
    }
    fn tail(&self) -> &StdAtomicU64 {
        &self.0[1]
    }
    fn returns(&self) -> &StdAtomicU64 {
        &self.0[2]
    }
    fn searched(&self) -> &StdAtomicU64 {
        &self.0[3]
    }
    fn slot(&self, index: usize) -> &StdAtomicU64 {
        &self.0[index + 4]
    }
    fn count(&self) -> usize {
        self.0.len() - 4
    }
}

/// A source of numbers (splitmix64), the same for each seed.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[test]
fn any_words_end_every_operation_and_the_ring_works_again() {
    for seed in 0..3000_u64 {
        let mut state = seed;
        let count = 1 + random(&mut state) as usize % 5;
        let words: Vec<StdAtomicU64> = (0..count + 4).map(|_| StdAtomicU64::new(0)).collect();
        let cells = Plain(words);
        let ring = Ring(&cells);
        for _ in 0..1 + random(&mut state) % 4 {
            let word = &cells.0[random(&mut state) as usize % cells.0.len()];
            let value = random(&mut state);
            // Any, or one that may be: near the others.
            let small = value & 0x7000_0000_0000_0007;
            word.store(if value.is_multiple_of(3) { value } else { small }, Ordering::Relaxed);
        }
        // As waiters do it: who comes in vain looks after it, and takes any.
        let attempt = |left: usize| {
            ring.recover(|seat| seat != 1);
            ring.realign();
            ring.take_any(1).map(|index| ring.acknowledge(index, 1));
            left
        };
        let mut sent = None;
        for left in (0..4 * count + 8).rev() {
            sent = ring.claim(1).filter(|claim| ring.commit(*claim, 1));
            if sent.is_some() || attempt(left) == 0 {
                break;
            }
        }
        assert!(sent.is_some(), "seed {seed}: no message could be sent");
        let taken = ring.take(1).or_else(|| {
            ring.realign();
            ring.take_any(1)
        });
        assert!(taken.is_some(), "seed {seed}: no message could be taken");
    }
}

#[test]
fn turns_come_around() {
    let last = Turn(TURN_MASK);
    assert!(last.is_before(last.next()) && !last.next().is_before(last));
    assert_eq!(last.next(), Turn(0));
    let end = Position { turn: last, index: 2 };
    assert_eq!(end.next(3), Position { turn: Turn(0), index: 0 });
    assert_eq!(Position::of(end.word(), 3), end);
    assert_eq!(Position::of(end.word(), 2), Position { turn: Turn(0), index: 0 });
}
