//! All workers, and which of them have changed since the last question: the checkpoints of the
//! others are still valid.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::{Deref, Index, IndexMut};

use crate::id::WorkerId;
use crate::worker::Worker;

/// A list of workers that notices every access by which one could change.
#[derive(Debug, Default)]
pub(crate) struct WorkerTable {
    workers: Vec<Worker>,
    touched: BTreeSet<WorkerId>,
}

impl WorkerTable {
    /// One more, at the end.
    pub(crate) fn push(&mut self, worker: Worker) {
        self.workers.push(worker);
        self.touch(self.workers.len() - 1);
    }

    /// A worker, to be changed.
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Worker> {
        self.touch(index);
        self.workers.get_mut(index)
    }

    /// Something that belongs to a worker, and is kept elsewhere, has changed.
    pub(crate) fn touch(&mut self, index: usize) {
        if let Ok(index) = u32::try_from(index) {
            self.touched.insert(WorkerId(index));
        }
    }

    /// One that was touched, and is not any more.
    pub(crate) fn take_touched(&mut self) -> Option<WorkerId> {
        while let Some(worker) = self.touched.pop_first() {
            if worker.index() < self.workers.len() {
                return Some(worker);
            }
        }
        None
    }
}

impl FromIterator<Worker> for WorkerTable {
    fn from_iter<I: IntoIterator<Item = Worker>>(workers: I) -> Self {
        let mut worker_table = Self::default();
        workers.into_iter().for_each(|worker| worker_table.push(worker));
        worker_table
    }
}

impl Deref for WorkerTable {
    type Target = [Worker];

    fn deref(&self) -> &[Worker] {
        &self.workers
    }
}

impl Index<usize> for WorkerTable {
    type Output = Worker;

    fn index(&self, index: usize) -> &Worker {
        &self.workers[index]
    }
}

impl IndexMut<usize> for WorkerTable {
    fn index_mut(&mut self, index: usize) -> &mut Worker {
        self.touch(index);
        &mut self.workers[index]
    }
}
