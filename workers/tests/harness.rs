//! Workers tested without a supervisor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use workers::fault::Fault;
use workers::testing::{Ending, Harness, LastWords, in_child};
use workers::{Context, Registry, Worker, WorkerError};

/// A unit of work each millisecond.
struct Steady;

impl Worker for Steady {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        context.ready();
        while context.sleep(Duration::from_millis(1)) {
            context.begin(1).done();
            context.log_line(format!("{} of {}", context.name(), context.generation()));
        }
        Ok(())
    }
}

#[test]
fn a_worker_runs_in_the_process_of_its_test() {
    let worker = Harness::of(Steady).name("steady").generation(3).start();
    worker.wait_ready();
    worker.wait_for("progress", |state| state.progress >= 3 && state.in_flight == 0);
    assert!(worker.wait_output("steady of 3").starts_with("steady of 3\n"));
    assert_eq!(worker.stop(), Ending::Returned);
}

#[test]
fn an_ending_tells_an_error_from_a_permanent_one_and_both_from_a_panic() {
    let registry = Registry::default().function("ends", "", |context: &Context, how: How| {
        let _lost = context.begin(7);
        match how {
            How::Error { text } => Err(text.into()),
            How::Permanent { text } => Err(WorkerError::permanent(text)),
            How::Panic { text } => panic!("{text}"),
        }
    });
    let end = |how: &str| {
        let args = serde_json::json!({ how: { "text": "no more paper" } });
        let worker = Harness::new(&registry, "ends", args).start();
        let state = worker.wait_for("end", |state| state.ending.is_some());
        assert_eq!((state.in_flight, state.failed), (7, 0), "{how}");
        (state.ending.expect("it has ended"), worker.output())
    };
    let text = "no more paper".to_owned();
    assert_eq!(end("error"), (Ending::Failed(text.clone()), "ends: no more paper\n".into()));
    assert_eq!(end("permanent").0, Ending::FailedForGood(text));
    let (Ending::Panicked(panic), output) = end("panic") else { panic!("it panics") };
    assert!(panic.ends_with(": no more paper") && panic.contains("harness.rs:"), "{panic}");
    assert!(output.starts_with("ends panicked at "), "{output}");
    let unknown = Harness::new(&registry, "begins", serde_json::Value::Null).start().wait_end();
    assert!(matches!(&unknown, Ending::Unregistered(text) if text.contains("there are: ends")));
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    Error { text: String },
    Permanent { text: String },
    Panic { text: String },
}

#[test]
fn a_worker_whose_thread_ends_without_a_word_has_vanished() {
    let worker = Harness::of(Steady).start();
    worker.wait_ready();
    worker.inject(Fault::Vanish);
    assert_eq!(worker.wait_end(), Ending::Vanished);
}

#[test]
fn faults_that_end_the_worker_alone_are_injected_and_others_are_refused() {
    let worker = Harness::of(Steady).start();
    worker.wait_ready();
    worker.inject(Fault::PanicHoldingLock);
    let Ending::Panicked(text) = worker.wait_end() else { panic!("it panics") };
    assert!(text.contains("injected panic while holding a lock"), "{text}");

    let worker = Harness::of(Steady).start();
    for fault in [Fault::SegfaultRead, Fault::Exit, Fault::Hang, Fault::SignalKill] {
        let refused =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.inject(fault)));
        assert!(refused.is_err(), "{fault:?} in the process of the test");
    }
    assert_eq!(worker.stop(), Ending::Returned);
}

#[test]
fn a_worker_that_does_not_stop_is_a_failure_of_its_test_and_not_its_end() {
    static MAY_END: AtomicBool = AtomicBool::new(false);
    let stubborn = |context: &Context, (): ()| {
        while !MAY_END.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
            context.tick();
        }
        Ok(())
    };
    let args = serde_json::Value::Null;
    let registry = Registry::default().function("stubborn", "", stubborn);
    let worker = Harness::new(&registry, "stubborn", args).deadline(Duration::from_secs(3));
    let running = worker.start();
    running.wait_ready();
    let late = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| running.stop()));
    MAY_END.store(true, Ordering::Relaxed);
    let message = late.expect_err("it does not stop in time");
    let message = message.downcast_ref::<String>().expect("a message");
    assert!(message.starts_with("no end in 3s: State {"), "{message}");
}

/// The fault, in a child which runs the test of this name.
fn commit_in_child(test: &str, fault: Fault) -> workers::testing::Crash {
    in_child(test, || {
        let worker = Harness::of(Steady).name("mortal").start();
        worker.wait_for("progress", |state| state.progress >= 2);
        worker.inject(fault);
        worker.wait_end();
    })
}

#[test]
fn a_child_dies_of_a_segfault_and_leaves_its_last_words() {
    let test = "a_child_dies_of_a_segfault_and_leaves_its_last_words";
    let crash = commit_in_child(test, Fault::SegfaultWrite);
    assert_eq!((crash.signal(), crash.code()), (Some(libc::SIGSEGV), None), "{crash:?}");
    assert_eq!(crash.last_words(), LastWords::Signal);
    assert!(crash.state().progress >= 2);
    assert!(crash.output().contains("mortal of 1\n"), "{crash:?}");
}

#[test]
fn a_child_dies_of_a_panic_which_aborts_it() {
    let test = "a_child_dies_of_a_panic_which_aborts_it";
    let crash = commit_in_child(test, Fault::Panic);
    assert_eq!(crash.signal(), Some(libc::SIGABRT), "{crash:?}");
    assert_eq!(crash.last_words(), LastWords::Panic);
    assert!(crash.text().ends_with(": injected panic"), "{crash:?}");
}

#[test]
fn a_child_dies_of_a_stack_overflow() {
    let crash = commit_in_child("a_child_dies_of_a_stack_overflow", Fault::StackOverflow);
    assert_eq!(crash.signal(), Some(libc::SIGABRT), "{crash:?}");
    assert_eq!(crash.last_words(), LastWords::StackOverflow);
}

#[test]
fn a_child_exits() {
    let fault = "exit:3".parse::<workers::fault::Injection>().expect("a fault");
    let crash = in_child("a_child_exits", || {
        let worker = Harness::of(Steady).start();
        worker.inject(fault);
        worker.wait_end();
    });
    assert_eq!((crash.code(), crash.last_words()), (Some(3), LastWords::Exit), "{crash:?}");
}

#[test]
fn a_child_of_a_test_that_is_not_there_is_a_failure() {
    let result = std::panic::catch_unwind(|| in_child("no_such_test", || {}));
    let message = result.expect_err("there is none");
    let message = message.downcast_ref::<String>().expect("a message");
    assert!(message.starts_with("there is no test `no_such_test`"), "{message}");
}
