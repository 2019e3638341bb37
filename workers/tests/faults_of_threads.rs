//! What ends a process, and whom the incident names: each case in a process of its own, whose
//! boards this one reads afterwards.

mod live;

use std::cell::RefCell;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use live::{Live, until};
use nix::libc::{SIGABRT, SIGSEGV};
use workers::fault::Fault;
use workers::runtime::board::{LastWords, Reading, State};
use workers::runtime::crash;
use workers::runtime::mapping::Mapping;
use workers::runtime::run::OnPanic;
use workers::{Context, WorkerError};

/// Of the child: the case, and the descriptors of the boards of two workers.
const CASE: &str = "WORKERS_TEST_CASE";

type Run = fn(&Context) -> Result<(), WorkerError>;

struct Case {
    name: &'static str,
    run: Run,
    /// What a second worker does meanwhile.
    sibling: Run,
}

fn waits(context: &Context) -> Result<(), WorkerError> {
    context.wait_for_stop();
    Ok(())
}

thread_local! {
    static AT_END: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
}

/// Does something when the thread has ended.
struct AtEnd(fn());

impl Drop for AtEnd {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn at_end(doing: fn()) -> Result<(), WorkerError> {
    AT_END.with(|at_end| *at_end.borrow_mut() = Some(AtEnd(doing)));
    Ok(())
}

fn in_thread(context: &Context, body: fn()) -> Result<(), WorkerError> {
    let helper = context.spawn("helper", move |_| body())?;
    context.wait_for_stop();
    Ok(helper.join()?)
}

fn caught() {
    assert!(catch_unwind(|| panic!("caught")).is_err());
}

const CASES: &[Case] = &[
    Case {
        name: "resumed",
        run: |_| {
            let payload = catch_unwind(|| panic!("first")).expect_err("a panic");
            drop(payload);
            resume_unwind(Box::new("resumed"))
        },
        sibling: waits,
    },
    Case {
        name: "foreign hook",
        run: |_| {
            std::panic::set_hook(Box::new(|_| {}));
            panic!("unseen")
        },
        sibling: waits,
    },
    Case {
        name: "abort after a caught panic",
        run: |_| {
            caught();
            std::process::abort()
        },
        sibling: waits,
    },
    Case {
        name: "a caught panic and a sibling's segfault",
        run: |context| {
            caught();
            context.ready();
            waits(context)
        },
        sibling: |context| {
            context.breadcrumb(1);
            // After the other's panic.
            while SIBLINGS.get().is_none_or(|siblings| !siblings.first_is_ready()) {
                std::thread::yield_now();
            }
            Fault::SegfaultRead.commit(0);
            Ok(())
        },
    },
    Case {
        name: "double panic",
        run: |_| {
            caught();
            Fault::DoublePanic.commit(0);
            Ok(())
        },
        sibling: waits,
    },
    Case {
        name: "helper panics",
        run: |context| in_thread(context, || panic!("of a helper")),
        sibling: waits,
    },
    Case {
        name: "helper segfaults",
        run: |context| in_thread(context, || Fault::SegfaultRead.commit(0)),
        sibling: waits,
    },
    Case {
        name: "helper overflows",
        run: |context| in_thread(context, || Fault::StackOverflow.commit(0)),
        sibling: waits,
    },
    Case {
        name: "helper exits",
        run: |context| in_thread(context, || Fault::Exit.commit(3)),
        sibling: waits,
    },
    Case {
        name: "entered thread segfaults",
        run: |context| {
            let of_pool = context.clone();
            let pool = std::thread::Builder::new().name("pool-1".into());
            pool.spawn(move || {
                of_pool.enter().until_thread_ends();
                Fault::SegfaultRead.commit(0);
            })?;
            waits(context)
        },
        sibling: waits,
    },
    Case {
        name: "a panic passes a guard",
        run: |context| {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let _guard = context.enter();
                panic!("passes");
            }));
            waits(context)
        },
        sibling: waits,
    },
    Case {
        name: "destructor panics",
        run: |_| at_end(|| panic!("at the very end")),
        sibling: waits,
    },
    Case {
        name: "destructor segfaults",
        run: |_| at_end(|| Fault::SegfaultRead.commit(0)),
        sibling: waits,
    },
    Case {
        name: "destructor overflows",
        run: |_| at_end(|| Fault::StackOverflow.commit(0)),
        sibling: waits,
    },
];

/// The boards of a child, in the child.
struct Siblings([Arc<Mapping>; 2]);

static SIBLINGS: std::sync::OnceLock<Siblings> = std::sync::OnceLock::new();

impl Siblings {
    fn first_is_ready(&self) -> bool {
        self.0[0].board().read().is_some_and(|reading| reading.state == State::Ready)
    }
}

