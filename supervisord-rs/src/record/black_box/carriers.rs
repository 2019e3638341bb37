//! What the threads that carry output use of the black box.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use workers::runtime::mapping::Mapping;

use super::carried::{CARRIERS, Carried, PastCarried};
use super::counts::{Count, Counter};
use super::header::header;
use super::losses::{Losses, Whose};

/// The part of the black box that belongs to the threads that carry output.
#[derive(Clone, Debug)]
pub struct Carriers(pub(super) Arc<Mapping>);

impl Carriers {
    /// Where the losses of a stream are counted.
    #[must_use]
    pub fn losses(&self, whose: Whose) -> Losses {
        Losses::new(&self.0, whose)
    }

    /// Where that is counted.
    #[must_use]
    pub fn counter(&self, count: Count) -> Counter {
        Counter::new(&self.0, count)
    }

    /// The words of one of them.
    #[must_use]
    pub fn slot(&self, carrier: usize) -> Option<&Carried> {
        header(&self.0).carried[..CARRIERS].get(carrier)
    }

    /// Passes on an entry of a predecessor's black box, for a successor that starts before the
    /// output is written. False: there is no room.
    pub fn pass_on(&self, past: &PastCarried) -> bool {
        let free = header(&self.0).carried[CARRIERS..]
            .iter()
            .find(|slot| slot.owner.load(Ordering::Relaxed) == 0);
        let Some(slot) = free else { return false };
        slot.stream.store(past.stream, Ordering::Relaxed);
        if let Some(begun) = past.begun {
            slot.begin(begun);
        }
        slot.owner.store(past.owner, Ordering::SeqCst);
        true
    }
}
