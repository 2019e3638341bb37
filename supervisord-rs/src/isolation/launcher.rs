//! Threads that launch. What a launch may wait for (a file of secrets, a working directory, a binary, on a file system
//! that does not answer) holds a thread of these, and not the loop.
//!
//! They live as long as we do: a child gets its parent-death signal when the *thread* that launched it ends
//! (`PR_SET_PDEATHSIG`, prctl(2)). A few suffice; when all of them are held up and others wait, one more is started, up to
//! a bound, so that a launch that hangs holds up no other. Those that are started stay.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use workers::board::monotonic_ns;

use super::launch::Attempt;

/// Threads to begin with, at most: a launch keeps a processor busy, mostly in the kernel.
const THREADS: usize = 4;
/// Threads at most. When so many launches hang, others wait in line.
const THREADS_MAX: usize = 64;
/// How long nothing moves before those that wait get another thread. A launch takes a millisecond.
const PATIENCE: Duration = Duration::from_millis(50);

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
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// When a thread last took a job, or another thread was started.
    moved_at: Instant,
    /// Every launch that is on its way, and those that were answered lately.
    attempts: Vec<Weak<Attempt>>,
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
            jobs: VecDeque::new(),
            threads: 0,
            idle: 0,
            moved_at: Instant::now(),
            attempts: Vec::new(),
        };
        let launchers = Self(Arc::new(Shared { line: Mutex::new(line), job_came: Condvar::new() }));
        let wanted = thread::available_parallelism().map_or(1, |count| count.get().min(THREADS));
        for number in 0..wanted {
            match launchers.0.add() {
                Err(error) if number == 0 => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(launchers)
    }

    /// Has a launch made by the next thread that is free. `work` answers for itself; does not block.
    pub(super) fn submit(&self, work: impl FnOnce(&Arc<Attempt>) + Send + 'static) -> Arc<Attempt> {
        let attempt = Arc::new(Attempt::default());
        let job = Job { attempt: Arc::clone(&attempt), work: Box::new(work) };
        let mut line = self.0.lock();
        if line.jobs.is_empty() {
            line.moved_at = Instant::now();
        }
        line.attempts.retain(|known| known.strong_count() > 0);
        line.attempts.push(Arc::downgrade(&attempt));
        line.jobs.push_back(job);
        drop(line);
        self.0.job_came.notify_one();
        attempt
    }

    /// Whether a process is the child of a launch that is on its way: its wait status is that launch's.
    pub(super) fn is_being_born(&self, pid: i32) -> bool {
        let line = self.0.lock();
        line.attempts.iter().filter_map(Weak::upgrade).any(|attempt| attempt.is_child(pid))
    }

    /// When to [`relieve`](Self::relieve), in monotonic nanoseconds; `None` while nothing waits.
    pub(super) fn relief_due(&self) -> Option<u64> {
        let line = self.0.lock();
        if line.jobs.is_empty() || line.threads >= THREADS_MAX {
            return None;
        }
        let rest = PATIENCE.saturating_sub(line.moved_at.elapsed());
        Some(monotonic_ns().saturating_add(u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Starts another thread if launches wait and all threads are held up.
    pub(super) fn relieve(&self) {
        let mut line = self.0.lock();
        let is_held_up = !line.jobs.is_empty() && line.idle == 0 && line.moved_at.elapsed() >= PATIENCE;
        if !is_held_up || line.threads >= THREADS_MAX {
            return;
        }
        line.moved_at = Instant::now();
        let (waiting, threads) = (line.jobs.len(), line.threads);
        drop(line);
        match self.0.add() {
            Ok(()) if threads + 1 == THREADS_MAX => tracing::error!(
                threads,
                waiting,
                "as many launches hang as there may be threads: others wait until one of them comes through"
            ),
            Ok(()) => tracing::warn!(
                threads,
                waiting,
                "launches hang, and hold all threads that launch: another thread is started for those that wait"
            ),
            Err(error) => tracing::error!(
                %error,
                waiting,
                "launches hang, and another thread for those that wait cannot be started"
            ),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(self: &Arc<Self>) -> io::Result<()> {
        self.lock().threads += 1;
        let shared = Arc::clone(self);
        // Handlers of signals run on other threads: this one may be held in the kernel.
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
        let added = thread::Builder::new().name("launcher".into()).spawn(move || shared.work());
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        if added.is_err() {
            self.lock().threads -= 1;
        }
        added.map(drop)
    }

    /// For ever: whoever launched is the parent as long as it lives.
    fn work(&self) {
        loop {
            let Job { attempt, work } = self.next();
            // A thread that ended would take all that it has launched along.
            if catch_unwind(AssertUnwindSafe(|| work(&attempt))).is_err() {
                tracing::error!("a launch failed an assertion: it is not answered");
            }
        }
    }

    fn next(&self) -> Job {
        let mut line = self.lock();
        loop {
            if let Some(job) = line.jobs.pop_front() {
                line.moved_at = Instant::now();
                return job;
            }
            line.idle += 1;
            line = self.job_came.wait(line).unwrap_or_else(PoisonError::into_inner);
            line.idle -= 1;
        }
    }
}
