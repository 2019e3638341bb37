//! Looks at the handlers of fatal signals after each launch into a process that workers share: most
//! that change them do so when they begin.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::runtime::handlers;
use crate::runtime::mapping::Mapping;

/// So long after a launch it is looked.
const AFTER_LAUNCH: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

#[derive(Debug, Default)]
pub(super) struct Keeper {
    latest: Option<Latest>,
}

/// The last launch.
#[derive(Debug)]
struct Latest {
    at: Instant,
    board: Arc<Mapping>,
    poke: Arc<OwnedFd>,
    /// How often it was looked since.
    looks: usize,
}

impl Keeper {
    /// A worker has begun in this process, which it shares.
    pub(super) fn on_begin(&mut self, board: &Arc<Mapping>, poke: &Arc<OwnedFd>) {
        handlers::begin();
        let (board, poke) = (Arc::clone(board), Arc::clone(poke));
        self.latest = Some(Latest { at: Instant::now(), board, poke, looks: 0 });
    }

    /// How long until the next look; `None`: nothing calls for one.
    pub(super) fn patience(&self) -> Option<Duration> {
        let latest = self.latest.as_ref()?;
        let after = AFTER_LAUNCH.get(latest.looks)?;
        Some((latest.at + *after).saturating_duration_since(Instant::now()))
    }

    /// Looks, and puts back what has changed. It stands on the board of the last that began here.
    pub(super) fn look(&mut self) {
        let Some(latest) = &mut self.latest else { return };
        let is_after = |after: &&Duration| latest.at.elapsed() >= **after;
        latest.looks = AFTER_LAUNCH.iter().take_while(is_after).count();
        let changed = handlers::keep();
        if latest.board.board().note_changed_signals(changed) {
            crate::context::ring(latest.poke.as_fd());
        }
    }
}
