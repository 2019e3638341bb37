//! A few threads for what may wait: work for them is never run by whoever gives it. The first is
//! there from the start, so that nothing needs a thread that cannot be had; more are started while
//! all are at work, up to a bound, and stay.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// For what they do.
const STACK: usize = 256 * 1024;

/// Something that may wait.
type Job = Box<dyn FnOnce() + Send>;

/// The threads, and what waits for them.
pub(crate) struct Pool {
    name: &'static str,
    /// So many can be held up at once.
    most: usize,
    state: Mutex<State>,
    has_jobs: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Pool {
    pub(crate) const fn new(name: &'static str, most: usize) -> Self {
        let state = State { jobs: VecDeque::new(), threads: 0, idle: 0 };
        Self { name, most, state: Mutex::new(state), has_jobs: Condvar::new() }
    }

    /// Has the first thread started: before somebody needs it and there is none to be had.
    pub(crate) fn begin(&'static self) {
        let mut state = self.lock();
        if state.threads == 0 {
            self.spawn(&mut state);
        }
    }

    /// Runs something on one of the threads. False: there is none, and none can be had; it is run
    /// when there is one.
    pub(crate) fn run(&'static self, job: impl FnOnce() + Send + 'static) -> bool {
        let mut state = self.lock();
        state.jobs.push_back(Box::new(job));
        if state.idle < state.jobs.len() && state.threads < self.most {
            self.spawn(&mut state);
        }
        let is_there = state.threads > 0;
        drop(state);
        self.has_jobs.notify_one();
        is_there
    }

    fn spawn(&'static self, state: &mut State) {
        let thread = std::thread::Builder::new().name(self.name.to_owned()).stack_size(STACK);
        if thread.spawn(|| self.work()).is_ok() {
            state.threads += 1;
        }
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.lock();
            } else {
                state.idle += 1;
                state = self.has_jobs.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
