//! What this supervisor knows of its predecessor and uses once, in its first turns.

use super::recovery::Changed;

/// Each part is gone when it was taken.
#[derive(Debug, Default)]
pub(super) struct Predecessor {
    death: Option<u64>,
    changed: Changed,
}

impl Predecessor {
    /// `death`: when the predecessor died, as its guardian saw it, if its death is the first
    /// incident; `changed`: workers that run with an earlier configuration.
    pub(super) fn new(death: Option<u64>, changed: Changed) -> Self {
        Self { death, changed }
    }

    /// When the predecessor died, as its guardian saw it, for the incident that is its death.
    pub(super) fn take_death(&mut self) -> Option<u64> {
        self.death.take()
    }

    /// Workers that run with an earlier configuration; restarted after a reload by a person.
    pub(super) fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }
}
