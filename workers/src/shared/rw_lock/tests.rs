use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::*;

fn lock(readers: usize) -> RwLock {
    RwLock::create(readers, Holder::this_thread().expect("/proc")).expect("made")
}

fn here(lock: &RwLock) -> RwLock {
    let fd = lock.fd().try_clone_to_owned().expect("a descriptor");
    RwLock::open(fd, Holder::this_thread().expect("/proc")).expect("opened")
}

fn soon() -> Wait<'static> {
    Wait::at_most(Duration::from_millis(20))
}

fn in_time() -> Wait<'static> {
    Wait::at_most(Duration::from_secs(60))
}

fn read(lock: &RwLock) -> ReadGuard<'_> {
    match lock.read(&in_time()).expect("in time") {
        ReadLocked::Clean(guard) => guard,
        ReadLocked::WriterDied(_) => panic!("no writer died"),
    }
}

fn write(lock: &RwLock) -> WriteGuard<'_> {
    match lock.write(&in_time()).expect("in time") {
        WriteLocked::Clean(guard) => guard,
        WriteLocked::WriterDied(_) => panic!("no writer died"),
    }
}

/// A thread that ends while it does this.
fn die(lock: &RwLock, work: fn(&RwLock)) {
    let holder = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            work(&here(lock));
            Holder::this_thread().expect("/proc")
        });
        thread.join().expect("no panic")
    });
    holder.wait_until_dead();
}

fn die_within_a_change(lock: &RwLock) {
    die(lock, |lock| {
        let guard = write(lock);
        guard.guard.begin_half_a_change();
        std::mem::forget(guard);
    });
}

#[test]
fn many_read_or_one_writes() {
    let lock = lock(4);
    let (readers, writers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for index in 0..7 {
            let (lock, readers, writers) = (&lock, &readers, &writers);
            scope.spawn(move || {
                let lock = here(lock);
                for _ in 0..100 {
                    if index < 5 {
                        let guard = read(&lock);
                        readers.fetch_add(1, Ordering::SeqCst);
                        assert_eq!(writers.load(Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        readers.fetch_sub(1, Ordering::SeqCst);
                        drop(guard);
                    } else {
                        let mut guard = write(&lock);
                        guard.change(|| {
                            assert_eq!(writers.fetch_add(1, Ordering::SeqCst), 0);
                            assert_eq!(readers.load(Ordering::SeqCst), 0);
                            std::thread::yield_now();
                            writers.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                }
            });
        }
    });
    assert_eq!((lock.writer(), lock.readers()), (None, Vec::new()));
    assert_eq!(lock.version(), 400);
}

#[test]
fn a_dead_reader_is_none_any_more() {
    let lock = lock(4);
    die(&lock, |lock| std::mem::forget(read(lock)));
    assert_eq!(lock.readers().len(), 1);
    assert!(matches!(lock.write(&Wait::none()), Err(Error::TimedOut)));
    drop(read(&lock));
    drop(write(&lock));
    die(&lock, |lock| std::mem::forget(read(lock)));
    assert_eq!(lock.release_dead(), 1);
    assert!(matches!(lock.write(&Wait::none()), Ok(WriteLocked::Clean(_))));
}

#[test]
fn the_first_after_a_dead_writer_is_told_and_has_it_alone() {
    let lock = lock(4);
    die_within_a_change(&lock);
    let ReadLocked::WriterDied(recovery) = lock.read(&in_time()).expect("in time") else {
        panic!("a writer died")
    };
    assert!(recovery.is_torn());
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(matches!(here(&lock).read(&soon()), Err(Error::TimedOut))));
    });
    drop(recovery.repaired());
    drop(read(&lock));

    die(&lock, |lock| std::mem::forget(write(lock)));
    let WriteLocked::WriterDied(recovery) = lock.write(&in_time()).expect("in time") else {
        panic!("a writer died")
    };
    assert!(!recovery.is_torn());
    drop(recovery.repaired());
    drop(read(&lock));
}

#[test]
fn a_writer_that_gave_up_leaves_the_repair_to_the_next() {
    let lock = lock(4);
    let guard = read(&lock);
    // It dies within a change, although there is a reader: as if it had not looked.
    die(&lock, |lock| {
        let locked = lock.words().mutex.lock(lock.attachment, &Wait::none(), false);
        let guard = locked.expect("free").carry_on();
        guard.begin_half_a_change();
        std::mem::forget(guard);
    });
    assert!(matches!(lock.write(&soon()), Err(Error::TimedOut)));
    drop(guard);
    assert!(matches!(lock.write(&in_time()), Ok(WriteLocked::WriterDied(_))));
}

#[test]
fn what_is_not_repaired_is_poisoned_for_readers_and_writers() {
    let lock = lock(4);
    die_within_a_change(&lock);
    drop(lock.read(&in_time()).expect("in time"));
    assert!(matches!(lock.read(&in_time()), Err(Error::Poisoned)));
    assert!(matches!(lock.write(&in_time()), Err(Error::Poisoned)));
    assert_eq!(lock.readers(), []);
}

#[test]
fn readers_beyond_its_places_wait() {
    let lock = lock(1);
    let first = read(&lock);
    assert!(matches!(lock.read(&soon()), Err(Error::TimedOut)));
    std::thread::scope(|scope| {
        let second = scope.spawn(|| drop(read(&here(&lock))));
        drop(first);
        second.join().expect("it read");
    });
}

#[test]
fn a_writer_that_has_not_the_lock_holds_up_nobody() {
    let lock = lock(4);
    for word in [u64::MAX, Holder::this_process().expect("/proc").to_bits()] {
        lock.words().writer.store(word, Ordering::Release);
        drop(read(&lock));
        assert_eq!(lock.writer(), None);
    }
}
