//! The supervisor's own log, on its way to standard error: a thread writes it, so that the loop
//! never waits for a terminal that was stopped, for a pipe without a reader, or for a disk.
//!
//! Its queue is bounded. A line that does not fit is dropped; the count is logged with the next
//! line.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::patient::Patient;
use crate::waiting::received;

/// Lines that wait at most: a burst of incidents fits, and they take a few MiB at worst.
const QUEUE: usize = 8192;

static JOBS: OnceLock<SyncSender<Job>> = OnceLock::new();
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
        let (jobs, queue) = sync_channel(QUEUE);
        std::thread::Builder::new().name("own-log".into()).spawn(move || work(&queue, json))?;
        // Only the first can be the one: a second would never get a line, and ends with its sender.
        let _ = JOBS.set(jobs);
        Ok(Self)
    }
}

/// Waits until everything said up to now is written, at most `timeout`.
pub fn flush(timeout: Duration) {
    let Some(jobs) = JOBS.get() else { return };
    let (done, answer) = sync_channel(1);
    if jobs.try_send(Job::Flush(done)).is_ok() {
        let _ = received(&answer, timeout);
    }
}

impl Write for OwnLog {
    /// Takes a whole line; never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match JOBS.get() {
            None => return io::stderr().write(line),
            Some(jobs) if jobs.try_send(Job::Line(line.to_vec())).is_err() => {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
            Some(_) => {}
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work(queue: &Receiver<Job>, json: bool) {
    let mut reader = Patient::default();
    while let Ok(job) = queue.recv() {
        match job {
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
