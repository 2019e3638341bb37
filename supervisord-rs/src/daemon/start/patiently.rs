//! What a file system may never answer is asked on a thread: no successor waits for it for long, or
//! its workers would be without a supervisor as long as a disk is frozen.

use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::pool::Pool;
use crate::waiting::received;

/// For an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// One for each directory, one for each of the two files.
static ASKERS: Pool = Pool::new("ground", 5);

/// An answer that may be on its way.
pub(super) struct Asked<T>(Receiver<io::Result<T>>);

/// Asks on a thread.
pub(super) fn ask<T: Send + 'static>(
    question: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Asked<T> {
    let (answer, answered) = channel();
    ASKERS.run(move || drop(answer.send(question())));
    Asked(answered)
}

impl<T> Asked<T> {
    /// Waits for the answer, for a while where it `may_come`.
    ///
    /// # Errors
    /// Its own, or `TimedOut`.
    pub(super) fn answer(self, may_come: bool) -> io::Result<T> {
        let limit = if may_come { PATIENCE } else { Duration::ZERO };
        received(&self.0, limit).unwrap_or_else(|_| Err(no_answer()))
    }
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "its file system does not answer")
}
