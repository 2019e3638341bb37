//! The board is hostile input to the supervisor, and the only way to a worker.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::eventfd::EventFd;
use workers::runtime::board::{
    Board, LastWords, NAME_MAX, Reading, SIZE, State, TEXT_MAX, monotonic_ns,
};
use workers::runtime::briefing::Briefing;
use workers::runtime::endowment::Endowment;
use workers::runtime::mapping::Mapping;
use workers::runtime::run::{IncarnationPlan, OnPanic};
use workers::runtime::scheduling::Scheduling;
use workers::runtime::threads::Started;
use workers::{Context, Registry, Worker, WorkerError};

fn board() -> Mapping {
    Mapping::sealed("test").expect("a memfd")
}

/// Every word of the page overwritten.
fn scribble(mapping: &Mapping, mut word: impl FnMut(usize) -> u64) {
    let start = std::ptr::from_ref(mapping.board()).cast::<AtomicU64>();
    for index in 0..SIZE / 8 {
        // SAFETY: the page is SIZE bytes long and mapped for writing; its fields are atomics of at
        // most this width.
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
            // Half of the rounds keep the first word, so that the reader checks the rest.
            if index == 0 && round % 2 == 0 {
                workers::runtime::board::MAGIC
            } else {
                state >> (round % 60)
            }
        });
        if let Some(reading) = mapping.board().read() {
            let now = monotonic_ns();
            assert!(reading.name.len() <= 3 * NAME_MAX && reading.text.len() <= 3 * TEXT_MAX);
            assert!(
                reading.heartbeat_at.is_none_or(|at| at <= now),
                "no sign of life from the future"
            );
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
    assert!(board.write_text(1, b"gone"));
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
fn an_ordered_fault_is_committed_once_by_the_first_that_asks() {
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

#[test]
fn a_thread_that_was_left_behind_cannot_end_its_successor() {
    let mapping = board();
    for generation in 1..20_000_u64 {
        mapping.board().begin("a", generation);
        std::thread::scope(|threads| {
            // Its last store, while the supervisor gives its board to the next incarnation.
            threads.spawn(|| mapping.board().set_state(generation, State::Returned));
            mapping.board().begin("a", generation + 1);
        });
        let reading = mapping.board().read().expect("a board");
        assert_eq!((reading.generation, reading.state), (generation + 1, State::Empty));
        assert!(mapping.board().set_state(generation + 1, State::Launched));
    }
}

#[test]
fn a_thread_that_was_left_behind_leaves_no_words_to_its_successor() {
    let mapping = board();
    for generation in 1..20_000_u64 {
        mapping.board().begin("a", generation);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                mapping.board().write_text(generation, b"the last of it");
                mapping.board().write_last_words_of(generation, LastWords::Panic, 1);
            });
            mapping.board().begin("a", generation + 1);
        });
        let reading = mapping.board().read().expect("a board");
        assert_eq!((reading.last_words, reading.text.as_str()), (LastWords::None, ""));
    }
}

#[test]
fn a_board_of_another_version_is_not_read() {
    let mapping = board();
    mapping.board().begin("a", 1);
    assert!(mapping.board().is_known());
    let first = workers::runtime::board::MAGIC + 1;
    scribble(&mapping, |index| if index == 0 { first } else { 0 });
    assert!(!mapping.board().is_known());
    assert_eq!(mapping.board().read(), None);
}

/// Threads with a context each, which wait for orders; on demand one that hangs.
struct Crowd {
    waiting: usize,
    hangs: bool,
}

impl Worker for Crowd {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        std::thread::scope(|threads| {
            for _ in 0..self.waiting {
                let context = context.clone();
                threads.spawn(move || context.wait_for_stop());
            }
            if self.hangs {
                let context = context.clone();
                threads.spawn(move || {
                    context.tick();
                    // Does not look at its orders until it is to end.
                    while !context.stop_requested() {
                        std::thread::yield_now();
                    }
                });
            }
            context.wait_for_stop();
        });
        Ok(())
    }
}

/// An incarnation of a crowd, and the supervisor's side of it.
struct Live {
    mapping: Arc<Mapping>,
    wake: EventFd,
    thread: Started,
}

impl Live {
    fn start(waiting: usize, hangs: bool) -> Self {
        Self::of(move || Crowd { waiting, hangs })
    }

