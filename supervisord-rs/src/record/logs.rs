//! Captured output: one pipe for each stream of a worker, kept from one incarnation to the next,
//! and a few threads that carry what comes to where it goes. The loop never sees output, and never
//! waits for a disk.
//!
//! We hold both ends of every pipe: what a worker wrote just before it crashed is there when it is
//! gone, and its successor's output follows it in order. Everything is appended (`O_APPEND`), so
//! that the output of other writers of the same file is not overwritten.
//!
//! No worker blocks for ever: a thread that hangs in a write (a dead disk, a reader that stopped)
//! occupies one target, and another thread takes its place. After some seconds the worker's output
//! is dropped, so that the worker runs on. The dropped bytes are counted, shown in `status`, and
//! marked in the file when it accepts writes again.
//!
//! | file | concept |
//! |---|---|
//! | `logs` | the handle: open, watch, tail, reopen, flush |
//! | `pool` | the threads: always one that waits, never more than a few |
//! | `pool/jobs` | what they do besides carrying |
//! | `stream` | one captured stream: pipe → bytes or lines → target |
//! | `target` | where output goes: one for each thing that can hang |
//! | `staging_pipe` | what a thread has taken and not written yet |
//! | `leftover` | what a predecessor's thread had in its hands, and how much of it is written |
//! | `file` | a file that is appended to, rotated, capped, reopened, and may be full |
//! | `rotated` | rotated files: compressed, removed |
//! | `pipe` | the pipes in between |
//! | `watched` | a line that is waited for |
//! | `line` | what a line gets on its way |
//! | `turn` | who may write to a target that several streams go to |
//! | `syslog`, `journal` | the datagrams of those who collect logs |

mod file;
mod journal;
mod leftover;
mod line;
mod pipe;
mod pool;
mod rotated;
mod staging_pipe;
mod stream;
mod syslog;
mod target;
mod turn;
mod watched;

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nix::errno::Errno;

use crate::config::settings::{LineFormat, Rotate, Sink};
use crate::record::black_box::PastCarried;
use crate::record::black_box::{Carriers, Whose};
use crate::record::echo::Echo;
use crate::service_manager::{FdStore, InheritedDescriptors};
use crate::waiting::received;
use leftover::Leftover;
use pool::{Job, Pool};
pub use staging_pipe::{DESCRIPTORS, KEPT};
use stream::{Output, Past, Stream, Upkeep};

/// One captured stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(u32);

/// What is to be captured, and how.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    /// What its pipe is called in the store of a service manager.
    pub name: String,
    /// Whose it is.
    pub worker: String,
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// Where it goes.
    pub sink: Sink,
    /// When its file is rotated.
    pub rotate: Rotate,
    /// Most bytes of its files together.
    pub cap: Option<u64>,
    /// What each line gets.
    pub line: LineFormat,
    /// Where it is counted what it has lost.
    pub counted: Whose,
}

/// Something that the loop should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A line matched the pattern that was watched for; the token that came with it.
    Matched(u64),
    /// A file, or a log collector, accepts no writes: output is lost and counted.
    Trouble {
        /// Whose output.
        worker: String,
        /// Where it should go.
        target: String,
        /// Why not.
        error: String,
    },
    /// It takes writes again.
    Recovered {
        /// Whose output.
        worker: String,
        /// Where it goes.
        target: String,
        /// Bytes lost meanwhile.
        lost: u64,
    },
}

/// For the last lines of a worker that has failed: where its log hangs, its record and its answer
/// do without them.
pub const TAIL_TIMEOUT: Duration = Duration::from_secs(2);

/// The last lines of a worker, filled in by a thread as soon as all output has been taken.
pub type Tail = Arc<OnceLock<Vec<String>>>;

/// All captured streams.
#[derive(Debug)]
pub struct Logs {
    pool: Arc<Pool>,
    echo: Option<Echo>,
    /// Unclaimed pipes of a predecessor, by name, and the output that its threads had in their
    /// hands.
    pipes: HashMap<String, OwnedFd>,
    leftovers: Vec<Leftover>,
    /// Streams that go on with a predecessor's pipe.
    inherited: HashSet<StreamId>,
    carried: Vec<PastCarried>,
    /// Streams with something that a predecessor had in its hands.
    unfinished: Vec<StreamId>,
}

