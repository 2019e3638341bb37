//! The fourth stage: the drivers have the processes that go on, and the machine knows of each
//! worker how it goes on.
//!
//! *Can fail:* nothing as a whole. A worker that cannot be adopted is ended, and counts as lost;
//! the log says why.
//!
//! *A death here leaves* the predecessor's black box as the one that counts, and the store as it
//! was but for what belonged to workers that were not adopted: the next supervisor adopts again.

use std::time::Duration;

use supervision::{Machine, Spec};
use workers::runtime::board::monotonic_ns;

use super::equipped::Equipped;
use crate::config::Settings;
use crate::daemon::predecessor::Predecessor;
use crate::daemon::recovery;
use crate::daemon::turn::lapse::Lapse;
use crate::isolation::contract::means::adopting::Past;
use crate::record::post_mortem::PostMortem;
use crate::service_manager;

/// The workers that go on, and the machine that decides about them.
pub(super) struct Adopted {
    pub(super) equipped: Equipped,
    pub(super) machine: Machine,
    /// Counts from the moment that the machine's first deadlines count from.
    pub(super) lapse: Lapse,
    pub(super) predecessor: Predecessor,
}

impl Equipped {
    /// Adopts the processes of the predecessor, and tells the machine what it takes over.
    pub(super) fn adopt(mut self) -> Adopted {
        // A pause that comes before the loop turns counts against no worker either.
        let lapse = Lapse::new(Duration::from_nanos(monotonic_ns()));
        let recovered = &mut self.recovered;
        let (settings, inherited) = (&recovered.locked.settings, &mut recovered.locked.inherited);
        let (story, seen) = (recovered.left.story.as_ref(), recovered.left.seen);
        let past = recovery::past(settings, story);
        let to_adopt = if is_to_start_afresh(story) { Past::new() } else { past.clone() };
        let adopted = self.drivers.adopt(inherited, &to_adopt);
        let last_recorded = recovered.settled.last_id();
        let (inherited, evidence, outsider) =
            recovery::inherit(settings, story, seen, &past, &adopted, last_recorded);
        self.drivers.adopt_evidence(evidence, outsider);
        let death = inherited.death.as_ref().and(seen).map(|seen| seen.died_at_ns);
        let machine = Machine::new(policy(settings), inherited);
        let predecessor = Predecessor::new(death, recovery::changed(settings, story, &past));
        Adopted { equipped: self, machine, lapse, predecessor }
    }
}

/// What was being stopped is not gone on with: it is ended, and started afresh.
fn is_to_start_afresh(story: Option<&PostMortem>) -> bool {
    story.is_some_and(|story| story.was_stopping && !service_manager::is_to_shut_down())
}

/// What is to be kept running: nothing, where everything is only to be stopped.
fn policy(settings: &Settings) -> Spec {
    let mut spec = settings.spec.clone();
    for worker in &mut spec.workers {
        worker.autostart &= !service_manager::is_to_shut_down();
    }
    spec
}
