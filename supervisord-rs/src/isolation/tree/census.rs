//! The thread that looks at the whole process table, for process trees without a cgroup: a walk
//! takes milliseconds for thousands of processes, and what is read of them may wait for them. One
//! walk serves all who ask before it begins. It also signals those that a walk has found.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::kin::Kin;
use super::relative::Relative;
use super::snapshot::{Marks, Snapshot};
use crate::isolation::live::{event_fd, hush, ring};
use crate::threads;

/// A snapshot that is younger than this is as good as a new one for a signal: the next look finds
/// those that were born meanwhile.
const RECENT: Duration = Duration::from_millis(5);
/// Between two walks, at most: where they are dear, half of the time is for others.
const REST_MAX: Duration = Duration::from_millis(50);
/// Marks that are remembered; beyond that they are read again.
const REMEMBERED: usize = 16 * 1024;

/// The thread, and what it has found.
#[derive(Debug)]
pub(in crate::isolation) struct Census {
    shared: Arc<Shared>,
    is_begun: Cell<bool>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// For the thread.
    asked: Condvar,
    /// For those that wait for it.
    answered: Condvar,
    bell: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    /// A snapshot is wanted that was begun at this moment or later, in monotonic nanoseconds.
    wanted: u64,
    latest: Option<Arc<Snapshot>>,
    jobs: VecDeque<Job>,
    /// The marks of processes that were seen, by number and time of birth: they do not lose them.
    marks: HashMap<(i32, u64), Marks>,
}

/// What the thread does besides.
#[derive(Debug)]
enum Job {
    Signal(Errand),
    Kill(Kin, Vec<Relative>),
    /// Reads the marks of a process.
    Read(i32, u64),
}

/// Signals for everyone of a process tree but those that have them already.
#[derive(Debug)]
pub(in crate::isolation) struct Errand {
    pub(in crate::isolation) kin: Kin,
    pub(in crate::isolation) signals: Vec<i32>,
    /// Whether the process group of the main process has them already.
    pub(in crate::isolation) had_group: bool,
    /// Set when the process tree is gone: its name may be another incarnation's then.
    pub(in crate::isolation) is_over: Arc<AtomicBool>,
    /// When it was asked for, in monotonic nanoseconds.
    pub(in crate::isolation) at: u64,
}

impl Census {
    /// Without the thread, which is started when it is first needed.
    ///
    /// # Errors
    /// EMFILE.
    pub(in crate::isolation) fn new() -> io::Result<Self> {
        let bell = event_fd().map_err(|failure| io::Error::from_raw_os_error(failure.errno))?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            asked: Condvar::new(),
            answered: Condvar::new(),
            bell,
        });
        Ok(Self { shared, is_begun: Cell::new(false) })
    }

    /// Where there can be no thread, the loop walks.
    fn begin(&self) -> bool {
        if !self.is_begun.get() {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("census".into());
            match threads::spawn(thread, move || shared.work()) {
                Ok(_) => self.is_begun.set(true),
                Err(error) => tracing::debug!(%error, "no thread to look at the process table"),
            }
        }
        self.is_begun.get()
    }

    /// Readable when there is something to take.
    pub(in crate::isolation) fn wakeup(&self) -> BorrowedFd<'_> {
        self.shared.bell.as_fd()
    }

    /// Asks for a snapshot that is begun at this moment or later. It rings when there is one.
    pub(in crate::isolation) fn ask(&self, at: u64) {
        let mut state = self.shared.lock();
        state.wanted = state.wanted.max(at);
        drop(state);
        if self.begin() {
            self.shared.asked.notify_one();
        } else {
            self.shared.walk();
        }
    }

    /// The last snapshot.
    pub(in crate::isolation) fn take(&self) -> Option<Arc<Snapshot>> {
        hush(self.shared.bell.as_fd());
        self.shared.lock().latest.clone()
    }

    /// Rings once more: something of the last snapshot was left for the next turn.
    pub(in crate::isolation) fn ring(&self) {
        ring(self.shared.bell.as_fd());
    }

    /// Waits for a snapshot that is begun at this moment or later. For the very end.
    pub(in crate::isolation) fn wait(&self, at: u64, limit: Duration) -> Option<Arc<Snapshot>> {
        self.ask(at);
        let is_missing = |state: &mut State| state.latest_since(at).is_none();
        let state = self.shared.lock();
        let waited = self.shared.answered.wait_timeout_while(state, limit, is_missing);
        waited.unwrap_or_else(PoisonError::into_inner).0.latest_since(at)
    }

    /// Has everyone of a process tree signalled, by a look that many share.
    pub(in crate::isolation) fn signal(&self, errand: Errand) {
        self.put(Job::Signal(errand));
    }

    /// Has everyone in a cgroup killed, and those that a look has found.
    pub(in crate::isolation) fn kill(&self, kin: Kin, others: Vec<Relative>) {
        self.put(Job::Kill(kin, others));
    }

    /// The marks of an orphan. `None`: they are not known yet, and it rings when they are.
    pub(in crate::isolation) fn marks(&self, pid: i32, start_time: u64) -> Option<Marks> {
        let limits = Marks::of_limits(pid);
        if limits != Marks::default() {
            return Some(limits);
        }
        let known = self.shared.lock().marks.get(&(pid, start_time)).cloned();
        if known.is_none() {
            self.put(Job::Read(pid, start_time));
        }
        known
    }

    fn put(&self, job: Job) {
        if self.begin() {
            self.shared.lock().jobs.push_back(job);
            self.shared.asked.notify_one();
        } else {
            self.shared.carry_out(job);
        }
    }
}