/// What outlives us, and what outlived our predecessor.
#[derive(Debug)]
pub struct Surviving {
    /// Where the threads write down what they have in their hands.
    pub carriers: Carriers,
    /// What the predecessor's threads had written down.
    pub carried: Vec<PastCarried>,
    /// Where pipes are kept.
    pub store: FdStore,
}

impl Logs {
    /// Starts the first thread. It reads nothing before [`begin`](Self::begin). `echo`: where
    /// output is also shown; `cap`: most bytes of all log files together.
    ///
    /// # Errors
    /// EMFILE or EAGAIN.
    pub fn start(echo: Option<Echo>, cap: Option<u64>, surviving: Surviving) -> io::Result<Self> {
        let Surviving { carriers, carried, store } = surviving;
        Ok(Self {
            pool: Pool::start(cap, carriers, store)?,
            echo,
            pipes: HashMap::new(),
            leftovers: Vec::new(),
            inherited: HashSet::new(),
            carried,
            unfinished: Vec::new(),
        })
    }

    /// Takes over a predecessor's pipes, and what it had taken out of them and not written. They
    /// are carried on as their streams are opened.
    pub fn adopt(&mut self, inherited: &mut InheritedDescriptors) {
        self.leftovers =
            leftover::leftovers(inherited, &self.carried, self.pool.carriers(), self.pool.store());
        for prefix in ["worker-", "cell-"] {
            let is_pipe = |name: &str| name.ends_with("/stdout") || name.ends_with("/stderr");
            self.pipes.extend(inherited.claim_some(prefix, is_pipe));
        }
    }

    /// From now on the threads read output: the black box records what is in their hands for a
    /// successor.
    pub fn begin(&mut self) {
        self.pool.begin(&std::mem::take(&mut self.unfinished));
    }

    /// Takes no more, and waits until what was taken is written, at most `limit`. False: a write
    /// hangs.
    #[must_use]
    pub fn hold(&self, limit: Duration) -> bool {
        self.pool.hold(limit)
    }

    /// Whose output a thread is writing now, with its target.
    #[must_use]
    pub fn in_hand(&self) -> Vec<String> {
        self.pool.in_hand()
    }

    /// Whether a predecessor's pipe with this name waits to be carried on.
    #[must_use]
    pub fn has_inherited(&self, name: &str) -> bool {
        self.pipes.contains_key(name)
    }

