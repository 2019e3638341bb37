//! The output of a worker, read as it comes, so that none waits for a reader.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Everything that was written so far.
#[derive(Clone, Debug)]
pub(super) struct Drain(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    reader: PipeReader,
    text: Mutex<Vec<u8>>,
}

impl Drain {
    /// Begins, and returns where to write. The reading ends when all copies of that are closed.
    pub(super) fn begin() -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let drain = Self(Arc::new(Shared { reader, text: Mutex::default() }));
        let reading = drain.clone();
        std::thread::Builder::new().name("drain".into()).spawn(move || {
            let readable = PollFd::new(reading.0.reader.as_fd(), PollFlags::POLLIN);
            while poll(&mut [readable.clone()], PollTimeout::NONE).is_ok() {
                if reading.0.take() == Took::All {
                    return;
                }
            }
        })?;
        Ok((drain, writer.into()))
    }

    /// What was written until now, as text; bytes that are none are replaced.
    pub(super) fn text(&self) -> String {
        self.0.take();
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

#[derive(PartialEq, Eq)]
enum Took {
    /// What there was.
    Some,
    /// All that will ever come.
    All,
}

impl Shared {
    /// Takes what there is. By two threads in turn, so that none sees less than was written.
    fn take(&self) -> Took {
        let mut text = self.lock();
        let mut buffer = [0; 4096];
        loop {
            match (&self.reader).read(&mut buffer) {
                Ok(0) => return Took::All,
                Ok(length) => text.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Took::Some,
                Err(_) => return Took::All,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