impl State {
    fn latest_since(&self, at: u64) -> Option<Arc<Snapshot>> {
        self.latest.clone().filter(|latest| latest.begun() >= at)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For ever.
    fn work(&self) {
        let mut rested_until = Instant::now();
        loop {
            let mut state = self.lock();
            let job = loop {
                if let Some(job) = state.jobs.pop_front() {
                    break Some(job);
                }
                let latest = state.latest.as_ref().map_or(0, |latest| latest.begun());
                let rest = rested_until.saturating_duration_since(Instant::now());
                state = if state.wanted <= latest {
                    self.asked.wait(state).unwrap_or_else(PoisonError::into_inner)
                } else if rest.is_zero() {
                    break None;
                } else {
                    let waited = self.asked.wait_timeout(state, rest);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                };
            };
            drop(state);
            if let Some(job) = job {
                self.carry_out(job);
            } else {
                self.walk();
                rested_until = Instant::now() + self.cost().min(REST_MAX);
            }
        }
    }

    fn carry_out(&self, job: Job) {
        match job {
            Job::Signal(errand) => self.go(&errand),
            Job::Kill(kin, others) => kin.kill(others),
            Job::Read(pid, start_time) => self.read(pid, start_time),
        }
    }

    /// What the last walk took.
    fn cost(&self) -> Duration {
        self.lock().latest.as_ref().map_or(Duration::ZERO, |latest| latest.cost())
    }

    fn walk(&self) -> Arc<Snapshot> {
        let known = std::mem::take(&mut self.lock().marks);
        let (snapshot, marks) = Snapshot::take(known);
        let snapshot = Arc::new(snapshot);
        let mut state = self.lock();
        state.marks.extend(marks);
        state.latest = Some(Arc::clone(&snapshot));
        drop(state);
        self.answered.notify_all();
        ring(self.bell.as_fd());
        snapshot
    }

    fn read(&self, pid: i32, start_time: u64) {
        let is_known = self.lock().marks.contains_key(&(pid, start_time));
        if !is_known {
            let marks = Marks::of(pid);
            let mut state = self.lock();
            if state.marks.len() >= REMEMBERED {
                state.marks.clear();
            }
            state.marks.insert((pid, start_time), marks);
        }
        ring(self.bell.as_fd());
    }

    fn go(&self, errand: &Errand) {
        let age = RECENT.max(self.cost() * 2);
        let since = errand.at.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        let found = errand.kin.found(|| {
            let recent = self.lock().latest_since(since);
            recent.unwrap_or_else(|| self.walk())
        });
        // A process found while the process tree was there is one of it.
        if !errand.is_over.load(Ordering::SeqCst) {
            errand.kin.signal(found, &errand.signals, errand.had_group);
        }
    }
}
