//! One incarnation, while it lives: where its board is, how it is woken, what captures its output.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use supervision::{DomainId, Incarnation, LaunchFailure};
use workers::runtime::board::{Board, Reading, monotonic_ns};
use workers::runtime::mapping::Mapping;

use super::launch::{Child, failure};
use super::wake::Wake;
use super::watch::Watched;
use crate::record::post_mortem::PastWorker;
use crate::stages;

/// A page of shared memory that is one worker's board.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) mapping: Arc<Mapping>,
    pub(super) number: usize,
}

impl Page {
    pub(super) fn board(&self) -> &Board {
        self.mapping.nth(self.number)
    }
}

/// What the supervisor holds of an incarnation.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) incarnation: Incarnation,
    pub(super) domain: DomainId,
    /// `None` for a `command:`.
    pub(super) sdk: Option<Sdk>,
    /// When this supervisor had launched it, in monotonic nanoseconds; `None`: a predecessor did,
    /// or it is not known yet that it runs.
    pub(super) begun_at: Option<u64>,
    /// When the supervisor committed a fault by a signal.
    pub(super) struck_at: Option<u64>,
    /// The signal with which we struck it.
    pub(super) struck_by: Option<i32>,
    /// When it was asked whether it is alive, since its threads wait.
    pub(super) asked_at: Option<u64>,
    /// Whether it has said that it is ready, and that has been passed on.
    pub(super) is_ready: bool,
    /// Whether its launch has been answered.
    pub(super) is_launched: bool,
    /// The last time until which SDK code has asked for patience, as it was passed on.
    pub(super) extended_until: u64,
    /// Whether it was asked to stop: what it started has the rest of its grace period then.
    pub(super) is_stopping: bool,
    /// How its own process, which is ended for that, came to run without it.
    pub(super) gone: Option<Gone>,
    /// Whether a predecessor had asked it to stop already.
    pub(super) stop_was_ordered: bool,
    /// The pipe on which it writes a newline when it is ready.
    pub(super) newline: Option<Watched<OwnedFd>>,
    /// What it said on its notify socket.
    pub(super) notify_state: NotifyState,
}

/// How a process came to run without the worker that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// The worker's thread has ended silently.
    Vanished,
    /// Another program has taken the place of all its threads.
    Replaced,
}

/// What a worker said on its notify socket, sd_notify(3).
#[derive(Debug, Default)]
pub(super) struct NotifyState {
    /// Its last `STATUS`.
    pub(super) status: Option<String>,
    /// Between `RELOADING` and `READY`.
    pub(super) is_reloading: bool,
    /// Its last sign of life, in monotonic nanoseconds.
    pub(super) alive_at: u64,
    /// The process that it calls its main one, which is one of its process tree.
    pub(super) main: Option<Child>,
    /// Datagrams that were refused.
    pub(super) refused: u64,
}

impl Live {
    pub(super) fn new(incarnation: Incarnation, domain: DomainId, sdk: Option<Sdk>) -> Self {
        let notify_state = NotifyState { alive_at: monotonic_ns(), ..NotifyState::default() };
        Self {
            incarnation,
            domain,
            sdk,
            begun_at: None,
            struck_at: None,
            struck_by: None,
            asked_at: None,
            is_ready: false,
            is_launched: false,
            extended_until: 0,
            is_stopping: false,
            gone: None,
            stop_was_ordered: false,
            newline: None,
            notify_state,
        }
    }
}

impl Live {
    /// The signal with which a predecessor had struck it, or was about to.
    pub(super) fn take_strike(&mut self, past: &PastWorker) {
        self.struck_by = past.signal_ordered();
        self.struck_at = self.struck_by.and(past.fault_ordered_at());
    }

    /// Its last sign of life, in monotonic nanoseconds, as its board or its notify socket says.
    /// Threads that wait inside the SDK are asked: they count as alive until the next look, and
    /// then by their answer.
    pub(super) fn last_beat(&mut self, reading: Option<&Reading>, now: u64) -> u64 {
        let Some(sdk) = &self.sdk else { return self.notify_state.alive_at };
        // Garbage on the board is no sign of life.
        let Some(reading) = reading else { return 0 };
        let waiting = reading.waiting.map(|waiting| match self.asked_at {
            Some(asked) if asked > waiting => asked,
            Some(_) | None => {
                self.asked_at = Some(now);
                sdk.wake.ring();
                now
            }
        });
        let slowest = reading.working.into_iter().chain(waiting).min();
        slowest.or(reading.heartbeat_at).unwrap_or(0)
    }
}

/// What the supervisor shares with SDK code.
#[derive(Debug)]
pub(super) struct Sdk {
    pub(super) page: Page,
    /// What becomes readable when there is an order, for workers that wait.
    pub(super) wake: Wake,
}

impl Sdk {
    pub(super) fn new(
        page: Page,
        name: &str,
        incarnation: Incarnation,
    ) -> Result<Self, LaunchFailure> {
        page.board().begin(name, incarnation.generation.0);
        Ok(Self { page, wake: Wake::new()? })
    }

    /// Of an incarnation that lives already; of one that is no more without what wakes it.
    pub(super) fn adopted(page: Page, wake: Option<OwnedFd>) -> Result<Self, LaunchFailure> {
        Ok(Self { page, wake: wake.map_or_else(Wake::new, |wake| Ok(Wake::adopted(wake)))? })
    }

    pub(super) fn board(&self) -> &Board {
        self.page.board()
    }

    /// What stands on the board, if it is this incarnation's and well-formed.
    pub(super) fn reading(&self, incarnation: Incarnation) -> Option<Reading> {
        self.board().read().filter(|reading| reading.generation == incarnation.generation.0)
    }

    /// From an order to stop on it has so long.
    pub(super) fn give_time(&self, patience: Duration) {
        let patience = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        self.board().talk.set_stop_by(monotonic_ns().saturating_add(patience));
    }

    pub(super) fn order_reload(&self) {
        self.board().talk.order_reload();
        self.wake.ring();
    }

    pub(super) fn order_stop(&self) {
        self.board().order_stop();
        self.wake.ring();
    }

    pub(super) fn order_fault(&self, code: u32, parameter: u64) {
        self.board().order_fault(code, parameter);
        self.wake.ring();
    }
}

/// A non-blocking eventfd that only the supervisor writes to, although a worker shares its flags.
pub(super) fn event_fd() -> Result<OwnedFd, LaunchFailure> {
    EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map(OwnedFd::from)
        .map_err(|errno| failure(stages::BOARD, errno))
}

/// Makes an eventfd readable. A full counter (EAGAIN) is readable already.
pub(super) fn ring(fd: BorrowedFd<'_>) {
    let result = nix::unistd::write(fd, &1_u64.to_ne_bytes());
    debug_assert!(matches!(result, Ok(_) | Err(Errno::EAGAIN)), "eventfd: {result:?}");
}

/// Takes what an eventfd of our own has counted.
pub(super) fn hush(fd: BorrowedFd<'_>) {
    let _ = nix::unistd::read(fd, &mut [0; 8]);
}
