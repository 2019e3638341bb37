//! What has happened since: which input is read when, and who is looked at again.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use supervision::spec::DomainKind;
use supervision::{DomainId, WorkerId};
use workers::board::monotonic_ns;

use super::Drivers;
use crate::isolation::watch::{Token, Wakeup};
use crate::isolation::{helper, orphans};

/// For reading before other inputs get their chance.
const BUDGET: Duration = Duration::from_millis(2);
/// Between two looks at those whose main process is gone and whose family is not: at first, and at
/// most.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_MAX: Duration = Duration::from_millis(50);

impl Drivers {
    /// Tells the event loop that runs now when there is something to [`collect`](Self::collect).
    ///
    /// # Errors
    /// EMFILE.
    pub fn wakeup(&self) -> io::Result<Wakeup> {
        Wakeup::new(&self.watch)
    }

    /// Takes what has happened, each source once and a little of it, until there is no more or the
    /// time is over. True when there may be more, and the caller should come again.
    pub fn collect(&mut self) -> bool {
        let end = monotonic_ns() + u64::try_from(BUDGET.as_nanos()).unwrap_or(0);
        loop {
            if self.ready.is_empty() {
                self.ready = self.watch.ready().into();
            }
            let Some(token) = self.ready.pop_front() else { return false };
            match token {
                Token::Exit { domain } => {
                    // All at once: one look at the process table serves them.
                    let mut exits = vec![DomainId(domain)];
                    self.ready.retain(|token| match token {
                        Token::Exit { domain } => {
                            exits.push(DomainId(*domain));
                            false
                        }
                        Token::Launched
                        | Token::Poke { .. }
                        | Token::Newline { .. }
                        | Token::Notify { .. }
                        | Token::Taken
                        | Token::Logs => true,
                    });
                    self.reap_all(exits);
                }
                Token::Launched => self.take_launched(),
                Token::Poke { domain } => self.look_at_boards(DomainId(domain)),
                Token::Newline { worker } => self.hear_newline(WorkerId(worker)),
                Token::Notify { worker } => self.hear(WorkerId(worker)),
                Token::Taken => self.listen_on(),
                Token::Logs => self.hear_logs(),
            }
            if monotonic_ns() > end {
                return true;
            }
        }
    }

    /// When [`look_at_remains`](Self::look_at_remains) is due, in monotonic nanoseconds; `None` as
    /// a rule.
    #[must_use]
    pub fn next_look(&self) -> Option<u64> {
        let look = self.next_look.map(|(at, _)| at);
        look.into_iter().chain(self.launchers.relief_due()).min()
    }

    /// Looks at those whose main process is gone, if it is time, and whether launches are held up.
    pub fn look_at_remains(&mut self) {
        self.launchers.relieve();
        let Some((at, pause)) = self.next_look.filter(|(at, _)| *at <= monotonic_ns()) else {
            return;
        };
        let remains = std::mem::take(&mut self.remains);
        self.reap_all(remains);
        // Where a look is dear it is taken less often: most of the time is for others.
        let pause = (pause * 2).min(LOOK_MAX).max(self.snapshots.cost() * 8);
        let next = at.max(monotonic_ns()) + u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        self.next_look = (!self.remains.is_empty()).then_some((next, pause));
    }

    pub(super) fn look_soon(&mut self, domain: DomainId) {
        self.remains.insert(domain);
        let soon = monotonic_ns() + u64::try_from(LOOK_FIRST.as_nanos()).unwrap_or(0);
        self.next_look = Some((soon, LOOK_FIRST));
    }

    /// Waits for orphans that came to us and have exited.
    pub fn reap_orphans(&mut self) {
        let mains: BTreeSet<i32> = self
            .domains
            .iter()
            .filter_map(|domain| Some(domain.resident.as_ref()?.process.child().pid))
            .collect();
        let called: BTreeSet<i32> = self
            .live
            .iter()
            .flatten()
            .filter_map(|live| Some(live.said.main.as_ref()?.pid))
            .collect();
        let is_ours = |pid: i32| {
            mains.contains(&pid)
                || called.contains(&pid)
                || helper::is_helper(pid)
                || self.launchers.is_being_born(pid)
        };
        let has_threads = self
            .live
            .iter()
            .flatten()
            .any(|live| self.domains[live.domain.index()].kind == DomainKind::Supervisor);
        if has_threads { self.patience.reap(is_ours) } else { orphans::reap(is_ours, |_| {}) }
    }
}
