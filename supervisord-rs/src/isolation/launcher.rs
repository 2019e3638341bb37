//! Threads that launch. What a launch may wait for (a file of secrets, a working directory, a
//! binary, on a file system that does not answer) holds a thread of these, and not the loop.
//!
//! They live as long as we do: a child gets its parent-death signal when the *thread* that launched
//! it ends (`PR_SET_PDEATHSIG`, prctl(2)). A few suffice; when all of them are held up and others
//! wait, one more is started, up to a bound, so that a launch that hangs holds up no other. Those
//! that are started stay.
//!
//! Workers that fail again and again have a queue of their own, and so have those that are started
//! again after they ran well, and helpers. The threads take from all queues in turn: however many
//! workers crash or start at once, one that is down waits for one launch of each kind at most. When
//! everything ends, no thread takes a worker any more.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use workers::runtime::board::monotonic_ns;

use super::launch::Attempt;
use super::launch::window::Window;
use crate::threads;

/// Threads to begin with, at most: a launch keeps a processor busy, mostly in the kernel.
const THREADS: usize = 4;
/// Threads at most. When so many launches hang, others wait in line.
const THREADS_MAX: usize = 64;
/// How long nothing moves before those that wait get another thread. A launch takes a millisecond.
const PATIENCE: Duration = Duration::from_millis(50);

/// In which queue a launch waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// Of a worker that has failed since it was last stable.
    Again,
    /// Of a worker that ran, and has not failed since it was last stable.
    Renewed,
    /// The first one of a worker.
    First,
    /// A probe, a hook, a command that stops a worker.
    Helper,
}

impl Queue {
    const ALL: [Self; 4] = [Self::Again, Self::Renewed, Self::First, Self::Helper];

    /// Its turn, among [`ALL`](Self::ALL).
    fn index(self) -> usize {
        self as usize
    }
}

/// The threads, and what waits for them.
#[derive(Debug)]
pub(super) struct Launchers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    line: Mutex<Line>,
    job_came: Condvar,
}

#[derive(Debug)]
struct Line {
    /// By the index of [`Queue`].
    queues: [VecDeque<Job>; Queue::ALL.len()],
    /// From which queue the last job came.
    last: Queue,
    /// Whether helpers alone are launched: everything ends.
    is_closed: bool,
    threads: usize,
    idle: usize,
    /// When a thread last took a job, or another thread was started.
    moved_at: Instant,
    /// Every launch that is on its way, and those that were answered lately, with how many
    /// descriptors each may open.
    attempts: Vec<(Weak<Attempt>, usize)>,
}

/// One launch.
struct Job {
    attempt: Arc<Attempt>,
    work: Work,
}

/// What a thread does for it.
type Work = Box<dyn FnOnce(&Arc<Attempt>) + Send>;

