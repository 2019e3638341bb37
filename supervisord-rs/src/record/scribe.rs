//! The one thread that writes records and shows output on the terminal, so that the loop never waits for a disk or a
//! terminal.
//!
//! Its queue is bounded. What does not fit is lost and counted.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::config::settings;

/// Pieces of work that wait at most: with [`CHUNK_MAX`] bytes each this bounds the memory at 32 MiB.
const QUEUE: usize = 512;
/// Longest line that is shown in one piece.
const CHUNK_MAX: usize = 64 * 1024;

/// Something to write.
#[derive(Debug)]
enum Job {
    /// Output to show, with the label in front of each line.
    Echo { label: String, bytes: Vec<u8> },
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

/// The hand that gives it output to show.
#[derive(Clone, Debug)]
pub struct Echo {
    jobs: SyncSender<Job>,
}

impl Echo {
    /// Shows output with the worker's name in front of each line. Does not block: what a slow terminal cannot take is
    /// not shown; it is in the file.
    pub fn show(&self, worker: &str, bytes: &[u8]) {
        let _ = self.jobs.try_send(Job::Echo { label: worker.to_owned(), bytes: bytes.to_vec() });
    }
}

impl Scribe {
    /// Starts the thread.
    ///
    /// # Errors
    /// EAGAIN when no thread can be created.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer = Writer {
            files: HashMap::new(),
            partial: HashMap::new(),
            has_terminal: true,
            lost: Arc::clone(&lost),
        };
        // Not joined: a disk that hangs must not hang the end of the supervisor.
        std::thread::Builder::new().name("scribe".into()).spawn(move || writer.work(&queue))?;
        Ok(Self { jobs, lost })
    }

    /// Where output can be shown.
    #[must_use]
    pub fn echo(&self) -> Echo {
        Echo { jobs: self.jobs.clone() }
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
    files: HashMap<Arc<Path>, File>,
    /// By label: the unfinished line on its way to the terminal.
    partial: HashMap<String, Vec<u8>>,
    has_terminal: bool,
    lost: Arc<AtomicU64>,
}

impl Writer {
    fn work(&mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            match job {
                Job::Echo { label, bytes } => self.show(label, &bytes),
                Job::Record { path, mut line } => {
                    line.push('\n');
                    self.append(&path, line.as_bytes());
                }
                Job::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    fn append(&mut self, path: &Arc<Path>, bytes: &[u8]) {
        let result = self.file(path).and_then(|mut file| file.write_all(bytes));
        if let Err(error) = result {
            // Opened anew at the next write: the directory may be back, the disk may have room again.
            if self.files.remove(path).is_some() || self.lost.load(Ordering::Relaxed) == 0 {
                tracing::warn!(path = %path.display(), %error, "cannot write: what comes meanwhile is lost and counted");
            }
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn file(&mut self, path: &Arc<Path>) -> io::Result<&File> {
        use std::os::unix::fs::MetadataExt;
        let is_gone = |file: &File| file.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
        if self.files.get(path).is_some_and(is_gone) {
            self.files.remove(path);
        }
        if !self.files.contains_key(path) {
            let mut options = OpenOptions::new();
            options.append(true).create(true);
            let file = match options.open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // The directory has vanished.
                    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
                    options.open(path)?
                }
                other => other?,
            };
            self.files.insert(Arc::clone(path), file);
        }
        self.files.get(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Whole lines only, each with its worker's name in front, so that workers do not mix within a line.
    fn show(&mut self, label: String, bytes: &[u8]) {
        if !self.has_terminal {
            return;
        }
        let mut shown = Vec::with_capacity(bytes.len() + 64);
        let line = self.partial.entry(label.clone()).or_default();
        line.extend_from_slice(bytes);
        let end = match line.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => end + 1,
            None if line.len() > CHUNK_MAX => line.len(),
            None => return,
        };
        for text in line[..end].split_inclusive(|&byte| byte == b'\n') {
            shown.extend_from_slice(label.as_bytes());
            shown.extend_from_slice(b" | ");
            shown.extend_from_slice(text);
        }
        line.drain(..end);
        // A closed terminal is no reason to stop writing records.
        let mut stdout = io::stdout().lock();
        if stdout.write_all(&shown).and_then(|()| stdout.flush()).is_err() {
            self.has_terminal = false;
        }
    }
}

/// Whether captured output is shown on standard output too.
#[must_use]
pub fn has_audience(echo: settings::Echo) -> bool {
    match echo {
        settings::Echo::Auto => {
            io::stdout().is_terminal() && std::env::var_os("SUPERVISORD_RS_QUIET").is_none()
        }
        settings::Echo::Always => true,
        settings::Echo::Never => false,
    }
}

/// The path of a file in `directory`, shared.
#[must_use]
pub fn shared_path(directory: &Path, name: &str) -> Arc<Path> {
    let path: PathBuf = directory.join(name);
    Arc::from(path)
}
