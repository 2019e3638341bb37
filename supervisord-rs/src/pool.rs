//! A few threads for work that may block: the caller never runs it itself. The first thread starts
//! at once, so that no work depends on a thread that cannot start later; more start while all are
//! busy, up to a bound, and stay.

use crate::threads;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of stack: enough for the work of these threads.
const STACK: usize = 256 * 1024;

/// Work that may block.
type Job = Box<dyn FnOnce() + Send>;

/// The threads, and the work that waits for them.
pub(crate) struct Pool {
    name: &'static str,
    /// The most threads, and so the most work that can block at once.
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

    /// Starts the first thread early: later the machine may be short of threads.
    pub(crate) fn begin(&'static self) {
        let mut state = self.lock();
        if state.threads == 0 {
            self.spawn(&mut state);
        }
    }

    /// Runs work on one of the threads. False: there is none, and none can start; the work runs
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
        if threads::spawn(thread, || self.work()).is_ok() {
            state.threads += 1;
        }
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // A thread that ended here would still count as one that can be had.
                let _ = catch_unwind(AssertUnwindSafe(job));
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    static ONE: Pool = Pool::new("one", 1);

    #[test]
    fn work_that_panics_costs_the_pool_no_thread() {
        assert!(ONE.run(|| panic!("as the test wants")));
        let (done, is_done) = channel();
        assert!(ONE.run(move || done.send(()).expect("it is waited for")));
        assert_eq!(is_done.recv_timeout(Duration::from_secs(60)), Ok(()));
    }
}
