//! Small processes of our own beside the workers: exec probes, stop commands, hooks, which are
//! bounded in time, and `start_before:` commands, which take as long as a start. Each takes all
//! that it started along. Launcher threads start them, as they start workers.

pub(super) mod numbers;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, Weak};

use nix::errno::Errno;
use supervision::{LaunchFailure, Status, WorkerId};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

pub(super) use self::numbers::Number;
use super::exits::reaper;
use super::launch::failed::{Failed, Result as Launched};
use super::launch::{Attempt, Child, LAUNCH_OPENS, advice, failure};
use super::launcher::{Launchers, Queue};
use crate::stages;
use crate::waiting::{Limit, within};

/// Their PIDs: the reaper of orphans leaves these alone.
static HELPERS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Abandoned helpers that still exist, each with its worker: the kernel holds them.
static STUCK: Mutex<Vec<(Option<WorkerId>, Stuck)>> = Mutex::new(Vec::new());

/// What the kernel holds.
#[derive(Debug)]
enum Stuck {
    /// A process that was killed. It has its number until it is gone: its children come to us then.
    Child(Child, #[expect(dead_code, reason = "its end is what counts")] Option<Number>),
    /// A launch that was withdrawn: the launcher thread has it as long as it lasts.
    Launch(Weak<Attempt>),
}

/// How many abandoned helpers of this worker, or of none, still exist. No more of them should
/// start.
#[must_use]
pub fn stuck(worker: Option<WorkerId>) -> usize {
    forget_dead();
    all_stuck().iter().filter(|(of, _)| *of == worker).count()
}

/// Lets go of those that are no more.
pub(super) fn forget_dead() {
    all_stuck().retain(|(_, stuck)| match stuck {
        Stuck::Child(child, _) => !reaper::has_exited(&child.pidfd),
        Stuck::Launch(attempt) => attempt.strong_count() > 0,
    });
}

fn all_stuck() -> std::sync::MutexGuard<'static, Vec<(Option<WorkerId>, Stuck)>> {
    STUCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A small process that could not be started.
#[derive(Debug)]
pub struct NotLaunched {
    /// The step. A transient failure says nothing about the worker.
    pub failure: LaunchFailure,
    /// What went wrong, in a sentence.
    pub message: String,
}

impl NotLaunched {
    pub(super) fn new(failed: Failed, program: &str) -> Self {
        let Failed { failure, subject } = failed;
        // The advice is for a worker's own program.
        let message = advice(failure, subject.as_deref().unwrap_or(program));
        Self { failure, message: message.replace(" in `command:`", "") }
    }
}

/// A helper that is being started. Dropping it abandons it.
#[derive(Debug)]
pub struct Summons {
    attempt: Arc<Attempt>,
    worker: Option<WorkerId>,
    answer: Option<oneshot::Receiver<Result<Helper, NotLaunched>>>,
}

impl Summons {
    /// Has a launcher thread start it.
    pub(super) fn send(
        launchers: &Launchers,
        worker: Option<WorkerId>,
        number: Option<Number>,
        program: String,
        launch: impl FnOnce(&Attempt) -> Launched<Child> + Send + 'static,
    ) -> Self {
        let (sender, answer) = oneshot::channel();
        let attempt = launchers.submit(Queue::Helper, LAUNCH_OPENS, move |attempt| {
            let result = launch(attempt).map(|child| Helper::numbered(child, worker, number));
            // A helper without a waiter is dropped, which kills it.
            let _ = sender.send(result.map_err(|failed| NotLaunched::new(failed, &program)));
        });
        Self { attempt, worker, answer: Some(answer) }
    }

