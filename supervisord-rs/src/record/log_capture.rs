//! Captured output of workers: pipes in, pieces for the scribe out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read};

use super::scribe::{CHUNK_MAX, Scribe};

/// One captured stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId(pub u32);

/// All captured streams.
#[derive(Debug)]
pub struct LogCapture {
    streams: Vec<Option<Stream>>,
    directory: PathBuf,
    scribe: Scribe,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Stream {
    pipe: OwnedFd,
    label: Arc<str>,
    path: Arc<Path>,
}

impl LogCapture {
    /// Nothing is captured yet. Cells write their own output to `directory`.
    #[must_use]
    pub fn new(directory: &Path, scribe: Scribe) -> Self {
        Self { streams: Vec::new(), directory: directory.into(), scribe, buffer: vec![0; CHUNK_MAX] }
    }

    /// Opens a stream: what is written to the returned end is appended to the file at `path`.
    ///
    /// # Errors
    /// EMFILE, ENFILE or ENOMEM from pipe2(2).
    pub fn open(&mut self, label: &str, path: &Path) -> nix::Result<(StreamId, OwnedFd)> {
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        // Only our end: the two ends are separate open file descriptions, and the worker expects a blocking one.
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let stream = Stream { pipe: ours, label: label.into(), path: path.into() };
        let index = match self.streams.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.streams.push(None);
                self.streams.len() - 1
            }
        };
        self.streams[index] = Some(stream);
        Ok((StreamId(u32::try_from(index).map_err(|_| Errno::EMFILE)?), theirs))
    }

    /// Opens the stream of a cell's own output, which belongs to none of its workers: `cell-NAME.log`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_cell(&mut self, cell: &str) -> nix::Result<(StreamId, OwnedFd)> {
        let path = self.directory.join(format!("cell-{cell}.log"));
        self.open(&format!("cell {cell}"), &path)
    }

    /// The end to watch.
    #[must_use]
    pub fn fd(&self, stream: StreamId) -> Option<BorrowedFd<'_>> {
        self.streams.get(stream.0 as usize)?.as_ref().map(|stream| stream.pipe.as_fd())
    }

    /// Takes one piece of what is there. True when the stream has ended: every writer has closed it.
    pub fn read(&mut self, stream: StreamId) -> bool {
        let Some(Some(source)) = self.streams.get(stream.0 as usize) else { return false };
        match read(&source.pipe, &mut self.buffer) {
            Ok(0) => true,
            Ok(length) => {
                self.scribe.output(&source.label, &source.path, self.buffer[..length].to_vec());
                false
            }
            Err(Errno::EAGAIN | Errno::EINTR) => false,
            Err(_) => true,
        }
    }

    /// Takes all that is there and closes the stream: lines written just before a crash are kept.
    pub fn close(&mut self, stream: StreamId) {
        // Bounded by what a pipe can hold at most (pipe(7): 1 MiB unprivileged): a grandchild that still writes
        // cannot keep us here.
        for _ in 0..=(1024 * 1024 / CHUNK_MAX) {
            let Some(Some(source)) = self.streams.get(stream.0 as usize) else { return };
            match read(&source.pipe, &mut self.buffer) {
                Ok(0) | Err(Errno::EAGAIN) => break,
                Ok(length) => self.scribe.output(&source.label, &source.path, self.buffer[..length].to_vec()),
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        if let Some(slot) = self.streams.get_mut(stream.0 as usize) {
            *slot = None;
        }
    }

    /// Closes several.
    pub fn close_all(&mut self, streams: Option<Vec<StreamId>>) {
        for stream in streams.into_iter().flatten() {
            self.close(stream);
        }
    }

    /// The scribe behind it, for records.
    pub fn scribe(&mut self) -> &mut Scribe {
        &mut self.scribe
    }

    /// Pieces lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.scribe.lost()
    }
}
