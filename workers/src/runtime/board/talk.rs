//! What a worker and its supervisor tell each other besides the order to stop: how long the
//! supervisor has patience, what the worker is at, that it needs more time, that it is to reload.
//! A word that is 0 says nothing, so that a board of an earlier release says nothing of all this.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::{Board, store_text};

/// Longest status on a board, in bytes; longer ones are cut.
pub const STATUS_MAX: usize = 256;

/// The part of the board.
#[derive(Debug)]
#[repr(C)]
pub struct Talk {
    /// When the patience of the supervisor ends, after an order to stop.
    stop_by: AtomicU64,
    /// The heartbeat that is asked for, in nanoseconds.
    heartbeat: AtomicU64,
    /// Until when the worker asks for patience.
    extended_until: AtomicU64,
    /// Counts the orders to reload.
    reloads_ordered: AtomicU32,
    /// The last of them that the worker has taken.
    reloads_taken: AtomicU32,
    /// Whether the worker asks for orders to reload.
    heeds_reloads: AtomicU32,
    /// Whether it is reloading.
    is_reloading: AtomicU32,
    pub(super) status_length: AtomicU32,
    _reserved: AtomicU32,
    /// What the worker says of itself.
    pub(super) status: [AtomicU64; STATUS_MAX / 8],
}

impl Talk {
    /// For the next incarnation: none of this is about another one.
    pub(super) fn clear(&self) {
        for word in [&self.stop_by, &self.heartbeat, &self.extended_until] {
            word.store(0, Ordering::SeqCst);
        }
        for word in [
            &self.reloads_ordered,
            &self.reloads_taken,
            &self.heeds_reloads,
            &self.is_reloading,
            &self.status_length,
        ] {
            word.store(0, Ordering::SeqCst);
        }
    }

    /// The supervisor asks for a sign of life within this time.
    pub fn set_heartbeat(&self, within: Option<Duration>) {
        let within =
            within.map_or(0, |within| u64::try_from(within.as_nanos()).unwrap_or(u64::MAX));
        self.heartbeat.store(within, Ordering::Release);
    }

    /// The supervisor asks for a sign of life within this time.
    pub(crate) fn heartbeat(&self) -> Option<Duration> {
        Some(self.heartbeat.load(Ordering::Acquire))
            .filter(|within| *within != 0)
            .map(Duration::from_nanos)
    }

    /// The supervisor waits for the end until then, in monotonic nanoseconds; never sooner than it
    /// said before. With the first of these, time that the worker was given to start is over.
    pub fn set_stop_by(&self, at: u64) {
        if self.stop_by().is_none() {
            self.extended_until.store(0, Ordering::Release);
        }
        self.stop_by.fetch_max(at, Ordering::AcqRel);
    }

    /// Until when the supervisor waits for the end. `None`: it has ordered none.
    pub(crate) fn stop_by(&self) -> Option<u64> {
        Some(self.stop_by.load(Ordering::Acquire)).filter(|at| *at != 0)
    }

    /// The worker asks for patience until then, in monotonic nanoseconds: never shorter than it has
    /// asked before.
    pub(crate) fn extend(&self, until: u64) {
        self.extended_until.fetch_max(until, Ordering::AcqRel);
        if self.stop_by().is_some() {
            self.stop_by.fetch_max(until, Ordering::AcqRel);
        }
    }

    /// Until when the worker asks for patience; 0: it does not.
    pub(super) fn extended_until(&self) -> u64 {
        self.extended_until.load(Ordering::Acquire)
    }

    /// Orders the worker to reload. The caller also makes the incarnation's `wake` readable.
    pub fn order_reload(&self) {
        self.reloads_ordered.fetch_add(1, Ordering::AcqRel);
    }

    /// How many orders to reload there were.
    pub(crate) fn reloads_ordered(&self) -> u32 {
        self.reloads_ordered.load(Ordering::Acquire)
    }

    /// Takes the orders to reload that there are, all at once. False: there is none, or another
    /// thread has taken it.
    pub(crate) fn take_reload(&self) -> bool {
        self.heeds_reloads.store(1, Ordering::Release);
        let (ordered, taken) = (self.reloads_ordered(), self.reloads_taken.load(Ordering::Acquire));
        let order = Ordering::AcqRel;
        let is_taken = ordered != taken
            && self
                .reloads_taken
                .compare_exchange(taken, ordered, order, Ordering::Relaxed)
                .is_ok();
        if is_taken {
            self.set_reloading(true);
        }
        is_taken
    }

    pub(crate) fn set_reloading(&self, is_reloading: bool) {
        self.is_reloading.store(is_reloading.into(), Ordering::Release);
    }

    /// Whether the worker has said that it is reloading.
    pub(super) fn is_reloading(&self) -> bool {
        self.is_reloading.load(Ordering::Acquire) != 0
    }

    /// Whether the worker asks for orders to reload.
    #[must_use]
    pub fn heeds_reloads(&self) -> bool {
        self.heeds_reloads.load(Ordering::Acquire) != 0
    }
}

impl Board {
    /// Writes what a worker of this generation says of itself; at most [`STATUS_MAX`] bytes of it.
    pub(crate) fn write_status(&self, generation: u64, text: &[u8]) {
        let talk = &self.talk;
        if self.is_of(generation) {
            store_text(&talk.status, &talk.status_length, text);
            self.is_still_of(generation, || talk.status_length.store(0, Ordering::SeqCst));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::runtime::mapping::Mapping;

    #[test]
    fn an_order_to_reload_is_taken_once_and_several_are_one() {
        let mapping = Mapping::sealed("b").expect("memory");
        let talk = &mapping.board().talk;
        assert!(!talk.heeds_reloads() && !talk.take_reload() && talk.heeds_reloads());
        talk.order_reload();
        talk.order_reload();
        assert!(talk.take_reload() && talk.is_reloading());
        assert!(!talk.take_reload());
        talk.order_reload();
        assert!(talk.take_reload());
        mapping.board().begin("b", 2);
        assert!(!talk.take_reload() && !talk.is_reloading());
    }

    #[test]
    fn patience_grows_and_is_that_of_one_incarnation() {
        let mapping = Mapping::sealed("b").expect("memory");
        let talk = &mapping.board().talk;
        talk.extend(50);
        assert_eq!(talk.stop_by(), None, "no order to stop, no deadline");
        talk.set_stop_by(70);
        talk.extend(60);
        assert_eq!(talk.stop_by(), Some(70));
        talk.extend(90);
        assert_eq!(talk.stop_by(), Some(90));
        mapping.board().begin("b", 2);
        assert_eq!((talk.stop_by(), talk.extended_until()), (None, 0));
    }
}
