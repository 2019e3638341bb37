//! The one thread that writes files and the terminal, so that the loop never waits for a disk or a terminal.
//!
//! Its queue is bounded. What does not fit is lost, counted, and marked in the file when it takes writes again.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// Pieces of work that wait at most: with [`CHUNK_MAX`] bytes each this bounds the memory at 32 MiB.
const QUEUE: usize = 512;
/// Largest piece of captured output.
pub const CHUNK_MAX: usize = 64 * 1024;

/// Something to write.
#[derive(Debug)]
enum Job {
    /// Captured output: bytes as they came, to the file as they are, to the terminal with the label in front.
    Output { label: Arc<str>, path: Arc<Path>, bytes: Vec<u8> },
    /// One line of a record.
    Record { path: Arc<Path>, line: String },
    /// Everything before this is written; say so.
    Flush(SyncSender<()>),
}

/// The hand that gives it work.
#[derive(Debug)]
pub struct Scribe {
    jobs: Option<SyncSender<Job>>,
    lost_bytes: HashMap<Arc<Path>, u64>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Scribe {
    /// Starts the thread. `terminal`: whether captured output is shown on standard output too.
    ///
    /// # Errors
    /// EAGAIN when no thread can be created.
    pub fn start(terminal: bool) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer =
            Writer { files: HashMap::new(), partial: HashMap::new(), terminal, lost: Arc::clone(&lost) };
        let thread = std::thread::Builder::new().name("scribe".into()).spawn(move || writer.work(&queue))?;
        Ok(Self { jobs: Some(jobs), lost_bytes: HashMap::new(), lost, thread: Some(thread) })
    }

    /// Hands over captured output. Does not block; what does not fit is counted.
    pub fn output(&mut self, label: &Arc<str>, path: &Arc<Path>, bytes: Vec<u8>) {
        let length = bytes.len() as u64;
        let mut bytes = bytes;
        if let Some(&lost) = self.lost_bytes.get(path) {
            let mut marked =
                format!("\n[supervisord-rs: {lost} bytes lost here: the disk was too slow]\n").into_bytes();
            marked.append(&mut bytes);
            bytes = marked;
        }
        let job = Job::Output { label: Arc::clone(label), path: Arc::clone(path), bytes };
        if self.give(job) {
            self.lost_bytes.remove(path);
        } else {
            *self.lost_bytes.entry(Arc::clone(path)).or_default() += length;
        }
    }

    /// Hands over one line of a record. Does not block; false when it was lost (and counted).
    pub fn record(&mut self, path: &Arc<Path>, line: String) -> bool {
        self.give(Job::Record { path: Arc::clone(path), line })
    }

    /// Pieces of work lost so far: the queue was full, or the file took no writes.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over is written, at most `timeout`.
    pub fn flush(&mut self, timeout: std::time::Duration) {
        let (done, answer) = sync_channel(1);
        if self.give(Job::Flush(done)) {
            let _ = answer.recv_timeout(timeout);
        }
    }

    fn give(&self, job: Job) -> bool {
        let Some(jobs) = &self.jobs else { return false };
        match jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.flush(std::time::Duration::from_secs(5));
        self.jobs = None;
        // Not joined: a disk that hangs must not hang the end of the supervisor.
        self.thread = None;
    }
}

/// The thread's own side.
#[derive(Debug)]
struct Writer {
    files: HashMap<Arc<Path>, File>,
    /// By label: the unfinished line on its way to the terminal.
    partial: HashMap<Arc<str>, Vec<u8>>,
    terminal: bool,
    lost: Arc<AtomicU64>,
}

impl Writer {
    fn work(&mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            match job {
                Job::Output { label, path, bytes } => {
                    self.append(&path, &bytes);
                    self.show(&label, &bytes);
                }
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
        if !self.files.contains_key(path) {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            self.files.insert(Arc::clone(path), file);
        }
        self.files.get(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Whole lines only, each with its worker's name in front, so that workers do not mix within a line.
    fn show(&mut self, label: &Arc<str>, bytes: &[u8]) {
        if !self.terminal {
            return;
        }
        let line = self.partial.entry(Arc::clone(label)).or_default();
        line.extend_from_slice(bytes);
        let end = match line.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => end + 1,
            None if line.len() > CHUNK_MAX => line.len(),
            None => return,
        };
        let mut shown = Vec::with_capacity(end + 64);
        for text in line[..end].split_inclusive(|&byte| byte == b'\n') {
            shown.extend_from_slice(label.as_bytes());
            shown.extend_from_slice(b" | ");
            shown.extend_from_slice(text);
        }
        line.drain(..end);
        // A closed terminal is no reason to stop writing files.
        let mut stdout = io::stdout().lock();
        if stdout.write_all(&shown).and_then(|()| stdout.flush()).is_err() {
            self.terminal = false;
        }
    }
}

/// Whether captured output should be shown: somebody looks at standard output, or it goes where output is collected.
#[must_use]
pub fn has_audience() -> bool {
    let stdout = io::stdout();
    stdout.is_terminal() || std::env::var_os("SUPERVISORD_RS_QUIET").is_none()
}

/// The path of a file in `directory`, shared.
#[must_use]
pub fn shared_path(directory: &Path, name: &str) -> Arc<Path> {
    let path: PathBuf = directory.join(name);
    Arc::from(path)
}
