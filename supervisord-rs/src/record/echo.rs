//! The thread that shows output of workers on the terminal. It is not the one that writes records:
//! a terminal that was stopped shall cost no incident.
//!
//! Its queue is bounded. What a slow terminal cannot take is not shown; it is in the file.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::patient::Patient;
use crate::config::settings;
use crate::threads;

/// Pieces of output that wait at most: with [`CHUNK_MAX`] bytes each this bounds the memory at 32
/// MiB.
const QUEUE: usize = 512;
/// Longest line that is shown in one piece.
const CHUNK_MAX: usize = 64 * 1024;

/// The hand that gives it output to show.
#[derive(Clone, Debug)]
pub struct Echo {
    jobs: SyncSender<(String, Vec<u8>)>,
}

impl Echo {
    /// Starts the thread.
    ///
    /// # Errors
    /// EAGAIN when no thread can be created.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        // Not joined: a terminal that hangs must not hang the end of the supervisor.
        let thread = std::thread::Builder::new().name("echo".into());
        threads::spawn(thread, move || Shower::default().work(&queue))?;
        Ok(Self { jobs })
    }

    /// Shows output with the worker's name in front of each line. Does not block.
    pub fn show(&self, worker: &str, bytes: &[u8]) {
        let _ = self.jobs.try_send((worker.to_owned(), bytes.to_vec()));
    }
}

/// The thread's own side.
#[derive(Debug, Default)]
struct Shower {
    /// By label: the unfinished line on its way to the terminal.
    partial: HashMap<String, Vec<u8>>,
    terminal: Patient,
    is_closed: bool,
}

impl Shower {
    fn work(&mut self, queue: &Receiver<(String, Vec<u8>)>) {
        while let Ok((label, bytes)) = queue.recv() {
            if !self.is_closed {
                self.show(label, &bytes);
            }
        }
    }

    /// Whole lines only, each with its worker's name in front, so that workers do not mix within a
    /// line.
    fn show(&mut self, label: String, bytes: &[u8]) {
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
        if let Err(unwritten) = self.terminal.write_all(io::stdout(), &shown) {
            // One that takes nothing now may take something later; one that was closed does not.
            self.is_closed = unwritten.error.kind() != io::ErrorKind::TimedOut;
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
