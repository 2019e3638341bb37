//! The parts that an incarnation shares with the supervisor, and all its threads with each other.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;

use crate::runtime::board::{Board, State};
use crate::runtime::briefing::PreviousEnding;
use crate::runtime::endowment::Endowment;
use crate::runtime::fixed_text::fitting;
use crate::runtime::forked;
use crate::runtime::mapping::Mapping;
use crate::runtime::offspring::Offspring;
use crate::runtime::panics::Fallen;
use crate::runtime::run::OnPanic;
use crate::shared::OnOwnerDeath;

/// What an incarnation is given.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) on_panic: OnPanic,
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) page: usize,
    pub(crate) poke: Arc<OwnedFd>,
    pub(crate) wake: OwnedFd,
    pub(crate) output: OwnedFd,
    pub(crate) endowment: Endowment,
    pub(crate) previous_ending: Option<PreviousEnding>,
    /// Whether its process ends with it.
    pub(crate) ends_process: bool,
    pub(crate) on_owner_death: BTreeMap<String, OnOwnerDeath>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) generation: u64,
    /// What a panic ends.
    pub(crate) on_panic: OnPanic,
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) page: usize,
    /// Makes the supervisor look at the boards of this fault domain.
    poke: Arc<OwnedFd>,
    /// Readable when there is an order.
    pub(crate) wake: OwnedFd,
    /// The output, which the supervisor captures.
    pub(crate) output: OwnedFd,
    /// What it is handed besides.
    pub(crate) endowment: Mutex<Endowment>,
    /// Whether it has reported that it is ready.
    pub(crate) is_ready: AtomicBool,
    /// How the incarnation before it ended.
    pub(crate) previous_ending: Option<PreviousEnding>,
    /// As the briefing has it.
    pub(crate) on_owner_death: BTreeMap<String, OnOwnerDeath>,
    /// Its threads, as far as the SDK knows them.
    pub(crate) members: AtomicU32,
    /// Whether other threads than these may use its context, and borrow from their stacks.
    pub(crate) is_shared: AtomicBool,
    /// What it starts, to end with it.
    pub(crate) offspring: Offspring,
    /// Parts of its context that may be anywhere.
    pub(crate) lent: AtomicU32,
    /// What a thread of it has come to, for which it has to stop.
    failure: Mutex<Option<(State, String)>>,
    has_failed: AtomicBool,
    /// Whether the thread that runs the worker has come to its end.
    is_over: AtomicBool,
    /// Whether a fault has made it ignore the order to stop.
    ignores_stop: AtomicBool,
    /// Whether its process ends with it: then it leaves no thread behind.
    ends_process: bool,
    /// Whether a fault has it panic when it stops.
    panics_at_stop: AtomicBool,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            name,
            generation,
            on_panic,
            mapping,
            page,
            poke,
            wake,
            output,
            endowment,
            previous_ending,
            ends_process,
            on_owner_death,
        } = parts;
        Self {
            name,
            generation,
            on_panic,
            mapping,
            page,
            poke,
            wake,
            output,
            endowment: Mutex::new(endowment),
            is_ready: AtomicBool::new(false),
            previous_ending,
            on_owner_death,
            members: AtomicU32::new(0),
            is_shared: AtomicBool::new(false),
            offspring: Offspring::default(),
            lent: AtomicU32::new(0),
            failure: Mutex::new(None),
            has_failed: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            ignores_stop: AtomicBool::new(false),
            ends_process,
            panics_at_stop: AtomicBool::new(false),
        }
    }

    /// Whether its process is its own.
    pub(crate) const fn has_own_process(&self) -> bool {
        self.ends_process
    }

    pub(crate) fn board(&self) -> &Board {
        self.mapping.nth(self.page)
    }

    /// False for a thread that was abandoned, whose board belongs to its successor now, and for a
    /// child that was forked, whose board is its parent's: it must not touch it.
    pub(crate) fn is_current(&self) -> bool {
        self.board().generation() == self.generation && forked::is_original()
    }

    /// Whether a thread of it that goes on has been left behind: its run is over.
    /// Async-signal-safe.
    pub(crate) fn is_left_behind(&self) -> bool {
        !self.ends_process && self.board().is_over(self.generation)
    }

    /// Async-signal-safe.
    pub(crate) fn poke(&self) {
        ring(self.poke.as_fd());
    }

    /// Leaves a text on its board for people: as much of it as there is room for.
    pub(crate) fn write_text(&self, text: &str) {
        if self.is_current() {
            self.board().write_text(self.generation, fitting(text).as_bytes());
        }
    }

    /// One more thread of its own.
    pub(crate) fn thread_begins(&self) {
        self.members.fetch_add(1, Ordering::AcqRel);
        if forked::is_original() {
            self.board().thread_began(self.generation);
        }
    }

    /// One less.
    pub(crate) fn thread_ended(&self) {
        if forked::is_original() {
            self.board().thread_ended(self.generation);
        }
        self.members.fetch_sub(1, Ordering::AcqRel);
    }

    /// A thread has come to this: the worker is to stop, and ends so. The first counts.
    pub(crate) fn fail(&self, fallen: Fallen) {
        let Fallen { state, text } = fallen;
        if !self.is_left_behind() {
            self.write_text(&text);
        }
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((state, text));
        self.has_failed.store(true, Ordering::Release);
        self.wake();
    }

    /// The worker has come to its end: its other threads are to stop.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        // Without others there is none to wake.
        if self.members.load(Ordering::Acquire) > 1 || self.is_shared.load(Ordering::Acquire) {
            self.wake();
        }
    }

    /// From now on it does not hear the order to stop, until the supervisor ends it, or leaves it
    /// behind and gives its board to another run.
    pub(crate) fn ignore_stop(&self) {
        self.ignores_stop.store(true, Ordering::Release);
    }

    /// It is to panic when it stops.
    pub(crate) fn panic_at_stop(&self) {
        self.panics_at_stop.store(true, Ordering::Release);
    }

    /// Whether it is to panic now, since it stops.
    pub(crate) fn panics_now(&self) -> bool {
        self.panics_at_stop.load(Ordering::Acquire) && self.is_current() && self.hears_stop()
    }

    /// Whether there is an order to stop, and it hears it.
    pub(crate) fn hears_stop(&self) -> bool {
        self.board().stop_requested() && !self.ignores_stop.load(Ordering::Acquire)
    }

    /// Whether what happens in it is a reason to stop, without an order.
    pub(crate) fn is_ending(&self) -> bool {
        self.has_failed() || self.is_over()
    }

    /// Whether the thread that runs the worker has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn wake(&self) {
        if forked::is_original() {
            wake(self.wake.as_fd());
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// What one of its threads has come to, for which it had to stop.
    pub(crate) fn take_failure(&self) -> Option<(State, String)> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Makes an eventfd readable. Async-signal-safe: one write(2). A full counter is readable already.
pub(crate) fn ring(fd: BorrowedFd<'_>) {
    let _ = nix::unistd::write(fd, &1_u64.to_ne_bytes());
}

/// Wakes all that wait for an order, as an order does: the supervisor's is a timer, that of a test
/// an eventfd.
fn wake(fd: BorrowedFd<'_>) {
    if nix::unistd::write(fd, &1_u64.to_ne_bytes()) != Err(Errno::EINVAL) {
        return;
    }
    let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let at_once =
        libc::itimerspec { it_interval: none, it_value: libc::timespec { tv_sec: 0, tv_nsec: 1 } };
    // SAFETY: nix sets only timers that it owns. A valid descriptor and a valid time; on anything
    // but a timer the call fails.
    unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &raw const at_once, ptr::null_mut()) };
}
