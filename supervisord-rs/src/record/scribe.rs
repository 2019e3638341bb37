//! The one thread that writes records, so that the loop never waits for a disk.
//!
//! Its queue is bounded. What does not fit is lost and counted.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::record_file::RecordFile;

/// Pieces of work that wait at most.
const QUEUE: usize = 512;

/// Something to write.
#[derive(Debug)]
enum Job {
    /// One line of a record.
    Record { path: Arc<Path>, line: String },
    /// Everything before this is written; say so.
    Flush(SyncSender<()>),
}

/// The hand that gives it work.
#[derive(Debug)]
pub struct Scribe {
    jobs: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

impl Scribe {
    /// Starts the thread.
    ///
    /// # Errors
    /// EAGAIN when no thread can be created.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer =
            Writer { files: HashMap::new(), is_in_trouble: false, lost: Arc::clone(&lost) };
        // Not joined: a disk that hangs must not hang the end of the supervisor.
        std::thread::Builder::new().name("scribe".into()).spawn(move || writer.work(&queue))?;
        Ok(Self { jobs, lost })
    }

    /// Hands over one line of a record. Does not block; false when it was lost (and counted).
    pub fn record(&self, path: &Arc<Path>, line: String) -> bool {
        match self.jobs.try_send(Job::Record { path: Arc::clone(path), line }) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    /// Records lost so far: the queue was full, or the file took no writes.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over is written, at most `timeout`.
    pub fn flush(&self, timeout: Duration) {
        let (done, answer) = sync_channel(1);
        if self.jobs.try_send(Job::Flush(done)).is_ok() {
            let _ = answer.recv_timeout(timeout);
        }
    }
}

/// The thread's own side.
#[derive(Debug)]
struct Writer {
    files: HashMap<Arc<Path>, RecordFile>,
    is_in_trouble: bool,
    lost: Arc<AtomicU64>,
}

impl Writer {
    fn work(&mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            match job {
                Job::Record { path, line } => self.append(&path, &line),
                Job::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    fn append(&mut self, path: &Arc<Path>, line: &str) {
        let file = self.files.entry(Arc::clone(path)).or_insert_with(|| RecordFile::new(path));
        match file.append(line) {
            Ok(()) => self.is_in_trouble = false,
            Err(error) => {
                if !std::mem::replace(&mut self.is_in_trouble, true) {
                    tracing::warn!(path = %path.display(), %error, "cannot write: what comes meanwhile is lost and counted");
                }
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The path of a file in `directory`, shared.
#[must_use]
pub fn shared_path(directory: &Path, name: &str) -> Arc<Path> {
    let path: PathBuf = directory.join(name);
    Arc::from(path)
}
