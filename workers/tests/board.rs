//! The board is hostile input to the supervisor, and the only way to a worker.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use workers::board::{Board, LastWords, NAME_MAX, SIZE, State, TEXT_MAX, monotonic_ns};
use workers::mapping::Mapping;

fn board() -> Mapping {
    Mapping::sealed("test").expect("a memfd")
}

/// Every word of the page overwritten.
fn scribble(mapping: &Mapping, mut word: impl FnMut(usize) -> u64) {
    let start = std::ptr::from_ref(mapping.board()).cast::<AtomicU64>();
    for index in 0..SIZE / 8 {
        // SAFETY: the page is SIZE bytes long and mapped for writing; its fields are atomics of at most this width.
        unsafe { (*start.add(index)).store(word(index), Ordering::Relaxed) };
    }
}

#[test]
fn garbage_reads_as_nothing_or_as_something_well_formed() {
    let mapping = board();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..20_000 {
        scribble(&mapping, |index| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Half of the rounds keep the first word, so that the rest is looked at.
            if index == 0 && round % 2 == 0 { workers::board::MAGIC } else { state >> (round % 60) }
        });
        if let Some(reading) = mapping.board().read() {
            let now = monotonic_ns();
            assert!(reading.name.len() <= 3 * NAME_MAX && reading.text.len() <= 3 * TEXT_MAX);
            assert!(reading.heartbeat_at.is_none_or(|at| at <= now), "no sign of life from the future");
            assert!(reading.fault_at.is_none_or(|at| at <= now));
            assert!(reading.last_words_at.is_none_or(|at| at <= now));
        }
    }
}

#[test]
fn a_new_incarnation_forgets_all_but_progress() {
    let mapping = board();
    let board: &Board = mapping.board();
    board.begin("a", 1);
    board.progress.store(7, Ordering::Relaxed);
    board.in_flight.store(3, Ordering::Relaxed);
    board.order_stop();
    board.order_fault(10, 5);
    board.write_last_words(LastWords::Signal, 11, 1, 0x10, 99);
    board.write_text(b"gone");
    board.begin("a", 2);
    let reading = board.read().expect("a board");
    assert_eq!((reading.generation, reading.progress, reading.in_flight), (2, 7, 0));
    assert_eq!(
        (reading.state, reading.last_words, reading.text.as_str()),
        (State::Empty, LastWords::None, "")
    );
    assert!(!board.stop_requested() && board.take_fault().is_none());
}

#[test]
fn the_first_last_words_count() {
    let mapping = board();
    mapping.board().begin("a", 1);
    mapping.board().write_last_words(LastWords::StackOverflow, 11, 2, 0x7000, 1);
    mapping.board().write_last_words(LastWords::Signal, 6, -6, 0, 1);
    let reading = mapping.board().read().expect("a board");
    assert_eq!((reading.last_words, reading.signal), (LastWords::StackOverflow, 11));
}

#[test]
fn an_ordered_fault_is_taken_once_whoever_asks_first() {
    let mapping = board();
    for round in 0..1000 {
        mapping.board().order_fault(10, round);
        let taken = AtomicU32::new(0);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    if let Some(fault) = mapping.board().take_fault() {
                        assert_eq!(fault, (10, round));
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 1);
    }
}

#[test]
fn a_worker_cannot_cut_its_board_off_under_the_supervisor() {
    let mapping = board();
    let shrunk = nix::unistd::ftruncate(mapping.fd(), 0);
    assert_eq!(shrunk, Err(nix::errno::Errno::EPERM), "sealed");
}
