//! The one thread that writes records, so that the loop never waits for a disk.
//!
//! Its queue is bounded. What does not fit is lost and counted.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::black_box::Counter;
use super::record_file::RecordFile;
use crate::threads;
use crate::waiting::received;

/// Pieces of work that wait at most.
const QUEUE: usize = 512;

/// Something to write.
enum Job {
    /// One line of a record, and who is to know that it is written.
    Record { path: Arc<Path>, line: String, written: Box<dyn FnOnce() + Send> },
    /// Everything before this is written; say so.
    Flush(SyncSender<()>),
}

/// The hand that gives it work.
#[derive(Clone, Debug)]
pub struct RecordWriter {
    jobs: SyncSender<Job>,
    lost: Counter,
}

impl RecordWriter {
    /// Starts the thread. `lost`: where it is counted what is lost.
    ///
    /// # Errors
    /// EAGAIN when no thread can be created.
    pub fn start(lost: Counter) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let mut writer = Writer { files: HashMap::new(), is_in_trouble: false, lost: lost.clone() };
        // Not joined: a disk that hangs must not hang the end of the supervisor.
        let thread = std::thread::Builder::new().name("records".into());
        threads::spawn(thread, move || writer.work(&queue))?;
        Ok(Self { jobs, lost })
    }

    /// Hands over one line of a record; `written` is called when it is in its file. Does not
    /// block; false when it was lost (and counted).
    pub fn record(
        &self,
        path: &Arc<Path>,
        line: String,
        written: impl FnOnce() + Send + 'static,
    ) -> bool {
        let job = Job::Record { path: Arc::clone(path), line, written: Box::new(written) };
        match self.jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.add(1);
                false
            }
        }
    }

    /// Records lost so far: the queue was full, or the file took no writes.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// Waits until everything handed over is written, at most `timeout`.
    pub fn flush(&self, timeout: Duration) {
        let _ = received(&self.begin_flush(), timeout);
    }

    /// The same, to be looked at now and then: there is something when everything is written; it is
    /// cut off where the queue is full.
    pub fn begin_flush(&self) -> Receiver<()> {
        let (done, answer) = sync_channel(1);
        let _ = self.jobs.try_send(Job::Flush(done));
        answer
    }
}

/// The thread's own side.
#[derive(Debug)]
struct Writer {
    files: HashMap<Arc<Path>, RecordFile>,
    is_in_trouble: bool,
    lost: Counter,
}

impl Writer {
    fn work(&mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            match job {
                Job::Record { path, line, written } => self.append(&path, &line, written),
                Job::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    fn append(&mut self, path: &Arc<Path>, line: &str, written: Box<dyn FnOnce() + Send>) {
        let file = self.files.entry(Arc::clone(path)).or_insert_with(|| RecordFile::new(path));
        match file.append(line) {
            Ok(()) => {
                self.is_in_trouble = false;
                written();
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_in_trouble, true) {
                    tracing::warn!(path = %path.display(), %error,
                        "cannot write: output is lost and counted until it works again");
                }
                self.lost.add(1);
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
