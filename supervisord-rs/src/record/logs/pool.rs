//! The threads: one always waits, so that a stream whose target hangs delays no other.

mod jobs;
mod parked;
mod upkeep;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use workers::runtime::board::monotonic_ns;

use super::staging_pipe::StagingPipe;
use super::stream::{Stream, Upkeep};
use super::target::{Target, Targets};
use super::{Notice, StreamId, lock};
use crate::record::black_box::{CARRIERS, Carriers, Count, Counter};
use crate::record::patient::PATIENCE;
use crate::service_manager::FdStore;
use crate::waiting::until;
use crate::{afterwards, threads};
pub(super) use jobs::Job;
use parked::Parked;

/// Most threads: so many targets may hang at once before others have to wait. A thread that ends
/// leaves its staging pipe to the next one, with its descriptors: there are as many as there were
/// threads at once.
const THREADS_MAX: usize = CARRIERS;
/// Threads that stay when there is nothing to do: one that works and one that waits.
const THREADS_KEPT: usize = 2;
/// A write that takes longer than this hangs: what the worker writes is dropped until it returns.
const STALL: Duration = PATIENCE;
/// Between two looks at who still has something in its hands.
const PAUSE: Duration = Duration::from_millis(1);
/// A stream that brings so much at once usually has more in a moment.
const MUCH: usize = 4096;
/// So often one stream is waited for before all of them are.
const ROUNDS: u32 = 16;
/// Between two looks at those that may hang.
const LOOK_MS: u16 = 500;
/// Notices that wait for the loop at most.
const NOTICES_MAX: usize = 1024;
/// The compressor alone wants some hundred KiB in a debug build; what is not touched costs nothing.
const STACK: usize = 2 * 1024 * 1024;
/// Marks the descriptor by which jobs are announced.
const JOBS: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) epoll: Epoll,
    pub(super) streams: RwLock<Vec<Option<Arc<Stream>>>>,
    jobs: Mutex<Vec<Job>>,
    /// Those that wait for the turn of a target.
    parked: Parked,
    has_jobs: EventFd,
    notices: Mutex<Vec<Notice>>,
    /// Told to the loop.
    pub(super) wakeup: EventFd,
    threads: AtomicUsize,
    idle: AtomicUsize,
    /// Most bytes of all log files together, and how much was written since they were looked at.
    pub(super) cap: Option<u64>,
    unweighed: AtomicU64,
    pub(super) is_weighing: AtomicBool,
    targets: Targets,
    pub(super) lost_by_closed: Counter,
    /// Staging pipes that no thread has at the moment, and how many there have been.
    staging: Mutex<(Vec<StagingPipe>, usize)>,
    carriers: Carriers,
    store: FdStore,
    has_begun: AtomicBool,
    /// The time of the last check for hanging threads.
    relieved_at: AtomicU64,
}