/// The child, where this is one: it never returns.
fn become_child() {
    let Ok(case) = std::env::var(CASE) else { return };
    let mut words = case.split('|');
    let name = words.next().expect("a name");
    let case = CASES.iter().find(|case| case.name == name).expect("a case");
    crash::install().expect("handlers");
    let boards = [(); 2].map(|()| {
        let number = words.next().and_then(|number| number.parse().ok()).expect("a number");
        // SAFETY: the parent left it open for this process, and nothing else here owns it.
        let board = unsafe { OwnedFd::from_raw_fd(number) };
        Arc::new(Mapping::inherited(board).expect("a board"))
    });
    SIBLINGS.set(Siblings(boards.clone())).unwrap_or_else(|_| unreachable!("once"));
    let output = || OwnedFd::from(std::fs::File::create("/dev/null").expect("/dev/null"));
    // The sibling first: the other one may end the process at once.
    let _sibling = Live::on(&boards[1], 1, OnPanic::Abort, output(), case.sibling);
    let _first = Live::on(&boards[0], 1, OnPanic::Abort, output(), case.run);
    std::thread::sleep(Duration::from_secs(60));
    std::process::exit(0);
}

struct Outcome {
    signal: Option<i32>,
    code: Option<i32>,
    first: Reading,
    second: Reading,
}

fn outcome(name: &str) -> Outcome {
    let boards = [(); 2].map(|()| Mapping::sealed("w").expect("a board"));
    // Copies that survive execve.
    let numbers = boards.each_ref().map(|board| nix::unistd::dup(board.fd()).expect("a copy"));
    let case = format!("{name}|{}|{}", numbers[0].as_raw_fd(), numbers[1].as_raw_fd());
    let status = Command::new(std::env::current_exe().expect("this program"))
        .args(["a_case_in_a_child", "--exact", "--nocapture"])
        .env(CASE, case)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("a child");
    let [first, second] = boards.map(|board| board.board().read().expect("begun"));
    Outcome { signal: status.signal(), code: status.code(), first, second }
}

/// Not a test of its own: the children run it.
#[test]
fn a_case_in_a_child() {
    become_child();
}

fn check(name: &str, signal: i32, words: LastWords, text: &str) {
    let Outcome { signal: by, first, second, .. } = outcome(name);
    assert_eq!(by, Some(signal), "{name}: {first:?}");
    assert_eq!(first.last_words, words, "{name}: {first:?}");
    assert!(first.text.contains(text), "{name}: {:?}", first.text);
    assert_eq!(second.last_words, LastWords::None, "{name}");
}

#[test]
fn a_panic_that_reaches_the_root_ends_the_domain_whatever_the_hook_saw() {
    check("resumed", SIGABRT, LastWords::Panic, "resumed");
    check("foreign hook", SIGABRT, LastWords::Panic, "unseen");
}

#[test]
fn a_caught_panic_is_not_blamed_for_what_comes_later() {
    check("abort after a caught panic", SIGABRT, LastWords::Signal, "");
    let Outcome { signal, first, second, .. } = outcome("a caught panic and a sibling's segfault");
    assert_eq!(signal, Some(SIGSEGV));
    assert_eq!((first.last_words, first.text.as_str()), (LastWords::None, ""));
    assert_eq!(second.last_words, LastWords::Signal);
}

#[test]
fn a_panic_that_cannot_unwind_is_told_as_one() {
    check("double panic", SIGABRT, LastWords::PanicNoUnwind, "panic in a destructor");
}

#[test]
fn a_fault_of_a_workers_own_thread_is_its_workers_and_names_the_thread() {
    check("helper panics", SIGABRT, LastWords::Panic, "in its thread `helper`: ");
    check("helper segfaults", SIGSEGV, LastWords::Signal, "in its thread `helper`");
    check("helper overflows", SIGABRT, LastWords::StackOverflow, "in its thread `helper`");
    check("entered thread segfaults", SIGSEGV, LastWords::Signal, "in its thread `pool-1`");
    check("a panic passes a guard", SIGABRT, LastWords::Panic, "passes");
    let Outcome { code, first, .. } = outcome("helper exits");
    assert_eq!((code, first.last_words), (Some(3), LastWords::Exit), "{first:?}");
    assert!(first.text.starts_with("in its thread `helper`: it called exit()"), "{first:?}");
}

#[test]
fn what_a_thread_locals_destructor_does_is_its_workers_doing() {
    check("destructor panics", SIGABRT, LastWords::PanicNoUnwind, "at the very end");
    check("destructor segfaults", SIGSEGV, LastWords::Signal, "");
    check("destructor overflows", SIGSEGV, LastWords::StackOverflow, "");
}

#[test]
fn a_worker_has_not_ended_before_the_destructors_of_its_thread_locals() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static MAY_END: AtomicBool = AtomicBool::new(false);
    static IS_ENDING: AtomicBool = AtomicBool::new(false);
    let live = Live::start(OnPanic::Contain, |_| {
        at_end(|| {
            IS_ENDING.store(true, Ordering::Release);
            while !MAY_END.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        })
    });
    until("the destructor", || IS_ENDING.load(Ordering::Acquire).then_some(()));
    assert_eq!(live.reading().state, State::Launched);
    assert!(!live.thread.is_finished());
    MAY_END.store(true, Ordering::Release);
    assert_eq!(live.ended().state, State::Returned);
}
