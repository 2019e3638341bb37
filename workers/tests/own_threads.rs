//! A worker's own threads, its waits, and children that it forks: in this process, without a
//! supervisor.

mod live;

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use live::{Live, until};
use nix::libc;
use workers::runtime::board::{LastWords, State};
use workers::runtime::run::OnPanic;
use workers::testing::in_child;
use workers::{Context, WorkerError};

fn waits(context: &Context) -> Result<(), WorkerError> {
    context.wait_for_stop();
    Ok(())
}

#[test]
fn a_panic_of_an_own_thread_stops_its_worker_which_has_failed_by_it() {
    let live = Live::start(OnPanic::Contain, |context| {
        let others = [(); 3].map(|()| context.spawn("waits", Context::wait_for_stop));
        let panics = context.spawn("reader", |_| -> u32 { panic!("broken pipe") })?;
        // All of them are woken.
        context.wait_for_stop();
        for other in others {
            other?.join()?;
        }
        let error = panics.join().expect_err("it has panicked").to_string();
        assert!(error.starts_with("a panic in its thread `reader`: "), "{error}");
        Ok(())
    });
    let reading = live.ended();
    assert_eq!((reading.state, reading.last_words), (State::Panicked, LastWords::None));
    assert!(reading.text.starts_with("in its thread `reader`: "), "{}", reading.text);
    assert!(reading.text.ends_with("broken pipe"), "{}", reading.text);
}

/// A result that cannot be dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("of a result");
    }
}

#[test]
fn a_panic_of_a_result_that_none_waits_for_is_one_of_the_worker() {
    let live = Live::start(OnPanic::Contain, |context| {
        drop(context.spawn("results", |_| Bomb)?);
        waits(context)
    });
    let reading = live.ended();
    assert_eq!(reading.state, State::Panicked);
    assert!(reading.text.ends_with("of a result"), "{}", reading.text);
}

/// Enters while a panic unwinds, as a destructor may.
struct Enters(Context);

impl Drop for Enters {
    fn drop(&mut self) {
        drop(self.0.enter());
    }
}

#[test]
fn a_destructor_that_enters_while_a_panic_unwinds_makes_no_failure_of_it() {
    let live = Live::start(OnPanic::Contain, |context| {
        let enters = Enters(context.clone());
        let caught = catch_unwind(AssertUnwindSafe(move || {
            let _enters = enters;
            panic!("that is caught");
        }));
        assert!(caught.is_err());
        Ok(())
    });
    assert_eq!(live.ended().state, State::Returned);
}

#[test]
fn a_worker_that_goes_on_after_a_thread_of_it_has_failed_gives_no_signs_of_life() {
    static MAY_END: AtomicBool = AtomicBool::new(false);
    let live = Live::start(OnPanic::Contain, |context| {
        let _ = context.spawn("panics", |_| panic!("at once"))?.join();
        while !MAY_END.load(Ordering::Acquire) {
            context.tick();
        }
        Ok(())
    });
    until("the panic", || (!live.reading().text.is_empty()).then_some(()));
    // A tick may have begun before it.
    until("silence", || {
        let beats = live.reading().heartbeats;
        std::thread::sleep(Duration::from_millis(20));
        (live.reading().heartbeats == beats).then_some(())
    });
    MAY_END.store(true, Ordering::Release);
    assert_eq!(live.ended().state, State::Panicked);
}

#[test]
fn an_own_thread_returns_a_value_and_is_counted_until_it_ends() {
    static MAY_END: AtomicBool = AtomicBool::new(false);
    let live = Live::start(OnPanic::Contain, |context| {
        // Its error is one for every `?`.
        let adds = || -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
            Ok(context.spawn("adds", |_| 2 + 2)?.join()?)
        };
        assert_eq!(adds()?, 4);
        let name = context.spawn("named", |_| std::thread::current().name().map(str::to_owned));
        assert_eq!(name?.join()?.as_deref(), Some("named"));
        // It outlives its worker.
        let outlives = context.spawn("outlives", |_| {
            while !MAY_END.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        });
        outlives.map(drop).map_err(WorkerError::from)
    });
    assert_eq!(live.ended().state, State::Returned);
    assert_eq!(live.board().left_behind(true), 1);
    live.board().begin("w", 2);
    assert_eq!(live.board().left_behind(false), 1, "of the first run");
    MAY_END.store(true, Ordering::Release);
    until("its end", || (live.board().left_behind(true) == 0).then_some(()));
}

#[test]
fn a_thread_of_a_pool_is_the_workers_as_long_as_it_says() {
    let live = Live::start(OnPanic::Contain, |context| {
        let of_pool = context.clone();
        let pool = std::thread::spawn(move || {
            let caught = catch_unwind(AssertUnwindSafe(|| panic!("the pool's affair")));
            assert!(caught.is_err());
            let guard = of_pool.enter();
            drop(guard);
            of_pool.enter().until_thread_ends();
        });
        pool.join().map_err(|_| "the pool has panicked")?;
        waits(context)
    });
    until("its first sign", || live.reading().waiting.map(|_| ()));
    assert_eq!(live.board().left_behind(true), 1, "the one that waits");
    assert_eq!(live.stop().state, State::Returned);
    assert_eq!(live.board().left_behind(true), 0);
}