impl Pool {
    pub(super) fn start(
        cap: Option<u64>,
        carriers: Carriers,
        store: FdStore,
    ) -> io::Result<Arc<Self>> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let pool = Arc::new(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            streams: RwLock::default(),
            jobs: Mutex::default(),
            parked: Parked::default(),
            has_jobs: EventFd::from_value_and_flags(0, flags)?,
            notices: Mutex::default(),
            wakeup: EventFd::from_value_and_flags(0, flags)?,
            threads: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            cap,
            unweighed: AtomicU64::new(0),
            is_weighing: AtomicBool::new(false),
            targets: Targets::new(),
            lost_by_closed: carriers.counter(Count::LostByClosed),
            staging: Mutex::default(),
            carriers,
            store,
            has_begun: AtomicBool::new(false),
            relieved_at: AtomicU64::new(0),
        });
        // One thread comes for each time that jobs are announced, and not all that wait.
        let announced = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        pool.epoll.add(&pool.has_jobs, EpollEvent::new(announced, JOBS))?;
        pool.spawn()?;
        Ok(pool)
    }

    pub(super) fn add(&self, stream: Stream) -> nix::Result<u32> {
        let mut streams = self.streams.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let index = streams.iter().position(Option::is_none).unwrap_or(streams.len());
        let id = u32::try_from(index).map_err(|_| Errno::EMFILE)?;
        // Reads nothing before `begin`: until then no successor would read the black box that
        // records it.
        let wanted = if self.has_begun.load(Ordering::SeqCst) {
            EpollFlags::EPOLLIN
        } else {
            EpollFlags::empty()
        };
        self.epoll
            .add(stream.pipe(), EpollEvent::new(wanted | EpollFlags::EPOLLONESHOT, id.into()))?;
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

    pub(super) fn slots(&self) -> Vec<Option<Arc<Stream>>> {
        self.streams.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        self.slots().into_iter().flatten().collect()
    }

    /// From now on the threads read output; that of a predecessor comes first.
    pub(super) fn begin(&self, unfinished: &[StreamId]) {
        self.has_begun.store(true, Ordering::SeqCst);
        unfinished.iter().for_each(|stream| self.give(Job::Carry(stream.0)));
        for (id, stream) in (0..).zip(self.slots()) {
            if let Some(stream) = stream {
                self.arm(id, &stream);
            }
        }
    }

    /// Stops reading; waits until no thread has anything in its hands.
    pub(super) fn hold(&self, limit: Duration) -> bool {
        self.has_begun.store(false, Ordering::SeqCst);
        let is_held = || self.threads.load(Ordering::SeqCst) <= self.idle.load(Ordering::SeqCst);
        until(limit, PAUSE, || is_held().then_some(())).is_some()
    }

    /// Whose output goes to a target.
    pub(super) fn writers(&self, target: &Arc<Target>) -> String {
        let all = self.all();
        let writers = all.iter().filter(|stream| Arc::ptr_eq(&stream.target(), target));
        let names: BTreeSet<&str> = writers.map(|stream| stream.worker.as_str()).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// What a thread has in its hands now: whose output, and where it goes.
    pub(super) fn in_hand(&self) -> Vec<String> {
        let is_busy = |stream: &Arc<Stream>| stream.busy_since.load(Ordering::Relaxed) > 0;
        let busy = self.all().into_iter().filter(is_busy);
        busy.map(|stream| format!("{} ({})", stream.worker, stream.target_name())).collect()
    }

    pub(super) fn carriers(&self) -> &Carriers {
        &self.carriers
    }

    fn staging(&self) -> StagingPipe {
        let mut staging = lock(&self.staging);
        staging.0.pop().unwrap_or_else(|| {
            let slot = staging.1;
            staging.1 += 1;
            StagingPipe::new(slot, self.carriers.clone(), &self.store)
        })
    }

    pub(super) fn lost(&self) -> u64 {
        let open: u64 =
            self.all().iter().map(|stream| stream.losses.lost().load(Ordering::Relaxed)).sum();
        open + self.lost_by_closed.get()
    }

    pub(super) fn give(&self, job: Job) {
        lock(&self.jobs).push(job);
        self.announce();
    }

    /// The same; the threads learn of it at the end of the turn.
    pub(super) fn give_afterwards(self: &Arc<Self>, job: Job) {
        lock(&self.jobs).push(job);
        let pool = Arc::clone(self);
        afterwards::ring(move || pool.announce());
    }

    /// One that has waited comes again.
    fn give_parked(&self, number: u64) {
        if let Some(job) = self.parked.take(number) {
            self.give(job);
        }
    }

    fn announce(&self) {
        let _ = self.has_jobs.write(1);
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
        let thread = std::thread::Builder::new().name("logs".into()).stack_size(STACK);
        let spawned = threads::spawn(thread, move || pool.work());
        if let Err(error) = spawned {
            self.threads.fetch_sub(1, Ordering::SeqCst);
            self.idle.fetch_sub(1, Ordering::SeqCst);
            return Err(error);
        }
        Ok(())
    }

    fn work(self: Arc<Self>) {
        let mut staging = self.staging();
        loop {
            let somebody_works =
                self.threads.load(Ordering::SeqCst) > self.idle.load(Ordering::SeqCst);
            let timeout =
                if somebody_works { EpollTimeout::from(LOOK_MS) } else { EpollTimeout::NONE };
            let mut events = [EpollEvent::empty()];
            let count = self.epoll.wait(&mut events, timeout);
            if self.idle.fetch_sub(1, Ordering::SeqCst) == 1
                && self.threads.load(Ordering::SeqCst) < THREADS_MAX
            {
                // Short of threads: then this one works, and new output has to wait for it.
                let _ = self.spawn();
            }
            self.relieve_if_due();
            match count {
                // Jobs that were announced together with one that hangs.
                Ok(0) => self.do_jobs(&mut staging),
                Err(_) => {}
                Ok(_) if events[0].data() == JOBS => self.do_jobs(&mut staging),
                Ok(_) => self.serve(events[0].data(), &mut staging),
            }
            if self.idle.fetch_add(1, Ordering::SeqCst) >= THREADS_KEPT {
                self.idle.fetch_sub(1, Ordering::SeqCst);
                self.threads.fetch_sub(1, Ordering::SeqCst);
                lock(&self.staging).0.push(staging);
                return;
            }
        }
    }

    fn serve(self: &Arc<Self>, data: u64, staging: &mut StagingPipe) {
        let Some((id, stream)) =
            u32::try_from(data).ok().and_then(|id| Some((id, self.stream(id)?)))
        else {
            return;
        };
        if !self.has_begun.load(Ordering::SeqCst) {
            return;
        }
        let target = stream.target();
        if !target.turn.take_or_wait(id) {
            // The holder of the turn arms it again.
            stream.begin_to_wait();
            return;
        }
        if target.unfinished.load(Ordering::SeqCst) > 0 && !stream.is_unfinished() {
            // What a predecessor left in another's hands comes first: then this one is armed again.
            stream.begin_to_wait();
        } else {
            // A busy writer has more in a moment: waiting for it here costs less than waiting with
            // all the others, unless another stream wants to write to the target.
            let mut rounds = 0;
            while stream.carry(&target, &**self, staging) >= MUCH
                && rounds < ROUNDS
                && !target.turn.is_wanted()
                // It may have turned out to be another's file meanwhile.
                && Arc::ptr_eq(&target, &stream.target())
                && self.has_begun.load(Ordering::SeqCst)
                && stream.has_more_soon()
            {
                rounds += 1;
            }
            self.arm(id, &stream);
        }
        self.give_back(&target);
    }

    /// Gives a target's turn back: waiting streams come again.
    pub(super) fn give_back(&self, target: &Target) {
        let waiting = target.turn.give_back();
        for id in waiting.streams {
            if let Some(waiting) = self.stream(id) {
                waiting.busy_since.store(0, Ordering::Relaxed);
                self.arm(id, &waiting);
            }
        }
        waiting.jobs.into_iter().for_each(|(_, number)| self.give_parked(number));
    }

    /// Takes what a stream holds, outside of its turn in the epoll set, and does `then` before any
    /// other stream gets to the target. `None`: another one has the turn.
    pub(super) fn carry_now<T>(
        self: &Arc<Self>,
        stream: &Stream,
        staging: &mut StagingPipe,
        then: impl Fn(&Target) -> T,
    ) -> Option<T> {
        loop {
            let target = stream.target();
            if !target.turn.take() {
                return None;
            }
            stream.carry(&target, &**self, staging);
            // It may have turned out to be another's file.
            let is_there = Arc::ptr_eq(&target, &stream.target());
            let done = is_there.then(|| {
                // The writer of a line without an end has gone, and will not finish it.
                stream.finish(&target, &**self);
                then(&target)
            });
            self.give_back(&target);
            if is_there {
                return done;
            }
        }
    }

    pub(super) fn arm(&self, id: u32, stream: &Stream) {
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, id.into());
        let _ = self.epoll.modify(stream.pipe(), &mut event);
    }

    /// However busy the others are.
    fn relieve_if_due(&self) {
        let now = monotonic_ns();
        let last = self.relieved_at.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(last) >= u64::from(LOOK_MS) * 1_000_000;
        let relaxed = Ordering::Relaxed;
        if is_due && self.relieved_at.compare_exchange(last, now, relaxed, relaxed).is_ok() {
            self.relieve_stalled();
        }
    }

    /// Drops what workers write whose target hangs; what waits for such a target does without.
    fn relieve_stalled(&self) {
        let now = monotonic_ns();
        for stream in self.all() {
            let overdue = stream.target().turn.overdue();
            overdue.into_iter().for_each(|number| self.give_parked(number));
            let since = stream.busy_since.load(Ordering::Relaxed);
            let is_stalled = since > 0 && Duration::from_nanos(now.saturating_sub(since)) > STALL;
            if is_stalled
                && stream.discard() > 0
                && !stream.said_stalled.swap(true, Ordering::Relaxed)
            {
                self.tell(Notice::Trouble {
                    worker: stream.worker.clone(),
                    target: stream.target_name(),
                    error: format!("a write has been hanging for more than {} s", STALL.as_secs()),
                });
            }
        }
    }

    fn do_jobs(self: &Arc<Self>, staging: &mut StagingPipe) {
        // One at a time, so that another thread takes the next while this one hangs.
        loop {
            let mut jobs = lock(&self.jobs);
            if jobs.is_empty() {
                let _ = self.has_jobs.read();
                return;
            }
            let job = jobs.remove(0);
            if job.takes_long() && !jobs.is_empty() {
                let _ = self.has_jobs.write(1);
            }
            drop(jobs);
            self.do_job(job, staging);
        }
    }
}
