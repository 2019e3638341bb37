//! The threads: one always waits, so that a stream whose target hangs holds up nobody else.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use workers::board::monotonic_ns;

use super::aside;
use super::file::LogFile;
use super::hands::Hands;
use super::stream::Stream;
use super::{Notice, Tail, lock};
use crate::record::black_box::{CARRIERS, Carriers};
use crate::service_manager::FdStore;
use crate::waiting::until;

/// Most threads: so many targets may hang at once before others have to wait.
const THREADS_MAX: usize = CARRIERS;
/// Threads that stay when there is nothing to do: one that works and one that waits.
const THREADS_KEPT: usize = 2;
/// A write that takes longer than this hangs: what the worker writes is dropped until it returns.
const STALL: Duration = Duration::from_secs(5);
/// How long the last lines of a worker wait for a target that somebody else writes to.
const TURN_WAIT: Duration = Duration::from_secs(1);
/// Between two looks at who still has something in its hands.
const PAUSE: Duration = Duration::from_millis(1);
/// Between two looks at those that may hang.
const LOOK_MS: u16 = 500;
/// Notices that wait for the loop at most.
const NOTICES_MAX: usize = 1024;
/// The compressor alone wants some hundred KiB in a debug build; what is not touched costs nothing.
const STACK: usize = 2 * 1024 * 1024;
/// Marks the descriptor by which jobs are announced.
const JOBS: u64 = u64::MAX;

/// Something to do besides carrying output.
#[derive(Debug)]
pub(super) enum Job {
    Tail { streams: Vec<Arc<Stream>>, tail: Tail },
    Carry(u32),
    Close(u32),
    Reopen(Arc<Mutex<LogFile>>),
    Compress(PathBuf, Arc<Mutex<LogFile>>),
    Weigh,
    Flush(Sender<()>),
}

#[derive(Debug)]
pub(super) struct Pool {
    epoll: Epoll,
    streams: RwLock<Vec<Option<Arc<Stream>>>>,
    jobs: Mutex<Vec<Job>>,
    has_jobs: EventFd,
    notices: Mutex<Vec<Notice>>,
    /// Told to the loop.
    wakeup: EventFd,
    threads: AtomicUsize,
    idle: AtomicUsize,
    /// Most bytes of all log files together, which there are, and how much was written since they were looked at.
    cap: Option<u64>,
    files: Mutex<Vec<(PathBuf, Arc<Mutex<LogFile>>)>>,
    unweighed: AtomicU64,
    lost_by_closed: AtomicU64,
    /// Hands that no thread has at the moment, and how many there have been.
    hands: Mutex<(Vec<Hands>, usize)>,
    carriers: Carriers,
    store: FdStore,
    has_begun: AtomicBool,
}

