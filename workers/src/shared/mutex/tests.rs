use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU32;
use std::sync::mpsc;

use super::*;
use crate::shared::futex;

fn mutex() -> Mutex {
    Mutex::create(Holder::this_thread().expect("/proc")).expect("made")
}

/// The same mutex, for the thread that calls this.
fn here(mutex: &Mutex) -> Mutex {
    let fd = mutex.fd().try_clone_to_owned().expect("a descriptor");
    Mutex::open(fd, Holder::this_thread().expect("/proc")).expect("opened")
}

fn soon() -> Wait<'static> {
    Wait::at_most(Duration::from_millis(20))
}

fn in_time() -> Wait<'static> {
    Wait::at_most(Duration::from_secs(60))
}

fn clean(mutex: &Mutex) -> Guard<'_> {
    match mutex.lock(&Wait::none()).expect("free") {
        Locked::Clean(guard) => guard,
        Locked::OwnerDied(_) => panic!("no owner died"),
    }
}

/// A thread that ends with the mutex: to the kernel that is the death of its owner.
fn die_with(mutex: &Mutex, within_a_change: bool) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mutex = here(mutex);
            let guard = clean(&mutex);
            if within_a_change {
                guard.begin_half_a_change();
            }
            std::mem::forget(guard);
            Holder::this_thread().expect("/proc")
        });
        thread.join().expect("no panic").wait_until_dead();
    });
}

#[test]
fn one_owner_at_a_time_and_it_can_be_seen() {
    let mutex = mutex();
    assert_eq!(mutex.hold(), None);
    let guard = clean(&mutex);
    assert_eq!(mutex.hold().expect("held").holder, Holder::this_thread().expect("/proc"));
    assert!(!mutex.is_abandoned());
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(matches!(here(&mutex).lock(&soon()), Err(Error::TimedOut))));
    });
    assert!(mutex.hold().expect("held").at_least >= Duration::from_millis(20));
    assert!(
        matches!(mutex.lock(&in_time()), Err(Error::Deadlock)),
        "instead of waiting for itself"
    );
    drop(guard);
    drop(clean(&mutex));
    assert_eq!(mutex.hold(), None);
}

#[test]
fn a_waiter_gives_up_when_it_is_told_to() {
    let mutex = mutex();
    let guard = clean(&mutex);
    let (asked, count) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let given_up = move || asked.send(()).is_err();
            let answer = here(&mutex).lock(&Wait::while_not(&given_up)).map(|_| ());
            assert!(matches!(answer, Err(Error::GivenUp)));
        });
        // It asks again and again; from now on the answer is yes.
        count.recv().expect("asked");
        count.recv().expect("asked again");
        drop(count);
    });
    drop(guard);
}

#[test]
fn the_next_owner_is_told_of_a_death_once() {
    let mutex = mutex();
    die_with(&mutex, false);
    assert!(mutex.is_abandoned());
    let Locked::OwnerDied(recovery) = mutex.lock(&in_time()).expect("given") else {
        panic!("an owner died")
    };
    assert!(!recovery.is_torn(), "it changed nothing");
    assert!(recovery.last().is_some());
    drop(recovery.repaired());
    assert_eq!(mutex.recoveries(), 1);
    drop(clean(&mutex));
}

#[test]
fn a_death_within_a_change_is_torn_until_it_is_repaired() {
    let mutex = mutex();
    let before = mutex.version();
    clean(&mutex).change(|| assert_eq!(mutex.version(), before + 1));
    assert_eq!(mutex.version(), before + 2);
    die_with(&mutex, true);
    assert_eq!(mutex.version(), before + 3);
    let locked = mutex.lock(&in_time()).expect("given");
    let mut repaired = false;
    drop(locked.or_repair(|recovery| repaired = recovery.is_torn()));
    assert!(repaired);
    assert_eq!(mutex.version(), before + 4);
    drop(clean(&mutex));
}

#[test]
fn a_panic_within_a_change_is_told_too_even_after_another_change() {
    let mutex = mutex();
    let mut guard = clean(&mutex);
    let unwound = catch_unwind(AssertUnwindSafe(|| guard.change(|| panic!("within a change"))));
    assert!(unwound.is_err());
    guard.change(|| ());
    drop(guard);
    let Locked::OwnerDied(recovery) = mutex.lock(&in_time()).expect("given") else {
        panic!("the data are half")
    };
    assert!(recovery.is_torn());
    drop(recovery.repaired());
    drop(clean(&mutex));
}

#[test]
fn what_is_not_repaired_is_poisoned_for_all() {
    for within_a_change in [false, true] {
        let mutex = mutex();
        die_with(&mutex, within_a_change);
        drop(mutex.lock(&in_time()).expect("given"));
        for _ in 0..2 {
            assert!(matches!(mutex.lock(&in_time()), Err(Error::Poisoned)));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    assert!(matches!(here(&mutex).lock(&in_time()), Err(Error::Poisoned)));
                });
            });
        }
    }
    let mutex = mutex();
    let unwound = catch_unwind(AssertUnwindSafe(|| clean(&mutex).change(|| panic!("half"))));
    assert!(unwound.is_err());
    drop(mutex.lock(&in_time()).expect("given"));
    assert!(matches!(mutex.lock(&in_time()), Err(Error::Poisoned)));
}

