//! The supervisor's own log, on its way to standard error: a thread writes it, so that the loop
//! never waits for a terminal that was stopped, for a pipe without a reader, or for a disk.
//!
//! Its queue is bounded. A line that does not fit is dropped; the count is logged with the next
//! line.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::patient::Patient;
use crate::waiting::received;
use crate::{afterwards, threads};

/// Lines that wait at most: a burst of incidents fits, and they take a few MiB at worst.
const QUEUE: usize = 8192;

static JOBS: Mutex<VecDeque<Job>> = Mutex::new(VecDeque::new());
static CAME: Condvar = Condvar::new();
/// Whether the thread is there.
static IS_STARTED: AtomicBool = AtomicBool::new(false);
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Job {
    Line(Vec<u8>),
    /// Everything before this is written; say so.
    Flush(SyncSender<()>),
}

/// Where a line of the log is written to; as good as any other.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnLog;

impl OwnLog {
    /// Starts the thread; `json`: the lines are JSON. Without it lines are written where they are
    /// made.
    ///
    /// # Errors
    /// EAGAIN when no thread can be created.
    pub fn start(json: bool) -> io::Result<Self> {
        let thread = std::thread::Builder::new().name("own-log".into());
        threads::spawn(thread, move || work(json))?;
        IS_STARTED.store(true, Ordering::SeqCst);
        Ok(Self)
    }
}

/// Waits until everything said up to now is written, at most `timeout`.
pub fn flush(timeout: Duration) {
    if !IS_STARTED.load(Ordering::SeqCst) {
        return;
    }
    let (done, answer) = sync_channel(1);
    if !matches!(give(Job::Flush(done)), Given::Dropped) {
        // Also when the line before it waits for the end of the turn.
        CAME.notify_one();
        let _ = received(&answer, timeout);
    }
}

/// What is to be done when one more has come.
enum Given {
    /// Wake the thread.
    First,
    /// It is awake, or is being woken.
    Next,
    /// There are too many.
    Dropped,
}

fn give(job: Job) -> Given {
    let mut jobs = JOBS.lock().unwrap_or_else(PoisonError::into_inner);
    if jobs.len() >= QUEUE {
        return Given::Dropped;
    }
    jobs.push_back(job);
    if jobs.len() == 1 { Given::First } else { Given::Next }
}

fn next() -> Job {
    let mut jobs = JOBS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(job) = jobs.pop_front() {
            return job;
        }
        jobs = CAME.wait(jobs).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Write for OwnLog {
    /// Takes a whole line; never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !IS_STARTED.load(Ordering::SeqCst) {
            return io::stderr().write(line);
        }
        match give(Job::Line(line.to_vec())) {
            Given::First => afterwards::ring(|| CAME.notify_one()),
            Given::Next => {}
            Given::Dropped => {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work(json: bool) -> ! {
    let mut reader = Patient::default();
    loop {
        match next() {
            Job::Line(line) => {
                let written = reader.write_all(io::stderr(), &line);
                // A closed terminal is no reason to do anything else.
                if written.is_err_and(|unwritten| unwritten.error.kind() == io::ErrorKind::TimedOut)
                {
                    DROPPED.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            }
            Job::Flush(done) => drop(done.send(())),
        }
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let said =
                format!("{dropped} lines of this log were dropped: its reader did not read them");
            let line = if json {
                serde_json::json!({ "level": "WARN", "fields": { "message": said } }).to_string()
            } else {
                format!(" WARN {said}")
            };
            if reader.write_all(io::stderr(), format!("{line}\n").as_bytes()).is_err() {
                DROPPED.fetch_add(dropped, Ordering::Relaxed);
            }
        }
    }
}
