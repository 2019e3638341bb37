use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn holder() -> Holder {
    Holder::this_thread().expect("/proc")
}

fn queue(capacity: usize) -> Queue {
    let size = QueueSize { capacity, message: 100, users: 16 };
    Queue::create(size, holder()).expect("made")
}

/// The same queue, for the thread that calls this.
fn here(queue: &Queue) -> Queue {
    queue.for_holder(holder()).expect("a place")
}

fn send(queue: &Queue, text: &str) {
    queue.send(text.as_bytes(), &Wait::none()).expect("room");
}

fn take(queue: &Queue) -> Message<'_> {
    queue.take(&Wait::none()).expect("a message")
}

fn text(message: &Message<'_>) -> String {
    String::from_utf8(message.to_vec()).expect("text")
}

/// A thread that ends within this.
fn die(queue: &Queue, work: fn(&Queue)) -> Holder {
    let dead = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let queue = here(queue);
            work(&queue);
            let holder = queue.attachment.holder;
            std::mem::forget(queue);
            holder
        });
        thread.join().expect("no panic")
    });
    dead.wait_until_dead();
    dead
}

#[test]
fn messages_come_in_order_until_it_is_full_or_empty() {
    let queue = queue(3);
    for round in 0..5 {
        for text in ["a", "", "ccc"] {
            send(&queue, text);
        }
        assert!(matches!(queue.send(b"d", &Wait::none()), Err(Error::TimedOut)), "{round}");
        for expected in ["a", "", "ccc"] {
            let message = take(&queue);
            assert_eq!((text(&message).as_str(), message.deliveries()), (expected, 1));
            assert_eq!(message.is_empty(), expected.is_empty());
            message.acknowledge().expect("taken");
        }
        assert!(matches!(queue.take(&Wait::none()), Err(Error::TimedOut)), "{round}");
    }
    let answer = queue.send(&[0; 101], &Wait::none());
    assert!(matches!(answer, Err(Error::TooLong { length: 101, limit: 100 })), "{answer:?}");
}

#[test]
fn numbers_that_no_queue_has_are_refused() {
    let good = QueueSize { capacity: 2, message: 8, users: 2 };
    for size in [
        QueueSize { capacity: 0, ..good },
        QueueSize { capacity: CAPACITY_MAX + 1, ..good },
        QueueSize { message: 0, ..good },
        QueueSize { message: usize::MAX, ..good },
        QueueSize { users: 0, ..good },
        QueueSize { users: USERS_MAX + 1, ..good },
    ] {
        assert!(matches!(Queue::create(size, holder()), Err(Error::Unfit { .. })), "{size:?}");
    }
    let queue = Queue::create(good, holder()).expect("made");
    let second = here(&queue);
    let third = queue.for_holder(holder()).map(|_| ());
    assert!(matches!(third, Err(Error::NoPlace(2))), "{third:?}");
    drop(second);
    queue.for_holder(holder()).expect("a place again");
}

#[test]
fn what_is_dropped_is_taken_again() {
    let queue = queue(2);
    send(&queue, "work");
    let number = take(&queue).number();
    let again = take(&queue);
    assert_eq!((again.deliveries(), again.number()), (2, number));
    again.acknowledge().expect("taken");
    assert_eq!(queue.census(), Census::default());
}

#[test]
fn what_the_dead_had_taken_is_taken_again_and_what_they_acknowledged_is_not() {
    let queue = queue(8);
    for text in ["done", "begun", "next"] {
        send(&queue, text);
    }
    let dead = die(&queue, |queue| {
        take(queue).acknowledge().expect("taken");
        std::mem::forget(take(queue));
    });
    assert_eq!(queue.census(), Census { ready: 1, taken: 1, writing: 0 });
    let recovered = queue.release_of(dead).expect("/proc").expect("no other one sweeps");
    assert_eq!(recovered, Recovered { returned: 1, ..Recovered::default() });
    assert_eq!(queue.users().len(), 1);
    let (first, second) = (take(&queue), take(&queue));
    assert_eq!((text(&first).as_str(), first.deliveries()), ("begun", 2));
    assert_eq!((text(&second).as_str(), second.deliveries()), ("next", 1));
}

#[test]
fn one_that_waits_finds_what_the_dead_had() {
    let queue = queue(2);
    send(&queue, "work");
    die(&queue, |queue| std::mem::forget(take(queue)));
    let begun = Instant::now();
    let message = queue.take(&Wait::at_most(LONG)).expect("taken again");
    assert_eq!((text(&message).as_str(), message.deliveries()), ("work", 2));
    assert!(begun.elapsed() < LONG / 2);
}