    /// Whether any of these streams has a new pipe.
    #[must_use]
    pub fn is_renewed<'a>(&self, mut streams: impl Iterator<Item = &'a StreamId>) -> bool {
        streams.any(|stream| !self.inherited.contains(stream))
    }

    /// Releases the pipes of a predecessor's workers that no present worker has. Returns the names.
    pub fn forget_inherited(&mut self) {
        self.pipes.clear();
        for leftover in self.leftovers.drain(..) {
            tracing::warn!(name = leftover.name(), "dropped output of a removed worker");
            leftover.forget(self.pool.store());
        }
    }

    /// Has the pipe of a stream kept for a successor. Whether it is.
    #[must_use]
    pub fn keep(&self, stream: StreamId, name: &str, store: &FdStore) -> bool {
        self.pool.stream(stream.0).is_some_and(|stream| store.keep(name, &[stream.pipe().as_fd()]))
    }

    /// Opens a stream. It stays until it is closed.
    ///
    /// # Errors
    /// EMFILE, ENFILE or ENOMEM from pipe2(2).
    pub fn open(&mut self, plan: &StreamPlan) -> nix::Result<StreamId> {
        let (output, target) = match &plan.sink {
            // All streams to one file go through one target.
            Sink::File(path) => (Output::File, self.pool.targets().at(path, plan.rotate, plan.cap)),
            Sink::Terminal => (Output::Terminal, self.pool.targets().terminal()),
            // Their datagrams never wait.
            Sink::Journald => (Output::Journal, Arc::default()),
            Sink::Syslog => (Output::Syslog, Arc::default()),
            Sink::Null | Sink::Inherit => return Err(Errno::EINVAL),
        };
        let echo = self.echo.clone().filter(|_| output == Output::File);
        let pipe = self.pipes.remove(&plan.name);
        let number = stream::number(&plan.name);
        let leftovers: Vec<Leftover> =
            self.leftovers.extract_if(.., |leftover| leftover.stream == number).collect();
        let (is_inherited, has_leftover) = (pipe.is_some(), !leftovers.is_empty());
        let losses = self.pool.carriers().losses(plan.counted);
        let stream = Stream::new(plan, output, target, echo, Past { pipe, leftovers }, losses)?;
        let id = self.pool.add(stream).map(StreamId)?;
        if is_inherited {
            self.inherited.insert(id);
        }
        if has_leftover {
            self.unfinished.push(id);
        }
        Ok(id)
    }

    /// How many log files have never been opened: the first line opens them.
    #[must_use]
    pub fn files_to_open(&self) -> usize {
        self.pool.targets().to_open()
    }

    /// The end that a worker writes to.
    #[must_use]
    pub fn writer(&self, stream: StreamId) -> Option<OwnedFd> {
        self.pool.stream(stream.0)?.writer().ok()
    }

    /// Watches the next lines: the first that matches is reported once, with this token. Lines that
    /// are in the pipe now come from an earlier incarnation, and do not count.
    pub fn watch_for(&self, stream: StreamId, pattern: &regex::bytes::Regex, token: u64) {
        if let Some(stream) = self.pool.stream(stream.0) {
            stream.watch_for(pattern.clone(), token);
        }
    }

    /// Another incarnation writes to it from now on.
    pub fn begin_run(&self, stream: StreamId) {
        if let Some(stream) = self.pool.stream(stream.0) {
            stream.begin_run();
        }
    }

    /// The last lines that the incarnation which writes to these streams has written up to now, as
    /// soon as they have been taken.
    #[must_use]
    pub fn tail(&self, streams: &[StreamId]) -> Tail {
        let tail = Tail::default();
        let streams = streams.iter().filter_map(|stream| self.pool.stream(stream.0));
        let streams = streams.map(|stream| (stream.run(), stream)).collect();
        self.pool.give_afterwards(Job::tail(streams, Arc::clone(&tail)));
        tail
    }

    /// Takes all that is there, then forgets the stream.
    pub fn close(&self, stream: StreamId) {
        self.pool.give_afterwards(Job::close(stream.0));
    }

    /// Closes every file and opens it again under its name, as after `logrotate`.
    pub fn reopen(&self) {
        self.pool.give(Job::Reopen);
    }

    /// Bytes of a stream that were dropped.
    #[must_use]
    pub fn lost(&self, stream: StreamId) -> u64 {
        self.pool.stream(stream.0).map_or(0, |stream| stream.losses.lost().load(Ordering::Relaxed))
    }

    /// Bytes of all streams that were dropped.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.pool.lost()
    }

    /// What has happened. Becomes ready with [`wakeup`](Self::wakeup).
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        self.pool.take_notices()
    }

    /// Readable when there are notices or a tail has come.
    #[must_use]
    pub fn wakeup(&self) -> BorrowedFd<'_> {
        self.pool.wakeup()
    }

    /// Waits until all output is read, at most `timeout`. False when it is not.
    pub fn flush(&self, timeout: Duration) -> bool {
        let (done, finished): (_, Receiver<()>) = channel();
        self.pool.give(Job::flush(self.pool.all(), done));
        received(&finished, timeout).is_ok()
    }
}

/// A mutex whose holder panicked holds what it held: logs go on.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A descriptor's borrowed form, for the few calls that want it.
fn borrowed(fd: &OwnedFd) -> BorrowedFd<'_> {
    fd.as_fd()
}
