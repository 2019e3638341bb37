//! A test that really crashes: it runs a second time, in a process of its own.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};

use super::drain::Drain;
use super::state::{LastWords, State};
use crate::runtime::board::Reading;
use crate::runtime::mapping::Mapping;

/// Set in the child, to the name of the test.
const CHILD: &str = "SUPERVISORD_RS_TESTING_CHILD";
/// The time that a child has.
const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at the child.
const PAUSE: Duration = Duration::from_millis(2);

/// In the child: what the test looks at, until a worker has it.
static BOARD: Mutex<Option<Mapping>> = Mutex::new(None);

/// Runs `body` in a process of its own, and returns how that ended. For what ends a process: there
/// a [`Harness`](super::Harness) takes every fault, and a panic of its worker aborts, as
/// `on_panic: abort` does. What the first worker of `body` leaves on its board, and all that the
/// process writes, is in the [`Crash`].
///
/// The process is this test program, which runs the test `test` alone, and in it comes here again:
/// what the test does before that happens twice. `test` is the test's name with its modules.
///
/// ```no_run
/// use workers::fault::Fault;
/// use workers::testing::{Harness, LastWords, in_child};
///
/// // In the test `a_segfault_leaves_last_words`:
/// let crash = in_child("a_segfault_leaves_last_words", || {
///     let registry = workers::builtin::registry();
///     let ticker = Harness::new(&registry, "ticker", serde_json::Value::Null).start();
///     ticker.inject(Fault::SegfaultWrite);
///     ticker.wait_end();
/// });
/// assert_eq!(crash.signal(), Some(11));
/// assert_eq!(crash.last_words(), LastWords::Signal);
/// ```
///
/// # Panics
/// When the process cannot be started or has not ended after 60 s, and when there is no such test.
#[track_caller]
pub fn in_child(test: &str, body: impl FnOnce()) -> Crash {
    if let Some(name) = std::env::var_os(CHILD) {
        assert!(name == test, "a child of the test {} has no children", name.display());
        become_child();
        body();
        std::process::exit(0);
    }
    watch(test).unwrap_or_else(|error| panic!("no child for the test {test}: {error}"))
}

/// Whether this process is such a child.
pub(super) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// In a child, once: the board that the test sees.
pub(super) fn board() -> Option<Mapping> {
    BOARD.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn become_child() {
    // What is to crash needs no core dump.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let board = io::stdin().as_fd().try_clone_to_owned().and_then(Mapping::inherited);
    let board = board.expect("the standard input is the board");
    board.board().begin("", 0);
    *BOARD.lock().unwrap_or_else(PoisonError::into_inner) = Some(board);
}

fn watch(test: &str) -> io::Result<Crash> {
    let board = Mapping::sealed("child")?;
    let (output, writer) = Drain::begin()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env(CHILD, test)
        .stdin(Stdio::from(board.fd().try_clone_to_owned()?))
        .stdout(Stdio::from(writer.try_clone()?))
        .stderr(Stdio::from(writer))
        .spawn()?;
    let status = wait(&mut child)?;
    let Some(status) = status else {
        panic!("the child of {test} has not ended in {DEADLINE:?}; output:\n{}", output.text());
    };
    let Some(reading) = board.board().read() else {
        panic!(
            "there is no test `{test}`: give its name with its modules; output:\n{}",
            output.text()
        );
    };
    Ok(Crash { status, reading, output: output.text() })
}

/// `None`: it has not ended in time, and was killed.
fn wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + DEADLINE;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(PAUSE);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// How a child of [`in_child`] ended.
#[derive(Clone, Debug)]
pub struct Crash {
    status: ExitStatus,
    reading: Reading,
    output: String,
}

impl Crash {
    /// The signal that ended the process; `None`: it exited.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Its exit status, 0 where the body has returned; `None`: a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// What kind of last words its worker left.
    #[must_use]
    pub fn last_words(&self) -> LastWords {
        self.reading.last_words.into()
    }

    /// The text that its worker left: a message of a panic, an error.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.reading.text
    }

    /// How its worker was at the end.
    #[must_use]
    pub fn state(&self) -> State {
        State::of(&self.reading)
    }

    /// All that the process wrote, its workers included.
    #[must_use]
    pub fn output(&self) -> &str {
        &self.output
    }
}
