//! What a test does with a worker that runs, and what it sees of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::TimerFd;

use super::drain::Drain;
use super::state::{Ending, State};
use crate::fault::{Blast, Injection};
use crate::runtime::board::monotonic_ns;
use crate::runtime::mapping::Mapping;
use crate::runtime::threads::Started;

/// Between two looks at the board.
const PAUSE: Duration = Duration::from_millis(1);

/// A worker that runs. Dropped, it has the order to stop, and the test does not wait for it.
#[derive(Debug)]
pub struct Running {
    pub(super) mapping: Arc<Mapping>,
    pub(super) wake: TimerFd,
    pub(super) thread: Started,
    pub(super) output: Drain,
    pub(super) deadline: Duration,
    pub(super) stop_timeout: Duration,
    pub(super) is_in_child: bool,
}

impl Running {
    /// How it is now.
    ///
    /// # Panics
    /// When the worker has overwritten its board.
    #[must_use]
    pub fn state(&self) -> State {
        // Looked at first: a thread writes how it has ended, and then ends.
        let is_finished = self.thread.is_finished();
        let reading = self.mapping.board().read().expect("a worker leaves its board as it is");
        let mut state = State::of(&reading);
        if is_finished && state.ending.is_none() {
            state.ending = Some(Ending::Vanished);
        }
        state
    }

    /// Units of work done.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.state().progress
    }

    /// Units of work begun and not done.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.state().in_flight
    }

    /// What it has written so far, as text. In a child of [`in_child`](super::in_child) nothing:
    /// the test that waits has it, in [`Crash::output`](super::Crash::output).
    #[must_use]
    pub fn output(&self) -> String {
        self.output.text()
    }

    /// Waits until that is true, and returns the state for which it was.
    ///
    /// # Panics
    /// When the worker has ended or the deadline is over; the message has `what`, the last state
    /// and the output.
    #[track_caller]
    pub fn wait_for(&self, what: &str, condition: impl Fn(&State) -> bool) -> State {
        let end = Instant::now() + self.deadline;
        loop {
            let state = self.state();
            if condition(&state) {
                return state;
            }
            // It changes no more.
            assert!(
                state.ending.is_none(),
                "no {what}, and it has ended: {state:?}; output:\n{}",
                self.output()
            );
            assert!(
                Instant::now() < end,
                "no {what} in {:?}: {state:?}; output:\n{}",
                self.deadline,
                self.output()
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// When it ends before that, or the deadline is over.
    #[track_caller]
    pub fn wait_ready(&self) -> State {
        let state = self.wait_for("readiness", |state| state.is_ready);
        assert!(state.ending.is_none(), "it has ended: {state:?}; output:\n{}", self.output());
        state
    }

    /// Waits until its output has these words, and returns all of it.
    ///
    /// # Panics
    /// When the deadline is over.
    #[track_caller]
    pub fn wait_output(&self, words: &str) -> String {
        self.wait_for(&format!("output `{words}`"), |_| self.output().contains(words));
        self.output()
    }

    /// Waits until it ends by itself. After that [`output`](Self::output) has all that it wrote.
    ///
    /// # Panics
    /// When the deadline is over.
    #[track_caller]
    pub fn wait_end(&self) -> Ending {
        self.end()
    }

    /// Orders it to stop. Does not wait.
    pub fn order_stop(&self) {
        let board = self.mapping.board();
        if board.talk.stop_by().is_none() {
            let timeout = u64::try_from(self.stop_timeout.as_nanos()).unwrap_or(u64::MAX);
            board.talk.set_stop_by(monotonic_ns().saturating_add(timeout));
        }
        board.order_stop();
        self.ring();
    }

    /// Orders it to reload; it sees that where it [asks](crate::Context::reload_requested).
    ///
    /// ```
    /// use workers::testing::Harness;
    /// use workers::{Context, Registry, WorkerError};
    ///
    /// fn reloads(context: &Context, (): ()) -> Result<(), WorkerError> {
    ///     let _ = context.reload_requested();
    ///     context.log_line("up");
    ///     while context.sleep(std::time::Duration::MAX) {
    ///         if context.reload_requested() {
    ///             context.log_line("reloaded");
    ///             context.reloaded();
    ///         }
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let registry = Registry::default().function("reloads", "", reloads);
    /// let running = Harness::new(&registry, "reloads", serde_json::Value::Null).start();
    /// running.wait_output("up");
    /// running.order_reload();
    /// running.wait_output("reloaded");
    /// running.stop();
    /// ```
    pub fn order_reload(&self) {
        self.mapping.board().talk.order_reload();
        self.ring();
    }

    /// Orders it to stop, and waits until it has ended. After that [`output`](Self::output) has all
    /// that it wrote, its last words too.
    ///
    /// # Panics
    /// When the deadline is over: it does not heed its order.
    #[track_caller]
    pub fn stop(&self) -> Ending {
        self.order_stop();
        self.end()
    }

    /// Has it commit a fault at its next checkpoint: a [`Fault`](crate::fault::Fault), or one with
    /// its parameter, such as `"exit:3".parse()`.
    ///
    /// ```
    /// use workers::fault::Fault;
    /// use workers::testing::{Ending, Harness};
    ///
    /// let registry = workers::builtin::registry();
    /// let ticker = Harness::new(&registry, "ticker", serde_json::Value::Null).start();
    /// ticker.inject(Fault::Panic);
    /// assert!(matches!(ticker.wait_end(), Ending::Panicked(text) if text.contains("injected")));
    /// ```
    ///
    /// # Panics
    /// When it would end more than the worker, as a segfault in the test's own process:
    /// [`in_child`](super::in_child) is for those.
    #[track_caller]
    pub fn inject(&self, fault: impl Into<Injection>) {
        let injection = fault.into();
        let blast = injection.fault.entry().shared_contain;
        let is_contained =
            matches!(blast, Blast::Victim | Blast::VictimLeavesDebris | Blast::Silent);
        assert!(
            is_contained || self.is_in_child,
            "`{injection}` would strike this whole process ({}): use `testing::in_child`",
            blast.word()
        );
        assert!(
            injection.fault.signal().is_none(),
            "`{injection}` is a signal from outside, which no worker commits"
        );
        self.mapping.board().order_fault(injection.fault.code(), injection.parameter);
        self.ring();
    }

    fn ring(&self) {
        // As the supervisor does it: a timer that goes off at once.
        let at_once = Expiration::OneShot(Duration::from_nanos(1).into());
        let _ = self.wake.set(at_once, TimerSetTimeFlags::empty());
    }

    #[track_caller]
    fn end(&self) -> Ending {
        let state = self.wait_for("end", |state| state.ending.is_some());
        state.ending.expect("it has ended")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.order_stop();
    }
}