#[test]
fn a_panic_whose_payload_panics_is_contained() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("in the destructor of a payload");
            }
        }
    }
    let live = Live::start(OnPanic::Contain, |_| std::panic::panic_any(Bomb));
    let reading = live.ended();
    assert_eq!(reading.state, State::Panicked);
    assert_eq!(reading.text.split(": ").last(), Some("panic without a message"));
}

#[test]
fn what_a_forked_child_does_reaches_no_board() {
    for is_raw in [false, true] {
        let live = Live::start(OnPanic::Contain, move |context| {
            context.progress(1);
            let child = if is_raw {
                // SAFETY: as fork(2), without what the C library does for it.
                unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as i32 }
            } else {
                // SAFETY: the child makes no call that is not async-signal-safe, but for the
                // allocator's, which glibc has made usable in a child.
                unsafe { libc::fork() }
            };
            if child == 0 {
                assert!(context.stop_requested(), "it is none of the supervisor's workers");
                context.progress(100);
                context.breadcrumb(7);
                drop(context.clone());
                // Ends the child: with its only thread.
                return Err("of the child".into());
            }
            let mut status = 0;
            // SAFETY: a valid pointer, and the child that was made here.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert!(libc::WIFEXITED(status), "{status}");
            waits(context)
        });
        let reading = until("the child's end", || {
            let reading = live.reading();
            (reading.waiting.is_some() || reading.state == State::Failed).then_some(reading)
        });
        assert_eq!(reading.state, State::Ready, "{reading:?}");
        assert_eq!((reading.progress, reading.breadcrumb), (1, 0));
        assert_eq!(live.stop().state, State::Returned);
        assert_eq!(live.board().left_behind(true), 0);
    }
}

#[test]
fn a_wait_for_ever_and_one_longer_than_any_clock_end_with_the_order() {
    let live = Live::start(OnPanic::Contain, |context| {
        assert!(!context.sleep(Duration::MAX));
        Ok(())
    });
    until("it to wait", || live.reading().waiting.map(|_| ()));
    assert_eq!(live.stop().state, State::Returned);
}

/// Time of this thread on a processor.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[test]
fn a_closed_descriptor_is_an_error_or_a_wait_and_never_a_spin() {
    let live = Live::start(OnPanic::Contain, |context| {
        let file = std::fs::File::open("/dev/null")?;
        let number = file.as_raw_fd();
        // SAFETY: a number that no file has: what is borrowed is closed.
        let closed = unsafe { OwnedFd::from_raw_fd(libc::dup2(number, 900)) };
        let number = closed.into_raw_fd();
        // SAFETY: it is this thread's own.
        unsafe { libc::close(number) };
        // SAFETY: none looks at it but the kernel.
        let closed = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        let error = context.wait_readable(closed, None).expect_err("it is closed");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        Ok(())
    });
    let reading = live.ended();
    assert_eq!(reading.state, State::Returned, "{reading:?}");
}

/// In a process of its own: other tests have epoll sets too, and the number of a closed one is given
/// to what they open next.
#[test]
fn a_worker_whose_epoll_set_something_else_has_closed_waits_without_it() {
    let name = "a_worker_whose_epoll_set_something_else_has_closed_waits_without_it";
    let child = in_child(name, wait_without_an_epoll_set);
    assert_eq!(child.code(), Some(0), "{}", child.output());
}

fn wait_without_an_epoll_set() {
    static USED: AtomicUsize = AtomicUsize::new(usize::MAX);
    let live = Live::start(OnPanic::Contain, |context| {
        let is_closed = Arc::new(AtomicBool::new(false));
        let closes = Arc::clone(&is_closed);
        // What a library does that closes all descriptors that it does not know: those of epoll.
        let closer = std::thread::spawn(move || {
            until("an epoll set", || {
                let all = std::fs::read_dir("/proc/self/fd").expect("/proc").flatten();
                let mut sets = all.filter(|entry| {
                    std::fs::read_link(entry.path())
                        .is_ok_and(|target| target.to_string_lossy().contains("eventpoll"))
                });
                sets.next().map(|entry| {
                    let number = entry.file_name().to_string_lossy().parse().expect("a number");
                    // SAFETY: there is none: this is the fault.
                    unsafe { libc::close(number) };
                })
            });
            closes.store(true, Ordering::Release);
        });
        let began = thread_time();
        // Some more after it was closed, however late that was.
        for _ in 0..2 {
            let until = Instant::now() + Duration::from_millis(400);
            while Instant::now() < until || !is_closed.load(Ordering::Acquire) {
                let left = until.saturating_duration_since(Instant::now());
                assert!(context.sleep(left.max(Duration::from_millis(20))));
            }
        }
        let used = (thread_time() - began).as_millis();
        USED.store(usize::try_from(used).unwrap_or(usize::MAX), Ordering::Release);
        closer.join().map_err(|_| "no epoll set was found")?;
        Ok(())
    });
    assert_eq!(live.ended().state, State::Returned);
    let used = USED.load(Ordering::Acquire);
    assert!(used < 400, "{used} ms of 800 on a processor");
}
