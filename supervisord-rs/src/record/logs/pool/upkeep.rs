//! What the threads do for the streams that they carry.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Job, NOTICES_MAX, Pool};
use crate::record::logs::stream::Upkeep;
use crate::record::logs::target::{Target, Targets};
use crate::record::logs::{Notice, lock};
use crate::service_manager::FdStore;

impl Upkeep for Pool {
    fn targets(&self) -> &Targets {
        &self.targets
    }

    fn store(&self) -> &FdStore {
        &self.store
    }

    fn tell(&self, notice: Notice) {
        let mut notices = lock(&self.notices);
        if notices.len() < NOTICES_MAX {
            notices.push(notice);
        }
        drop(notices);
        let _ = self.wakeup.write(1);
    }

    fn wrote(&self, bytes: usize) {
        let Some(cap) = self.cap else { return };
        let step = (cap / 16).max(1);
        if self.unweighed.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64 >= step {
            self.unweighed.store(0, Ordering::Relaxed);
            self.give(Job::Weigh);
        }
    }

    fn after_rotation(&self, target: &Arc<Target>) {
        target.has_plain.store(true, Ordering::SeqCst);
        if target.compressed().is_some() && !target.is_compressing.swap(true, Ordering::SeqCst) {
            self.give(Job::Compress(Arc::clone(target)));
        }
        if self.cap.is_some() {
            self.give(Job::Weigh);
        }
    }
}
