//! What several steps have: a time, a phase, what to do where injection is not allowed.

use std::time::Duration;

use super::script::Phase;
use crate::config::reader::{Cursor, Section};
use crate::config::schema::key::key;
use crate::config::schema::{Key, Kind};

/// What to do where injection is not allowed.
pub(super) const OFF: &str = "write `supervisor: { fault_injection: allow }` into the configuration, \
                              or into a copy of it";
/// For what is waited for or ordered, where no `within:` is written.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
pub(super) static WITHIN: Key =
    key("within", Kind::Duration, "A step that takes longer has failed.").or("10s");

/// A phase of a worker.
pub(super) fn phase(cursor: &Cursor<'_>) -> Option<Phase> {
    cursor.choice(&Phase::WORDS).map(|phase| phase.value)
}

/// `within:`, or the default.
pub(super) fn within(section: &Section<'_>) -> Duration {
    section.duration(&WITHIN).unwrap_or(PATIENCE)
}
