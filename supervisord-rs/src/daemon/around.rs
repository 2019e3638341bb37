//! What is around the loop and stays while it runs: guardian, service manager, store.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{kill, raise};
use nix::unistd::{Pid, getppid};
use workers::runtime::board::monotonic_ns;

use super::hand_over::Gate;
use super::in_force;
use crate::guardian::orderly_end::{self, ORDERLY_END};
use crate::held_signals::GUARDIAN_GONE;
use crate::service_manager::{Custody, FdStore, ServiceManager, hand_over_from};

/// For the manager to hear, at the very end, what it need not keep any more.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// For the end after the last worker: processes that do not die of SIGKILL, logs and answers have
/// limits of their own, which add up to less.
const LAST_STEPS: Duration = Duration::from_secs(30);
/// What stays as it is while the supervisor runs.
pub(super) struct Around {
    pub(super) started_at: String,
    pub(super) guardian: Option<i32>,
    /// Whether a predecessor that cannot die is still our parent.
    pub(super) is_under_predecessor: bool,
    /// What the guardian is to know.
    pub(super) custody: Custody,
    pub(super) service_manager: Option<ServiceManager>,
    /// Where the guardian reads who ends in order, and signs of life.
    pub(super) orderly_end: Option<File>,
    /// Where that is kept by which processes outlive us; none where they are not to.
    pub(super) store: FdStore,
    /// Where our own is kept: the configuration in force, the black box.
    pub(super) keeper: FdStore,
    /// Our predecessor waits there until we are ready.
    pub(super) gate: Option<Gate>,
    /// The terminal that it was started at.
    pub(super) terminal: crate::hangup::Terminal,
}

impl Around {
    /// Says that start-up is over; where a predecessor waits for that, to it. False: it goes on
    /// without us.
    pub(super) fn announce_ready(&mut self, workers: usize, socket: &Path) -> bool {
        if self.gate.take().is_some_and(|gate| !gate.pass()) {
            return false;
        }
        // One that cannot die is still our parent.
        self.is_under_predecessor = hand_over_from().is_some();
        if self.guardian.is_some() {
            // As of a supervisor that the guardian started: without it, we stop in order. Only now
            // is it our parent.
            let _ = nix::sys::prctl::set_pdeathsig(GUARDIAN_GONE);
            // It may have died before this was said.
            if self.is_guardian_gone() {
                let _ = raise(GUARDIAN_GONE);
            }
        }
        self.keeper.release();
        tracing::info!(socket = %socket.display(), workers, "supervising");
        if let Some(manager) = &self.service_manager {
            if self.guardian.is_some() {
                manager.custody(self.custody);
            }
            manager.ready();
            manager.status(&format!("supervising {workers} workers"));
        }
        true
    }

    /// Whether the guardian has died: then this process has another parent, and no successor will
    /// start. A successor is at first a child of its predecessor.
    pub(super) fn is_guardian_gone(&self) -> bool {
        let Some(guardian) = self.guardian else { return false };
        let is_child_of_another = getppid().as_raw() != guardian && hand_over_from().is_none();
        is_child_of_another || kill(Pid::from_raw(guardian), None) == Err(nix::errno::Errno::ESRCH)
    }

    /// Whether the parent that has died was a predecessor that could not die at the hand-over. The
    /// guardian is our parent then, and its death is reported from now on.
    pub(super) fn is_predecessors_death(&mut self) -> bool {
        let was_under = self.is_under_predecessor;
        self.is_under_predecessor = hand_over_from().is_some();
        was_under && !self.is_guardian_gone()
    }

    /// Whether process workers outlive us.
    pub(super) fn is_kept(&self) -> bool {
        self.store.is_there()
    }

    /// What outlives us, in pieces: see [`FdStore::kept_after`].
    pub(super) fn kept_after(
        &self,
        last: Option<&str>,
        most: usize,
    ) -> Vec<(String, Arc<OwnedFd>)> {
        self.store.kept_after(last, most)
    }

    /// Names another process in our place. Whether that was heard.
    pub(super) fn name_successor(&self, pid: i32) -> bool {
        self.service_manager.as_ref().is_none_or(|manager| manager.main_pid(pid))
    }

    /// Says that a reload has begun, or that it is over and all is as it was.
    pub(super) fn say_reloading(&self, is_over: bool) {
        match &self.service_manager {
            Some(manager) if is_over => manager.ready(),
            Some(manager) => manager.reloading(),
            None => {}
        }
    }

    /// Says that the loop turns: to the guardian also in a way that needs no room in its queue.
    pub(super) fn say_alive(&self) {
        self.give_sign(Duration::ZERO);
        if let Some(manager) = &self.service_manager {
            manager.alive();
        }
    }

    /// Says that the loop turns no more, and that the end takes [`LAST_STEPS`] at most.
    pub(super) fn say_last_steps(&self) {
        self.give_sign(LAST_STEPS);
    }

    fn give_sign(&self, ahead: Duration) {
        if let Some(page) = &self.orderly_end {
            let at = Duration::from_nanos(monotonic_ns()).saturating_add(ahead);
            let _ = orderly_end::give_sign(page, at);
        }
    }

    /// Says that the end has begun and is wanted: to the guardian in a way that needs no room in
    /// its queue.
    pub(super) fn announce_stopping(&self) {
        let is_known =
            self.orderly_end.as_ref().is_some_and(|page| orderly_end::announce(page).is_ok());
        if let Some(manager) = &self.service_manager {
            manager.stopping(is_known);
        }
    }

    /// Whether the guardian's terminal has closed.
    pub(super) fn has_terminal_closed(&self) -> bool {
        self.orderly_end.as_ref().is_some_and(orderly_end::has_terminal_closed)
    }

    /// Where the guardian reads who ends in order, with the name by which it is passed.
    pub(super) fn orderly_end(&self) -> Option<(&'static str, BorrowedFd<'_>)> {
        self.orderly_end.as_ref().map(|page| (ORDERLY_END, page.as_fd()))
    }

    /// After the last worker: a successor finds nothing to go on with.
    pub(super) fn end(&self) {
        self.announce_stopping();
        in_force::forget(&self.keeper);
        // Nothing is left: a successor would adopt what the manager still had.
        self.keeper.flush(LAST_WORDS);
    }
}

impl std::fmt::Debug for Around {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Around").field("guardian", &self.guardian).finish_non_exhaustive()
    }
}
