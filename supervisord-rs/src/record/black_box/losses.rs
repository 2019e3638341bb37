//! What streams of output have lost and carried, counted where it outlives us.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use workers::runtime::mapping::Mapping;

use super::note::note;

/// Whose losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Of a worker's stream: the worker's position, and whether it is standard error.
    Worker(usize, bool),
    /// Of a cell's own stream: the position of its first member.
    Cell(usize),
}

/// The counts of one stream.
#[derive(Debug)]
pub struct Losses {
    mapping: Arc<Mapping>,
    worker: usize,
    stream: usize,
}

impl Losses {
    pub(super) fn new(mapping: &Arc<Mapping>, whose: Whose) -> Self {
        let (worker, stream) = match whose {
            Whose::Worker(worker, is_stderr) => (worker, usize::from(is_stderr)),
            Whose::Cell(first) => (first, 2),
        };
        Self { mapping: Arc::clone(mapping), worker, stream }
    }

    /// In all.
    #[must_use]
    pub fn lost(&self) -> &AtomicU64 {
        &self.words()[0]
    }

    /// Not marked in the file yet.
    #[must_use]
    pub fn unmarked(&self) -> &AtomicU64 {
        &self.words()[1]
    }

    /// Carried of the incarnation that writes to it now, or wrote to it last.
    #[must_use]
    pub fn carried(&self) -> &AtomicU64 {
        &note(&self.mapping, self.worker).carried[self.stream]
    }

    fn words(&self) -> &[AtomicU64; 2] {
        &note(&self.mapping, self.worker).losses[self.stream]
    }
}
