//! Looks at what the workers of a process share, after each launch into it: most that change it do
//! so when they begin. The handlers of fatal signals are to be those of the SDK, and there is to be
//! room for the descriptors of another order.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::runtime::handlers;
use crate::runtime::mapping::Mapping;

/// So long after a launch it is looked.
const AFTER_LAUNCH: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

#[derive(Debug)]
pub(super) struct Keeper {
    latest: Option<Latest>,
    /// How many files may be open here.
    open_files: u64,
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

    pub(super) fn new() -> Self {
        let limit = getrlimit(Resource::RLIMIT_NOFILE);
        Self { latest: None, open_files: limit.map_or(0, |(soft, _)| soft) }
    }

    /// How long until the next look; `None`: nothing calls for one.
    pub(super) fn patience(&self) -> Option<Duration> {
        let latest = self.latest.as_ref()?;
        let after = AFTER_LAUNCH.get(latest.looks)?;
        Some((latest.at + *after).saturating_duration_since(Instant::now()))
    }

    /// Looks, and puts back what has changed; of signals the board of the last that began here says
    /// so. A process that one worker has for itself is its own affair.
    pub(super) fn look(&mut self) {
        let Some(latest) = &mut self.latest else { return };
        if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
            && soft < self.open_files
        {
            let back = self.open_files.min(hard);
            let _ = setrlimit(Resource::RLIMIT_NOFILE, back, hard);
            eprintln!(
                "a worker has lowered the limit of open files of this process to {soft}; it is {back} \
                 again"
            );
            self.open_files = back;
        }
        let is_after = |after: &&Duration| latest.at.elapsed() >= **after;
        latest.looks = AFTER_LAUNCH.iter().take_while(is_after).count();
        let changed = handlers::keep();
        if latest.board.board().note_changed_signals(changed) {
            crate::context::ring(latest.poke.as_fd());
        }
    }
}
