//! Reading the environment that another process was started with. That process decides how long a
//! look at its memory takes (a lock that it holds): threads of its own wait, and the caller
//! does for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::pool::Pool;
use crate::process_table;
use crate::waiting::received;

/// So many processes can hold a reader at once. When all are held, nothing is read any more, and a
/// process counts as one without a mark.
const READERS_MAX: usize = 8;
/// One more than can be held: it reads of the others.
static READERS: Pool = Pool::new("environ", READERS_MAX + 1);
/// Readers that were given up and are still held.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// The value of the variable, where the process has it.
pub(in crate::isolation) type Answer = Result<Option<Vec<u8>>, Held>;

/// Has the first thread started.
pub(in crate::isolation) fn begin() {
    READERS.begin();
}

/// The value of a variable, as [`process_table::variable`] has it. A page of memory takes
/// microseconds; on a busy machine a thread takes its time to begin.
///
/// # Errors
/// It does not come within `limit`.
pub(in crate::isolation) fn variable(pid: i32, name: &'static str, limit: Duration) -> Answer {
    if HELD.load(Ordering::Relaxed) >= READERS_MAX {
        return Err(Held);
    }
    let (answer, answered) = channel();
    let read = move || {
        if answer.send(process_table::variable(pid, name)).is_err() {
            HELD.fetch_sub(1, Ordering::Relaxed);
        }
    };
    if !READERS.run(read) {
        return Err(Held);
    }
    received(&answered, limit).or_else(|_| {
        HELD.fetch_add(1, Ordering::Relaxed);
        // What came in between counts: a later answer finds no one waiting.
        let late = answered.try_recv();
        if late.is_ok() {
            HELD.fetch_sub(1, Ordering::Relaxed);
        }
        late.map_err(|_| Held)
    })
}

/// The variable of many processes. One thread reads all of them, one after the other: a thread for
/// each would have to wait for a processor each time, which on a busy machine with thousands of
/// processes takes longer than a start may. Where a process holds it, another thread goes on with
/// the next one. `limit`: how long this process may hold it, when so many have before.
pub(in crate::isolation) fn variables(
    pids: Vec<i32>,
    name: &'static str,
    limit: impl Fn(i32, usize) -> Duration,
) -> Vec<(i32, Answer)> {
    let reading = Arc::new(Reading {
        pids,
        name,
        state: Mutex::new(State { answers: Vec::new(), reader: 0 }),
        is_done: Condvar::new(),
    });
    let mut state = reading.lock();
    let mut can_read = reading.begin(state.reader);
    let (mut held, mut since) = (0, (0, Instant::now()));
    while let Some(&pid) = reading.pids.get(state.answers.len()) {
        if !can_read {
            state.answers.push(Err(Held));
            continue;
        }
        if since.0 != state.answers.len() {
            since = (state.answers.len(), Instant::now());
        } else if since.1.elapsed() >= STEP && since.1.elapsed() >= limit(pid, held) {
            held += 1;
            state.answers.push(Err(Held));
            state.reader += 1;
            can_read = HELD.fetch_add(1, Ordering::Relaxed) + 1 < READERS_MAX
                && reading.begin(state.reader);
            continue;
        }
        let waited = reading.is_done.wait_timeout(state, STEP);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    let answers = std::mem::take(&mut state.answers);
    reading.pids.iter().copied().zip(answers).collect()
}

/// Between two looks at how far a reader is.
const STEP: Duration = Duration::from_millis(10);

/// What is read, and how far it is.
struct Reading {
    pids: Vec<i32>,
    name: &'static str,
    state: Mutex<State>,
    is_done: Condvar,
}

struct State {
    /// One for each process so far; the next one is being read.
    answers: Vec<Answer>,
    /// The number of the thread that reads. Those before it were given up.
    reader: usize,
}

impl Reading {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, reader: usize) -> bool {
        let reading = Arc::clone(self);
        HELD.load(Ordering::Relaxed) < READERS_MAX && READERS.run(move || reading.read(reader))
    }

    /// Reads on from where the reader before this one was held.
    fn read(&self, reader: usize) {
        let mut state = self.lock();
        while state.reader == reader {
            let Some(&pid) = self.pids.get(state.answers.len()) else { break };
            drop(state);
            let answer = process_table::variable(pid, self.name);
            state = self.lock();
            if state.reader == reader {
                state.answers.push(Ok(answer));
            }
        }
        if state.reader == reader {
            self.is_done.notify_all();
        } else {
            HELD.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A process that does not let its environment be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::isolation) struct Held;
