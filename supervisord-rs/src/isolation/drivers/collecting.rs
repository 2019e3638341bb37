//! What has happened since: which input is read when, and who is looked at again.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use supervision::{DomainId, WorkerId};
use workers::runtime::board::monotonic_ns;

use super::Drivers;
use crate::isolation::exits::orphans;
use crate::isolation::helper;
use crate::isolation::watch::{Token, Wakeup};

/// For reading before other inputs get their chance.
const BUDGET: Duration = Duration::from_millis(1);

impl Drivers {
    /// Tells the event loop that runs now when there is something to [`collect`](Self::collect).
    ///
    /// # Errors
    /// EMFILE.
    pub fn wakeup(&self) -> io::Result<Wakeup> {
        Wakeup::new(&self.means.watch)
    }

    /// Takes what has happened, each source once and a little of it, until there is no more or the
    /// time is over. True when there may be more, and the caller should come again.
    pub fn collect(&mut self) -> bool {
        let end = monotonic_ns() + u64::try_from(BUDGET.as_nanos()).unwrap_or(0);
        let may_be_more = loop {
            if self.ready.is_empty() {
                self.ready = self.in_order(self.means.watch.ready());
            }
            let Some(token) = self.ready.pop_front() else { break false };
            match token {
                Token::Exit { domain } => self.means.look_for_exit(DomainId(domain)),
                Token::Launched => self.means.take_launched_until(end),
                Token::Poke { domain } => self.means.look_at_boards(DomainId(domain)),
                Token::Newline { worker } => self.hear_newline(WorkerId(worker)),
                Token::Notify { worker } => self.hear(WorkerId(worker)),
                Token::Taken => self.listen_on(),
                Token::Census => self.take_census(),
                Token::Logs => self.hear_logs(),
            }
            if monotonic_ns() > end {
                break true;
            }
        };
        self.means.look_at_gone();
        may_be_more
    }

    /// Those that fail again and again, or have just begun, come last: however many of them there
    /// are, they hold up no other.
    fn in_order(&self, ready: Vec<Token>) -> VecDeque<Token> {
        let (yielding, calm): (Vec<Token>, Vec<Token>) =
            ready.into_iter().partition(|token| match token {
                Token::Exit { domain } | Token::Poke { domain } => {
                    self.means.yields(DomainId(*domain))
                }
                Token::Newline { worker } | Token::Notify { worker } => {
                    self.means.yields(self.means.registry[WorkerId(*worker)].domain)
                }
                Token::Launched | Token::Taken | Token::Census | Token::Logs => false,
            });
        calm.into_iter().chain(yielding).collect()
    }

    /// When [`look_at_remains`](Self::look_at_remains) is due, in monotonic nanoseconds; `None` as
    /// a rule.
    #[must_use]
    pub fn next_look(&self) -> Option<u64> {
        let dead = self.may_have_dead.then_some(0);
        self.means.next_look().into_iter().chain(dead).min()
    }

    /// Looks at those whose main process is gone, if it is time, and whether launches are held up.
    pub fn look_at_remains(&mut self) {
        if self.may_have_dead {
            self.reap_orphans();
        }
        if self.means.look_at_remains() {
            self.look_at_hooks(None);
        }
    }

    /// Takes what the census has found.
    fn take_census(&mut self) {
        self.hear_the_unheard();
        let Some(look) = self.means.census.take() else { return };
        self.look_at_hooks(Some(&look));
        self.means.heed(&look);
    }

    /// Waits for orphans that came to us and have exited; where there are many, for some of them
    /// now, and for others at the next look.
    pub fn reap_orphans(&mut self) {
        if !orphans::has_dead() {
            self.may_have_dead = false;
            return;
        }
        let mains: BTreeSet<i32> = self
            .means
            .registry
            .domains()
            .filter_map(|domain| Some(domain.resident.as_ref()?.process.child().pid))
            .collect();
        let called: BTreeSet<i32> = self
            .means
            .registry
            .lives()
            .filter_map(|live| Some(live.notify_state.main.as_ref()?.pid))
            .collect();
        let is_ours = |pid: i32| {
            mains.contains(&pid)
                || called.contains(&pid)
                || helper::is_helper(pid)
                || self.means.underway.launchers.is_being_born(pid)
        };
        let has_threads = self
            .means
            .registry
            .lives()
            .any(|live| self.means.registry[live.domain].capabilities.is_of_supervisor());
        // The kernel takes its time to clear away each of them.
        let end = Instant::now() + BUDGET;
        self.may_have_dead = if has_threads {
            self.patience.reap(is_ours);
            false
        } else {
            orphans::reap(is_ours, |_| {}, Some(end))
        };
    }
}
