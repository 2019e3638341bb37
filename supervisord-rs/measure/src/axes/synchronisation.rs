//! What locks, semaphores, conditions, queues and topics take: alone and contended, between threads
//! and between processes; and how soon the next one has what a dead one held.

mod alone;
mod contended;
mod meaning;
mod primitive;
mod recovery;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Bench;
use crate::figures::{Measured, Place};
use crate::peer::Peer;
pub(super) use meaning::meaning;
use primitive::{Primitive, Thing};

/// What a peer does for this axis.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Opens a primitive for the orders that follow.
    Open { id: usize, primitive: Primitive },
    /// Uses it so often, alone; answers with nanoseconds for each.
    Repeat { id: usize, count: usize },
    /// Uses it from this monotonic time to that one (nanoseconds); answers how often.
    Contend { id: usize, from: u64, to: u64 },
    /// Has its turns with another one, so often.
    Alternate { id: usize, count: usize },
    /// Takes it, and never gives it back.
    Hold { id: usize },
}

/// What a peer has open.
#[derive(Default)]
pub(crate) struct Kept(BTreeMap<usize, Thing>);

impl Kept {
    fn find(&self, id: usize) -> Result<&Thing, String> {
        self.0.get(&id).ok_or_else(|| "it was not opened".to_owned())
    }
}

impl Job {
    pub(crate) fn run(self, given: Vec<OwnedFd>, kept: &mut Kept) -> Result<Value, String> {
        Ok(match self {
            Self::Open { id, primitive } => {
                kept.0.insert(id, Thing::open(primitive, given)?);
                Value::Null
            }
            Self::Repeat { id, count } => Value::from(kept.find(id)?.repeat(count)?),
            Self::Contend { id, from, to } => {
                Value::from(contended::use_it(kept.find(id)?, from, to)?)
            }
            Self::Alternate { id, count } => {
                kept.find(id)?.alternate(1, count)?;
                Value::Null
            }
            Self::Hold { id } => {
                let thing = kept.0.remove(&id).ok_or("it was not opened")?;
                thing.hold()?;
                // It dies with it: no destructor gives anything back.
                std::mem::forget(thing);
                Value::Null
            }
        })
    }
}

/// See [`crate::axes`].
pub(super) fn measure(bench: &Bench<'_>, measured: &mut Measured) -> Result<(), String> {
    let threads = Peer::start_many(Place::Thread, 2)?;
    let processes = Peer::start_many(Place::Process, 2)?;
    measured.tables.push(alone::table(bench, [&threads[0], &processes[0]])?);
    measured.tables.extend(contended::tables(bench, [&threads, &processes])?);
    measured.tables.push(recovery::table(bench));
    Ok(())
}
