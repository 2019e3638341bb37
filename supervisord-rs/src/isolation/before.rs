//! The command that runs before a launch, as the loop has it.

use supervision::Incarnation;
use tokio::sync::oneshot;

use super::launch::failed::Result;

/// How far the command of an incarnation is.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) incarnation: Incarnation,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    Runs(Reins),
    /// It was withdrawn, which is answered, and has not ended yet.
    Ends,
    /// What the launch goes on with, when nothing is left of it.
    Ended(Result<()>),
}

/// What the loop has of a command that runs. Dropped, they kill it.
#[derive(Debug)]
pub(super) struct Reins {
    /// Asks it to stop; `None`: it was asked.
    pub(super) ask: Option<oneshot::Sender<()>>,
    #[expect(dead_code, reason = "it is there to be dropped")]
    pub(super) kill: oneshot::Sender<()>,
}

impl Before {
    pub(super) const fn runs(&self) -> bool {
        matches!(self.state, State::Runs(_))
    }

    pub(super) fn runs_of(&self, incarnation: Incarnation) -> bool {
        self.incarnation == incarnation && self.runs()
    }
}