    fn of<W: Worker + 'static>(worker: impl Fn() -> W + Send + Sync + 'static) -> Self {
        let mapping = Arc::new(board());
        mapping.board().begin("crowd", 1);
        let wake = EventFd::new().expect("an eventfd");
        let registry = Registry::default().with(
            "crowd",
            "",
            move |_: serde_json::Value| -> Result<W, WorkerError> { Ok(worker()) },
        );
        let plan = IncarnationPlan {
            name: "crowd".into(),
            kind: "crowd".into(),
            generation: 1,
            args: serde_json::Value::Null,
            on_panic: OnPanic::Contain,
            scheduling: Scheduling::INHERITED,
            mapping: Arc::clone(&mapping),
            page: 0,
            poke: Arc::new(OwnedFd::from(EventFd::new().expect("an eventfd"))),
            wake: wake.as_fd().try_clone_to_owned().expect("a copy"),
            output: std::fs::File::create("/dev/null").expect("/dev/null").into(),
            endowment: Endowment::default(),
            briefing: Briefing::default(),
            at_end: None,
        };
        let thread = workers::runtime::run::spawn(plan, &registry).expect("a thread");
        Self { mapping, wake, thread }
    }

    fn wait(&self, what: &str, condition: impl Fn(&Reading) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        let reading = || self.mapping.board().read().expect("a board");
        while !condition(&reading()) {
            assert!(Instant::now() < end, "waited in vain for {what}: {:?}", reading());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(self) {
        self.mapping.board().order_stop();
        self.wake.write(1).expect("room");
        let end = Instant::now() + Duration::from_secs(60);
        while !self.thread.is_finished() {
            assert!(Instant::now() < end, "a thread was not woken");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn an_order_wakes_every_thread_that_waits() {
    for _ in 0..20 {
        let live = Live::start(8, false);
        live.wait("a thread that waits", |reading| reading.waiting.is_some());
        live.end();
    }
}

#[test]
fn threads_that_wait_answer_when_they_are_asked() {
    let live = Live::start(4, false);
    live.wait("all to wait", |reading| reading.heartbeats >= 5 && reading.working.is_none());
    for _ in 0..3 {
        let asked = monotonic_ns();
        live.wake.write(1).expect("room");
        live.wait("five answers", |reading| reading.waiting.is_some_and(|oldest| oldest > asked));
    }
    live.end();
}

#[test]
fn a_thread_that_waits_does_not_hide_another_that_hangs() {
    let live = Live::start(1, true);
    live.wait("one that works", |reading| reading.working.is_some() && reading.waiting.is_some());
    let asked = monotonic_ns();
    live.wake.write(1).expect("room");
    live.wait("an answer", |reading| reading.waiting.is_some_and(|oldest| oldest > asked));
    let reading = live.mapping.board().read().expect("a board");
    assert!(reading.working.is_some_and(|oldest| oldest < asked), "{reading:?}");
    live.end();
}

#[test]
fn a_sign_of_life_that_comes_while_the_board_is_read_counts() {
    struct Busy;
    impl Worker for Busy {
        fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
            while !context.stop_requested() {
                context.tick();
            }
            Ok(())
        }
    }
    let live = Live::of(|| Busy);
    live.wait("signs of life", |reading| reading.working.is_some());
    for _ in 0..200_000 {
        let reading = live.mapping.board().read().expect("a board");
        assert!(reading.heartbeat_at.is_some(), "{reading:?}");
        assert!(reading.working.is_some_and(|oldest| oldest > 0), "{reading:?}");
    }
    live.end();
}

/// A thread of a worker that goes on after `run` has returned.
#[test]
fn a_late_ready_hides_no_end() {
    struct Brief;
    impl Worker for Brief {
        fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
            let late = context.clone();
            std::thread::spawn(move || {
                late.wait_for_stop();
                // Its first sign of life, after the end.
                late.tick();
            });
            Ok(())
        }
    }
    let mapping = board();
    mapping.board().begin("a", 1);
    assert!(mapping.board().set_state(1, State::Launched));
    assert!(mapping.board().set_state(1, State::Returned));
    assert!(!mapping.board().set_state(1, State::Ready), "the end is the end");
    assert!(!mapping.board().set_state(1, State::Panicked), "the first one");
    assert_eq!(mapping.board().read().expect("a board").state, State::Returned);
    let live = Live::of(|| Brief);
    live.wait("its end", |reading| reading.state == State::Returned);
    live.wait("a sign of its other thread", |reading| reading.heartbeats > 0);
    assert_eq!(live.mapping.board().read().expect("a board").state, State::Returned);
    live.end();
}