impl std::fmt::Debug for Job {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Job").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

impl Launchers {
    /// Starts the first threads.
    ///
    /// # Errors
    /// EAGAIN when there can be none at all.
    pub(super) fn start() -> io::Result<Self> {
        let line = Line {
            queues: Default::default(),
            last: Queue::Again,
            is_closed: false,
            threads: 0,
            idle: 0,
            moved_at: Instant::now(),
            attempts: Vec::new(),
        };
        let launchers = Self(Arc::new(Shared { line: Mutex::new(line), job_came: Condvar::new() }));
        // Early: the numbers are low.
        let nothing = std::fs::File::open("/dev/null").ok();
        let wanted = thread::available_parallelism().map_or(1, |count| count.get().min(THREADS));
        for number in 0..wanted {
            match launchers
                .0
                .add(nothing.as_ref().and_then(|nothing| Window::reserve(nothing.as_fd())))
            {
                Err(error) if number == 0 => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(launchers)
    }

    /// Has a launch made by the next thread that is free. It may open so many descriptors. `work`
    /// answers for itself; does not block.
    pub(super) fn submit(
        &self,
        queue: Queue,
        opens: usize,
        work: impl FnOnce(&Arc<Attempt>) + Send + 'static,
    ) -> Arc<Attempt> {
        let attempt = Arc::new(Attempt::default());
        let job = Job { attempt: Arc::clone(&attempt), work: Box::new(work) };
        let mut line = self.0.lock();
        if line.is_empty() {
            line.moved_at = Instant::now();
        }
        line.attempts.retain(|(known, _)| known.strong_count() > 0);
        line.attempts.push((Arc::downgrade(&attempt), opens));
        line.queues[queue.index()].push_back(job);
        drop(line);
        self.0.job_came.notify_one();
        attempt
    }

    /// Takes a launch out of the line. False: a thread has begun with it.
    pub(super) fn take_back(&self, attempt: &Arc<Attempt>) -> bool {
        let mut line = self.0.lock();
        let is_it = |job: &Job| Arc::ptr_eq(&job.attempt, attempt);
        let job =
            line.queues.iter_mut().find_map(|queue| queue.remove(queue.iter().position(is_it)?));
        drop(line);
        // What it was to be given is let go of without the lock.
        job.is_some()
    }

    /// From now on no thread begins with the launch of a worker: everything ends. Those that wait
    /// are there to be [taken back](Self::take_back).
    pub(super) fn close(&self) {
        self.0.lock().is_closed = true;
    }

    /// Whether helpers alone are launched.
    pub(super) fn is_closed(&self) -> bool {
        self.0.lock().is_closed
    }

    /// How many descriptors launches that are on their way may open.
    pub(super) fn to_open(&self) -> usize {
        let line = self.0.lock();
        let under_way = line.attempts.iter().filter(|(attempt, _)| attempt.strong_count() > 0);
        under_way.map(|(_, opens)| opens).sum()
    }

    /// Whether a process is the child of a launch that is on its way: its wait status is that
    /// launch's.
    pub(super) fn is_being_born(&self, pid: i32) -> bool {
        let line = self.0.lock();
        let attempts = line.attempts.iter().filter_map(|(attempt, _)| attempt.upgrade());
        attempts.into_iter().any(|attempt| attempt.is_child(pid))
    }

    /// When to [`relieve`](Self::relieve), in monotonic nanoseconds; `None` while nothing waits.
    pub(super) fn relief_due(&self) -> Option<u64> {
        let line = self.0.lock();
        if line.is_empty() || line.threads >= THREADS_MAX {
            return None;
        }
        let rest = PATIENCE.saturating_sub(line.moved_at.elapsed());
        Some(monotonic_ns().saturating_add(u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Starts another thread if launches wait and all threads are held up.
    pub(super) fn relieve(&self) {
        let mut line = self.0.lock();
        let is_held_up = !line.is_empty() && line.idle == 0 && line.moved_at.elapsed() >= PATIENCE;
        if !is_held_up || line.threads >= THREADS_MAX {
            return;
        }
        line.moved_at = Instant::now();
        let waiting: usize = line.open_queues().map(|queue| line.queues[queue.index()].len()).sum();
        let threads = line.threads;
        drop(line);
        match self.0.add(None) {
            Ok(()) if threads + 1 == THREADS_MAX => tracing::error!(
                threads,
                waiting,
                "all launcher threads hang: other launches wait until one of them returns"
            ),
            Ok(()) => {
                tracing::warn!(threads, waiting, "all launcher threads hang: starting another one")
            }
            Err(error) => tracing::error!(
                %error,
                waiting,
                "all launcher threads hang, and another one cannot start"
            ),
        }
    }
}

impl Line {
    /// Whether nothing waits for a thread.
    fn is_empty(&self) -> bool {
        self.open_queues().all(|queue| self.queues[queue.index()].is_empty())
    }

    /// Those that threads take from, from the one whose turn it is.
    fn open_queues(&self) -> impl Iterator<Item = Queue> + use<> {
        let is_closed = self.is_closed;
        let in_turn = Queue::ALL.into_iter().cycle().skip(self.last.index() + 1);
        in_turn.take(Queue::ALL.len()).filter(move |queue| !is_closed || *queue == Queue::Helper)
    }

    /// The next job: from the queues in turn.
    fn take(&mut self) -> Option<Job> {
        self.open_queues().find_map(|queue| {
            let job = self.queues[queue.index()].pop_front()?;
            self.last = queue;
            Some(job)
        })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(self: &Arc<Self>, window: Option<Window>) -> io::Result<()> {
        self.lock().threads += 1;
        let shared = Arc::clone(self);
        let thread = thread::Builder::new().name("launcher".into());
        let added = threads::spawn(thread, move || {
            if let Some(window) = window {
                window.install();
            }
            shared.work()
        });
        if added.is_err() {
            self.lock().threads -= 1;
        }
        added.map(drop)
    }

    /// For ever: the launching thread is the parent as long as it lives.
    fn work(&self) {
        loop {
            let Job { attempt, work } = self.next();
            // A thread that ended would take all that it has launched along.
            if catch_unwind(AssertUnwindSafe(|| work(&attempt))).is_err() {
                tracing::error!(
                    "a launch failed an assertion of the supervisor (a bug): this attempt gets no \
                     answer"
                );
            }
        }
    }

    fn next(&self) -> Job {
        let mut line = self.lock();
        loop {
            if let Some(job) = line.take() {
                line.moved_at = Instant::now();
                return job;
            }
            line.idle += 1;
            line = self.job_came.wait(line).unwrap_or_else(PoisonError::into_inner);
            line.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn whoever_fails_or_starts_delays_one_that_ran_by_one_launch() {
        let launchers = Launchers::start().expect("threads");
        let (gates, blocked) = (Arc::new(Mutex::new(())), channel());
        let held = gates.lock().expect("not poisoned");
        // Every thread is busy until the gate opens.
        for _ in 0..THREADS {
            let (gates, blocked) = (Arc::clone(&gates), blocked.0.clone());
            launchers.submit(Queue::First, 0, move |_| {
                let _ = blocked.send(());
                drop(gates.lock());
            });
        }
        let threads = launchers.0.lock().threads;
        for _ in 0..threads {
            blocked.1.recv().expect("a busy thread");
        }
        let (done, order) = channel();
        let submit = |queue, name| {
            let done = done.clone();
            launchers.submit(queue, 0, move |_| done.send(name).unwrap_or_default());
        };
        (0..100).for_each(|_| submit(Queue::Again, "again"));
        (0..100).for_each(|_| submit(Queue::First, "first"));
        (0..100).for_each(|_| submit(Queue::Helper, "helper"));
        submit(Queue::Renewed, "renewed");
        drop(held);
        let place = (0..301).position(|_| order.recv().expect("a launch") == "renewed");
        let place = place.expect("it comes");
        assert!(place <= 3 * THREADS, "it comes after {place} others");
    }

    #[test]
    fn when_everything_ends_helpers_alone_are_launched() {
        let launchers = Launchers::start().expect("threads");
        let (done, order) = channel();
        launchers.close();
        let submit = |queue, name| {
            let done = done.clone();
            launchers.submit(queue, 0, move |_| done.send(name).unwrap_or_default())
        };
        let worker = submit(Queue::First, "worker");
        submit(Queue::Helper, "helper");
        assert_eq!(order.recv(), Ok("helper"));
        assert_eq!(launchers.relief_due(), None, "nothing waits for a thread");
        assert!(launchers.take_back(&worker), "nothing has begun with it");
    }
}