#[test]
fn half_messages_of_the_dead_are_skipped_and_counted() {
    let queue = queue(2);
    let half = |queue: &Queue| {
        let claim = queue.ring().claim(queue.seat).expect("room");
        queue.slot_words(claim.index).length.store(5, Ordering::Relaxed);
    };
    die(&queue, half);
    die(&queue, half);
    // Full of them: the first that waits makes room.
    queue.send(b"whole", &Wait::at_most(LONG)).expect("room");
    assert_eq!(queue.torn(), 2);
    let message = queue.take(&Wait::at_most(LONG)).expect("a message");
    assert_eq!(text(&message), "whole");
}

#[test]
fn a_slow_taker_does_not_hold_up_the_others() {
    let queue = queue(4);
    send(&queue, "slow");
    let slow = take(&queue);
    for round in 0..20 {
        let text = round.to_string();
        send(&queue, &text);
        let message = take(&queue);
        assert_eq!(message.to_vec(), text.as_bytes());
        message.acknowledge().expect("taken");
    }
    for text in ["a", "b", "c"] {
        send(&queue, text);
    }
    assert!(matches!(queue.send(b"d", &Wait::none()), Err(Error::TimedOut)));
    slow.acknowledge().expect("taken");
    // The tail has passed its slot in this round.
    take(&queue).acknowledge().expect("taken");
    send(&queue, "d");
    send(&queue, "e");
}

#[test]
fn many_send_and_take_each_once() {
    let queue = queue(7);
    let (seen, count) = (Mutex::new(HashSet::new()), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for sender in 0..3 {
            let queue = &queue;
            scope.spawn(move || {
                let queue = here(queue);
                for number in 0..2000 {
                    let text = format!("{sender} {number}");
                    queue.send(text.as_bytes(), &Wait::at_most(LONG)).expect("sent");
                }
            });
        }
        for _ in 0..3 {
            scope.spawn(|| {
                let queue = here(&queue);
                while count.load(Ordering::SeqCst) < 6000 {
                    let Ok(message) = queue.take(&Wait::at_most(Duration::from_millis(60))) else {
                        continue;
                    };
                    assert!(seen.lock().expect("no panic").insert(message.to_vec()), "twice");
                    message.acknowledge().expect("taken");
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(seen.into_inner().expect("no panic").len(), 6000);
    assert_eq!((queue.census(), queue.torn()), (Census::default(), 0));
}

#[test]
fn words_that_were_written_over_end_every_wait() {
    for byte in [0x00, 0x11, 0x35, 0x55, 0xff] {
        let queue = queue(4);
        send(&queue, "lost, perhaps");
        let segment = queue.attachment.segment;
        segment.copy_into(HEADER, &vec![byte; segment.size() - HEADER]);
        let soon = || Wait::at_most(Duration::from_millis(220));
        for _ in 0..4 {
            if let Ok(message) = queue.take(&soon()) {
                assert!(message.len() <= 100);
                let _ = message.to_vec();
            }
            let _ = queue.send(b"more", &soon());
        }
        let _ = (queue.census(), queue.users(), queue.release_dead());
        // Its place may be lost: that costs a wait at most.
        std::mem::forget(queue);
    }
}

#[test]
fn a_queue_that_was_written_over_is_opened_at_once_and_by_one_that_gives_signs_of_life() {
    let queue = queue(8);
    let segment = queue.attachment.segment;
    segment.scribble(0xff);
    let begun = Instant::now();
    drop(here(&queue));
    assert!(begun.elapsed() < PLACE_TIME, "{:?}", begun.elapsed());
    // The name of a living one cannot be told from that of one that sweeps.
    let living = Holder::this_process().expect("/proc").to_bits();
    queue.words().sweeper.store(living, Ordering::Release);
    let (fd, asked) = (queue.fd().try_clone_to_owned().expect("a descriptor"), AtomicUsize::new(0));
    let gives_up = || asked.fetch_add(1, Ordering::Relaxed) > 2;
    let answer = Queue::open_within(fd, holder(), &Wait::at_most(LONG).or_if(&gives_up));
    assert!(matches!(answer, Err(Error::GivenUp)), "{answer:?}");
    queue.words().sweeper.store(0, Ordering::Release);
}