    /// The helper, as soon as it runs.
    ///
    /// # Errors
    /// What went wrong; that it hangs, after `limit`.
    pub(crate) async fn arrive(mut self, limit: &mut Limit) -> Result<Helper, NotLaunched> {
        let whole = limit.whole();
        let hangs = || NotLaunched {
            failure: failure(stages::EXEC, Errno::ETIMEDOUT),
            message: format!("it could not be started within {whole:?}: it hangs"),
        };
        let answer = self.answer.as_mut().expect("it is taken when it has come");
        let answer = within(limit, answer).await.ok_or_else(hangs)?;
        self.answer = None;
        answer.unwrap_or_else(|_| Err(hangs()))
    }
}

impl Drop for Summons {
    fn drop(&mut self) {
        let Some(mut answer) = self.answer.take() else { return };
        answer.close();
        // What has come meanwhile is killed when it is dropped.
        if answer.try_recv().is_err() {
            self.attempt.withdraw();
            all_stuck().push((self.worker, Stuck::Launch(Arc::downgrade(&self.attempt))));
        }
    }
}

/// Whether a task waits for this child.
pub(super) fn is_helper(pid: i32) -> bool {
    pids().contains(&pid)
}

fn pids() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    HELPERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A process that we wait for, for a while. Dropped, it is killed.
#[derive(Debug)]
pub struct Helper {
    /// `None`: it is over.
    child: Option<Child>,
    worker: Option<WorkerId>,
    number: Option<Number>,
}

impl Helper {
    /// The process.
    #[must_use]
    pub fn child(&self) -> Option<&Child> {
        self.child.as_ref()
    }

    /// Of a process that was launched.
    #[must_use]
    pub fn new(child: Child, worker: Option<WorkerId>) -> Self {
        Self::numbered(child, worker, None)
    }

    fn numbered(child: Child, worker: Option<WorkerId>, number: Option<Number>) -> Self {
        pids().insert(child.pid);
        Self { child: Some(child), worker, number }
    }

    /// How it ended; `None` when it had not within `limit`: it is killed then, with its process
    /// group.
    pub(crate) async fn wait(mut self, limit: &mut Limit) -> Option<Status> {
        let status = match &self.child {
            Some(child) => within(limit, ended(child)).await.flatten(),
            None => None,
        };
        self.finish();
        status
    }

    /// How it ended, as soon as it has. It keeps its number, which is its group's, until this
    /// helper is dropped or [let go](Self::let_go).
    pub async fn end(&self) -> Option<Status> {
        ended(self.child.as_ref()?).await
    }

    /// Kills it, with its process group.
    pub fn kill(&self) {
        if let Some(child) = &self.child {
            reaper::signal_group(child, libc::SIGKILL);
        }
    }

    /// Sends a signal to its process group. A stopped one goes on, so that it can obey.
    pub fn signal(&self, number: i32) {
        if let Some(child) = &self.child {
            reaper::signal_group(child, number);
            reaper::signal_group(child, libc::SIGCONT);
        }
    }

    /// The process, where it has ended: the caller waits for it, and clears away what it has left
    /// behind.
    #[must_use]
    pub fn let_go(mut self) -> Option<Child> {
        let child = self.child.take_if(|child| reaper::peek(child).is_some())?;
        pids().remove(&child.pid);
        Some(child)
    }

    /// Does not wait for it to die: one that is stuck in the kernel would hold the loop. It is an
    /// orphan from then on, and reaped as one when it comes out.
    fn finish(&mut self) {
        let Some(child) = self.child.take() else { return };
        reaper::signal_group(&child, libc::SIGKILL);
        pids().remove(&child.pid);
        if reaper::peek(&child).is_some() {
            reaper::discard(&child.pidfd);
        } else {
            all_stuck().push((self.worker, Stuck::Child(child, self.number.take())));
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.finish();
    }
}

async fn ended(child: &Child) -> Option<Status> {
    let handle: OwnedFd = child.pidfd.as_fd().try_clone_to_owned().ok()?;
    #[expect(unsafe_code, reason = "tokio leaves the lifetime of the descriptor to its caller")]
    // SAFETY: an OwnedFd keeps the same open descriptor until the AsyncFd, which owns it, is
    // dropped.
    let watched = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }.ok()?;
    loop {
        if let Some(status) = reaper::peek(child) {
            return Some(status);
        }
        watched.readable().await.ok()?.clear_ready();
    }
}
