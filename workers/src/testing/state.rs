//! What a test sees of a worker.

use crate::runtime::board::{LastWords as Written, Reading, State as OnBoard};

/// How a worker is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// Whether it has reported that it is ready, or has ended since.
    pub is_ready: bool,
    /// Signs of life so far.
    pub heartbeats: u64,
    /// Units of work done.
    pub progress: u64,
    /// Units of work begun and not done.
    pub in_flight: u64,
    /// Units of work that failed while the worker went on.
    pub failed: u64,
    /// The number of its last operation, see [`Context::breadcrumb`](crate::Context::breadcrumb).
    pub breadcrumb: u32,
    /// What it [says of itself](crate::Context::status); empty: nothing.
    pub status: String,
    /// Whether it says that it is reloading.
    pub is_reloading: bool,
    /// How it ended; `None`: it runs.
    pub ending: Option<Ending>,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// [`Worker::run`](crate::Worker::run) returned `Ok`.
    Returned,
    /// It returned an error, which reads so.
    Failed(String),
    /// It returned a [permanent](crate::WorkerError::permanent) error, which reads so.
    FailedForGood(String),
    /// It panicked, with this message behind its place in the source.
    Panicked(String),
    /// There is no such worker in the registry.
    Unregistered(String),
    /// It was not made: it does not take these arguments, or the function that makes it refused.
    NotStarted(String),
    /// Its thread ended without a word, as by `SYS_exit` of a library.
    Vanished,
}

impl State {
    pub(super) fn of(reading: &Reading) -> Self {
        let text = || reading.text.clone();
        let ending = match reading.state {
            OnBoard::Empty | OnBoard::Launched | OnBoard::Ready => None,
            OnBoard::Returned => Some(Ending::Returned),
            OnBoard::Failed => Some(Ending::Failed(text())),
            OnBoard::FailedForGood => Some(Ending::FailedForGood(text())),
            OnBoard::Panicked => Some(Ending::Panicked(text())),
            OnBoard::Unregistered => Some(Ending::Unregistered(text())),
            OnBoard::NotStarted => Some(Ending::NotStarted(text())),
        };
        Self {
            is_ready: reading.state == OnBoard::Ready || ending.is_some(),
            heartbeats: reading.heartbeats,
            progress: reading.progress,
            in_flight: reading.in_flight,
            failed: reading.failed,
            breadcrumb: reading.breadcrumb,
            status: reading.status.clone(),
            is_reloading: reading.is_reloading,
            ending,
        }
    }
}

/// What a worker leaves behind when its process dies of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LastWords {
    /// Nothing: it did not die of itself.
    None,
    /// It panicked.
    Panic,
    /// It panicked while panicking, or where a panic cannot unwind.
    PanicNoUnwind,
    /// A fatal signal.
    Signal,
    /// A fatal signal at the end of its stack.
    StackOverflow,
    /// It called exit(3).
    Exit,
    /// It gave no sign of life.
    Hang,
}

impl From<Written> for LastWords {
    fn from(written: Written) -> Self {
        match written {
            Written::None => Self::None,
            Written::Panic => Self::Panic,
            Written::PanicNoUnwind => Self::PanicNoUnwind,
            Written::Signal => Self::Signal,
            Written::StackOverflow => Self::StackOverflow,
            Written::Exit => Self::Exit,
            Written::Hang => Self::Hang,
        }
    }
}
