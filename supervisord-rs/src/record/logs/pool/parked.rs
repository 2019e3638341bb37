//! Jobs that wait for the turn of a target, which knows them by their numbers.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::Job;
use crate::record::logs::lock;

#[derive(Debug, Default)]
pub(super) struct Parked(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    jobs: BTreeMap<u64, Job>,
    next: u64,
}

impl Parked {
    /// Keeps one: its number.
    pub(super) fn keep(&self, job: Job) -> u64 {
        let mut kept = lock(&self.0);
        let number = kept.next;
        kept.next += 1;
        kept.jobs.insert(number, job);
        number
    }

    pub(super) fn take(&self, number: u64) -> Option<Job> {
        lock(&self.0).jobs.remove(&number)
    }
}