impl Pool {
    pub(super) fn start(cap: Option<u64>, carriers: Carriers, store: FdStore) -> io::Result<Arc<Self>> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let pool = Arc::new(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            streams: RwLock::default(),
            jobs: Mutex::default(),
            has_jobs: EventFd::from_value_and_flags(0, flags)?,
            notices: Mutex::default(),
            wakeup: EventFd::from_value_and_flags(0, flags)?,
            threads: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            cap,
            files: Mutex::default(),
            unweighed: AtomicU64::new(0),
            lost_by_closed: AtomicU64::new(0),
            hands: Mutex::default(),
            carriers,
            store,
            has_begun: AtomicBool::new(false),
        });
        pool.epoll.add(&pool.has_jobs, EpollEvent::new(EpollFlags::EPOLLIN, JOBS))?;
        pool.spawn()?;
        Ok(pool)
    }

    pub(super) fn add(&self, stream: Stream) -> nix::Result<u32> {
        let mut streams = self.streams.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let index = streams.iter().position(Option::is_none).unwrap_or(streams.len());
        let id = u32::try_from(index).map_err(|_| Errno::EMFILE)?;
        // Until we begin, nothing is taken: what we take stands in a black box that nobody would read.
        let wanted =
            if self.has_begun.load(Ordering::SeqCst) { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        self.epoll.add(stream.pipe(), EpollEvent::new(wanted | EpollFlags::EPOLLONESHOT, id.into()))?;
        let slot = Some(Arc::new(stream));
        match streams.get_mut(index) {
            Some(free) => *free = slot,
            None => streams.push(slot),
        }
        Ok(id)
    }

    pub(super) fn stream(&self, id: u32) -> Option<Arc<Stream>> {
        let streams = self.streams.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        streams.get(id as usize)?.clone()
    }

    fn all(&self) -> Vec<Arc<Stream>> {
        let streams = self.streams.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        streams.iter().flatten().cloned().collect()
    }

    /// From now on output is taken.
    pub(super) fn begin(&self) {
        self.has_begun.store(true, Ordering::SeqCst);
        let streams = self.streams.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (id, stream) in (0..).zip(streams.iter()) {
            if let Some(stream) = stream {
                self.arm(id, stream);
            }
        }
    }

    /// Nothing is taken any more; waits until nobody has anything in its hands.
    pub(super) fn hold(&self, limit: Duration) -> bool {
        self.has_begun.store(false, Ordering::SeqCst);
        let is_held = || self.threads.load(Ordering::SeqCst) <= self.idle.load(Ordering::SeqCst);
        until(limit, PAUSE, || is_held().then_some(())).is_some()
    }

    /// Where pipes are kept for a successor.
    pub(super) fn store(&self) -> &FdStore {
        &self.store
    }

    pub(super) fn carriers(&self) -> &Carriers {
        &self.carriers
    }

    fn hands(&self) -> Hands {
        let mut hands = lock(&self.hands);
        hands.0.pop().unwrap_or_else(|| {
            let slot = hands.1;
            hands.1 += 1;
            Hands::new(slot, self.carriers.clone(), &self.store)
        })
    }

    pub(super) fn know(&self, path: PathBuf, file: Arc<Mutex<LogFile>>) {
        lock(&self.files).push((path, file));
    }

    /// So many bytes have gone into a file: now and then all of them are weighed.
    pub(super) fn wrote(&self, bytes: usize) {
        let Some(cap) = self.cap else { return };
        let step = (cap / 16).max(1);
        if self.unweighed.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64 >= step {
            self.unweighed.store(0, Ordering::Relaxed);
            self.give(Job::Weigh);
        }
    }

    pub(super) fn lost(&self) -> u64 {
        let open: u64 = self.all().iter().map(|stream| stream.losses.lost().load(Ordering::Relaxed)).sum();
        open + self.lost_by_closed.load(Ordering::Relaxed)
    }

    pub(super) fn give(&self, job: Job) {
        lock(&self.jobs).push(job);
        let _ = self.has_jobs.write(1);
    }

    pub(super) fn tell(&self, notice: Notice) {
        let mut notices = lock(&self.notices);
        if notices.len() < NOTICES_MAX {
            notices.push(notice);
        }
        drop(notices);
        let _ = self.wakeup.write(1);
    }

    pub(super) fn take_notices(&self) -> Vec<Notice> {
        let _ = self.wakeup.read();
        std::mem::take(&mut lock(&self.notices))
    }

    pub(super) fn wakeup(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }

    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let pool = Arc::clone(self);
        self.threads.fetch_add(1, Ordering::SeqCst);
        self.idle.fetch_add(1, Ordering::SeqCst);
        let spawned =
            std::thread::Builder::new().name("logs".into()).stack_size(STACK).spawn(move || pool.work());
        if let Err(error) = spawned {
            self.threads.fetch_sub(1, Ordering::SeqCst);
            self.idle.fetch_sub(1, Ordering::SeqCst);
            return Err(error);
        }
        Ok(())
    }

    fn work(self: Arc<Self>) {
        let mut hands = self.hands();
        loop {
            let somebody_works = self.threads.load(Ordering::SeqCst) > self.idle.load(Ordering::SeqCst);
            let timeout = if somebody_works { EpollTimeout::from(LOOK_MS) } else { EpollTimeout::NONE };
            let mut events = [EpollEvent::empty()];
            let count = self.epoll.wait(&mut events, timeout);
            if self.idle.fetch_sub(1, Ordering::SeqCst) == 1
                && self.threads.load(Ordering::SeqCst) < THREADS_MAX
            {
                // Short of threads: then this one works, and whoever comes has to wait for it.
                let _ = self.spawn();
            }
            match count {
                Ok(0) | Err(_) => self.relieve_stalled(),
                Ok(_) if events[0].data() == JOBS => self.do_jobs(&mut hands),
                Ok(_) => self.serve(events[0].data(), &mut hands),
            }
            if self.idle.fetch_add(1, Ordering::SeqCst) >= THREADS_KEPT {
                self.idle.fetch_sub(1, Ordering::SeqCst);
                self.threads.fetch_sub(1, Ordering::SeqCst);
                lock(&self.hands).0.push(hands);
                return;
            }
        }
    }

    fn serve(self: &Arc<Self>, data: u64, hands: &mut Hands) {
        let Some((id, stream)) = u32::try_from(data).ok().and_then(|id| Some((id, self.stream(id)?))) else {
            return;
        };
        if !self.has_begun.load(Ordering::SeqCst) {
            return;
        }
        if !stream.turn.take_or_wait(id) {
            // Whoever has the turn arms it again.
            stream.begin_to_wait();
            return;
        }
        stream.carry(self, hands);
        self.arm(id, &stream);
        self.give_back(&stream);
    }

    /// Whoever waited for the same target comes again.
    fn give_back(&self, stream: &Stream) {
        for id in stream.turn.give_back() {
            if let Some(waiting) = self.stream(id) {
                waiting.busy_since.store(0, Ordering::Relaxed);
                self.arm(id, &waiting);
            }
        }
    }

    /// Takes what a stream holds, outside of its turn in the epoll set; not from one whose target hangs beyond `end`.
    fn carry_until(self: &Arc<Self>, stream: &Stream, hands: &mut Hands, end: Instant) -> bool {
        if !stream.turn.take_until(end) {
            return false;
        }
        stream.carry(self, hands);
        // Whoever wrote a line without an end is gone, and will not finish it.
        stream.finish(self);
        self.give_back(stream);
        true
    }

    fn arm(&self, id: u32, stream: &Stream) {
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, id.into());
        let _ = self.epoll.modify(stream.pipe(), &mut event);
    }

    /// Drops what workers write whose target hangs.
    fn relieve_stalled(&self) {
        let now = monotonic_ns();
        for stream in self.all() {
            let since = stream.busy_since.load(Ordering::Relaxed);
            let is_stalled = since > 0 && Duration::from_nanos(now.saturating_sub(since)) > STALL;
            if is_stalled && stream.discard() > 0 && !stream.said_stalled.swap(true, Ordering::Relaxed) {
                self.tell(Notice::Trouble {
                    worker: stream.worker.clone(),
                    target: stream.target(),
                    error: format!("a write has been hanging for more than {} s", STALL.as_secs()),
                });
            }
        }
    }

    fn do_jobs(self: &Arc<Self>, hands: &mut Hands) {
        // One at a time, so that another thread takes the next while this one hangs.
        loop {
            let mut jobs = lock(&self.jobs);
            if jobs.is_empty() {
                let _ = self.has_jobs.read();
                return;
            }
            let job = jobs.remove(0);
            drop(jobs);
            self.do_job(job, hands);
        }
    }

    fn do_job(self: &Arc<Self>, job: Job, hands: &mut Hands) {
        match job {
            Job::Tail { streams, tail } => {
                let mut lines = Vec::new();
                for stream in streams {
                    self.carry_until(&stream, hands, Instant::now() + TURN_WAIT);
                    lines.extend(stream.last_lines());
                }
                let _ = tail.set(lines);
                let _ = self.wakeup.write(1);
            }
            Job::Carry(id) => {
                if let Some(stream) = self.stream(id) {
                    self.carry_until(&stream, hands, Instant::now() + TURN_WAIT);
                }
            }
            Job::Close(id) => {
                let Some(stream) = self.stream(id) else { return };
                if !self.carry_until(&stream, hands, Instant::now() + TURN_WAIT) {
                    stream.discard();
                }
                let _ = self.epoll.delete(stream.pipe());
                self.lost_by_closed
                    .fetch_add(stream.losses.lost().load(Ordering::Relaxed), Ordering::Relaxed);
                let mut streams = self.streams.write().unwrap_or_else(std::sync::PoisonError::into_inner);
                if let Some(slot) = streams.get_mut(id as usize) {
                    *slot = None;
                }
            }
            Job::Reopen(file) => lock(&file).close(),
            Job::Compress(path, file) => {
                let result = aside::compress(&path);
                lock(&file).compressed();
                if let Err(error) = result {
                    tracing::warn!(path = %path.display(), %error, "a rotated log is kept uncompressed");
                }
                self.keep_to_cap();
            }
            Job::Weigh => self.keep_to_cap(),
            Job::Flush(done) => {
                // First everyone whose target is free: one that hangs shall cost nobody else his last lines.
                let now = Instant::now();
                let mut rest = self.all();
                rest.retain(|stream| !self.carry_until(stream, hands, now));
                for stream in rest {
                    self.carry_until(&stream, hands, now + TURN_WAIT);
                }
                let _ = done.send(());
            }
        }
    }

    /// After a rotation: what it left to do.
    pub(super) fn after_rotation(self: &Arc<Self>, file: &Arc<Mutex<LogFile>>, to_compress: Option<PathBuf>) {
        match to_compress {
            Some(path) => self.give(Job::Compress(path, Arc::clone(file))),
            None => self.keep_to_cap(),
        }
    }

    /// Removes the oldest files that were put aside until all together are within the cap. Where that is not enough,
    /// the largest of the present ones is put aside too.
    fn keep_to_cap(&self) {
        let Some(cap) = self.cap else { return };
        let files = lock(&self.files).clone();
        let paths: Vec<PathBuf> = files.iter().map(|(path, _)| path.clone()).collect();
        let mut present: Vec<(u64, Arc<Mutex<LogFile>>)> = Vec::new();
        for (path, file) in files {
            let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
            present.push((size, file));
        }
        present.sort_by_key(|(size, _)| *size);
        while aside::keep_to_cap(&paths, cap) > cap {
            let Some((_, file)) = present.pop() else { return };
            // One that hangs is not waited for.
            if let Ok(mut file) = file.try_lock() {
                let _ = file.put_aside();
            }
        }
    }
}