#[test]
fn words_that_were_written_over_are_an_error_and_no_wait_without_end() {
    for byte in [0, 0x55, 0xff] {
        for length in [4, 8, 16, 20, 40, 128] {
            let mutex = mutex();
            mutex.attachment.segment.copy_into(HEADER, &vec![byte; length]);
            let wait = if length >= 20 { in_time() } else { soon() };
            let answer = mutex.lock(&wait).map(std::mem::forget);
            if length >= 20 {
                assert!(matches!(answer, Err(Error::Overwritten)), "{byte} {length}: {answer:?}");
            }
            let _ = (mutex.hold(), mutex.version(), mutex.is_abandoned());
        }
    }
}

#[test]
fn a_forged_owner_that_lives_is_waited_for_until_the_limit_and_any_other_is_taken_over() {
    let own = Holder::this_thread().expect("/proc").to_bits();
    let other = Holder::this_process().expect("/proc").to_bits();
    for word in [own + 1, own | 1 << 39, u64::MAX, 7, 1 << 42] {
        let mutex = mutex();
        mutex.attachment.segment.copy_into(HEADER, &word.to_ne_bytes());
        let Ok(Locked::OwnerDied(recovery)) = mutex.lock(&Wait::none()) else {
            panic!("no thread is {word:#x}")
        };
        drop(recovery.repaired());
        drop(clean(&mutex));
    }
    let mutex = mutex();
    mutex.attachment.segment.copy_into(HEADER, &other.to_ne_bytes());
    assert!(matches!(mutex.lock(&soon()), Err(Error::TimedOut)));
    mutex.attachment.segment.copy_into(HEADER, &own.to_ne_bytes());
    assert!(matches!(mutex.lock(&in_time()), Err(Error::Deadlock)));
}

#[test]
fn one_that_sleeps_is_told_of_a_death_that_it_finds_or_a_supervisor() {
    for is_supervised in [false, true] {
        let mutex = &mutex();
        std::thread::scope(|scope| {
            let (end, ended) = mpsc::channel::<()>();
            let (locked, is_locked) = mpsc::channel();
            let owner = scope.spawn(move || {
                let mutex = here(mutex);
                std::mem::forget(clean(&mutex));
                locked.send(()).expect("received");
                let _ = ended.recv();
            });
            is_locked.recv().expect("sent");
            let waiter = scope.spawn(move || {
                let mutex = here(mutex);
                let locked = mutex.lock(&Wait::at_most(Duration::from_secs(60)));
                matches!(locked, Ok(Locked::OwnerDied(_)))
            });
            while mutex.attachment.segment.waiters().is_empty() {
                std::thread::yield_now();
            }
            drop(end);
            owner.join().expect("no panic");
            if is_supervised {
                mutex.attachment.segment.release_dead().expect("/proc");
            }
            assert!(waiter.join().expect("no panic"), "told");
        });
    }
}

/// One that is in another namespace of PIDs can only know it from the supervisor.
#[test]
fn an_owner_that_is_marked_as_dead_is_so_for_those_who_cannot_tell() {
    let mutex = mutex();
    std::mem::forget(clean(&mutex));
    mutex.words.give_up_if(|_| false);
    let waits = |mutex: &Mutex| {
        std::thread::scope(|scope| {
            scope.spawn(|| here(mutex).lock(&soon()).map(|locked| drop(locked.carry_on()))).join()
        })
    };
    assert!(matches!(waits(&mutex).expect("no panic"), Err(Error::TimedOut)));
    let owner = mutex.hold().expect("held").holder;
    mutex.words.give_up_if(|holder| holder == owner);
    assert_eq!(mutex.hold().expect("shown as it was").holder, owner);
    waits(&mutex).expect("no panic").expect("given");
    assert_eq!(mutex.recoveries(), 1);
}

#[test]
fn an_owner_that_was_taken_for_dead_does_not_free_the_lock_of_the_next_one() {
    let mutex = mutex();
    let guard = clean(&mutex);
    // The name of one that is here, and is not this thread.
    let next = Holder::this_process().expect("/proc");
    mutex.words.give_up_if(|_| true);
    mutex.words.take_for_test(next);
    drop(guard);
    assert_eq!(mutex.hold().expect("the next one has it").holder, next);
}

#[test]
fn those_that_were_moved_to_a_held_mutex_are_woken_when_it_is_free() {
    let (mutex, signals) = (mutex(), AtomicU32::new(0));
    assert!(!mutex.words.take_sleepers(&signals, 0, i32::MAX), "it is free");
    let guard = clean(&mutex);
    assert!(!mutex.words.take_sleepers(&signals, 1, i32::MAX), "another one has signalled");
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| futex::wait(&signals, 0, Duration::from_secs(60)));
        // Until it sleeps there.
        while !mutex.words.has_announced() {
            assert!(mutex.words.take_sleepers(&signals, 0, i32::MAX), "it is held");
            std::thread::yield_now();
        }
        assert_eq!(futex::wake(&signals, i32::MAX), 0, "it was moved");
        assert!(!sleeper.is_finished());
        drop(guard);
        assert!(!sleeper.join().expect("no panic"), "woken in time");
    });
}

#[test]
fn one_looks_for_a_dead_owner_after_an_eighth_of_the_time_that_it_has_waited() {
    let pauses = [0, 1, 2000, 8000, 80_000, 8_000_000].map(Duration::from_micros).map(pause_after);
    assert_eq!(pauses, [250, 250, 250, 1000, 10_000, 50_000].map(Duration::from_micros));
}
