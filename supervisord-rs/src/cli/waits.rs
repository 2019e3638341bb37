//! How long verbs wait, and how often they look.

use std::time::Duration;

/// Between two looks: short enough for people, long enough for the machine.
pub(super) const PAUSE: Duration = Duration::from_millis(20);
/// An outcome that comes sooner needs no line.
pub(super) const PATIENCE: Duration = Duration::from_millis(700);
/// After a supervisor has ended in order: a successor answers within this time, or none follows.
pub(super) const HAND_OVER: Duration = Duration::from_secs(2);
/// The default deadline for a successor to be ready.
pub(super) const REEXEC_TIMEOUT: Duration = crate::daemon::hand_over::DEADLINE;
/// For one supervisor to come to rest, another to take over, or the old binary to do so in its
/// place.
pub(super) const GIVING_WAY: Duration = Duration::from_secs(60);
