//! What is counted over all supervisors until an orderly end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use workers::runtime::mapping::Mapping;

use super::header::{Header, header};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Records that were lost.
    LostRecords,
    /// Bytes that streams have lost which are closed.
    LostByClosed,
    /// Hooks that were dropped.
    DroppedHooks,
    /// Events about incarnations that are past.
    StaleEvents,
}

impl Count {
    /// All of them.
    pub(in crate::record) const ALL: [Self; 4] =
        [Self::LostRecords, Self::LostByClosed, Self::DroppedHooks, Self::StaleEvents];
}

/// What was counted by a supervisor that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts([(Count, u64); Count::ALL.len()]);

impl Counts {
    /// By the one whose page this is.
    pub(in crate::record) fn read(header: &Header) -> Self {
        Self(Count::ALL.map(|count| (count, word(header, count).load(Ordering::Relaxed))))
    }

    /// How many of one kind.
    #[must_use]
    pub fn get(&self, count: Count) -> u64 {
        self.0.iter().find(|(one, _)| *one == count).map_or(0, |(_, all)| *all)
    }
}

/// Where one of them stands: in the black box, or in memory that ends with us.
#[derive(Clone, Debug)]
pub struct Counter(Place);

#[derive(Clone, Debug)]
enum Place {
    Shared(Arc<Mapping>, Count),
    Own(Arc<AtomicU64>),
}

impl Default for Counter {
    fn default() -> Self {
        Self(Place::Own(Arc::default()))
    }
}

impl Counter {
    pub(super) fn new(mapping: &Arc<Mapping>, count: Count) -> Self {
        Self(Place::Shared(Arc::clone(mapping), count))
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.word().fetch_add(more, Ordering::Relaxed);
    }

    /// So many in all.
    pub(super) fn set(&self, all: u64) {
        self.word().store(all, Ordering::Relaxed);
    }

    /// So far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.word().load(Ordering::Relaxed)
    }

    fn word(&self) -> &AtomicU64 {
        let (mapping, count) = match &self.0 {
            Place::Own(word) => return word,
            Place::Shared(mapping, count) => (mapping, count),
        };
        word(header(mapping), *count)
    }
}

fn word(header: &Header, count: Count) -> &AtomicU64 {
    match count {
        Count::LostRecords => &header.counts[0],
        Count::LostByClosed => &header.counts[1],
        Count::DroppedHooks => &header.counts[2],
        Count::StaleEvents => &header.stale_events,
    }
}
